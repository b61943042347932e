from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mcp_gateway.decisions import Approved
from mcp_gateway.errors import ConfigError
from mcp_gateway.facts.requests import Interface
from mcp_gateway.policy.case_files import Cases, read_cases
from mcp_gateway.usage import Usage
from tests.policy.worlds import BILLING, ORDERS

HEAD = """
[targets.shop]
kind = "postgres"
labels = { env = "prod" }
[callers.dev]
groups = ["developers"]
"""


def read(tmp_path: Path, text: str) -> Cases:
    path = tmp_path / "cases.toml"
    path.write_text(text)
    return read_cases(
        path, targets=[ORDERS, BILLING], interfaces={"billing": Interface(base_url="https://billing.example.com/v1")}
    )


def wrong(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    return [str(problem).removeprefix(f"{tmp_path / 'cases.toml'}:").lstrip() for problem in caught.value.problems]


def test_a_case_is_complete_with_what_it_leaves_out(tmp_path: Path) -> None:
    cases = read(
        tmp_path,
        'policies = ["../set"]\n'
        + HEAD
        + '[[case]]\nname = "a"\ntarget = "shop"\ncaller = "dev"\narguments.sql = "SELECT 1"\n'
        'expect.decision = "allow"\n',
    )
    assert cases.policies == ((tmp_path / ".." / "set").resolve(),)
    (case,) = cases.cases
    assert (case.tool, case.door, case.token_age, case.approval) == ("query_database", "http", 60, Approved())
    assert case.caller.groups == {"developers"}
    assert case.target.labels == {"env": "prod"}
    assert case.arguments["sql"] == "SELECT 1"


def test_a_case_can_say_everything(tmp_path: Path) -> None:
    cases = read(
        tmp_path,
        """
        [[case]]
        name = "a"
        target = "billing"
        caller = { subject = "eve", issuer = "https://i", actor = "bot", email = "e@x", scopes = ["s"], assurance = "local" }
        tool = "call_api"
        arguments = { method = "POST", path = "/x" }
        door = "stdio"
        token_age = 5
        time = 2026-02-03T04:05:06Z
        approval = { by = ["dba", "ops"], approvers = 3 }
        expect = { decision = "ask", policies = [], approvers = { dba = 2 }, revealed = [], visible = true }
        """,
    )
    (case,) = cases.cases
    assert case.caller.key == "https://i|eve"
    assert (case.caller.actor, case.caller.email, case.caller.assurance) == ("bot", "e@x", "local")
    assert case.interface.base_url == "https://billing.example.com/v1"
    assert case.time == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert case.approval == Approved(by=frozenset({"dba", "ops"}), approvers=3)


def test_a_case_says_what_a_catalog_would_tell(tmp_path: Path) -> None:
    head = '[[case]]\nname = "a"\ntarget = "orders"\narguments.sql = "SELECT 1"\nexpect.decision = "ask"\n'
    (unsaid,) = read(tmp_path, head).cases
    (said,) = read(tmp_path, head + 'inference = { where_range = ["pii.email", "shop.margin"] }').cases
    (nothing,) = read(tmp_path, head + "inference = {}").cases
    assert (unsaid.inference, nothing.inference) == (None, {})
    assert said.inference == {"where_range": frozenset({"pii.email", "shop.margin"})}


@pytest.mark.parametrize(
    ("target", "inference", "message"),
    [
        ("orders", '{ wehre = ["pii.email"] }', "there is no kind of inference 'wehre'"),
        ("orders", '{ where = ["pii.emial"] }', "there is no data class 'pii.emial' on the target 'orders'"),
        ("billing", '{ where = ["pii.email"] }', "call_api tells nothing by inference; only query_database does"),
    ],
)
def test_a_misspelt_inference_is_a_mistake(tmp_path: Path, target: str, inference: str, message: str) -> None:
    arguments = 'arguments.path = "/x"' if target == "billing" else 'arguments.sql = "SELECT 1"'
    text = f'[[case]]\nname = "a"\ntarget = "{target}"\n{arguments}\ninference = {inference}\nexpect.decision = "ask"\n'
    assert any(message in problem for problem in wrong(tmp_path, text))


MISTAKEN = """
[[case]]
name = "one"
target = "shp"
caller = "dve"
arguments.sql = "SELECT 1"
expect.decision = "allow"
[[case]]
name = "two"
target = "shop"
arguments = { query = "SELECT 1" }
expect = { decision = "alow", polices = [] }
[[case]]
name = "two"
target = "shop"
tool = "query"
arguments = {}
expect.decision = "allow"
[[case]]
name = "three"
target = "orders"
caller = { groups = "dba", subject = "eve" }
arguments.sql = "SELECT 1"
token_age = "soon"
usage = { rows = 5, rows_1h = ["pii.email"], touched_1h = 7 }
time = 2026-01-01
expect.decision = "allow"
[callers.dve]
group = ["developers"]
[targets.shop2]
kind = "postgress"
labels = {}
"""


def test_all_mistakes_are_reported_together_in_plain_words_with_their_places(tmp_path: Path) -> None:
    """The caller of the first case is mistaken elsewhere, which is told there alone."""
    assert wrong(tmp_path, HEAD + MISTAKEN) == [
        "10:1: case 'one': target: there is no target 'shp'; did you mean 'shop'?",
        "17:1: case 'two': arguments.sql: is required",
        "17:15: case 'two': arguments.query: unknown key; known here: max_rows, params, sql",
        "18:12: case 'two': expect.decision: expected 'allow', 'ask', 'deny' or 'refused', got 'alow'",
        "18:31: case 'two': expect.polices: unknown key; did you mean 'policies'?",
        "20:1: case 'two': name: the case in line 14 has this name already",
        "22:1: case 'two': tool: there is no tool 'query'; there are 'call_api', 'query_database', 'run_ssh_command'",
        "28:12: case 'three': caller.groups: expected an array, got a string",
        "30:1: case 'three': token_age: expected an integer, got a string",
        "31:11: case 'three': usage.rows: there is no usage 'rows'; there are " + ", ".join(Usage().context()),
        "31:21: case 'three': usage.rows_1h: rows_1h is a number from 0, got data classes",
        "31:46: case 'three': usage.touched_1h: touched_1h is data classes, got the number 7",
        "32:1: case 'three': time: expected a date and time with its offset, such as 2026-01-05T12:00:00Z, got a date or time",
        "35:1: callers.dve.group: unknown key; did you mean 'groups'?",
        "37:1: targets.shop2.kind: expected 'postgres', 'ssh' or 'http', got 'postgress'",
        "38:1: targets.shop2.labels: the label 'env' is required, such as labels = { env = \"prod\" }",
    ]


CASE = '[[case]]\nname = "a"\ntarget = "orders"\narguments.sql = "SELECT 1"\nexpect.decision = "ask"\n'


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("case = ", ["no valid TOML: this is no value; a text needs quotes, at the end of the file"]),
        ("x = " + "[" * 3000 + "]" * 3000, ["the TOML cannot be parsed"]),
        ("cases = []", ["1:1: cases: unknown key; did you mean 'case'?"]),
        ("case = 1", ["1:1: case: expected an array, got an integer"]),
        ("case = [1, {}]", [
            "1:9: case[0]: expected a table, got an integer",
            "1:12: case[1]: name: is required",
            "1:12: case[1]: target: is required",
            "1:12: case[1]: arguments: is required",
            "1:12: case[1]: expect: is required"]),
        ("targets = 1\ncallers = []", [
            "1:1: targets: expected a table, got an integer", "2:1: callers: expected a table, got an array"]),
        (CASE + "caller = 5", ["6:1: case 'a': caller: expected a string, got an integer"]),
        (CASE + 'caller = { gruops = ["dev"] }', ["6:12: case 'a': caller.gruops: unknown key; did you mean 'groups'?"]),
        (CASE + "usage = { rows_1h = 5, rows_24h = 4 }", [
            "6:1: case 'a': usage: rows_24h: expected at least 5, which are in a shorter window, got 4"]),
        (CASE + "usage = { rows = 5, rows_1h = ['pii.email'], touched_1h = 7 }", [
            "6:11: case 'a': usage.rows: there is no usage 'rows'; there are " + ", ".join(Usage().context()),
            "6:21: case 'a': usage.rows_1h: rows_1h is a number from 0, got data classes",
            "6:46: case 'a': usage.touched_1h: touched_1h is data classes, got the number 7"]),
        (CASE + "time = 2026-01-01T00:00:00", [
            "6:1: case 'a': time: expected a date and time with its offset, such as 2026-01-05T12:00:00Z, got a date or time"]),
        (CASE.replace('"a"', '""'), ["2:1: case[0]: name: expected a text, got none"]),
        (CASE + "inference.wehre = ['pii.email']\ninference.order = ['pii.emial', 'x']", [
            "6:1: case 'a': inference.wehre: there is no kind of inference 'wehre'; did you mean 'where'?"]),
        (CASE + "inference.order = ['pii.emial', 'x']", [
            "6:1: case 'a': inference.order: there is no data class 'pii.emial' on the target 'orders'; did you mean 'pii.email'?",
            "6:1: case 'a': inference.order: there is no data class 'x' on the target 'orders'"]),
        (CASE.replace(".sql", "") + 'approval = { by = [], approvers = 0 }', [
            "4:1: case 'a': arguments: expected a table, got a string",
            "6:23: case 'a': approval.approvers: expected at least 1, got 0"]),
        ('[targets.a]\nkind = "http"\nlabels.env = "x"\nopenapi = "none.yaml"', None),
    ],
)  # fmt: skip
def test_each_mistake_has_its_place(tmp_path: Path, text: str, problems: list[str] | None) -> None:
    expected = [f"4:1: targets.a.openapi: there is no text at {str(tmp_path / 'none.yaml')!r}"]
    assert wrong(tmp_path, text) == (problems or expected)


