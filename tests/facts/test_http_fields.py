from __future__ import annotations

from contextlib import suppress
from urllib.parse import parse_qsl

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.facts.http import resolve
from mcp_gateway.facts.http_fields import (
    MAX_JSON_BYTES,
    MAX_NAME_CHARACTERS,
    UnreadableError,
    body_fields,
    query_fields,
    read_json,
)
from mcp_gateway.facts.requests import examine_request
from mcp_gateway.policy.question import MAX_SET, QuestionError, context_of
from tests.policy.worlds import BILLING, question

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


@pytest.mark.parametrize(
    ("query", "names", "known"),
    [
        ("", [], True),
        ("a=1&b", ["a", "b"], True),
        ("a=1&a=2", ["a"], True),
        ("%61dmin=1", ["admin"], True),
        ("a%5Bb%5D=1", ["a[b]"], True),
        ("=1", [""], True),
        ("a=b=c", ["a"], True),
        ("%2561=1", ["%61"], True),
        ("c%C3%A9=1", ["cé"], True),
        ("a=1;admin=1", ["a", "admin"], False),
        ("a+b=1", ["a b"], False),
        ("%ff=1", ["\ufffd"], False),
        ("a%00b=1", ["a\0b"], False),
        ("%20role=1", [" role"], False),
        ("is%20admin=1", ["is admin"], False),
        ("role%09=1", ["role\t"], False),
        ("a=%20b+c&d=", ["a", "d"], True),
        ("a" * 300, ["a" * MAX_NAME_CHARACTERS], False),
    ],
)
def test_names_of_a_query_and_of_a_form(query: str, names: list[str], known: bool) -> None:
    for found in (query_fields(query), body_fields(query.encode(), content_type=f"{FORM}; charset=utf-8")):
        assert (found.names, found.known) == (frozenset(names), known)


@pytest.mark.parametrize(
    ("body", "kind", "names", "known"),
    [
        ('{"a": {"b": 1}, "C": 2}', JSON, ["a", "C"], True),
        ('{"a": 1}', "application/merge-patch+json", ["a"], True),
        ('{"a": 1}', "APPLICATION/JSON ; charset=utf-8", ["a"], True),
        ("{}", JSON, [], True),
        ('{"\\u0061dmin": 1}', JSON, ["admin"], True),
        ('{"a": 1, "a": 2}', JSON, [], False),
        ('{"a": 1, "\\u0061": 2}', JSON, [], False),
        ('{"a": {"b": 1, "b": 2}}', JSON, [], False),
        ('{"a": NaN}', JSON, [], False),
        ('{"a": 1,}', JSON, [], False),
        ('{"a": 1e400}', JSON, [], False),
        ('{"a": "' + "x" * MAX_JSON_BYTES + '"}', JSON, [], False),
        ('{"a": 1} // {"admin": 1}', JSON, [], False),
        ('\ufeff{"a": 1}', JSON, [], False),
        ("[" * 100_000, JSON, [], False),
        ('{"a": ' + "9" * 5000 + "}", JSON, [], False),
        ('{"\\ud800": 1}', JSON, ["?"], False),
        ('{"admin\\u0000": 1}', JSON, ["admin\0"], False),
        ('{"a b": 1}', JSON, ["a b"], True),
        ('[{"a": 1}, {"b": 2}, 3]', JSON, ["a", "b"], False),
        ("7", JSON, [], False),
        ("null", JSON, [], False),
        ("a=1", "", ["a"], False),
        ('{"admin": 1}', "text/plain", [], False),
        ('{"admin": 1}', "text/plain; x=+json", [], False),
        ('{"admin": 1}', "text/json", [], False),
        ("<a/>", "application/xml", [], False),
        ('--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--', "multipart/form-data; boundary=x", ["a"], False),
    ],
)  # fmt: skip
def test_names_of_a_body(body: str, kind: str, names: list[str], known: bool) -> None:
    found = body_fields(body.encode(), content_type=kind)
    assert (found.names, found.known) == (frozenset(names), known)


