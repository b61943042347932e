from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mcp_gateway.decisions import Approved
from mcp_gateway.errors import ConfigError
from mcp_gateway.facts.requests import Interface
from mcp_gateway.policy.case_files import Cases, read_cases
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
    return [str(problem).removeprefix(f"{tmp_path / 'cases.toml'}: ") for problem in caught.value.problems]


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


def test_all_mistakes_are_reported_together(tmp_path: Path) -> None:
    text = (
        HEAD
        + """
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
        expect.decision = "allow"
        [[case]]
        name = "two"
        target = "shop"
        tool = "query"
        arguments = {}
        expect.decision = "allow"
        """
    )
    assert wrong(tmp_path, text) == [
        "case 'one': target: there is no target 'shp'; there are 'billing', 'orders', 'shop'",
        "case 'one': caller: there is no caller 'dve'; there are 'dev'",
        "case 'two': arguments.sql: Field required",
        "case 'two': arguments.query: Extra inputs are not permitted",
        "case 'two': tool: there is no tool 'query'; there are 'call_api', 'query_database', 'run_ssh_command'",
        "case: two cases have the same name",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("case = ", "no valid TOML: invalid value at the end of the file"),
        ("cases = []", "cases: Extra inputs are not permitted"),
        ('[targets.a]\nkind = "postgres"\nlabels = {}', "targets.a.labels: Value error, env is required"),
        ('[[case]]\nname = "a"\ntarget = "orders"\narguments = {}\nexpect.decision = "maybe"',
         "case.0.expect.decision: Input should be 'allow', 'ask', 'deny' or 'refused'"),
        ('[[case]]\nname = "a"\ntarget = "orders"\narguments = {}\nexpect = {}', "case.0.expect.decision: Field required"),
        ('[[case]]\nname = "a"\ntarget = "orders"\narguments = {}\nexpect.decision = "ask"\ntime = 2026-01-01T00:00:00',
         "case.0.time: Input should have timezone info"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_says_where(tmp_path: Path, text: str, problem: str) -> None:
    assert wrong(tmp_path, text) == [problem]


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no such file or folder$"):
        read_cases(tmp_path / "none.toml")
