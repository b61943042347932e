from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcp_gateway.calls import Facts, JSONObject
from mcp_gateway.errors import ConfigError
from mcp_gateway.facts.requests import Interface
from mcp_gateway.policy.cases import Report, run_cases
from tests.policy.worlds import READ, READ_ALL, TARGETS, WRITES_ASK

UNUSED = '@id("unused") permit (principal in Group::"nobody", action == Action::"call_api", resource);\n'


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def case(name: str, sql: str, expect: str) -> str:
    return f'[[case]]\nname = "{name}"\ntarget = "orders"\narguments.sql = "{sql}"\nexpect = {{ {expect} }}\n'


def run(tmp_path: Path, *cases: str) -> Report:
    policies = write(tmp_path, "p.cedar", READ_ALL + WRITES_ASK + UNUSED)
    return run_cases([write(tmp_path, "c.toml", "\n".join(cases))], policies=[policies], targets=TARGETS)


def test_cases_that_come_as_expected_pass(tmp_path: Path) -> None:
    report = run(
        tmp_path,
        case(
            "read", "SELECT 1", 'decision = "allow", policies = ["all"], approvers = {}, revealed = [], visible = true'
        ),
        case("write", "UPDATE orders SET a = 1 WHERE b = 2", 'decision = "ask", approvers = { dba = 1 }'),
        case("two", "SELECT 1; SELECT 2", 'decision = "refused", policies = []'),
    )
    assert report.passed
    assert [result.to_json()["id"] for result in report.results] == ["c.toml: read", "c.toml: write", "c.toml: two"]
    assert report.results[1].got["facts"]["writes"] == ["orders"]
    assert report.results[2].got["reasons"] == ["a call runs one statement, this text has 2"]


def test_policies_that_no_case_is_determined_by_are_named(tmp_path: Path) -> None:
    report = run(tmp_path, case("read", "SELECT 1", 'decision = "allow"'))
    assert report.passed
    assert report.uncovered == ("unused", "writes")


def test_every_difference_is_named(tmp_path: Path) -> None:
    report = run(
        tmp_path,
        case(
            "write",
            "DELETE FROM orders",
            'decision = "allow", policies = ["all"], approvers = { ops = 2 }, revealed = ["pii.email"], visible = false',
        ),
    )
    assert not report.passed
    assert report.results[0].differences == (
        "decision: expected allow, got ask",
        "policies: expected all, got writes",
        "approvers: expected 2 of ops, got 1 of dba",
        "revealed: expected pii.email, got none",
        "visible: expected no, got yes",
        "no schema is written before orders, and cases ask no catalog for it",
    )
    assert report.results[0].to_json()["passed"] is False


def test_an_error_of_the_policies_is_named(tmp_path: Path) -> None:
    policies = write(
        tmp_path,
        "p.cedar",
        READ_ALL + '@id("sum") forbid (principal, action == Action::"query_database", resource)'
        " when { context.sql.statements + 9223372036854775807 > 0 };",
    )
    cases = write(tmp_path, "c.toml", case("read", "SELECT 1", 'decision = "allow"'))
    (result,) = run_cases([cases], policies=[policies], targets=TARGETS).results
    assert result.differences[0] == "decision: expected allow, got deny"
    assert "overflow" in result.differences[1]


def test_facts_come_from_the_examiners_that_are_given(tmp_path: Path) -> None:
    seen: list[JSONObject] = []

    def examine(arguments: JSONObject, interface: Interface) -> Facts:
        seen.append(arguments)
        return READ

    policies = write(tmp_path, "p.cedar", READ_ALL)
    cases = write(tmp_path, "c.toml", case("odd", "DROP TABLE x", 'decision = "allow"'))
    report = run_cases([cases], policies=[policies], targets=TARGETS, examiners={"query_database": examine})
    assert report.passed
    assert seen[0]["sql"] == "DROP TABLE x"


def test_a_result_may_carry_every_class_of_the_target_since_no_catalog_says_less(tmp_path: Path) -> None:
    policies = write(
        tmp_path,
        "p.cedar",
        READ_ALL + '@id("mail") forbid (principal, action == Action::"query_database", resource)'
        ' when { context.sql.returns.contains(DataClass::"pii.email") };',
    )
    cases = write(tmp_path, "c.toml", case("mail", "SELECT email FROM c", 'decision = "deny", policies = ["mail"]'))
    (result,) = run_cases([cases], policies=[policies], targets=TARGETS).results
    assert result.differences == ()


