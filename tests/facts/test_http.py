from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.facts.addresses import allowed
from mcp_gateway.facts.http import RequestRefusedError, resolve
from mcp_gateway.facts.inspect_url import inspect_url
from tests.corpora import cases

BASE = "https://api.example.com/v1"


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("", BASE),
        ("users", f"{BASE}/users"),
        ("/users", f"{BASE}/users"),
        ("users/7?full=yes", f"{BASE}/users/7?full=yes"),
        ("a%20b", f"{BASE}/a%20b"),
        ("..g", f"{BASE}/..g"),
        ("users?next=https://example.org/../x", f"{BASE}/users?next=https://example.org/../x"),
        ("./users", f"{BASE}/users"),
        ("users/.", f"{BASE}/users/"),
        ("users/./7", f"{BASE}/users/7"),
        ("users/../orders", f"{BASE}/orders"),
        ("users/7/..", f"{BASE}/users/"),
        ("..../...", f"{BASE}/..../..."),
        (".", f"{BASE}/"),
        ("users#top", f"{BASE}/users"),
        ("/entries:list", f"{BASE}/entries:list"),
        ("/a:b@c/d", f"{BASE}/a:b@c/d"),
        ("users/7:lock", f"{BASE}/users/7:lock"),
        ('x?match[]=up{job="a"}&q=a|b^c`\\<>', f"{BASE}/x?match%5B%5D=up%7Bjob=%22a%22%7D&q=a%7Cb%5Ec%60%5C%3C%3E"),
        ("users?a=b#/../?c", f"{BASE}/users?a=b"),
        ("#", BASE),
    ],
)
def test_a_path_is_appended_to_the_base(path: str, url: str) -> None:
    assert resolve(BASE, path).url == url


@pytest.mark.parametrize(
    "path",
    [
        "..", "../admin", "a/../../b", "a/..;/b", "/..", "a/./../..", "a/%2e/b", "%2e%2e/admin", "%2E%2e", ".%2e/x", "a/%2e%2e/b", "..%2fadmin", "a%5cb", "\\\\evil",
        "..\\admin", "//evil.example", "///evil", "a//b", "https://evil.example/", "http:evil", "javascript:x", "a#\r\n", "a# b", "a#\\", "a;b", "./http:x", "..;/admin",
        "/http:x", "/HTTPS:x", "/x:", "/x:/y", "/http%3Ax", "%79:a", "entries:list",
        "..%20/admin", "%20../admin", "a/.%20./b", "a/.%e2%80%8b./b", "a/%c2%ad../b", "a/..%c2%a0/b", ".%20/a", "..%20",
        "a%00b", "a%0d%0ab", "a\r\nb", "a b", "a%", "a%zz", "é", "\u2025/x", "a%252fb", "x?a b", "x?\r\n", "x?%", "\ud800", "a\x00",
        "a" * 9000,
    ],
)  # fmt: skip
def test_what_leaves_the_base_or_can_be_read_in_two_ways_is_refused(path: str) -> None:
    with pytest.raises(RequestRefusedError):
        resolve(BASE, path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a b", "the path holds ' ', which has to be percent-encoded: %20"),
        ("é", "the path holds 'é', which has to be percent-encoded: %C3%A9"),
        ("a[0]", "the path holds '[', which has to be percent-encoded: %5B"),
        ("a%zz", "the path holds a percent sign that begins no escape"),
        ("a\u202e", "the path holds U+202E, which no path may hold"),
        ("\ud800", "the path holds U+D800, which no path may hold"),
        ("x?q=a b", "the query holds ' ', which has to be percent-encoded: %20"),
        ("x?q=100%", "the query holds a percent sign that begins no escape"),
        ("x?\r\n", "the query holds U+000D, which no query may hold"),
        ("x# ", "the fragment holds ' ', which has to be percent-encoded: %20"),
    ],
)
def test_a_character_that_cannot_stand_there_is_named(path: str, message: str) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        resolve(BASE, path)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("%61dmin/%7Eroot", "/admin/~root"),
        ("%41dmin", "/Admin"),
        ("users/%40me", "/users/@me"),
        ("a%2Bb%3D%3a", "/a+b=:"),
        ("%c3%a9%e2%82%ac", "/%C3%A9%E2%82%AC"),
        ("a%20b%22", "/a%20b%22"),
    ],
)
def test_what_policy_sees_has_one_spelling_and_is_what_is_sent(path: str, normal: str) -> None:
    found = resolve(BASE, path)

    assert found.path == f"/v1{normal}"
    assert found.url == f"{BASE}{normal}"
    assert resolve(BASE, normal) == found