KEYS = [
    "name", "caller", "target", "tool", "arguments", "arguments.sql", "inference", "inference.where", "door", "token_age",
    "time", "approval", "approval.by", "approval.approvers", "usage", "usage.rows_1h", "usage.touched_1h", "expect",
    "expect.decision", "expect.policies", "expect.approvers", "expect.revealed", "expect.visible", "caller.groups", "nonsense",
]  # fmt: skip
VALUES = (
    '"x"', '""', "1", "-1", "1.5", "true", "[]", "{}", '["x"]', "[1]", "[[]]", "{ x = 1 }", "{ x = [] }", "nan", "inf",
    "2026-01-01", "07:32:00", "2026-01-01T00:00:00Z", "99999999999999999999",
)  # fmt: skip
PYDANTIC = re.compile(r"[Ii]nput|[Ff]ield|valid|Value error|\[first\]|\[second\]|frozenset|dictionary|None")


def assert_told_in_plain_words(tmp_path: Path, values: Mapping[str, str]) -> None:
    text = "[[case]]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
    for problem in wrong(tmp_path, text):
        place, _, words = problem.partition(": ")
        line, column = map(int, place.split(":"))
        assert 1 <= line <= len(values) + 1
        written = text.splitlines()[line - 1]
        assert column == 1 or written[column - 1] in "x1["
        assert not PYDANTIC.search(words), words


@pytest.mark.parametrize("key", KEYS)
def test_whatever_stands_for_a_value_is_told_in_plain_words(tmp_path: Path, key: str) -> None:
    for value in VALUES:
        assert_told_in_plain_words(tmp_path, {key: value})


@given(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), min_size=2, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_for_several_values_is_told_in_plain_words(tmp_path: Path, values: dict[str, str]) -> None:
    assume(not any(other.startswith(f"{key}.") for key in values for other in values))

    assert_told_in_plain_words(tmp_path, values)


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no such file or folder$"):
        read_cases(tmp_path / "none.toml")