def test_a_folder_gives_its_files_and_each_may_name_its_policies(tmp_path: Path) -> None:
    write(tmp_path, "p.cedar", READ_ALL)
    for name in ("b.toml", "a.toml"):
        write(tmp_path, name, 'policies = ["p.cedar"]\n' + case(name, "SELECT 1", 'decision = "allow"'))
    report = run_cases([tmp_path], targets=TARGETS)
    assert [result.name for result in report.results] == ["a.toml", "b.toml"]


def test_what_is_wrong_with_cases_and_policies_comes_together(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = write(tmp_path, "p.cedar", "permit")
    one = write(tmp_path, "1.toml", 'policies = ["p.cedar"]')
    two = write(tmp_path, "2.toml", "")
    three = write(tmp_path, "3.toml", "x = 1")
    with pytest.raises(ConfigError) as caught:
        run_cases([empty, one, two, three], targets=TARGETS)
    assert str(caught.value).splitlines() == [
        f"{empty}: holds no *.toml file",
        f"{three}:1:1: x: unknown key; known here: callers, case, policies, targets",
        f"{broken}:1:7: the policy does not end in ';'",
        f"{two}: policies: names no policies to test, and none are configured; write their paths here, or give --policies",
    ]


def test_a_file_that_names_no_policies_is_tested_with_the_configured_ones(tmp_path: Path) -> None:
    configured = write(tmp_path, "configured.cedar", READ_ALL)
    configured.chmod(0o600)
    write(tmp_path, "own.cedar", "")
    allowed = write(tmp_path, "allowed.toml", case("a", "SELECT 1", 'decision = "allow"'))
    denied = write(tmp_path, "denied.toml", 'policies = ["own.cedar"]\n' + case("d", "SELECT 1", 'decision = "deny"'))

    report = run_cases([allowed, denied], configured=[configured], targets=TARGETS)
    instead = run_cases([allowed], configured=[configured], policies=[tmp_path / "own.cedar"], targets=TARGETS)

    assert report.passed
    assert not instead.passed


def test_configured_policies_that_others_can_write_are_not_tested(tmp_path: Path) -> None:
    """A gateway would not start with them."""
    configured = write(tmp_path, "configured.cedar", READ_ALL)
    configured.chmod(0o666)
    one = write(tmp_path, "1.toml", case("a", "SELECT 1", 'decision = "allow"'))

    with pytest.raises(ConfigError, match=re.escape(str(configured))):
        run_cases([one], configured=[configured], targets=TARGETS)


def test_policies_may_name_the_configured_further_tools(tmp_path: Path) -> None:
    write(tmp_path, "p.cedar", READ_ALL + '@id("more") permit (principal, action == Action::"ask_things", resource);')
    one = write(tmp_path, "1.toml", 'policies = ["p.cedar"]\n' + case("a", "SELECT 1", 'decision = "allow"'))

    assert run_cases([one], targets=TARGETS, tools={"ask_things": "http"}).passed


TELLS = (
    '@id("tells") @reason("it tells about masked data") forbid (principal, action == Action::"query_database", resource)'
    " when { !context.sql.inference.isEmpty() };"
)


def test_a_case_that_differs_says_by_what(tmp_path: Path) -> None:
    policies = write(tmp_path, "p.cedar", f"{READ_ALL}\n{TELLS}")
    told = case("told", "SELECT id FROM public.orders", 'decision = "allow"')
    cases = [
        told,
        told.replace('"told"', '"said"') + "inference = { where = ['pii.email'] }\n",
        case("two", "SELECT 1; SELECT 2", 'decision = "allow"'),
    ]

    results = run_cases([write(tmp_path, "c.toml", "\n".join(cases))], policies=[policies], targets=TARGETS).results

    by = f"by forbid 'tells' ({policies}:3:1): it tells about masked data"
    assert [result.because for result in results] == [
        (
            by,
            "no catalog says how it uses classified columns, so the worst is taken; with `inference = {}` in the case, which "
            "says that it does not, it is allow",
        ),
        (by,),
        ("it is refused before any policy: a call runs one statement, this text has 2",),
    ]
    assert results[0].to_json()["because"] == list(results[0].because)


def test_a_case_that_nothing_permits_says_so_and_one_that_passes_says_nothing(tmp_path: Path) -> None:
    policies = write(tmp_path, "p.cedar", UNUSED)
    cases = [case(decision, "DELETE FROM public.orders", f'decision = "{decision}"') for decision in ("allow", "deny")]

    results = run_cases([write(tmp_path, "c.toml", "\n".join(cases))], policies=[policies], targets=TARGETS).results

    assert [result.because for result in results] == [("no policy permits it",), ()]