@pytest.mark.parametrize(
    ("form", "names", "known"),
    [
        ("%u0061dmin=1", ["%u0061dmin"], False),
        ("a%=1", ["a%"], False),
        ("a=100%&b=%zz", ["a", "b"], True),
        ("a=1& role=2", ["a", " role"], False),
        ("\ufeffrole=1", ["\ufeffrole"], False),
        ("role%E2%80%8B=1", ["role\u200b"], False),
        ("r\u00f4le=1&role=%E2%80%8B", ["r\u00f4le", "role"], True),
        ("a=1&\nrole=2", ["a", "\nrole"], False),
        ("[role]=1", ["[role]"], False),
        ("%5Brole=1", ["[role"], False),
        ("]role=1", ["]role"], False),
        ("role]=1", ["role]"], False),
        ("a[role=1", ["a[role"], False),
        ("a[b]role=1", ["a[b]role"], False),
        ("a[b][]=1&c[]=2", ["a[b][]", "c[]"], True),
        ("items[0].name=x&items[0].tags[1]=y", ["items[0].name", "items[0].tags[1]"], True),
        ("?role=1", ["?role"], False),
        ("!role=1", ["!role"], False),
        ('{"role":1}', ['{"role":1}'], False),
        ('[{"role":"a=b&c"}]', ['[{"role":"a', 'c"}]'], False),
        ("<role>1</role>", ["<role>1</role>"], False),
        ("_charset_=utf-7&a=1", ["_charset_", "a"], False),
        ("a=_charset_&b[c]={}", ["a", "b[c]"], True),
    ],
)
def test_names_of_a_form_that_some_servers_read_otherwise(form: str, names: list[str], known: bool) -> None:
    found = body_fields(form.encode(), content_type=FORM)
    assert (found.names, found.known) == (frozenset(names), known)


def test_no_body_has_no_fields() -> None:
    for body in (None, b""):
        assert body_fields(body, content_type="multipart/form-data") == query_fields("")


def test_more_fields_than_a_policy_looks_at_are_a_deny() -> None:
    path = "x?" + "&".join(f"a{number}=1" for number in range(MAX_SET + 1))
    facts = examine_request(resolve("https://api.example.com", path), None)
    assert len(facts.query_keys) == MAX_SET + 1
    with pytest.raises(QuestionError, match="query_keys has 501 members"):
        context_of(question(facts=facts, tool="call_api", target=BILLING), classes=frozenset())


def test_a_body_in_another_encoding_is_refused_with_its_header() -> None:
    with pytest.raises(ValueError, match="not one that an agent may set"):
        resolve(
            "https://api.example.com",
            "x",
            headers={"Content-Encoding": "deflate"},
            allowed_headers=["content-encoding"],
        )


@given(st.recursive(st.none() | st.text(max_size=3), lambda inner: st.dictionaries(st.text(max_size=3), inner)))
def test_json_that_python_writes_is_read_back(value: object) -> None:
    import json

    assert read_json(json.dumps(value)) == value


parts = st.sampled_from(["a", "b", "=", "&", ";", "+", "%61", "%3D", "%26", "%5B", "]", "%ff", "%00", " ", "1"])


@given(st.lists(parts, max_size=12).map("".join))
def test_known_names_are_those_that_another_reader_finds(query: str) -> None:
    found = query_fields(query)
    names = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
    if found.known:
        assert names == found.names
    elif ";" not in query:
        assert names <= found.names


@given(st.text(alphabet='{}[]":,ab\\u0061 1', max_size=30) | st.text(max_size=10))
def test_known_members_are_those_that_another_reader_finds(text: str) -> None:
    found = body_fields(text.encode(errors="replace"), content_type=JSON)
    if text and found.known:
        assert orjson.loads(text).keys() == found.names


@given(st.binary(max_size=40))
def test_no_body_breaks_it(body: bytes) -> None:
    for kind in (JSON, FORM, "", "multipart/x", "text/plain"):
        body_fields(body, content_type=kind)
    with suppress(UnreadableError):
        read_json(body)
