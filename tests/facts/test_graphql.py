from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.facts.graphql import MAX_DOCUMENT_CHARACTERS, NO_GRAPHQL, GraphQLFacts, examine_graphql
from mcp_gateway.facts.http import resolve

BASE = "https://api.example.com/v1"


def seen(
    body: Any, *, path: str = "/graphql", method: str = "POST", kind: str = "application/json", query: Any = None
) -> GraphQLFacts:
    """What is made of a request; a body that is no text is JSON."""
    sent = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
    request = resolve(BASE, path, method=method, query=query, headers={"content-type": kind} if kind else None)
    return examine_graphql(request, sent, path="/graphql")


def proved(operation: str, *fields: str) -> GraphQLFacts:
    return GraphQLFacts(operation, frozenset(fields), opaque=False)


def opaque(*fields: str) -> GraphQLFacts:
    return GraphQLFacts("mutation", frozenset(fields), opaque=True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{ me { id } }", proved("query", "me")),
        ("query Q($a: Int = 1) @x { me(a: $a) { id } }", proved("query", "me")),
        ("mutation { pay(id: 1) { id } void }", proved("mutation", "pay", "void")),
        ("subscription S { paid { id } }", proved("subscription", "paid")),
        ("{ harmless: secrets { id } }", proved("query", "secrets")),
        ("{ ...F me } fragment F on Query { ...G } fragment G on Query { secrets }", proved("query", "secrets", "me")),
        ("{ ... on Query @include(if: true) { ... { secrets } } }", proved("query", "secrets")),
        ('# mutation { pay }\n{ me(text: "mutation { pay }") }', proved("query", "me")),
        ('{ me(text: """ } mutation { pay """) }', proved("query", "me")),
        ("\ufeff,,,{,me,}", proved("query", "me")),
        ("{ __schema { types { name } } }", proved("query", "__schema")),
        ("query { ...F ...F } fragment F on Query { me }", proved("query", "me")),
    ],
)
def test_a_document_is_read_as_a_server_reads_it(text: str, found: GraphQLFacts) -> None:
    assert seen({"query": text}) == found
    assert seen(None, method="GET", kind="", query={"query": text}) == found


@pytest.mark.parametrize(
    "text",
    [
        "query #\u2028X { me } mutation\n A { me #\u2029 pay\n }",  # graphql-java ends a comment there: mutation A
        "# \r query A { x: \n mutation A { pay } # \r }",  # who ends a comment at \n alone: mutation A
        '{ me(t: [""" " ]) pay x(t: [" """]) }',  # without block strings: two strings, and pay between them
        '{ me(t: ["""a"""""" " ]) pay x(t: [" """]) }',  # graphql-ruby takes five quotes for the end of a block string
        '{ me(t: """a \\""" ]) pay """) }',
        '{ me(t: """C:\\""") } """) }',
        "{ me } # \0",
        "{ me } # \x0b",
        '{ me(t: "\x85") }',
        '{ me(t: """""") }',
    ],
)
def test_a_text_whose_comments_or_strings_end_elsewhere_for_others_is_opaque(text: str) -> None:
    for found in (
        seen({"query": text, "operationName": "A"}),
        seen({"query": text}),
        seen(text, kind="application/graphql"),
    ):
        assert found == opaque(*found.fields)


def test_what_could_be_seen_of_such_a_text_is_told() -> None:
    assert seen({"query": 'mutation { note(text: """he said "no" """) }'}) == opaque("note")


@pytest.mark.parametrize(
    "text",
    [
        "{\r\n  me # all of it\r\n}\r\n",
        '{ me(a: "", b: "a \\" # b", c: ["", "\\\\"]) }',
        '{ me(t: """\n  a block: it\'s # plain\n  \\d\n""") }',
        '# "it\n{ me } # """',
        '{ me(t: "é\u00a0日本 🙂") }',
    ],
)
def test_plain_comments_and_strings_are_read(text: str) -> None:
    assert seen({"query": text}) == proved("query", "me")


TWO = "query A { me } mutation B { pay }"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("A", proved("query", "me")),
        ("B", proved("mutation", "pay")),
        ("C", opaque("me", "pay")),
        ("", opaque("me", "pay")),
        (None, opaque("me", "pay")),
        ("a", opaque("me", "pay")),
    ],
)
def test_the_name_selects_the_operation(name: str | None, found: GraphQLFacts) -> None:
    assert seen({"query": TWO, "operationName": name}) == found


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("query A { me } query A { secrets }", ["me", "secrets"]),
        ("{ me } { secrets }", ["me", "secrets"]),
        ("{ me } mutation B { pay }", ["me", "pay"]),
        ("{ ...F } fragment F on Query { ...F me }", ["me"]),
        ("{ ...F } fragment F on Query { ...G me } fragment G on Query { ...F }", ["me"]),
        ("{ me ...Missing }", ["me"]),
        ("{ me } type Query { me: Int }", ["me"]),
        ("{ me ...F } fragment F on Query { a } fragment F on Query { b }", ["me", "b"]),
        ("fragment F on Query { me }", []),
        ("{ }", []),
        ("", []),
        ("{ me", []),
        ("me", []),
        ("{ me }\0", []),
        ("{" + "a{" * 5000 + "b" + "}" * 5001, []),
        ("{" + " a: me" * 5000 + "}", []),
        ("{ me }" + " " * MAX_DOCUMENT_CHARACTERS, []),
        ("{ ...F0 }" + "".join(f" fragment F{n} on Q {{ ...F{n + 1} }}" for n in range(400)), []),
    ],
)
def test_a_document_that_proves_nothing_is_opaque_and_the_worst(text: str, fields: list[str]) -> None:
    assert seen({"query": text}) == opaque(*fields)


