from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.facts.http import RequestRefusedError, resolve
from mcp_gateway.facts.openapi import read_openapi
from mcp_gateway.facts.openapi_requests import UNKNOWN, Matched, match_request

BASE = "https://billing.example.com/v1"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
DOCUMENT = read_openapi(
    """\
openapi: 3.0.3
paths:
  /invoices:
    get:
      operationId: listInvoices
      tags: [invoices]
      parameters:
      - {name: year, in: query, required: true, schema: {type: integer, minimum: 2000}}
      - {name: q, in: query, schema: {type: string, pattern: "^[a-z ]+$"}}
      - {name: paid, in: query, schema: {type: boolean}}
      - {name: tag, in: query, schema: {type: array, items: {type: string}}}
      - {name: ids, in: query, explode: false, schema: {type: array, items: {type: integer}}}
      - {name: filter, in: query, style: deepObject, schema: {type: object}}
      - {name: raw, in: query, content: {application/json: {}}}
      - {$ref: "#/components/parameters/page"}
      - {name: X-Tenant, in: header, required: true, schema: {type: string}}
    post:
      operationId: addInvoice
      requestBody: {$ref: "#/components/requestBodies/invoice"}
  /invoices/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: integer}}]
    get: {operationId: getInvoice}
    delete:
      operationId: deleteInvoice
      parameters: [{name: id, in: path, required: true, schema: {type: array, items: {type: integer}}}]
    patch:
      operationId: noteInvoice
      requestBody:
        content:
          application/json: {schema: {type: object, properties: {note: {type: string, nullable: true}}, additionalProperties: false}}
          application/x-www-form-urlencoded: {schema: {$ref: "#/components/schemas/Note"}}
          "text/*": {schema: {type: string, maxLength: 3}}
          multipart/form-data: {schema: {type: object}}
          image/png: {}
components:
  parameters:
    page: {name: page, in: query, schema: {$ref: "#/components/schemas/Page"}}
  requestBodies:
    invoice: {required: true, content: {application/json: {schema: {$ref: "#/components/schemas/Invoice"}}}}
  schemas:
    Page: {type: integer, minimum: 0, exclusiveMinimum: true}
    Note: {type: object, required: [note], properties: {note: {type: string}, count: {type: integer}}}
    Invoice:
      type: object
      required: [id, amount]
      additionalProperties: false
      properties:
        id: {type: string, readOnly: true}
        amount: {type: number}
        lines: {type: array, uniqueItems: true, items: {$ref: "#/components/schemas/Invoice"}}
""",
    file="billing.yaml",
)


def seen(path: str, body: str | None = None, *, method: str = "GET", kind: str = "") -> Matched:
    request = resolve(BASE, path, method=method, headers={"content-type": kind} if kind else None)
    return match_request(request, None if body is None else body.encode(), DOCUMENT)


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("year=2026", True),
        ("year=2026&q=a%20b&paid=true&tag=a&tag=7&ids=1,2&page=1", True),
        ("year=2026&q=a+b", False),  # a server that takes + for itself reads something else
        ("year=2026&tag=a+b", True),
        ("", False),
        ("year=1999", False),
        ("year=two", False),
        ("year=2026&year=2027", False),
        ("year=2026&Year=2026", False),
        ("year=2026&admin=true", False),
        ("year=2026&%61dmin=true", False),
        ("year=2026;admin=true", False),
        ("y%65ar=2026", True),
        ("year=2026&q=A", False),
        ("year=2026&q=" + "a" * 1000 + "A", False),
        ("year=2026&paid=yes", False),
        ("year=2026&ids=1,x", False),
        ("year=2026&ids=1%2C2", False),
        ("year=2026&tag=a%2Cb", True),
        ("year=2026&ids=1&ids=2", False),
        ("year=2026&page=0", False),
        ("year=2026&page=%ff", False),
        ("year=2026&filter=x", False),
        ("year=2026&filter%5Ba%5D=x", True),
        ("year=2026&filter[a]=x&filter[b]=1+2", True),
        ("year=2026&filter[a]=x&filter[a]=y", False),
        ("year=2026&filter[a][b]=x", False),
        ("year=2026&filter[]=x", False),
        ("year=2026&filter[a]=%ff", False),
        ("year=2026&filter[a]=x&filter=y", False),
        ("year=2026&filters[a]=x", False),
        ("year[a]=2026&filter[a]=x", False),
        ("year=2026&raw=%7B%7D", False),
        ("year=" + "2" * 5000, False),
        ("year=1e999", False),
        ("year=2026&tag=-1e999", True),
        ("year=2026.0", False),
        ("year=2e3", False),
        ("year=2026" + "&tag=a" * 600, False),
    ],
)
def test_a_query_is_as_described_or_not(query: str, matches: bool) -> None:
    assert seen(f"/invoices?{query}") == Matched("listInvoices", frozenset({"invoices"}), matches)


