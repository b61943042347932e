from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.facts.http import RequestRefusedError
from mcp_gateway.facts.http_bodies import check_body, encode_body

FORM = "application/x-www-form-urlencoded"
PART = b"--x\r\nContent-Disposition: form-data; name=%b\r\n\r\nDELETE\r\n--x--"


@pytest.mark.parametrize("content_type", ["", FORM, "APPLICATION/X-WWW-Form-Urlencoded ; charset=utf-8"])
@pytest.mark.parametrize(
    "body",
    [
        "_method=DELETE", "a=1&_method=DELETE", "a=1;_method=DELETE", "_METHOD=DELETE", "%5fmethod=DELETE",
        "%5F%6d%65thod=DELETE", "%255fmethod=DELETE", "+_method=DELETE", ".method=DELETE", "_method[]=DELETE",
        "_method%5b%5d=DELETE", "[_method]=DELETE", "_method%00x=DELETE", "_method", "_httpMethod=PUT",
        "X-HTTP-Method-Override=DELETE", "x-http-method=MERGE", "$method=DELETE", "[method=DELETE",
        "x-tunneled-method=DELETE", "\ufeff_method=DELETE", "%u005fmethod=DELETE", "%u0058-HTTP-Method-Override=DELETE", "%25u005Fmethod=DELETE",
    ],
)  # fmt: skip
def test_a_form_changes_no_method(body: str, content_type: str) -> None:
    with pytest.raises(RequestRefusedError, match=r"^a body changes no method; give the method that is meant$"):
        check_body(body.encode(), content_type=content_type)


@pytest.mark.parametrize(
    "name",
    [b'"_method"', b"_method", b"'_method'", b'"_method[]"', b'"x"; NAME = "_Method"', b'"\\_method"', b'"_m\\ethod"'],
)
def test_a_part_of_a_form_changes_no_method(name: bytes) -> None:
    with pytest.raises(RequestRefusedError, match="changes no method"):
        check_body(PART % name, content_type="multipart/form-data; boundary=x")
    with pytest.raises(RequestRefusedError, match="changes no method"):
        check_body(
            PART.replace(b"name=", b"name*=utf-8''") % b"%5fmethod", content_type="multipart/form-data; boundary=x"
        )


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Disposition: form-data; name*0="_me"; name*1=thod',
        b"Content-Disposition: form-data; NAME*0* = utf-8''_me; name*1*=thod",
        b'Content-Disposition: form-data; name="=?utf-8?q?=5Fmethod?="',
        b"Content-Disposition: form-data; name = =?utf-8?B?X21ldGhvZA==?=",
        b"Content-ID: _method",
        b"content-id : <_method>",
    ],
)
def test_a_part_is_called_what_every_server_calls_it(head: bytes) -> None:
    body = b"--x\r\n%b\r\n\r\nDELETE\r\n--x--" % head
    with pytest.raises(RequestRefusedError, match=r"changes no method|read in more than one way"):
        check_body(body, content_type="multipart/form-data; boundary=x")


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/merge-patch+json", "text/json;charset=utf-8"]
)
@pytest.mark.parametrize(
    "body",
    [
        '{"_method": "DELETE"}', '{"a": 1, "\\u005fmethod": "DELETE"}', '{"_method": "DELETE", }', '/**/{"_method": 1}',
        # Others read these, and orjson does not.
        '\ufeff{"\\u005fmethod": "DELETE"}', '{"a": "\\ud800", "\\u005Fmethod": "DELETE"}',
        '{"a\\"": "\\ud800", "_method": "DELETE"}', '{/* " */ "_method": 1}', "{_method: 'DELETE'}", "{'_method': 1}",
        '{"\\x5fmethod": 1,}', '{"a": ' + "[" * 2000 + "]" * 2000 + ', "\\u005fmethod": "DELETE"}', '{"a": 1e999, "\\u005fmethod": 1}',
    ],
)  # fmt: skip
def test_a_json_object_changes_no_method(body: str, content_type: str) -> None:
    with pytest.raises(RequestRefusedError, match="changes no method"):
        check_body(body.encode(), content_type=content_type)


