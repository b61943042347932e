"""`policy` validates, runs cases and explains, with statuses that scripts can use."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import pytest

from mcp_gateway.cli.commands.policy import print_replay
from mcp_gateway.cli.replaying import Change, Replay
from mcp_gateway.inference import KINDS
from mcp_gateway.policy.loader import load_policies
from tests.cli.running import SCRIPT, Ran, run_here, run_on_a_terminal, write_config
from tests.private import write_private
from tests.roads import POLICIES as ROAD_POLICIES
from tests.roads import laid

POLICIES = """\
@id("read") @reason("reading is for everybody")
permit (principal, action == Action::"query_database", resource) when { context.sql.read_only };
@id("write") permit (principal in Group::"dev", action == Action::"query_database", resource);
@id("dba") @approval("dba") @reason("writes wait for a DBA")
forbid (principal, action == Action::"query_database", resource) when { !context.sql.read_only }
unless { context.approval.by.contains("dba") };
@id("run") permit (principal, action == Action::"run_ssh_command", resource);
@id("call") permit (principal, action == Action::"call_api", resource) when { context.http.path like "/v1/a*" };
@id("mail") permit (principal in Group::"hr", action == Action::"reveal", resource == DataClass::"pii.email");
"""
CONFIG = """
[identity]
issuer = "local"
[policy]
paths = ["{policies}"]
[targets.orders]
kind = "postgres"
labels = {{ env = "dev" }}
host = "db"
database = "o"
user = "g"
[targets.web1]
kind = "ssh"
labels = {{ env = "dev" }}
host = "web1"
user = "u"
known_hosts = "/k"
key = {{ file = "/i" }}
[targets.billing]
kind = "http"
labels = {{ env = "dev" }}
base_url = "https://billing.example.com/v1"
"""
CASES = """
[callers.dev]
groups = ["dev"]
[[case]]
name = "reading is for everybody"
target = "orders"
arguments.sql = "SELECT 1"
expect = { decision = "allow", policies = ["read"] }
[[case]]
name = "writing waits"
caller = "dev"
target = "orders"
arguments.sql = "DELETE FROM a WHERE b = 1"
expect = { decision = "ask", approvers = { dba = 1 } }
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "all.cedar").write_text(POLICIES)
    return write_config(tmp_path, CONFIG.format(policies=tmp_path / "all.cedar"))


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    path = tmp_path / "cases.toml"
    path.write_text(CASES)
    return path


def test_check_counts_the_policies(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "--config", str(config), "policy", "check")

    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("6 policies, version ")


def test_check_lists_the_policies_in_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run_here(capsys, "--config", str(config), "policy", "check", "--json").json

    assert found["notes"] == []
    assert {policy["id"]: (policy["effect"], policy["line"]) for policy in found["policies"]}["dba"] == ("forbid", 4)


def test_check_tells_every_mistake(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "all.cedar").write_text('@id("a") permit (principal, action, resource);\npermit (principal);\n')

    ran = run_here(capsys, "--config", str(config), "policy", "check")

    assert (ran.status, ran.out) == (2, "")
    assert [line.split(":")[2] for line in ran.err.splitlines()] == ["1", "2"]