@pytest.mark.parametrize(
    ("body", "kind", "matches"),
    [
        ('{"amount": 1}', JSON, True),
        ('{"amount": 1.5, "lines": [{"amount": 1}]}', "Application/JSON; charset=utf-8", True),
        ('{"amount": "1"}', JSON, False),
        ("{}", JSON, False),
        ('{"amount": 1, "admin": true}', JSON, False),
        ('{"amount": 1, "id": "x"}', JSON, False),
        ('{"amount": 1, "amount": 2}', JSON, False),
        ('{"amount": 1, "lines": [{"amount": 1}, {"amount": 1}]}', JSON, False),
        ('{"amount": 1, "lines": [{"amount": 1, "lines": [{"x": 1}]}]}', JSON, False),
        ('[{"amount": 1}]', JSON, False),
        ('{"amount": 1}', "text/plain", False),
        ('{"amount": 1}', "application/problem+json", False),
        ('{"amount": 1}', "", False),
        ("{", JSON, False),
        ("", JSON, False),
        (None, "", False),
    ],
)
def test_a_json_body_is_as_described_or_not(body: str | None, kind: str, matches: bool) -> None:
    assert seen("/invoices", body, method="POST", kind=kind) == Matched("addInvoice", frozenset(), matches)


LOOSE = read_openapi(
    """\
openapi: 3.1.0
paths:
  /search:
    get:
      parameters:
      - {name: word, in: query, schema: {pattern: "^[a-z]+$"}}
      - {name: words, in: query, schema: {type: array, items: {maxLength: 3}}}
      - {name: limit, in: query, schema: {maximum: 100}}
      - {name: step, in: query, schema: {multipleOf: 0.5}}
      - {name: ids, in: query, schema: {type: array, items: {anyOf: [{type: integer, maximum: 9}, {enum: [all]}]}}}
      - {name: level, in: query, schema: {enum: [1, 2, high]}}
      - {name: time, in: query, schema: {type: [string, number]}}
      - {name: line, in: query, schema: {type: string, pattern: "^.*$"}}
      - {name: solid, in: query, schema: {type: string, pattern: "^\\\\S+$"}}
      - {name: letters, in: query, schema: {type: string, pattern: "^[[:alpha:]]+$"}}
      - name: created
        in: query
        style: deepObject
        schema:
          anyOf: [{type: object, additionalProperties: false, properties: {gte: {type: integer}, lt: {type: integer}}}, {type: integer}]
      - {name: f, in: query, style: deepObject, schema: {type: object, required: [w], properties: {w: {pattern: "^[a-z ]+$"}, n: {type: integer, maximum: 9}}}}
      - {name: "f[own]", in: query, schema: {type: boolean}}
      - {name: pretty, in: query, allowEmptyValue: true, schema: {type: boolean}}
    post:
      requestBody:
        content:
          application/x-www-form-urlencoded:
            schema:
              type: object
              properties: {word: {pattern: "^[a-z]+$"}, limit: {type: [integer, string], maximum: 100}}
              additionalProperties: {type: string}
    put:
      requestBody:
        content:
          application/json: {schema: {type: object, additionalProperties: false}}
          application/json; v=2: {schema: {type: object}}
    patch:
      requestBody: {content: {application/x-www-form-urlencoded: {schema: {allOf: [{properties: {n: {type: integer}}}, {properties: {w: {pattern: "^[a-z]+$"}}}]}}}}
  /compare/{base}...{head}:
    get:
      parameters:
      - {name: base, in: path, required: true, schema: {type: string}}
      - {name: head, in: path, required: true, schema: {enum: [main, work]}}
""",
    file="loose.yaml",
)