@pytest.mark.parametrize(
    "charset",
    ["=utf-7", "=utf-16le", "=ibm037", "='utf-7'", "=latin1", '="utf\\-16"', "*=utf-8''utf-16", "*0=utf; charset*1=-16", "=utf-8; Charset=utf-7", "="],
)  # fmt: skip
@pytest.mark.parametrize(
    "content_type", [FORM, "multipart/form-data", "application/json", "application/graphql", "text/plain"]
)
def test_a_body_that_would_be_read_in_another_character_set_is_refused(charset: str, content_type: str) -> None:
    with pytest.raises(RequestRefusedError, match=r"^a body is sent in UTF-8; name no other charset$"):
        check_body(b"x", content_type=f"{content_type}; charset{charset}")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("method=card&payment_method=x&name=_method", FORM),
        ("payment_method=DELETE&methods=1&method_=2", ""),
        ('{"method": "card", "note": "_method", "deep": {"_method": 1}}', "application/json"),
        ('["_method"]', "application/json"),
        ("_method=DELETE", "text/plain"),
        ("the _method=DELETE", "application/octet-stream"),
        ('{"create": {}}\n{"payment_method": "card", "note": "no method"}\n' * 20_000, "application/x-ndjson"),
        ("a,b", 'text/csv; header=present; charset="UTF-8"'),
        (
            '--x\r\nContent-Disposition: form-data; name="file"; filename="=?utf-8?q?=C3=A9.txt?="; filename*0=a\r\n\r\n'
            "name of the method\r\n--x--",
            "multipart/form-data; boundary=x",
        ),
    ],
)
def test_what_changes_no_method_is_sent(body: str, content_type: str) -> None:
    check_body(body.encode(), content_type=content_type)


@pytest.mark.requirement("R22")
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"a&" * 30_000, ""),
        (b"name=a;" * 30_000, "multipart/x"),
        (b"".join(b'"%d_method"' % number for number in range(30_000)), "text/json"),
    ],
)
def test_a_body_with_more_fields_than_can_be_looked_at_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(RequestRefusedError, match=r"^a body holds more than 20,000 fields; give the content type"):
        check_body(body, content_type=content_type)


@given(body=st.binary(max_size=200), kind=st.sampled_from(["", FORM, "multipart/form-data", "application/json", "x/y"]))
def test_any_body_is_sent_or_refused(body: bytes, kind: str) -> None:
    try:
        check_body(body, content_type=kind)
    except RequestRefusedError as error:
        assert "method" in str(error)


@pytest.mark.parametrize("content_type", ["text/plain", "", FORM, "application/xml", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize(
    "body", ['{"_method": "DELETE"}', ' \n{"a": 1, "\\u005fmethod": "PUT"}', '\ufeff{"_method": "DELETE",}']
)
def test_json_changes_no_method_whatever_it_is_called(body: str, content_type: str) -> None:
    with pytest.raises(RequestRefusedError, match="changes no method"):
        check_body(body.encode(), content_type=content_type)


@pytest.mark.parametrize(
    ("headers", "json_value", "text", "expected"),
    [
        ({}, None, None, ({}, None)),
        ({}, None, "", ({}, b"")),
        ({}, None, "é", ({}, "é".encode())),
        ({}, {"a": [1, "é"]}, None, ({"content-type": "application/json"}, '{"a":[1,"é"]}'.encode())),
        ({"Content-Type": "a/b"}, False, None, ({"Content-Type": "a/b"}, b"false")),
    ],
)
def test_arguments_become_headers_and_a_body(headers: Any, json_value: Any, text: str | None, expected: Any) -> None:
    assert encode_body(headers, json_value=json_value, text=text) == expected


@pytest.mark.parametrize(("json_value", "text"), [({"\ud800": 1}, None), (None, "\ud800")])
def test_a_body_that_is_no_text_is_refused(json_value: Any, text: str | None) -> None:
    with pytest.raises(RequestRefusedError, match=r"^the body holds a lone surrogate$"):
        encode_body({}, json_value=json_value, text=text)
