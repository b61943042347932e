"""What leaves of an API's answer, wherever the limit cuts it."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from mcp_gateway_tools.call_api import CallAPI, Prepared

from mcp_gateway.facts.http import resolve
from mcp_gateway.facts.requests import examine_request
from mcp_gateway.targets.http import Response
from mcp_gateway.tool import Examination
from tests.masking.maskers import masker_with
from tests.masking.samples import CANARY, VALUES

TOOL = CallAPI()
REQUEST = resolve("https://api.example.com", "x", method="GET", query=None, headers={}, allowed_headers=())
EXAMINATION = Examination(
    facts=examine_request(REQUEST, None), environment="", private=Prepared(request=REQUEST, body=None)
)


def told(body: bytes, *, content_type: str = "text/plain", truncated: bool = False) -> Any:
    """The result of an answer with this body."""
    raw = Response(
        status=200,
        headers=(("content-type", content_type), ("x-two", "a"), ("x-two", "b")),
        content_type=content_type,
        body=body,
        truncated=truncated,
    )
    assert TOOL.size(raw) > len(body)
    return orjson.loads(TOOL.mask(raw, examination=EXAMINATION, masker=masker_with(CANARY), call_id="1").structured)


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
