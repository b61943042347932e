from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_gateway.errors import ConfigError
from mcp_gateway.facts.openapi import Document, read_openapi
from mcp_gateway.facts.openapi_paths import TemplateError, Templates, read_template

YAML = """\
openapi: 3.1.0
info: {title: Billing, version: "1"}
servers:
- url: https://billing.example.com/v1/
paths:
  /invoices:
    get:
      operationId: listInvoices
      tags: [invoices, reads]
  /invoices/{id}:
    parameters:
    - {name: id, in: path, required: true, schema: {type: integer}}
    get: {}
    delete: {operationId: no}
  x-note: {}
"""


def read(text: str) -> Document:
    return read_openapi(text, file="/etc/billing.yaml")


def problems(text: str | dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as found:
        read(text if isinstance(text, str) else json.dumps(text, indent=1))
    return [str(problem).removeprefix("/etc/billing.yaml:") for problem in found.value.problems]


def test_a_document_names_its_operations() -> None:
    found = read(YAML)
    assert {place: operation.name for place, operation in found.operations.items()} == {
        ("/invoices", "GET"): "listInvoices",
        ("/invoices/{id}", "GET"): "GET /invoices/{id}",
        ("/invoices/{id}", "DELETE"): "no",
    }
    assert found.operations["/invoices", "GET"].tags == {"invoices", "reads"}
    assert found.operations["/invoices/{id}", "GET"].path.keys() == {"id"}
    assert found.servers == ("/v1",)


def test_json_and_yaml_are_the_same_document() -> None:
    as_json = {
        "openapi": "3.1.0",
        "paths": {"/invoices": {"get": {"operationId": "listInvoices", "tags": ["invoices", "reads"]}}},
    }
    assert read(json.dumps(as_json)).operations["/invoices", "GET"] == read(YAML).operations["/invoices", "GET"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [" expected an object"]),
        ("{}", [" openapi: expected OpenAPI 3.0 or 3.1, such as '3.1.0', and there is none"]),
        ("swagger: '2.0'\npaths: {}", [" openapi: expected OpenAPI 3.0 or 3.1, such as '3.1.0', and there is none"]),
        ("openapi: 3.2.0", ["1: openapi: expected OpenAPI 3.0 or 3.1, such as '3.1.0', got '3.2.0'"]),
        ("openapi: 3.1", ["1: openapi: expected OpenAPI 3.0 or 3.1, such as '3.1.0', got 3.1"]),
        ("a: &x 1\nb: *x", ["1:4: anchors and aliases are not followed"]),
        ("a: !!python/object/apply:os.system [id]", ["1:4: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not used here"]),
        ("a: !x 1", ["1:4: the tag '!x' is not used here"]),
        ("a: 1\na: 2", ["2:1: a key stands twice"]),
        ("? [a]\n: 1", ["1:3: a key is no text"]),
        ("a: [", ["2:1: expected YAML: "]),
        ("a: 1\n--- \nb: 2", ["2:1: expected YAML: "]),
        ("a: \x00", [" expected YAML, got a character that is none of it"]),
        ("a: " + "[" * 300 + "]" * 300, ["1:"]),
        ('{"a": 1, "a": 2}', [" an object has two members 'a'"]),
        ('{"a": NaN}', [" NaN is not JSON"]),
        ('{\n "a": 1\n', ["3:1: expected JSON: "]),
        ('{"a": ' + "[" * 100_000, [" it is nested too deeply"]),
    ],
)  # fmt: skip
def test_a_text_that_is_no_document_is_refused_with_its_place(text: str, expected: list[str]) -> None:
    for found, start in zip(problems(text), expected, strict=True):
        assert found.startswith(start)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ({"invoices": {}}, "paths.invoices: expected a path that begins with a slash"),
        ({"/a?b": {}}, "paths./a?b: expected a path with parameters such as {id}, and no query or fragment"),
        ({"/a/{b": {}}, "paths./a/{b: expected a path with parameters such as {id}, and no query or fragment"),
        ({"/a/{b}/{b}": {}}, "paths./a/{b}/{b}: a parameter stands in it twice"),
        ({"/{a}": {}, "/{b}": {}}, "paths./{b}: it is the same as '/{a}'"),
        ({"/%61": {}, "/a": {}}, "paths./a: it is the same as '/%61'"),
        ({"/a": {"get": []}}, "paths./a.get: expected an object"),
        ({"/a": {"get": {"operationId": 1}}}, "paths./a.get.operationId: expected a text"),
        ({"/a": {"get": {"tags": "x"}}}, "paths./a.get.tags: expected an array of texts"),
        ({"/a": {"get": {"operationId": "x"}, "put": {"operationId": "x"}}}, "paths./a.put: the operation 'x' is there already, at paths./a.get"),
        ({"/a": {"get": {"parameters": {}}}}, "paths./a.get.parameters: expected an array"),
        ({"/a": {"get": {"parameters": [{"name": "x"}]}}}, "paths./a.get.parameters.0: expected a name, and 'in' as query, path, header or cookie"),
        ({"/a": {"$ref": "other.yaml#/a"}}, "paths./a.$ref: expected a place in this document such as '#/components/schemas/Name', got 'other.yaml#/a'"),
        ({"/a": {"$ref": "https://evil.example/"}}, "paths./a.$ref: expected a place in this document such as '#/components/schemas/Name', got 'https://evil.example/'"),
        ({"/a": {"$ref": "#/paths/~1b"}}, "paths./a.$ref: expected a place in this document such as '#/components/schemas/Name', got '#/paths/~1b'"),
        ({"/a": {"$ref": "#/paths/~1a"}}, "paths./a: its references lead nowhere"),
        ({"/a": {"get": {"requestBody": {"content": {"a/b": {"schema": {"$id": "x"}}}}}}}, "paths./a.get.requestBody.content.a/b.schema.$id: '$id' is not followed; name schemas by '#/...'"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_document_is_said_with_its_place(paths: dict[str, Any], expected: str) -> None:
    (found,) = problems({"openapi": "3.0.3", "paths": paths})
    line, _, rest = found.partition(": ")
    assert rest == expected
    assert int(line) >= 3


def test_every_problem_is_said_together_with_its_line() -> None:
    text = "openapi: 3.0.0\npaths:\n  /a:\n    get:\n      tags: x\n  b: {}\n"
    assert problems(text) == [
        "5: paths./a.get.tags: expected an array of texts",
        "6: paths.b: expected a path that begins with a slash",
    ]


def test_yaml_means_the_json_of_it() -> None:
    text = (
        YAML
        + "components: {schemas: {A: {properties: {on: {}, yes: {}, 2026-01-01: {}}, enum: [no, 0o7, 1e3, ~, 012, 1_000]}}}\n"
    )
    found = read(text).tree["components"]["schemas"]["A"]
    assert list(found["properties"]) == ["on", "yes", "2026-01-01"]
    assert found["enum"] == ["no", "0o7", 1000.0, None, 12, "1_000"]


def test_examples_are_data_and_no_references() -> None:
    found = read(
        YAML + 'components: {examples: {A: {value: {"$ref": "elsewhere"}}}, schemas: {B: {example: {"$id": "x"}}}}\n'
    )
    assert len(found.operations) == 3


def test_an_operation_with_servers_of_its_own_is_left_out() -> None:
    own = {"servers": [{"url": "https://other.example"}]}
    paths = {"/a": {"get": {}, "put": own}, "/b": {"get": {}, **own}}
    assert read(json.dumps({"openapi": "3.0.0", "paths": paths})).operations.keys() == {("/a", "GET")}


@pytest.mark.parametrize(
    ("path", "template", "values"),
    [
        ("/users", "/users", {}),
        ("/users/7", "/users/{id}", {"id": "7"}),
        ("/users/me", "/users/me", {}),
        ("/users/a%20b", "/users/{id}", {"id": "a b"}),
        ("/users/7.json", "/users/{id}.json", {"id": "7"}),
        ("/users/7:lock", "/users/{id}:{verb}", {"id": "7", "verb": "lock"}),
        ("/a%20b", "/a b", {}),
        ("/Users", None, {}),
        ("/users/", None, {}),
        ("/users/7/", None, {}),
        ("/users/7/x", None, {}),
        ("//users", None, {}),
        ("", None, {}),
        ("/", None, {}),
        ("/one/me", None, {}),
        ("/one/x", "/one/{b}", {"b": "x"}),
        ("/x/me", "/{a}/me", {"a": "x"}),
    ],
)
def test_a_path_is_of_one_template(path: str, template: str | None, values: dict[str, str]) -> None:
    texts = [
        "/users",
        "/users/{id}",
        "/users/me",
        "/users/{id}.json",
        "/users/{id}:{verb}",
        "/a b",
        "/one/{b}",
        "/{a}/me",
    ]
    found = Templates(map(read_template, texts)).find(path)
    assert (found[0].text, found[1]) == (template, values) if found is not None else template is None


LAX = [
    "/users", "/users/{id}", "/users/me", "/users/{id}/{part}", "/users/{id}/keys", "/users/{id}:lock", "/users/a b", "/{kind}", "/{kind}/",
    "/posts/{id}.json", "/posts/new", "/posts/{id}/", "/É", "/{a}/x/{b}",
]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "/users/ME", "/users/Me", "/users/me.json", "/users/me.tar.gz", "/users/ME.x", "/users/me.", "/users/me%20", "/users/me..", "/users/7/Keys",
        "/users/7/keys.json", "/users/7:LOCK", "/users/7:lock.x", "/users/A%20B", "/Users", "/USERS/", "/users.json", "/posts/new.json", "/posts/new/",
        "/posts/NEW/", "/%C3%A9", "/Users/x/keys", "/users/%EF%BD%8De",
    ],
)  # fmt: skip
def test_a_path_that_a_lax_server_takes_for_a_more_concrete_one_is_of_none(path: str) -> None:
    assert Templates(map(read_template, LAX)).find(path) is None


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/users", "/users"),
        ("/users/me", "/users/me"),
        ("/users/7", "/users/{id}"),
        ("/users/mea", "/users/{id}"),
        ("/users/.me", "/users/{id}"),
        ("/users/me:x", "/users/{id}"),
        ("/users/7.json", "/users/{id}"),
        ("/users/7/keysx", "/users/{id}/{part}"),
        ("/users/me/keys", "/users/{id}/keys"),
        ("/posts/7.json", "/posts/{id}.json"),
        ("/posts/7/", "/posts/{id}/"),
        ("/x", "/{kind}"),
        ("/x/", "/{kind}/"),
        ("/...", "/{kind}"),
        ("/y/x/z", "/{a}/x/{b}"),
        ("/y/X/z", None),
    ],
)
def test_other_paths_are_of_their_template(path: str, template: str | None) -> None:
    found = Templates(map(read_template, LAX)).find(path)
    assert (found[0].text if found else None) == template


@pytest.mark.parametrize("text", ["/a/%2e%2e", "/a/%00", "/a%2fb", "/a/%zz"])
def test_a_template_that_no_request_can_have_is_refused(text: str) -> None:
    with pytest.raises(TemplateError):
        read_template(text)