def loosely(path: str, body: str | None = None, *, method: str = "GET", kind: str = "") -> Matched:
    request = resolve(BASE, path, method=method, headers={"content-type": kind} if kind else None)
    return match_request(request, None if body is None else body.encode(), LOOSE)


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("word=abc", True),
        ("word=123", False),
        ("word=true", True),
        ("words=abc&words=12", True),
        ("words=12345", False),
        ("limit=100", True),
        ("limit=101", False),
        ("limit=1e3", False),
        ("step=1.5", True),
        ("step=1.25", False),
        ("ids=7&ids=8", True),
        ("ids=all", True),
        ("ids=70", False),
        ("level=2", True),
        ("level=high", True),
        ("level=2.5", False),
        ("time=17.5", True),
        ("time=2024-01-01", True),
        ("line=a%0B%C2%A0b", True),
        ("line=a%E2%80%A8b", False),
        ("line=a%20b", True),
        ("line=a%0Db", False),
        ("solid=a%C3%A9", True),
        ("solid=a%C2%A0b", False),
        ("letters=abc", False),
        ("pretty", True),
        ("pretty=", True),
        ("pretty=true", True),
        ("pretty=&pretty=", False),
        ("limit=", True),
        ("created[gte]=17&created[lt]=18", True),
        ("created[gte]=x", False),
        ("created[gt]=17", False),
        ("created=17", False),
        ("f[w]=abc&f[n]=9", True),
        ("f[w]=a+b", False),
        ("f[w]=a%20b", True),
        ("f[w]=123", False),
        ("f[w]=abc&f[n]=10", False),
        ("f[n]=9", False),
        ("f[own]=true", True),
        ("f[own]=7", False),
        ("f[w]=abc&f[own]=true&f[other]=x", True),
    ],
)
def test_a_text_that_reads_as_a_number_gets_round_nothing(query: str, matches: bool) -> None:
    assert loosely(f"/search?{query}").matches is matches


@pytest.mark.parametrize(
    ("form", "method", "matches"),
    [
        ("word=abc&limit=7&other=7", "POST", True),
        ("word=123", "POST", False),
        ("limit=101", "POST", False),
        ("n=7&w=abc", "PATCH", True),
        ("n=7&w=123", "PATCH", False),
        ("n=7", "PATCH", True),
        ("w=abc", "PATCH", True),
        ("w=123", "PATCH", False),
        ("n=x", "PATCH", False),
    ],
)
def test_nor_does_a_field_of_a_form(form: str, method: str, matches: bool) -> None:
    assert loosely("/search", form, method=method, kind=FORM).matches is matches


@pytest.mark.requirement("R22")
def test_more_fields_than_are_looked_at_do_not_match() -> None:
    def fields(count: int, name: str) -> str:
        return "&".join(f"{name.replace('n', str(number))}=1" for number in range(count))

    assert loosely("/search", fields(100, "mn"), method="POST", kind=FORM).matches
    assert not loosely("/search", fields(101, "mn"), method="POST", kind=FORM).matches
    before = time.process_time()
    assert not loosely("/search", fields(20_000, "mn"), method="POST", kind=FORM).matches
    assert not loosely(f"/search?{fields(200, 'created[n]')}").matches
    request = resolve(BASE, "search", query={f"f[{number}]": "1" for number in range(20_000)})
    assert not match_request(request, None, LOOSE).matches
    assert time.process_time() - before < 10  # each by itself would take half a minute


