"""What leaves of an API's answer, wherever the limit cuts it."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from mcp_gateway_tools.call_api import CallAPI, CallAPIArguments, Prepared

from mcp_gateway.calls import Target
from mcp_gateway.errors import OutcomeLost, TargetTimeout
from mcp_gateway.facts.http import resolve
from mcp_gateway.facts.requests import Interface, examine_request
from mcp_gateway.targets.http import Response
from mcp_gateway.tool import Examination, Permit
from tests.masking.maskers import masker_with
from tests.masking.samples import CANARY, VALUES
from tests.peers.api import running_api
from tests.targets.test_http_bytes import connector_for

TOOL = CallAPI()
LINES = "an ordinary line\n" * 300


def told(
    body: bytes,
    *,
    content_type: str = "text/plain",
    truncated: bool = False,
    status: int = 200,
    asked: str = "",
    said: str = "",
    query: str = "",
    sent: bytes | None = None,
) -> Any:
    """The result of an answer with this body, to a request for the range that was `asked` for; it has the one that is `said`."""
    request = resolve("https://api.example.com", f"x?{query}", headers={"Range": asked} if asked else {})
    examination = Examination(
        facts=examine_request(request, sent), environment="", private=Prepared(request=request, body=sent)
    )
    ranges = (("content-range", said),) if said else ()
    raw = Response(
        status=status,
        headers=(("content-type", content_type), ("x-two", "a"), ("x-two", "b"), *ranges),
        content_type=content_type,
        body=body,
        truncated=truncated,
    )
    assert TOOL.size(raw) > len(body)
    return orjson.loads(TOOL.mask(raw, examination=examination, masker=masker_with(CANARY), call_id="1").structured)


@pytest.mark.requirement("R19")
@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "application/octet-stream"])
@pytest.mark.parametrize(
    "value",
    [
        *(values[0] for name, values in VALUES.items() if name != "secret.private_key"),
        CANARY,
        base64.b64encode(CANARY.encode()).decode(),
    ],
)
def test_a_body_cut_anywhere_tells_what_the_whole_body_tells(value: str, content_type: str) -> None:
    body = ('{"text":"' + "ordinary words " * 300 + f'","value": {value} ' + "and more words " * 10).encode()
    whole = told(body)["text"]
    for cut in range(4300, len(body), 7):
        shown = told(body[:cut], content_type=content_type, truncated=True)
        assert whole.startswith(shown["text"])
        assert len(shown["text"]) > 2000
        assert shown["truncated"]


def test_a_cut_through_a_character_leaves_text() -> None:
    body = "ä".encode() * 5000

    for cut in (8000, 8001):
        assert set(told(body[:cut], truncated=True)["text"]) == {"ä"}


def test_json_is_masked_as_json_and_what_only_says_so_as_text() -> None:
    found = told(b'{"password": "hunter22", "n": 1, "mail": "bob@example.com"}', content_type="application/json")
    broken = told(b'{"mail": "bob@example.com"', content_type="application/problem+json")
    exact = told(b'{"n": 12345678901234567890}', content_type="application/json")

    assert found["json"] == {"password": "[secret.password]", "n": 1, "mail": "[pii.email]"}
    assert found["headers"]["x-two"] == "a, b"
    assert broken["text"] == '{"mail": "[pii.email]"'
    assert exact["text"] == '{"n": 12345678901234567890}'


def test_a_body_that_is_no_text_is_base64() -> None:
    assert base64.b64decode(told(b"\xff\x00")["base64"]) == b"\xff\x00"


def part(whole: bytes, first: int, last: int, *, total: str = "", **more: Any) -> Any:
    """The result of asking for a part of a file, from one byte to another."""
    said = f"bytes {first}-{last}/{total or len(whole)}"
    return told(whole[first : last + 1], status=206, asked=f"bytes={first}-{last}", said=said, **more)


@pytest.mark.requirement("R19")
@pytest.mark.parametrize("content_type", ["text/plain", "application/json"])
@pytest.mark.parametrize(
    "value", [*(values[0] for name, values in VALUES.items() if name != "secret.private_key"), CANARY]
)
def test_a_part_that_was_asked_for_tells_nothing_of_a_value_across_its_edge(value: str, content_type: str) -> None:
    whole = f"{LINES}{value}\n{LINES}".encode()
    shown = told(whole)["text"]
    start = len(LINES)
    for place in range(start - 3, start + len(value.encode()) + 4):
        before, behind = part(whole, 0, place - 1, content_type=content_type), part(whole, place, len(whole) - 1)
        assert shown.startswith(before["text"])
        assert shown.endswith(behind["text"])
        assert before["text"].startswith("an ordinary line")
        assert behind["text"].startswith("an ordinary line")
        assert before["truncated"]
        assert behind["truncated"]
        assert "text" not in part(whole, place, place + 3) or part(whole, place, place + 3)["text"] == ""


def test_a_part_that_is_all_of_it_is_whole() -> None:
    body = b'{"mail": "bob@example.com"}'
    found = part(body, 0, len(body) - 1, content_type="application/json")
    assert (found["json"], found["truncated"]) == ({"mail": "[pii.email]"}, False)


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("bytes 0-9/10", "bytes=0-9"),
        ("bytes 0-3/*", "bytes=0-3"),
        ("bytes 0-3", "bytes=0-3"),
        ("bytes */4", "bytes=0-3"),
        ("Bytes 0-3/9", ""),
        ("", "bytes=-4"),
        ("", "Bytes=0-3"),
    ],
)
def test_a_part_of_which_it_is_not_said_what_of_is_one_at_both_ends(said: str, asked: str) -> None:
    found = told(b"4111", status=206, said=said, asked=asked)
    assert found["truncated"]
    assert found.get("text", "") == ""


@pytest.mark.parametrize(
    ("status", "said", "asked"),
    [(206, "0-24/*", "0-24"), (206, "id 1..2; max=10", "id 1.."), (206, "", ""), (200, "", "bytes=0-1")],
)
def test_an_answer_in_other_units_is_whole(status: int, said: str, asked: str) -> None:
    found = told(b'[{"id": 1}]', status=status, content_type="application/json", said=said, asked=asked)
    assert (found["json"], found["truncated"]) == ([{"id": 1}], False)


PEOPLE = {"phone": "+49 30 1234567", "session_token": "zzz-yyy-xxx", "passwords": ["hunter22", None], "ssn": 123456789}
MASKED = {
    "phone": "[pii.phone]",
    "session_token": "[secret.token]",
    "passwords": ["[secret.password]", None],
    "ssn": "[pii.national_id]",
}


def as_dotnet(value: Any) -> str:
    """JSON as .NET writes it, which escapes a plus."""
    return json.dumps(value).replace("+", "\\u002B")


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/json", "text/plain; charset=utf-8", "", "application/octet-stream"]
)
@pytest.mark.parametrize(
    "more", [{"id": 12345678901234567890}, {"id": -(10**17), "rate": float("nan")}, {"rate": float("-inf")}]
)
def test_json_that_some_reader_would_change_is_masked_as_json(content_type: str, more: dict[str, Any]) -> None:
    found = told(as_dotnet([PEOPLE | more]).encode(), content_type=content_type)
    assert found["text"] == json.dumps([MASKED | more])
    assert found["masked"] == {"pii.national_id": 1, "pii.phone": 1, "secret.password": 1, "secret.token": 1}


def test_json_that_does_not_say_so_is_masked_as_json() -> None:
    for before in (b"", b"\xef\xbb\xbf", b" \r\n"):
        assert told(before + as_dotnet(PEOPLE).encode())["text"] == json.dumps(MASKED)
    lines = "".join(f"{as_dotnet(PEOPLE | {'id': number})}\r\n\n" for number in range(3))
    for content_type in ("application/x-ndjson", "text/plain"):
        found = told(lines.encode(), content_type=content_type)["text"]
        assert [json.loads(line) for line in found.split("\n")] == [MASKED | {"id": number} for number in range(3)]


@pytest.mark.parametrize(
    "body", ['{"a": 1.50,\n "b": "\\"\\\\u002B" }', "[INFO] started", '{"a": 1}\nnot JSON', "[1]\n[2]", "{", "[" * 3000]
)
def test_a_text_with_nothing_to_mask_is_as_it_was(body: str) -> None:
    assert told(body.encode())["text"] == body


@pytest.mark.parametrize("content_type", ["application/json", "application/javascript", "text/plain"])
def test_an_escape_hides_nothing_in_json_that_was_cut(content_type: str) -> None:
    body = as_dotnet([PEOPLE, {"mail": "a+b@example.com"}, "x" * 5000])[:-1]
    found = told(body.encode(), content_type=content_type, truncated=True)["text"]
    assert "1234567" not in found
    assert '"mail": "[pii.email]"' in found


@pytest.mark.parametrize("content_type", ["text/event-stream; charset=utf-8", 'multipart/mixed; boundary="-"'])
def test_neither_an_escape_nor_a_new_name_hides_anything_in_pieces_of_json(content_type: str) -> None:
    """As GraphQL gives them, for subscriptions and for what is deferred."""
    body = f"event: person\ndata: {as_dotnet(PEOPLE | {'x': 'hunter22'})}\n\n"
    found = told(body.encode(), content_type=content_type, sent=b'{"query": "{ x: password }"}')["text"]
    assert "1234567" not in found
    assert '"password": "[secret.password]"' in found


def test_an_escape_that_stands_for_itself_stays() -> None:
    body = r'{"a": "\\u002B \\\u002B \u0022 \u005c \u000a \ud83d\ude00 \u00e9 \/", '
    assert told(body.encode())["text"] == r'{"a": "\\u002B \\+ \u0022 \u005c \u000a \ud83d\ude00 é /", '


DOCUMENT = "{ me { x: password # its\n y #\n , : ssn } }"


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("", json.dumps({"query": DOCUMENT})),
        ("", json.dumps([{"query": "{ me }"}, {"query": DOCUMENT}])),
        ("", DOCUMENT),
        ("", json.dumps({"query": DOCUMENT}).replace("password", "\\u0070assword") + "//"),
        ("", f"a=1&query={quote(DOCUMENT)}"),
        (f"query={quote(DOCUMENT)}", None),
        ("select=x:password,y:ssn", None),
        ("%24select=password+as+x,ssn%20AS%20y", None),
    ],
)
def test_a_name_that_the_request_gives_hides_nothing(query: str, sent: str | None) -> None:
    answer: dict[str, Any] = {"data": {"me": [{"x": "hunter22", "y": 123456789, "z": "hunter22"}]}}
    masked = {"data": {"me": [{"x": "[secret.password]", "y": "[pii.national_id]", "z": "hunter22"}]}}
    body = json.dumps(answer).encode()

    def ask(body: bytes, **more: Any) -> Any:
        return told(body, query=query, sent=None if sent is None else sent.encode(), **more)

    assert ask(body, content_type="application/json")["json"] == masked
    assert ask(body)["text"] == json.dumps(masked)
    cut = ask(body[:-1] + b' , "' + b"x" * 5000, truncated=True)["text"]
    assert "123456789" not in cut
    assert '"password": "[secret.password]"' in cut


def test_without_new_names_an_answer_keeps_its_own() -> None:
    body = json.dumps({"x": "hunter22"}).encode()
    assert told(body, content_type="application/json", sent=b'{"query": "{ x: name }"}')["json"] == {"x": "hunter22"}


@pytest.mark.anyio
@pytest.mark.requirement("R8")
@pytest.mark.parametrize(
    ("text", "error"),
    [("{ me }", TargetTimeout), ("mutation { pay }", OutcomeLost), ("{ me } { pay }", OutcomeLost)],
)
async def test_a_mutation_by_get_that_is_not_answered_may_have_happened(text: str, error: type[Exception]) -> None:
    tool = CallAPI(interfaces=lambda: {"api": Interface(graphql="/graphql")})
    async with running_api() as api:
        api.stall = True
        connector = connector_for(api.url)
        arguments = CallAPIArguments(target="api", path="/graphql", query={"query": text})
        target = Target(
            name="api", kind="http", description="", labels={"env": "dev"}, classes=frozenset(), fingerprint="0"
        )
        found = await tool.examine(arguments, target=target, connector=connector)
        permit = Permit(call_id="1", timeout=timedelta(seconds=0.5), max_rows=1, max_bytes=1000)
        with pytest.raises(error, match="did not answer within"):
            await tool.execute(arguments, examination=found, connector=connector, permit=permit)
        await connector.aclose()


@pytest.mark.parametrize("charset", ["ISO-8859-1", "windows-1252", "utf-16", "UTF-16LE", "utf-32", "utf-8"])
def test_an_answer_is_masked_in_its_own_character_set(charset: str) -> None:
    person = PEOPLE | {"name": "Jörg"}
    body = json.dumps(person, ensure_ascii=False).encode(charset)
    assert told(body, content_type=f'application/json; Charset="{charset}"')["json"] == MASKED | {"name": "Jörg"}
    cut = told(body + ("\n" + "x" * 5000).encode(charset), content_type=f"text/plain;charset={charset}", truncated=True)
    assert "Jörg" in cut["text"]
    assert "1234567" not in cut["text"]


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "utf-8", "hex", "none", ""])
def test_a_character_set_that_cannot_be_counts_for_nothing(charset: str) -> None:
    assert told("Jörg".encode(), content_type=f"text/plain; charset={charset}")["text"] == "Jörg"


def test_what_is_in_no_character_set_stays_as_it_was() -> None:
    body = "Jörg".encode("latin-1")
    assert base64.b64decode(told(body, content_type="text/plain")["base64"]) == body