@pytest.mark.parametrize(
    "path",
    ["%c0%ae%c0%ae/admin", "%c0%af", "a%ff", "%ef%bc%8f", "%ef%bc%8e%ef%bc%8e/x", "%e2%80%a5/x", "%ef%bc%85", "a%e2%88%95b", "..%e2%81%84x", "..%c2%a5x", "%e2%82%a9", "%e2%88%96", "%ed%a0%80",
     "http%3A//x", "http%3ax"],
)  # fmt: skip
def test_what_some_server_takes_for_a_delimiter_is_refused(path: str) -> None:
    with pytest.raises(RequestRefusedError):
        resolve(BASE, path)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("x?_method=DELETE", None),
        ("x?a=1;_METHOD=DELETE", None),
        ("x?%5fmethod=DELETE", None),
        ("x", {"_method": "DELETE"}),
        ("x", {"X-HTTP-Method-Override": ["DELETE"]}),
    ],
)
def test_a_query_changes_no_method(path: str, query: Any) -> None:
    with pytest.raises(RequestRefusedError, match=r"^a query changes no method"):
        resolve(BASE, path, method="POST", query=query)


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "get", "GET ", "", "FOO", "GET\r\nX: y"])
def test_methods_are_a_closed_list(method: str) -> None:
    with pytest.raises(RequestRefusedError, match=r"^the method"):
        resolve(BASE, "x", method=method)


@pytest.mark.parametrize(
    "name",
    ["Authorization", "aUtHoRiZaTiOn", "Cookie", "Host", "Proxy-Authorization", "X-HTTP-Method-Override", "X-Forwarded-For",
     "Transfer-Encoding", "Content-Length", "Connection", "X-aws-ec2-metadata-token", "Metadata-Flavor", "X-Unlisted", "a b", "", "X\r\nY",
     "X_HTTP_Method_Override", "Content_Length", "X-Original-URL", "Forwarded", "Expect", "X-Method-Override", "X-Tunneled-Method"],
)  # fmt: skip
def test_headers_are_a_closed_list(name: str) -> None:
    with pytest.raises(RequestRefusedError, match=r"^the header"):
        resolve(
            BASE,
            "x",
            headers={name: "v"},
            allowed_headers=[
                "Authorization",
                "Host",
                "X-Method-Override",
                "X-Tunneled-Method",
                "X_HTTP_Method_Override",
                "Content_Length",
            ],
        )


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\0b", "\x7f", "é"])
def test_a_header_value_is_one_plain_line(value: str) -> None:
    with pytest.raises(RequestRefusedError, match=r"^the header"):
        resolve(BASE, "x", headers={"Accept": value})


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded, application/json", "application/x-www-form-urlencoded json", "multipart/form-data,x; boundary=a",
     "application/json,", "json", "/", "a/b/c", "a/b; c", "a/b; c=", 'a/b; c="', 'a/b; c="d"e', "a/b; c d=e", "a/b\tc", "a b/c", "a/b; c = d", ";", "a/b;;, c/d", "application/x-www-form-urlencoded+json", "Application/x-WWW-form-urlencodedx; a=b",
     "multipart/form-data+json; boundary=x", "a/b" + ";   " * 2000 + "!"],
)  # fmt: skip
def test_a_content_type_is_one_type(content_type: str) -> None:
    with pytest.raises(RequestRefusedError, match=r"^the content type is not one type and its parameters"):
        resolve(BASE, "x", method="POST", headers={"Content-Type": content_type})


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "Application/vnd.api+JSON ; Charset=UTF-8", 'multipart/form-data; boundary="a b,;\\""', "a/b;", "a/b ;; c=d",
     'application/vnd.api+json; ext="https://jsonapi.org/ext/atomic"', "application/vnd.oci.image.manifest.v1+json", " text/csv\t;header=present "],
)  # fmt: skip
def test_a_content_type_as_it_should_be_is_sent(content_type: str) -> None:
    found = resolve(BASE, "x", method="POST", headers={"Content-Type": content_type})
    assert found.content_type == content_type.strip(" \t")


@pytest.mark.parametrize("asked", ["bytes=0-4,5-9", "Bytes=0-4, -5", "bytes = 0-1 , 2-3", "bytes=,0-1"])
def test_a_request_asks_for_one_range_of_bytes(asked: str) -> None:
    with pytest.raises(RequestRefusedError, match=r"^a request asks for one range of bytes at a time$"):
        resolve(BASE, "x", headers={"Range": asked})
    for fine in ("bytes=0-4", "bytes=-5", "0-24", "id 1..; max=10, order=desc"):
        assert resolve(BASE, "x", headers={"Range": fine}).headers == (("range", fine),)


def test_a_header_in_two_spellings_is_refused() -> None:
    with pytest.raises(RequestRefusedError, match="given twice"):
        resolve(BASE, "x", headers={"Accept": "a", "accept": "b"})


def test_allowed_headers_and_query_are_sent_in_one_form() -> None:
    found = resolve(BASE, "x?a=1", query={"b c": ["&", "é"]}, headers={"X-Tenant": " t "}, allowed_headers=["x-tenant"])

    assert found.url == f"{BASE}/x?a=1&b%20c=%26&b%20c=%C3%A9"
    assert found.headers == (("x-tenant", "t"),)