def test_types_that_differ_in_their_parameters_alone_count_all() -> None:
    for kind in (JSON, f"{JSON}; v=2"):
        assert loosely("/search", "{}", method="PUT", kind=kind).matches
        assert not loosely("/search", '{"admin": 1}', method="PUT", kind=kind).matches


def test_a_segment_that_can_be_divided_in_more_than_one_way_does_not_match() -> None:
    operation = "GET /compare/{base}...{head}"
    assert loosely("/compare/v1...main") == Matched(operation, frozenset(), matches=True)
    assert loosely("/compare/v1...other") == Matched(operation, frozenset(), matches=False)
    assert loosely("/compare/v1...evil...main") == Matched(operation, frozenset(), matches=False)
    assert loosely("/compare/v1....main") == Matched(operation, frozenset(), matches=False)


@pytest.mark.parametrize(
    ("body", "kind", "matches"),
    [
        (None, "", True),
        ('{"note": null}', JSON, True),
        ("null", JSON, False),
        ("note=7&count=7", FORM, True),
        ("note=7&count=x", FORM, False),
        ("count=7", FORM, False),
        ("note=7&note=8", FORM, False),
        ("note=7;x=8", FORM, False),
        ("note=%ff", FORM, False),
        ("note=%u0061", FORM, False),
        ("note=100%", FORM, False),
        ("note=100%25+a", FORM, True),
        ("abc", "text/csv", True),
        ("abcd", "text/csv", False),
        ("--x--", "multipart/form-data; boundary=x", False),
        ("x", "image/png", True),
        ("x", "image/jpeg", False),
    ],
)
def test_other_bodies_are_as_described_or_not(body: str | None, kind: str, matches: bool) -> None:
    assert seen("/invoices/7", body, method="PATCH", kind=kind) == Matched("noteInvoice", frozenset(), matches)


def test_a_path_parameter_is_as_described_or_not() -> None:
    assert seen("/invoices/7") == Matched("getInvoice", frozenset(), matches=True)
    assert seen("/invoices/%37") == Matched("getInvoice", frozenset(), matches=True)
    for path in ("/invoices/x", "/invoices/7?x=1", "/invoices/%20", "/invoices/1e999"):
        assert seen(path) == Matched("getInvoice", frozenset(), matches=False)
    for path in ("/invoices/7", "/invoices/7,8", "/invoices/7%2C8"):
        assert seen(path, method="DELETE") == Matched("deleteInvoice", frozenset(), matches=True)
    for path in (
        "/invoices/x",
        "/invoices/7,x",
        "/invoices/7,",
        "/invoices/%5B7%5D",
    ):
        assert seen(path, method="DELETE") == Matched("deleteInvoice", frozenset(), matches=False)
    assert seen("/invoices/7", "{}", kind=JSON) == Matched("getInvoice", frozenset(), matches=False)


@pytest.mark.parametrize("path", ["", "/", "/invoices/", "/Invoices", "/invoices/7/", "/invoices/7/8", "/admin", "/v1/invoices", "/invoices.json"])  # fmt: skip
def test_what_the_document_does_not_know_is_unknown(path: str) -> None:
    assert seen(path) == UNKNOWN


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"])
def test_a_method_that_the_document_does_not_know_is_unknown(method: str) -> None:
    assert seen("/invoices?year=2026", method=method) == UNKNOWN


@pytest.mark.parametrize("path", ["/invoices%2f7", "/invoices/..%2f7", "/invoices//7", "/invoices/7;x", "/x/%2e%2e/invoices"])  # fmt: skip
def test_a_path_that_hides_another_never_comes_this_far(path: str) -> None:
    with pytest.raises(RequestRefusedError):
        seen(path)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.just("amount"), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(values, st.text(max_size=20))
def test_no_request_breaks_it(value: Any, text: str) -> None:
    seen("/invoices", json.dumps(value), method="POST", kind=JSON)
    seen("/invoices/7", text, method="PATCH", kind=FORM)
    seen("/invoices/7", text, method="PATCH", kind=JSON)
