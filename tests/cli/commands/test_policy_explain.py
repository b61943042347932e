"""`policy explain` says what would be decided, by which policies, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_gateway.inference import KINDS
from tests.cli.policies import configured
from tests.cli.running import run_here


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return configured(tmp_path)


def test_a_group_that_no_policy_names_is_noted(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--config", str(config), "policy", "explain", "--target", "orders", "--sql", "SELECT 1", "--no-catalog")

    ran = run_here(capsys, *asked, "--group", "dev", "--group", "devv")
    as_json = run_here(capsys, *asked, "--group", "dev", "--group", "devv", "--json")

    assert (ran.status, ran.err) == (
        0, "mcp-gateway: warning: no policy names the group 'devv': it changes nothing here\n",
    )  # fmt: skip
    assert as_json.json["unnamed_groups"] == ["devv"]


def test_a_call_is_explained(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(
        capsys,
        *("--config", str(config), "policy", "explain", "--target", "orders", "--group", "dev"),
        *("--sql", "DELETE FROM shop.orders WHERE id = 1", "--no-catalog"),
    )

    assert ran.status == 0
    lines = [line for line in ran.out.splitlines() if "fingerprint" not in line]
    assert lines == [
        "decision   ask",
        "needs      one of dba",
        f"forbid     dba ({config.parent / 'all.cedar'}:4)",
        "           writes wait for a DBA",
        f"permit     write ({config.parent / 'all.cedar'}:3)",
        "catalog    not asked, so a gateway may decide otherwise: it knows what views, partitions, foreign keys and code lead to",
        "shown raw  no data class",
        "fact       columns = shop.orders.id",
        "fact       condition_columns = shop.orders.id",
        "fact       kinds = DELETE",
        "fact       read_only = no",
        "fact       reads = shop.orders",
        "fact       statements = 1",
        "fact       unbounded = no",
        "fact       writes = shop.orders",
    ]


def test_all_facts_are_shown_where_they_are_asked_for(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--config", str(config), "policy", "explain", "--target", "orders", "--sql", "SELECT 1", "--no-catalog")

    lines = run_here(capsys, *asked, "--all-facts").out.splitlines()
    facts = run_here(capsys, *asked, "--json").json["facts"]

    assert {"fact       row_limit = -1", "fact       writes = none"} <= set(lines)
    assert [line.split()[1] for line in lines if line.startswith("fact ")] == sorted(facts)


@pytest.mark.parametrize(
    ("arguments", "decision"),
    [
        (("--target", "orders", "--sql", "SELECT 1"), "allow"),
        (("--target", "orders", "--sql", "DELETE FROM a"), "deny"),
        (("--target", "orders", "--group", "dev", "--sql", "DELETE FROM a", "--approved-by", "dba"), "allow"),
        (("--target", "web1", "--command", "uptime"), "allow"),
        (("--target", "billing", "--path", "/accounts"), "allow"),
        (("--target", "billing", "--path", "/users", "--method", "POST"), "deny"),
    ],
)
def test_each_kind_of_call_can_be_explained(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], decision: str
) -> None:
    ran = run_here(capsys, "--config", str(config), "policy", "explain", *arguments, "--no-catalog", "--json")

    assert (ran.status, ran.json["decision"], ran.json["catalog"]) == (0, decision, None)


def test_tables_without_a_schema_are_told_of(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT a FROM shop.orders, orders JOIN items ON true"
    asked = ("policy", "explain", "--target", "orders", "--sql", sql, "--no-catalog")
    ran = run_here(capsys, "--config", str(config), *asked)

    (line,) = [line for line in ran.out.splitlines() if line.startswith("catalog")]
    assert line.endswith("code lead to, and the schema of items, orders: write it here, policies name it")


def test_of_a_command_no_catalog_is_spoken(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "--config", str(config), "policy", "explain", "--target", "web1", "--command", "uptime")

    assert not any(line.startswith("catalog") for line in ran.out.splitlines())


def test_what_a_group_sees_raw_is_explained(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(
        capsys,
        *("--config", str(config), "policy", "explain", "--target", "orders", "--sql", "SELECT 1"),
        *("--group", "hr", "--no-catalog", "--json"),
    )

    assert ran.json["revealed"] == ["pii.email"]


def test_the_worst_that_only_a_catalog_could_rule_out_is_one_line(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with config.open("a") as file:
        file.write('[targets.classified]\nkind = "postgres"\nlabels = { env = "dev" }\nhost = "db"\n')
        file.write('database = "o"\nuser = "g"\nclassify = { "public.c.email" = "pii.email" }\n')
    ran = run_here(
        capsys,
        *("--config", str(config), "policy", "explain", "--target", "classified", "--no-catalog"),
        *("--sql", "SELECT 1 FROM orders"),
    )

    assert {
        "fact       inference = every kind, of pii.email: no catalog is asked, so the worst; --inference says less",
        "fact       returns = pii.email",
    } <= set(ran.out.splitlines())


@pytest.mark.parametrize(
    ("said", "inference", "infers"),
    [
        (("order=pii.phone", "where=pii.email", "where=pii.phone"),
         {"order": ["pii.phone"], "where": ["pii.email", "pii.phone"]}, ["pii.phone"]),
        (("none",), {}, []),
        ((), {}, []),
    ],
)  # fmt: skip
def test_what_a_statement_tells_can_be_said(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    said: tuple[str, ...],
    inference: dict[str, list[str]],
    infers: list[str],
) -> None:
    ran = run_here(
        capsys,
        *("--config", str(config), "policy", "explain", "--target", "orders", "--sql", "SELECT 1", "--group", "hr"),
        *(word for pair in said for word in ("--inference", pair)),
        *("--no-catalog", "--json"),
    )

    assert (ran.json["facts"]["inference"], ran.json["facts"]["infers"]) == (inference, infers)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("--target", "nowhere", "--sql", "x"),
            "there is no target 'nowhere'; the configuration has billing, orders, web1",
        ),
        (("--target", "orders", "--command", "x"), "'orders' takes --sql, not --command; see --help"),
        (
            ("--target", "orders"),
            "what is to be explained is missing: give --sql, which 'orders' takes; see --help",
        ),
        (
            ("--target", "billing", "--path", "/../x"),
            "refused before any policy: the path leads above the target's base URL",
        ),
        (
            ("--target", "orders", "--sql", "SELECT 1", "--inference", "where=pii.emial"),
            "there is no data class 'pii.emial'; write KIND=CLASS, or `none` alone",
        ),
        (
            ("--target", "orders", "--sql", "SELECT 1", "--inference", "wehre=pii.email"),
            f"there is no kind of inference 'wehre'; there are {', '.join(KINDS)}",
        ),
        (
            ("--target", "web1", "--command", "x", "--assurance", "strong"),
            "--assurance: expected token, local, local-demo, got 'strong'",
        ),
    ],
)
def test_a_call_that_cannot_be_is_misuse(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    ran = run_here(capsys, "--config", str(config), "policy", "explain", *arguments)

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == f"mcp-gateway: {expected}\n"


def test_scripts_get_mistakes_of_policies_from_an_explanation_too(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--config", str(config), "policy", "explain", "--target", "orders", "--sql", "SELECT 1", "--no-catalog")
    (tmp_path / "all.cedar").write_text("permit (principal);\n")

    ran, as_json = run_here(capsys, *asked), run_here(capsys, *asked, "--json")

    assert (ran.status, ran.out) == (2, "")
    assert (as_json.status, as_json.err) == (2, "")
    assert as_json.json["error"] == ran.err.removeprefix("mcp-gateway: ").rstrip()
    assert [(one["file"], one["line"]) for one in as_json.json["problems"]] == [(str(tmp_path / "all.cedar"), 1)]


def test_a_denial_says_that_no_approval_would_change_it(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The forbid below it asks for a DBA; without a permit the DBA cannot help."""
    sql = "DELETE FROM a WHERE b = 1"
    asked = ("--config", str(config), "policy", "explain", "--target", "orders", "--sql", sql, "--no-catalog")

    denied = run_here(capsys, *asked).out.splitlines()
    waits = run_here(capsys, *asked, "--group", "dev").out.splitlines()

    assert denied[:2] == [
        "decision   deny",
        "why        no policy permits this call to this caller, whoever approves it",
    ]
    assert waits[0] == "decision   ask"
    assert not any(line.startswith("why") for line in waits)