@pytest.mark.parametrize(
    "base",
    ["ftp://x", "https://", "https://u:p@x", "https://x?y", "https://x#y", "https://0x7f.1", "https://127.1", "https://2130706433",
     "https://0177.0.0.1", "https://x/../y", "https://ex ample", "https://\u24de", "https://x:99999", "https://[::1%25eth0]"],
)  # fmt: skip
def test_a_base_url_has_one_spelling(base: str) -> None:
    with pytest.raises(RequestRefusedError):
        resolve(base, "x")


@pytest.mark.parametrize(
    ("address", "networks", "verdict"),
    [
        ("93.184.216.34", [], True),
        ("2606:4700::1111", [], True),
        ("10.0.0.1", [], False),
        ("10.0.0.1", ["10.0.0.0/8"], True),
        ("127.0.0.1", ["127.0.0.0/8"], True),
        ("169.254.169.254", ["0.0.0.0/0"], False),
        ("fe80::1", ["::/0"], False),
        ("192.0.0.192", ["0.0.0.0/0"], False),
        ("::ffff:10.0.0.1", [], False),
        ("::ffff:169.254.169.254", ["::/0", "0.0.0.0/0"], False),
        ("64:ff9b::a9fe:a9fe", ["::/0"], False),
        ("2002:7f00:1::", [], False),
        ("::127.0.0.1", [], False),
        ("fe80::1%eth0", [], False),
        ("2606:4700::5efe:808:808", [], True),
        ("2606:4700::5efe:a00:1", [], False),
        ("fd12::5efe:808:808", [], False),
        ("fd12::5efe:808:808", ["fd12::/16"], True),
        ("fc00::200:5efe:808:808", [], False),
        ("fec0::5efe:808:808", [], False),
        ("2001:db8::5efe:808:808", [], False),
        ("::5efe:808:808", [], False),
        ("64:ff9b::808:808", [], True),
        ("64:ff9b:1::808:808", [], False),
        ("64:ff9b:1:fffe::808:808", ["64:ff9b:1::/48"], True),
        ("64:ff9b:1:a9fe:a9:fe08:808:808", ["64:ff9b:1::/48"], False),
        ("0x7f.1", [], False),
        ("", [], False),
    ],
)
def test_addresses(address: str, networks: list[str], verdict: bool) -> None:
    from ipaddress import ip_network

    assert allowed(address, networks=[ip_network(item) for item in networks]) is verdict


def test_public_addresses_may_be_left_out() -> None:
    from ipaddress import ip_network

    networks = [ip_network("10.0.0.0/8"), ip_network("fd12::/16")]
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "fd12::1"):
        assert allowed(address, networks=networks, public=False)
    for address in ("93.184.216.34", "::ffff:93.184.216.34", "2606:4700::1111", "fd12::5efe:808:808", "192.168.0.1"):
        assert not allowed(address, networks=networks, public=False)


@given(st.text(max_size=40))
def test_every_path_stays_below_the_base_or_is_refused(path: str) -> None:
    try:
        url = resolve(BASE, path).url
    except RequestRefusedError:
        return
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("https", "api.example.com")
    assert parts.path == "/v1" or parts.path.startswith("/v1/")
    assert url.isascii()


def corpus(mode: str) -> list[dict[str, Any]]:
    return [
        case for case in cases("ssrf.jsonl") if case["input"]["mode"] == mode and not case["expected"].get("ambiguous")
    ]


@pytest.mark.parametrize("case", corpus("egress"), ids=lambda case: case["id"])
def test_no_refused_destination_of_the_corpus_is_let_through(case: dict[str, Any]) -> None:
    try:
        host = urlsplit(case["input"]["url"]).hostname
    except ValueError:
        host = None
    found = inspect_url(base_url=case["input"]["url"], path="", addresses=case["input"].get("dns", {}).get(host))

    assert case["expected"]["decision"] == "allow" or not found["allowed"]


@pytest.mark.parametrize("case", [*corpus("base_url"), *corpus("headers")], ids=lambda case: case["id"])
def test_no_refused_path_or_header_of_the_corpus_is_let_through(case: dict[str, Any]) -> None:
    given_ = case["input"]
    found = inspect_url(base_url=given_["base"], path=given_["url"], headers=given_.get("headers"))

    assert case["expected"]["decision"] == "allow" or not found["allowed"] or _absolute_path_stays_inside(given_, found)


def _absolute_path_stays_inside(given_: dict[str, Any], found: dict[str, Any]) -> bool:
    """By our contract a plain absolute path is appended, so it stays inside where RFC 3986 resolution would leave."""
    return bool(found["url"].startswith(given_["base"].split("?")[0].rstrip("/") + "/"))