ASK = {"query": "{ me }"}


@pytest.mark.parametrize(
    ("body", "more"),
    [
        ([ASK], {}),
        ([], {}),
        ([ASK, {"query": "mutation { pay }"}], {}),
        ("null", {}),
        ("7", {}),
        ("{", {}),
        ('{"query": "{ me }", "query": "mutation { pay }"}', {}),
        ('{"query": "{ me }", "\\u0071uery": "mutation { pay }"}', {}),
        ({}, {}),
        ({"query": None}, {}),
        ({"query": ["{ me }"]}, {}),
        (ASK | {"operationName": ["A"]}, {}),
        (ASK | {"variables": []}, {}),
        (ASK | {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0"}}}, {}),
        (ASK | {"extensions": []}, {}),
        ({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0"}}}, {}),
        (ASK | {"id": "pay"}, {}),
        (ASK | {"documentId": "pay"}, {}),
        (ASK | {"Query": "mutation { pay }"}, {}),
        (ASK, {"kind": "text/plain"}),
        (ASK, {"kind": "multipart/form-data; boundary=x"}),
        ("query=%7Bme%7D", {"kind": "application/x-www-form-urlencoded"}),
        ("{ me }", {"kind": ""}),
        (ASK, {"query": {"query": "mutation { pay }"}}),
        (ASK, {"query": {"operationName": "B"}}),
        (ASK, {"path": "/graphql?x"}),
        (ASK, {"method": "PUT"}),
        (ASK, {"method": "GET", "query": {"query": "{ me }"}}),
        (None, {"method": "POST", "kind": "", "query": {"query": "{ me }"}}),
        (None, {"method": "GET", "kind": ""}),
        (None, {"method": "OPTIONS", "kind": "", "query": {"query": "{ me }"}}),
        (None, {"method": "GET", "kind": "", "query": {"query": ["{ me }", "mutation { pay }"]}}),
        (None, {"method": "GET", "kind": "", "query": {"query": "{ me }", "id": "1"}}),
        (None, {"method": "GET", "kind": "", "query": {"query": "{ me }", "extensions": '{"persistedQuery": {}}'}}),
        (None, {"method": "GET", "kind": "", "query": {"query": "{ me }", "variables": "{"}}),
        (None, {"method": "GET", "kind": "", "path": "/graphql?query={me}".replace("{", "%7B").replace("}", "%ff%7D")}),
        (None, {"method": "GET", "kind": "", "path": "/graphql?query=%7Bme%7D;operationName=B"}),
    ],
)
def test_what_a_server_might_read_otherwise_is_opaque(body: Any, more: dict[str, Any]) -> None:
    assert seen(body, **more) == opaque()


@pytest.mark.parametrize(
    "path", ["/GraphQL", "/graphql/", "/graphql/batch", "/graphql.json", "/GRAPHQL/x", "/graphql%20"]
)
def test_what_a_server_might_take_for_the_place_is_opaque(path: str) -> None:
    assert seen(ASK, path=path) == opaque("me")


def test_a_request_that_only_calls_itself_graphql_is_opaque() -> None:
    assert seen("{ me }", path="/refunds", kind="application/graphql") == opaque("me")
    assert seen("mutation { pay }", path="/refunds", kind="Application/GraphQL; charset=utf-8") == opaque("pay")
    assert seen("{ me }", kind="application/graphql") == proved("query", "me")


@pytest.mark.parametrize("path", ["/", "/graph", "/graphqlx", "/a/graphql"])
def test_another_request_is_none(path: str) -> None:
    assert seen(ASK, path=path) == NO_GRAPHQL


def test_without_a_place_there_is_none() -> None:
    request = resolve(BASE, "/graphql", method="POST", headers={"content-type": "application/json"})
    assert examine_graphql(request, json.dumps(ASK).encode(), path="") == NO_GRAPHQL
    called = resolve(BASE, "/graphql", method="POST", headers={"content-type": "application/graphql"})
    assert examine_graphql(called, b"{ me }", path="") == opaque()


pieces = st.sampled_from(
    ["{", "}", "query", "mutation", "subscription", "fragment", " on ", "...", "F", "G", " ", "(", ")", ":", '"', '"""', "#", "\n", "@x", "$a", "me", "1", "\\", "é"]
)  # fmt: skip


@settings(deadline=None)  # the parser is loaded with the first document
@given(st.lists(pieces, max_size=30).map("".join) | st.text(max_size=30), st.none() | st.sampled_from(["F", "G", ""]))
def test_no_document_breaks_it_and_what_is_proved_was_written(text: str, name: str | None) -> None:
    found = seen({"query": text, "operationName": name})
    if found.opaque:
        assert found == opaque(*found.fields)
    else:
        assert found.operation in {"query", "mutation", "subscription"}
        assert found.fields
    assert all(field in text for field in found.fields)
