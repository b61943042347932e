"""`inspect` gives one object for each item, in order, and stops at none."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from mcp_gateway.cli.inspecting import Kind, inspect_single, inspect_stream, inspector_for
from mcp_gateway.errors import ConfigError

SQL_KEYS = {
    "id", "read_only", "kinds", "merge_actions", "reads", "writes", "columns", "returned_columns",
    "condition_columns", "functions", "function_traits", "unbounded", "statements",
    "row_limit", "fingerprint", "returns", "planned_rows", "planned_cost", "infers", "inference", "refusal", "error",
}  # fmt: skip


@pytest.fixture
def inspected(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(kind: Kind, given: str | bytes, *, jsonl: bool = False, detectors: Sequence[str] = ("default",)) -> Any:
        data = given if isinstance(given, bytes) else given.encode()

        async def main() -> Any:
            inspector = inspector_for(kind, detectors=detectors)
            return await (inspect_stream(inspector, io.BytesIO(data)) if jsonl else inspect_single(inspector, data))

        found = anyio.run(main)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()] if jsonl else found

    return run


def test_a_statement_as_text(inspected: Any) -> None:
    found = inspected("sql", "DELETE FROM shop.orders\n")

    assert len(found.pop("fingerprint")) == 32
    assert found == {
        "id": None,
        "read_only": False,
        "kinds": ["DELETE"],
        "merge_actions": [],
        "reads": [],
        "writes": ["shop.orders"],
        "columns": [],
        "returned_columns": [],
        "condition_columns": [],
        "functions": [],
        "function_traits": [],
        "row_limit": -1,
        "returns": None,
        "planned_rows": -1,
        "planned_cost": -1,
        "unbounded": True,
        "statements": 1,
        "infers": None,
        "inference": None,
        "refusal": None,
        "error": None,
    }


def test_a_statement_as_an_item(inspected: Any) -> None:
    found = inspected("sql", '{"id": "a", "sql": "SELECT 1", "expected": "ignored"}')

    assert (found["id"], found["read_only"], found["error"]) == ("a", True, None)


def test_a_statement_that_can_never_be_a_call_says_why(inspected: Any) -> None:
    found = inspected("sql", "COMMIT; DROP SCHEMA public CASCADE")

    assert found["refusal"]
    assert (found["read_only"], found["statements"], found["error"]) == (False, 2, None)


BAD_LINES: list[tuple[bytes, str]] = [
    (b"no json", "expected JSON: Expecting value: line 1 column 1 (char 0)"),
    (b"[1]", "expected a JSON object"),
    (b'"x"', "expected a JSON object"),
    (b"{}", "expected an object with 'sql'"),
    (b'{"sql": 5}', "expected a string for 'sql'"),
    (b'{"sql": null}', "expected a string for 'sql'"),
    (b"\xff", "expected UTF-8, byte 0 is none"),
    (b'{"sql": "SELECT \\ud800"}', "the statement contains a lone surrogate"),
    (b'{"sql": "SELECT \\u0000"}', "the statement contains a NUL character"),
    (b'{"sql": "SELEC"}', 'syntax error at or near "SELEC"'),
]


def test_a_bad_item_gets_its_error_and_stops_nothing(inspected: Any) -> None:
    good = b'{"id": 1, "sql": "SELECT 1"}'
    lines = [good, *(line for line, _ in BAD_LINES), b"", b"   ", good]

    found = inspected("sql", b"\n".join(lines), jsonl=True)

    assert [item["error"] for item in found] == [None, *(error for _, error in BAD_LINES), None]
    assert all(item.keys() == SQL_KEYS for item in found)
    assert not any(item["read_only"] for item in found if item["error"])


def test_nesting_without_end_is_a_bad_item(inspected: Any) -> None:
    line = b'{"id": 1, "sql": ' + b"[" * 100_000

    found = inspected("sql", line + b"\n" + b'{"id": 2, "sql": "SELECT 1"}', jsonl=True)

    assert [item["error"] is None for item in found] == [False, True]


def test_a_statement_that_breaks_the_parser_stops_nothing(inspected: Any) -> None:
    chain = json.dumps({"id": 1, "sql": "SELECT " + "+".join(["1"] * 16_000)})

    found = inspected("sql", f'{chain}\n{{"id": 2, "sql": "SELECT 1"}}\n', jsonl=True)

    assert [(item["id"], item["error"] is None) for item in found] == [(1, False), (2, True)]


@pytest.mark.parametrize("identifier", ["x", 7, 1.5, None, True, [1], {"a": 1}])
def test_an_id_is_passed_through_whatever_it_is(inspected: Any, identifier: object) -> None:
    line = json.dumps({"id": identifier, "sql": "SELECT 1"})

    assert inspected("sql", line, jsonl=True)[0]["id"] == identifier


@pytest.mark.parametrize(
    "given", ["ls -l | grep x\n", '{"command": "ls -l | grep x"}', '{"id": 3, "command": "ls -l | grep x"}']
)
def test_a_command(inspected: Any, given: str) -> None:
    found = inspected("shell", given)

    assert found["programs"] == ["grep", "ls"]
    assert (found["opaque"], found["writes_files"], found["privileged"], found["error"]) == (False, False, False, None)


def test_a_command_as_a_vector(inspected: Any) -> None:
    assert inspected("shell", '{"argv": ["ls", "; rm -rf /"]}')["programs"] == ["ls"]


@pytest.mark.parametrize(
    "item", [{"argv": "ls"}, {"argv": ["ls", 1]}, {"command": ["ls"]}, {"argv": ["ls"], "command": "ls"}, {"argv": []}]
)
def test_a_bad_command_is_taken_for_the_worst(inspected: Any, item: object) -> None:
    found = inspected("shell", json.dumps(item), jsonl=True)[0]

    assert found["error"]
    assert (found["programs"], found["opaque"], found["writes_files"], found["privileged"]) == ([], True, True, True)


def test_a_request(inspected: Any) -> None:
    found = inspected(
        "url",
        '{"id": 1, "base_url": "https://api.example.com/v1", "path": "/users?x=1", "method": "POST", "json": {"a": 1}}',
    )

    assert found == {
        "id": 1,
        "allowed": True,
        "url": "https://api.example.com/v1/users?x=1",
        "reason": "",
        "method": "POST",
        "host": "api.example.com",
        "path": "/v1/users",
        "query_keys": ["x"],
        "body_keys": ["a"],
        "keys_known": True,
        "documented": False,
        "operation": "",
        "tags": [],
        "matches": False,
        "graphql_operation": "",
        "graphql_fields": [],
        "graphql_opaque": False,
        "error": None,
    }


@pytest.mark.parametrize(
    "more",
    [
        {"path": "/../admin"},
        {"addresses": ["169.254.169.254"]},
        {"headers": {"Authorization": "x"}},
        {"method": "CONNECT"},
        {"method": "POST", "json": {"_method": "DELETE"}},
        {"method": "POST", "body": "a=1", "headers": {"Content-Type": "text/plain\r\n"}},
    ],
)
def test_a_request_that_may_not_be_sent(inspected: Any, more: dict[str, object]) -> None:
    item = {"base_url": "https://api.example.com/v1", "path": "/x"} | more

    found = inspected("url", json.dumps(item))

    assert (found["allowed"], found["error"]) == (False, None)
    assert found["reason"]


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ({"base_url": "https://a"}, "expected a string for 'path'"),
        ({"path": "/"}, "expected a string for 'base_url'"),
        ({"base_url": "https://a", "path": "/", "headers": ["x"]}, "expected an object of strings for 'headers'"),
        ({"base_url": "https://a", "path": "/", "addresses": "x"}, "expected an array of strings for 'addresses'"),
        ({"base_url": "https://a", "path": "/", "method": 1}, "expected a string for 'method'"),
    ],
)
def test_a_bad_request_is_not_allowed(inspected: Any, item: object, error: str) -> None:
    found = inspected("url", json.dumps(item))

    assert (found["allowed"], found["url"], found["error"]) == (False, None, error)


def test_a_request_is_never_plain_text(inspected: Any) -> None:
    assert inspected("url", "https://example.com")["error"] == (
        'an item of this kind is an object such as {"base_url": "https://billing.internal/v1", "path": "invoices"}; '
        "expected JSON: Expecting value: line 1 column 1 (char 0)"
    )


@pytest.mark.parametrize("given", ["write to dana@example.com\n", '{"text": "write to dana@example.com"}'])
def test_a_text(inspected: Any, given: str) -> None:
    found = inspected("text", given)

    assert found["found"] == [{"class": "pii.email", "detector": "email", "start": 9, "end": 25}]
    assert found["masked"] == "write to [pii.email]"


def test_json_that_is_no_item_is_a_text(inspected: Any) -> None:
    assert inspected("text", '{"mail": "dana@example.com"}')["masked"] == '{"mail": "[pii.email]"}'


def test_a_text_under_other_detectors(inspected: Any) -> None:
    assert inspected("text", "dana@example.com", detectors=["default", "-email"])["found"] == []


def test_a_detector_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown detector 'nonsense'"):
        inspector_for("text", detectors=["nonsense"])


def test_nothing_is_an_empty_item(inspected: Any) -> None:
    assert inspected("text", "")["masked"] == ""
    assert inspected("sql", "", jsonl=True) == []