def test_check_warns_and_strictly_is_a_no(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "all.cedar"
    file.write_text(
        POLICIES + '@id("odd") forbid (principal, action == Action::"call_api", resource)\nwhen { false };\n'
    )
    warned = f"{file}:{POLICIES.count(chr(10)) + 2}:8: odd: it never matches: its `when` is always false"

    ran = run_here(capsys, "--config", str(config), "policy", "check")
    strict = run_here(capsys, "--config", str(config), "policy", "check", "--strict")
    as_json = run_here(capsys, "--config", str(config), "policy", "check", "--strict", "--json")

    assert (ran.status, ran.err) == (0, f"mcp-gateway: warning: {warned}\n")
    assert (strict.status, strict.out, strict.err) == (1, ran.out, ran.err)
    assert as_json.status == 1
    (warning,) = as_json.json["warnings"]
    assert warning["id"] == "odd"
    assert f"{warning['file']}:{warning['line']}:{warning['column']}: odd: {warning['message']}" == warned


def test_a_folder_without_policies_is_warned_of(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "cases.toml").write_text("")

    ran = run_here(
        capsys, "--config", str(config), "policy", "check", "--strict", "--policies", str(tmp_path / "empty")
    )

    assert ran.status == 1
    assert "there is no policy in any *.cedar file" in ran.err


def test_what_is_only_noted_is_no_warning(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "all.cedar"
    file.write_text('@id("a") permit (principal, action == Action::"call_api", resource in Env::"test");')

    ran = run_here(capsys, "--config", str(config), "policy", "check", "--strict")

    assert (ran.status, ran.err) == (0, f'mcp-gateway: note: {file}:1:71: a: no target is in Env::"test"\n')


def test_scripts_get_every_mistake_with_its_place(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "all.cedar").write_text(
        '@id("a") forbid (principal, action, resource)\nwhen { context.call.token_age > "1h" };'
    )

    ran = run_here(capsys, "--config", str(config), "policy", "check", "--json")

    assert (ran.status, ran.err) == (2, "")
    assert ran.json == {
        "problems": [
            {
                "id": "a",
                "file": str(tmp_path / "all.cedar"),
                "line": 2,
                "column": 33,
                "message": 'expected Long, got String: `"1h"`',
            }
        ],
        "warnings": [],
        "notes": [],
    }


def test_other_policies_can_be_checked_before_they_are_in_force(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new.cedar").write_text('@id("none") forbid (principal, action, resource);')
    (tmp_path / "new.cedar").chmod(0o666)
    monkeypatch.chdir(tmp_path)

    ran = run_here(capsys, "--config", str(config), "policy", "check", "--policies", "new.cedar")

    assert (ran.status, ran.out.split(",")[0]) == (0, "1 policies")


def test_cases_that_pass(config: Path, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the configured policies, where none are named."""
    ran = run_here(capsys, "--config", str(config), "policy", "test", str(cases))

    assert (ran.status, ran.out) == (0, "2 of 2 cases passed\n")
    assert ran.err == "mcp-gateway: warning: no case is determined by the 3 policies call, mail, run\n"


def test_a_case_that_differs_is_a_no(config: Path, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases.write_text(CASES.replace("dba = 1", "dba = 2"))

    ran = run_here(
        capsys, "--config", str(config), "policy", "test", str(cases), "--policies", str(config.parent / "all.cedar")
    )

    assert ran.status == 1
    assert ran.out == (
        f"{cases}:9: writing waits\n"
        "    approvers: expected 2 of dba, got 1 of dba\n"
        f"    by forbid 'dba' ({config.parent / 'all.cedar'}:4:1): writes wait for a DBA\n"
        "1 of 2 cases passed\n"
    )


def test_cases_in_json(config: Path, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(
        capsys,
        *("--config", str(config), "policy", "test", str(cases)),
        *("--policies", str(config.parent / "all.cedar"), "--json"),
    )

    assert (ran.status, ran.json["passed"]) == (0, True)
    assert [case["id"] for case in ran.json["cases"]] == [
        "cases.toml: reading is for everybody",
        "cases.toml: writing waits",
    ]
    assert [(case["file"], case["line"]) for case in ran.json["cases"]] == [(str(cases), 4), (str(cases), 9)]


def test_a_broken_case_file_is_misuse(config: Path, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases.write_text('[[case]]\nname = "x"\ntarget = "nowhere"\narguments.sql = "x"\nexpect.decision = "deny"\n')

    ran = run_here(
        capsys, "--config", str(config), "policy", "test", str(cases), "--policies", str(config.parent / "all.cedar")
    )

    as_json = run_here(capsys, "--config", str(config), "policy", "test", str(cases), "--json")

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == (
        f"mcp-gateway: {cases}:3:1: case 'x': target: there is no target 'nowhere'; there are 'billing', 'orders', 'web1'\n"
    )
    assert (as_json.status, as_json.err) == (2, "")
    assert as_json.json == {
        "passed": False,
        "problems": [
            {
                "id": "case 'x': target",
                "file": str(cases),
                "line": 3,
                "column": 1,
                "message": "there is no target 'nowhere'; there are 'billing', 'orders', 'web1'",
            }
        ],
        "cases": [],
        "uncovered": [],
    }


def test_cases_with_targets_of_their_own_need_no_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CONFIG_HOME", "MCP_GATEWAY_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "all.cedar").write_text(POLICIES)
    (tmp_path / "cases.toml").write_text(
        'policies = ["all.cedar"]\n[targets.orders]\nkind = "postgres"\nlabels = { env = "dev" }\n' + CASES
    )

    assert run_here(capsys, "policy", "test", str(tmp_path)).status == 0


def test_a_configuration_that_was_named_and_is_absent_is_misuse(
    tmp_path: Path, cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(capsys, "--config", str(tmp_path / "absent.toml"), "policy", "test", str(cases))

    assert (ran.status, ran.err) == (2, f"mcp-gateway: {tmp_path / 'absent.toml'}: there is no such file\n")


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


@pytest.mark.parametrize(
    "command",
    [("check",), ("test", "cases.toml"), ("explain", "--target", "orders", "--sql", "SELECT 1")],
    ids=lambda command: command[0],
)
def test_scripts_get_mistakes_of_the_configuration_too(
    config: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    config.write_text(config.read_text().replace("database =", "databse ="))

    ran = run_here(capsys, "--config", str(config), "policy", *command, "--json")

    assert (ran.status, ran.err) == (2, "")
    assert [one["id"] for one in ran.json["problems"]] == ["targets.orders.databse"]


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


def test_replay_says_what_would_change_and_for_whom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def record() -> None:
        (tmp_path / "road").mkdir()
        async with laid(tmp_path / "road", data=tmp_path / "data") as bench:
            await bench.call()
            await bench.call({"method": "DELETE"})

    anyio.run(record)
    candidate = write_private(tmp_path / "candidate.cedar", ROAD_POLICIES.replace('"DELETE"', '"GET"'))
    current = write_private(tmp_path / "current.cedar", ROAD_POLICIES)
    config = write_config(
        tmp_path,
        f'[identity]\nissuer = "local"\n[policy]\npaths = ["{current}"]\n'
        '[targets.api]\nkind = "http"\nlabels = { env = "prod" }\nbase_url = "https://api.example.com"\n',
    )

    def run(*more: str) -> Ran:
        return run_here(capsys, "--config", str(config), "policy", "replay", *more)

    same, changed, told = run(), run("--candidate", str(candidate)), run("--json")
    assert (same.status, same.out) == (0, "2 calls decided as recorded\n")
    assert (told.status, told.json["same"]) == (0, 2)
    assert changed.status == 1
    assert changed.out.startswith("2 calls decided otherwise\n")
    assert re.search(r"newly allowed +1 call \(deny as recorded\)", changed.out)
    assert re.search(rf"by forbid +never-delete \({re.escape(str(candidate))}:\d+:\d+\)", changed.out)
    assert "1 call of alice@example.com, through agent" in changed.out
    assert run("--since", "yesterday").status == 2


def test_replay_draws_no_bar_for_policies_that_cannot_be_used(config: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.cedar"
    broken.write_text("permit")

    ran = run_on_a_terminal(SCRIPT, "--config", config, "policy", "replay", "--candidate", broken, columns=200)

    assert ran.status == 2
    assert "the policy does not end in ';'" in ran.out
    assert "deciding again" not in ran.out


@pytest.mark.parametrize(
    ("same", "changed", "said"),
    [
        (0, 0, "no call was decided again"),
        (1, 0, "1 call decided as recorded"),
        (0, 1, "1 call decided otherwise"),
        (11_874, 126, "11,874 calls decided as recorded, 126 calls not"),
    ],
)
def test_replay_leaves_out_what_there_is_none_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], same: int, changed: int, said: str
) -> None:
    engine = load_policies([write_private(tmp_path / "a.cedar", ROAD_POLICIES)], targets=[], classes=[])
    change = Change(was="allow", now="deny", policies=(), calls=changed)
    found = Replay(engine=engine, targets={}, same=same, changes={("allow", "deny", (), ""): change} if changed else {})

    print_replay(found)

    assert capsys.readouterr().out.splitlines()[0] == said


def test_replay_says_how_many_commands_were_examined_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = load_policies([write_private(tmp_path / "a.cedar", ROAD_POLICIES)], targets=[], classes=[])
    print_replay(Replay(engine=engine, targets={}, same=3, anew=2))
    said = capsys.readouterr()
    assert said.out == "3 calls decided as recorded\n"
    assert said.err.startswith("2 calls by facts found anew: ")
