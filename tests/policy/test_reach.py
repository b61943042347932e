"""Policies that can never decide anything, or add nothing, are warned of, and no other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mcp_gateway_policies import starter_policies

from mcp_gateway.calls import TargetKind
from mcp_gateway.errors import Problem
from mcp_gateway.policy.compiling import compile_policies
from mcp_gateway.policy.loader import load_policies
from mcp_gateway.policy.reach import Findings, findings_on
from mcp_gateway.policy.split import Source
from mcp_gateway.policy.statement import NO_PERMIT
from tests.policy.worlds import READ_ALL, TARGETS, WRITES_ASK, compiled, findings

QUERY = 'action == Action::"query_database"'
COMMAND = 'action == Action::"run_ssh_command"'
CALL = 'action == Action::"call_api"'
REVEAL = 'action == Action::"reveal"'


def warnings(text: str) -> list[str]:
    return [str(warning).partition(": ")[2] for warning in findings(text).warnings]


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (f'@id("a") permit (principal, {QUERY}, resource) when {{ false }};', "its `when` is always false"),
        (f'@id("a") permit (principal, {QUERY}, resource) when {{ context.sql.read_only && !true }};', "its `when` is always false"),
        (f'@id("a") forbid (principal, {QUERY}, resource) unless {{ true || context.sql.read_only }};', "its `unless` is always true"),
        (f'@id("a") permit (principal in Group::"caller", {QUERY}, resource);', "no caller is in Group::'caller', which is reserved"),
        (f'@id("a") forbid (principal == Caller::"dana", {QUERY}, resource);', "no caller is Caller::'dana'; it is named by issuer and subject, as 'https://idp.example.com|dana'"),
        (f'@id("a") permit (principal, {QUERY}, resource == Target::"order");', "there is no target 'order'; did you mean 'orders'?"),
        (f'@id("a") permit (principal, {QUERY}, resource == Target::"web1");', "'web1' is of kind 'ssh', which its actions are not for"),
    ],
)  # fmt: skip
def test_what_names_nothing_never_matches(policy: str, why: str) -> None:
    assert warnings(policy) == [f"a: it never matches: {why}"]


@pytest.mark.parametrize(
    ("action", "conditions", "why"),
    [
        # Conditions that contradict each other.
        (QUERY, "when { context.sql.unbounded && !context.sql.unbounded }", "`context.sql.unbounded` and not `context.sql.unbounded` cannot both be true"),
        (QUERY, "when { context.sql.unbounded } unless { context.sql.unbounded }", "`context.sql.unbounded` and not `context.sql.unbounded` cannot both be true"),
        (QUERY, "when { context.sql.statements == 1 && context.sql.statements == 2 }", "`context.sql.statements == 1` and `context.sql.statements == 2` cannot both be true"),
        (QUERY, "when { context.sql.statements > 5 } when { context.sql.statements < 3 }", "`context.sql.statements > 5` and `context.sql.statements < 3` cannot both be true"),
        (QUERY, "when { 5 <= context.sql.statements } unless { context.sql.statements >= 5 }", "`5 <= context.sql.statements` and not `context.sql.statements >= 5` cannot both be true"),
        (QUERY, "when { context.sql.statements > 1 && context.sql.statements < 3 && context.sql.statements != 2 }", "`context.sql.statements > 1`, `context.sql.statements < 3` and `context.sql.statements != 2` cannot all be true"),
        (QUERY, 'when { context.call.door == "http" && context.call.door == "sse" }', '`context.call.door == "http"` and `context.call.door == "sse"` cannot both be true'),
        (QUERY, 'when { ["http", "sse"].contains(context.call.door) && context.call.door == "cli" }', '`["http", "sse"].contains(context.call.door)` and `context.call.door == "cli"` cannot both be true'),
        (QUERY, 'when { ["SELECT"].containsAll(context.sql.kinds) && context.sql.kinds.contains("INSERT") }', '`["SELECT"].containsAll(context.sql.kinds)` and `context.sql.kinds.contains("INSERT")` cannot both be true'),
        (QUERY, 'when { context.sql.kinds == ["SELECT"] && context.sql.kinds.containsAny(["UPDATE", "DELETE"]) }', '`context.sql.kinds == ["SELECT"]` and `context.sql.kinds.containsAny(["UPDATE", "DELETE"])` cannot both be true'),
        (QUERY, "when { context.sql.reads.isEmpty() && context.sql.reads.contains(\"a.b\") }", '`context.sql.reads.isEmpty()` and `context.sql.reads.contains("a.b")` cannot both be true'),
        (QUERY, "when { (context.sql.statements > 5 || context.sql.row_limit > 5) && context.sql.statements < 1 && context.sql.row_limit == 5 }", "`context.sql.statements > 5` and `context.sql.statements < 1` cannot both be true; and `context.sql.row_limit > 5` and `context.sql.row_limit == 5` cannot both be true"),
        (QUERY, "when { if context.sql.unbounded then context.sql.statements > 5 else false } when { context.sql.statements == 0 }", "`context.sql.statements > 5` and `context.sql.statements == 0` cannot both be true; and `false` is never true"),
        (QUERY, 'when { context.call.time > datetime("2026-02-01") && context.call.time < datetime("2026-01-31T00:00:00Z") }', '`context.call.time > datetime("2026-02-01")` and `context.call.time < datetime("2026-01-31T00:00:00Z")` cannot both be true'),
        (CALL, 'when { context.http.path like "/v1/*" && context.http.path like "/v2/*" }', '`context.http.path like "/v1/*"` and `context.http.path like "/v2/*"` cannot both be true'),
        (CALL, 'when { context.http.path == "/v1" && context.http.path like "/v2*" }', '`context.http.path == "/v1"` and `context.http.path like "/v2*"` cannot both be true'),
        (CALL, 'when { context.http.path like "/v1/admin/*" && !(context.http.path like "/v1/*") }', '`context.http.path like "/v1/admin/*"` and not `context.http.path like "/v1/*"` cannot both be true'),
        (QUERY, 'when { context.call.time.toTime() > duration("22h") && context.call.time.toTime() < duration("6h") }', '`context.call.time.toTime() > duration("22h")` and `context.call.time.toTime() < duration("6h")` cannot both be true'),
        (QUERY, 'when { resource in Label::"team=payments" } unless { resource in Label::"team=payments" }', '`resource in Label::"team=payments"` and not `resource in Label::"team=payments"` cannot both be true'),
        (QUERY, 'when { resource in Env::"prod" && resource in Env::"dev" }', '`resource in Env::"prod"` and `resource in Env::"dev"` cannot both be true'),
        (REVEAL, 'when { resource == DataClass::"pii.email" && resource == DataClass::"pii.phone" }', '`resource == DataClass::"pii.email"` and `resource == DataClass::"pii.phone"` cannot both be true'),
        # What there is not.
        (QUERY, 'when { context.sql.kinds.contains("delete") }', "`context.sql.kinds.contains(\"delete\")` is never true; did you mean 'DELETE'?"),
        (QUERY, 'when { context.sql.merge_actions.contains("MERGE") }', "`context.sql.merge_actions.contains(\"MERGE\")` is never true; a member is 'DELETE', 'INSERT' or 'UPDATE'"),
        (QUERY, 'when { context.sql.kinds.containsAny(["truncate", "drop"]) }', "`context.sql.kinds.containsAny([\"truncate\", \"drop\"])` is never true; did you mean 'TRUNCATE'?"),
        (QUERY, 'when { context.sql.function_traits.contains("netwrok") }', "`context.sql.function_traits.contains(\"netwrok\")` is never true; did you mean 'network'?"),
        (QUERY, 'when { context.call.tool == "call_api" }', "`context.call.tool == \"call_api\"` is never true; it is 'query_database'"),
        (QUERY, 'when { context.call.door == "mcp" }', "`context.call.door == \"mcp\"` is never true; it is 'cli', 'http', 'sse' or 'stdio'"),
        (QUERY, 'when { context.call.assurance == "Token" }', "`context.call.assurance == \"Token\"` is never true; did you mean 'token'?"),
        (QUERY, 'when { resource.kind == "ssh" }', "`resource.kind == \"ssh\"` is never true; it is 'postgres'"),
        (QUERY, 'when { resource.name == "order" }', "`resource.name == \"order\"` is never true; did you mean 'orders'?"),
        (QUERY, 'when { resource == Target::"web1" }', "`resource == Target::\"web1\"` is never true; it is 'orders' or 'sandbox'"),
        (QUERY, "when { context.call.token_age < 0 }", "`context.call.token_age < 0` is never true; it is 0 or more"),
        (QUERY, "unless { context.usage.rows_1h >= 0 }", "`context.usage.rows_1h >= 0` is always true; it is 0 or more"),
        (QUERY, 'when { context.call.time.toTime() >= duration("1d1s") }', "`context.call.time.toTime() >= duration(\"1d1s\")` is never true; it is less than duration(\"24h\")"),
        (QUERY, 'when { context.sql.functions.contains("PG_SLEEP") }', "`context.sql.functions.contains(\"PG_SLEEP\")` is never true; did you mean 'pg_sleep'?"),
        (QUERY, 'when { context.sql.fingerprint == "xyz" }', "`context.sql.fingerprint == \"xyz\"` is never true; it is 32 of 0-9 and a-f"),
        (QUERY, "when { principal has emial && principal.emial == \"x\" }", "`principal has emial` is never true; did you mean 'email'?"),
        (QUERY, "when { context.sql has readonly }", "`context.sql has readonly` is never true; did you mean 'read_only'?"),
        (QUERY, "unless { context.sql has read_only }", "`context.sql has read_only` is always true"),
        (QUERY, "when { resource has owner }", "`resource has owner` is never true"),
        (QUERY, "when { context has shell }", "`context has shell` is never true"),
        (QUERY, 'when { principal in Group::"caller" }', '`principal in Group::"caller"` is never true'),
        (CALL, 'when { ["get", "head"].contains(context.http.method) }', "`[\"get\", \"head\"].contains(context.http.method)` is never true; did you mean 'GET'?"),
        (CALL, 'when { context.http.host == "Billing.internal" }', "`context.http.host == \"Billing.internal\"` is never true; did you mean 'billing.internal'?"),
        (CALL, 'when { context.http.host like "*.Internal" }', "`context.http.host like \"*.Internal\"` is never true; it has no letter in upper case"),
        (CALL, 'when { context.http.path == "/v1/x?force=1" }', "`context.http.path == \"/v1/x?force=1\"` is never true; it has no query and no fragment"),
        (CALL, 'when { context.http.path == "v1/invoices" }', "`context.http.path == \"v1/invoices\"` is never true; it begins with '/'"),
        (CALL, 'when { context.http.path like "https:*" }', "`context.http.path like \"https:*\"` is never true; it begins with '/'"),
        (CALL, 'when { context.http.graphql_operation == "Mutation" }', "`context.http.graphql_operation == \"Mutation\"` is never true; did you mean 'mutation'?"),
        (REVEAL, 'when { context.call.tool == "reveal" }', "`context.call.tool == \"reveal\"` is never true; it is 'call_api', 'query_database' or 'run_ssh_command'"),
        (REVEAL, 'when { context.target.name == "order" }', "`context.target.name == \"order\"` is never true; did you mean 'orders'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_so_never_matches(action: str, conditions: str, why: str) -> None:
    assert warnings(f'@id("a") forbid (principal, {action}, resource) {conditions};') == [f"a: it never matches: {why}"]


@pytest.mark.parametrize(
    ("policy", "warned"),
    [
        (f'@id("a") forbid (principal, {QUERY}, resource in Env::"prod") when {{ resource in Env::"dev" }};', ['a: it never matches: `resource in Env::"prod"` and `resource in Env::"dev"` cannot both be true']),
        (f'@id("a") forbid (principal, {QUERY}, resource == Target::"orders") when {{ resource in Env::"dev" }};', ['a: it never matches: `resource in Env::"dev"` is never true']),
        (f'@id("a") forbid (principal, {QUERY}, resource == Target::"orders") when {{ resource.name == "sandbox" }};', ["a: it never matches: `resource.name == \"sandbox\"` is never true; it is 'orders'"]),
        (f'@id("a") forbid (principal, {QUERY}, resource == Target::"orders") when {{ resource in Env::"prod" }};', []),
        ('@id("a") forbid (principal, action, resource) when { context has http && context has sql };', ["a: it never matches: `context has http` is never true"]),
        ('@id("a") forbid (principal, action, resource) when { context has http && context.http.keys_known };', []),
        (f'@id("a") forbid (principal, action in [Action::"query_database", {CALL[10:]}], resource) when {{ context has sql && context.sql.unbounded }};', ["a: it never matches call_api: `context has sql` is never true"]),
        (f'@id("a") forbid (principal, action in [Action::"query_database", {CALL[10:]}], resource) when {{ context.call.tool == "run_ssh_command" }};', ["a: it never matches: `context.call.tool == \"run_ssh_command\"` is never true; it is 'query_database'"]),
    ],
)  # fmt: skip
def test_scope_and_conditions_are_taken_together(policy: str, warned: list[str]) -> None:
    assert warnings(policy) == warned


@pytest.mark.parametrize(
    ("policies", "why"),
    [
        # A permit within a permit.
        (f'@id("a") permit (principal in Group::"x", {COMMAND}, resource); @id("b") permit (principal, {COMMAND}, resource);', "it adds nothing: the permit 'b' permits all of it"),
        (f'@id("a") permit (principal, {COMMAND}, resource) when {{ context.shell.read_only }}; @id("b") permit (principal, {COMMAND}, resource);', "it adds nothing: the permit 'b' permits all of it"),
        (f'@id("a") permit (principal, {COMMAND}, resource) when {{ context.shell.read_only && !context.shell.programs.contains("cat") }}; @id("b") permit (principal, action in [{COMMAND[10:]}, {CALL[10:]}], resource is Target) unless {{ context.call.door == "cli" }}; @id("c") permit (principal, {COMMAND}, resource) when {{ context.shell.read_only }};', "it adds nothing: the permit 'c' permits all of it"),
        (f'@id("a") permit (principal, {QUERY}, resource) when {{ context.sql.row_limit > 0 && context.sql.row_limit < 10 }}; @id("b") permit (principal, {QUERY}, resource) when {{ context.sql.row_limit < 100 }};', "it adds nothing: the permit 'b' permits all of it"),
        (f'@id("a") @max_rows("10") permit (principal, {QUERY}, resource) when {{ context.sql.read_only }}; @id("b") @max_rows("5") permit (principal, {QUERY}, resource);', "it adds nothing: the permit 'b' permits all of it"),
        # A forbid within a forbid.
        (f'@id("a") forbid (principal, {COMMAND}, resource in Env::"prod") when {{ context.shell.opaque }}; @id("b") forbid (principal, {COMMAND}, resource) when {{ context.shell.opaque || context.shell.network }}; @id("p") permit (principal, {COMMAND}, resource);', "it adds nothing: the forbid 'b' forbids all of it"),
        (f'@id("a") @approval("dba") forbid (principal, {QUERY}, resource) when {{ context.sql.unbounded }} unless {{ context.approval.by.contains("dba") }}; @id("b") forbid (principal, action, resource) when {{ context has sql && context.sql.unbounded }};', "it adds nothing: the forbid 'b' forbids all of it"),
        (f'@id("a") @mode("shadow") forbid (principal, {COMMAND}, resource) when {{ context.shell.opaque }}; @id("b") forbid (principal, {COMMAND}, resource) when {{ context.shell.opaque || context.shell.network }};', "it adds nothing: the forbid 'b' forbids all of it"),
        # The same twice: the later one.
        (f'@id("b") forbid (principal, {COMMAND}, resource) when {{ context.shell.opaque }}; @id("a") @reason("other words") forbid (principal, {COMMAND}, resource) when {{ !!context.shell.opaque }};', "it adds nothing: 'b' says the same"),
        (f'@id("b") permit (principal, {COMMAND}, resource); @id("a") permit (principal, {COMMAND}, resource);', "it adds nothing: 'b' says the same"),
        (f'@id("b") @approval("dba") forbid (principal, {QUERY}, resource) unless {{ context.approval.by.contains("dba") }}; @id("a") @approval("dba") forbid (principal, {QUERY}, resource) unless {{ context.approval.by.contains("dba") }};', "it adds nothing: 'b' says the same"),
        # A permit of what is forbidden.
        (f'@id("a") permit (principal, {QUERY}, resource); @id("b") forbid (principal, action, resource);', "it never decides anything: the forbid 'b' stands against all that it permits"),
        (f'@id("a") permit (principal, {QUERY}, resource) when {{ context.sql.unbounded }}; @id("b") forbid (principal, action, resource) when {{ context has sql && context.sql.unbounded }};', "it never decides anything: the forbid 'b' stands against all that it permits"),
    ],
)  # fmt: skip
def test_what_another_policy_says_already_adds_nothing(policies: str, why: str) -> None:
    assert [one.partition(" (p.cedar")[0] for one in warnings(policies)] == [f"a: {why}"]


@pytest.mark.parametrize(
    "policies",
    [
        READ_ALL + WRITES_ASK,
        f'@id("a") permit (principal, {QUERY}, resource) when {{ true }};',
        f'@id("a") permit (principal, {QUERY}, resource) when {{ context.sql.read_only || true }};',
        f'@id("a") permit (principal, {QUERY}, resource == Target::"orders");',
        f'@id("a") permit (principal, {QUERY}, resource); @id("b") forbid (principal in Group::"x", {QUERY}, resource);',
        f'@id("a") permit (principal, {QUERY}, resource); @id("b") forbid (principal, {QUERY}, resource) when {{ context.sql.unbounded }};',
        f'@id("a") permit (principal, {QUERY}, resource); @id("b") @mode("shadow") forbid (principal, {QUERY}, resource);',
        f'@id("a") permit (principal, {QUERY}, resource); @id("b") forbid (principal, {COMMAND}, resource);',
        f'@id("a") permit (principal, {REVEAL}, resource == DataClass::"pii.email");',
        f'@id("a") permit (principal is Caller, {CALL}, resource is Target);',
        f'@id("a") forbid (principal, {CALL}, resource) when {{ context.http.path like "/v1/*" && !(context.http.path like "/v1/admin/*") }};',
        f'@id("a") forbid (principal, {CALL}, resource) when {{ context.http.path like "*/v1/*" && !(context.http.path like "/v1/*") }};',
        f'@id("a") forbid (principal, {CALL}, resource) when {{ context.call.time.toTime() > duration("22h") || context.call.time.toTime() < duration("6h30m") }};',
        f'@id("a") forbid (principal, {CALL}, resource) when {{ context.call.time.offset(duration("-1d")).toTime() == duration("23h59m59s999ms") }};',
        f'@id("a") forbid (principal, {CALL}, resource) when {{ principal has email && context has http && resource has name }};',
        # Conditions that may be so.
        f'@id("a") forbid (principal, {QUERY}, resource) when {{ context.sql.statements > 1 && context.sql.statements < 3 }};',
        f'@id("a") forbid (principal, {QUERY}, resource) when {{ context.sql.function_traits.contains("extension:dblink") }};',
        f'@id("a") forbid (principal, {QUERY}, resource) when {{ context.usage.touched_1h.contains(DataClass::"pii.email") }};',
        f'@id("a") forbid (principal, {QUERY}, resource) when {{ resource in Label::"team=payments" && resource in Env::"test" }};',
        f'@id("a") forbid (principal, {QUERY}, resource) unless {{ resource.name == "coming" || resource == Target::"coming" }};',
        f'@id("a") forbid (principal, {QUERY}, resource) when {{ principal has email && principal.email like "*@x" && principal.email like "a*" }};',
        f'@id("a") forbid (principal, {QUERY}, resource) when {{ context.sql.reads == context.sql.writes && !context.sql.reads.isEmpty() }};',
        f'@id("a") forbid (principal, {QUERY}, resource) when {{ context.sql.planned_rows + 1 > 5 && context.sql.planned_rows < 5 }};',
        # What another one covers, but for what it asks, bounds or shows.
        f'@id("a") @max_rows("10") permit (principal in Group::"x", {QUERY}, resource); @id("b") permit (principal, {QUERY}, resource);',
        f'@id("a") @max_rows("10") permit (principal in Group::"x", {QUERY}, resource); @id("b") @max_rows("20") permit (principal, {QUERY}, resource);',
        f'@id("a") @timeout("5s") permit (principal in Group::"x", {QUERY}, resource); @id("b") @max_rows("5") permit (principal, {QUERY}, resource);',
        f'@id("a") permit (principal in Group::"x", {QUERY}, resource); @id("b") @mode("shadow") permit (principal, {QUERY}, resource);',
        f'@id("a") forbid (principal in Group::"x", {QUERY}, resource); @id("b") @approval("dba") forbid (principal, {QUERY}, resource) unless {{ context.approval.by.contains("dba") }};',
        f'@id("a") @approval("dba") @approvers("2") forbid (principal, {QUERY}, resource) unless {{ context.approval.by.contains("dba") }}; @id("b") @approval("dba") forbid (principal, {QUERY}, resource) unless {{ context.approval.by.contains("dba") }};',
        f'@id("a") @approval("dba") @ttl("5m") forbid (principal, {QUERY}, resource) unless {{ context.approval.by.contains("dba") }}; @id("b") @approval("dba") forbid (principal, {QUERY}, resource) unless {{ context.approval.by.contains("dba") }};',
        # What covers another one today, for these targets alone.
        f'@id("a") permit (principal, {COMMAND}, resource); @id("b") permit (principal, {COMMAND}, resource == Target::"web1") when {{ context.shell.opaque }}; @id("c") forbid (principal, {COMMAND}, resource) when {{ resource.name == "web1" }};'.replace('@id("b") permit', '@id("b") @timeout("5s") permit'),
    ],
)  # fmt: skip
def test_what_may_decide_is_not_warned_of(policies: str) -> None:
    assert warnings(policies) == []


def test_without_targets_nothing_is_said_of_their_names() -> None:
    text = f'@id("a") forbid (principal, {QUERY}, resource) when {{ resource.name == "x" || resource == Target::"y" }};'
    named = f'@id("b") permit (principal, {QUERY}, resource == Target::"z"); @id("c") permit (principal, {QUERY}, resource in Env::"dev");'
    assert findings(text + named, targets=()) == Findings()


def test_of_a_kind_of_which_there_is_no_target_nothing_is_said() -> None:
    text = (
        f'@id("a") forbid (principal, {CALL}, resource in Env::"prod") when {{ resource.name == "x" }};'
        f'@id("b") forbid (principal, {CALL}, resource) when {{ resource == Target::"y" }};'
    )
    assert findings(text, targets=[target for target in TARGETS if target.kind != "http"]).warnings == ()


def test_the_place_is_that_of_what_made_it_impossible() -> None:
    text = f'// é\n@id("a") forbid (principal, {QUERY}, resource)\nwhen {{\n\tcontext.sql.statements > 5 // é\n\t&& context.sql.statements < 3\n}};'
    (warning,) = findings(text).warnings
    assert (warning.file, warning.line, warning.column, warning.path) == ("p.cedar", 5, 5, "a")


@pytest.mark.parametrize(
    ("condition", "warned"),
    [
        (
            'context.http.path like "/admin/*"',
            "a: it never matches: `context.http.path like \"/admin/*\"` is never true; it begins with '/v1'",
        ),
        (
            'context.http.path == "/invoices"',
            "a: it never matches: `context.http.path == \"/invoices\"` is never true; it begins with '/v1'",
        ),
        ('context.http.path like "/v1/admin/*"', None),
        ('context.http.path like "*/admin/*"', None),
        ('context.http.path == "/v1"', None),
        ('context.http.path == "/v1/x" || context.http.path like "/admin/*"', None),
        ('!(context.http.path like "/admin/*")', None),
    ],
)
def test_a_path_that_is_below_no_base_is_warned_of(condition: str, warned: str | None) -> None:
    """A policy sees the whole path, and not what the agent gave."""
    found = compiled(f'@id("a") permit (principal, {CALL}, resource) when {{ {condition} }};')
    bases = {"billing": "https://billing.internal/v1/"}
    told = [str(one).partition(": ")[2] for one in findings_on(found, targets=TARGETS, bases=bases).warnings]
    assert told == ([] if warned is None else [warned])
    other = findings_on(found, targets=[*TARGETS, replace(TARGETS[-1], name="other")], bases=bases)
    assert other.warnings == (), "of a target whose base is not known a path may be any"
    wide = findings_on(found, targets=TARGETS, bases={"billing": "https://billing.internal"})
    assert wide.warnings == ()


def test_the_facts_of_a_further_tool_may_be_any() -> None:
    tools: dict[str, TargetKind] = {"ask_warehouse": "postgres"}
    text = f'@id("a") forbid (principal, action in [{QUERY[10:]}, Action::"ask_warehouse"], resource) when {{ context.sql.kinds.contains("SEARCH") }};'
    found = compile_policies([Source(file="p.cedar", text=text)], targets=TARGETS, classes=[], tools=tools)
    _, warning = findings_on(found, targets=TARGETS).warnings
    assert warning.message.startswith("it never matches query_database: `context.sql.kinds")


@pytest.mark.parametrize(
    ("condition", "warned"),
    [
        ('context.sql.reads.contains("orders")', ["1:109: a: context.sql.reads is asked for 'orders'"]),
        (
            'context.sql.writes.containsAny(["public.orders", "orders", "items"])',
            ["1:131: a: context.sql.writes is asked for 'orders'", "1:141: a: context.sql.writes is asked for 'items'"],
        ),
        ('context.sql.reads.contains("public.orders")', []),
        ('context.sql.kinds.contains("DELETE")', []),
        (
            'context.sql.columns.contains("customers.ssn")',
            ["1:111: a: context.sql.columns is asked for 'customers.ssn'"],
        ),
        ('context.sql.returned_columns.contains("ssn")', ["1:120: a: context.sql.returned_columns is asked for 'ssn'"]),
        (
            'context.sql.condition_columns.containsAny(["public.customers.ssn", "customers.ssn"])',
            ["1:149: a: context.sql.condition_columns is asked for 'customers.ssn'"],
        ),
    ],
)
def test_a_name_without_its_schema_is_warned_of(condition: str, warned: list[str]) -> None:
    found = findings(f'@id("a") forbid (principal, {QUERY}, resource) when {{ {condition} }};').warnings
    assert [str(one).removeprefix("p.cedar:").partition(", which names no schema")[0] for one in found] == warned


@pytest.mark.parametrize(
    ("condition", "warned"),
    [
        (
            'context.sql.reads.contains("public.salaries") || context.sql.function_traits.contains("unnamed_part")',
            ["1:168: a: context.sql.function_traits never has 'unnamed_part'; did you mean 'unnamed_parts'?"],
        ),
        (
            'context.sql.kinds.containsAny(["DELETE", "truncate"])',
            ["1:123: a: context.sql.kinds never has 'truncate'; did you mean 'TRUNCATE'?"],
        ),
        (
            'context.sql.unbounded || context.sql.merge_actions.contains("REMOVE")',
            ["1:142: a: context.sql.merge_actions never has 'REMOVE'; a member is 'DELETE', 'INSERT' or 'UPDATE'"],
        ),
        (
            'context.sql.unbounded || ["SELECT", "select"].containsAll(context.sql.kinds)',
            ["1:118: a: context.sql.kinds never has 'select'; did you mean 'SELECT'?"],
        ),
        ('["SELECT", "ANOTHER_VERSIONS"].containsAll(context.sql.kinds)', []),
        (
            '["http", "https"].contains(context.call.door)',
            ["1:91: a: context.call.door is never 'https'; did you mean 'http'?"],
        ),
        (
            'context.sql.unbounded || context.call.assurance == "Token"',
            ["1:133: a: context.call.assurance is never 'Token'; did you mean 'token'?"],
        ),
        (
            'context.call.door != "HTTP"',
            ["1:103: a: context.call.door is never 'HTTP'; did you mean 'http'?"],
        ),
        (
            "!(principal has emial) || context.sql has readonly",
            [
                "1:84: a: principal has no attribute 'emial'; did you mean 'email'?",
                "1:108: a: context.sql has no attribute 'readonly'; did you mean 'read_only'?",
            ],
        ),
        (
            'context.sql.unbounded || principal in [Group::"dba", Group::"caller"]',
            ["1:135: a: no caller is in Group::'caller', which is reserved"],
        ),
        (
            'principal == Caller::"dana"',
            [
                "1:95: a: no caller is Caller::'dana'; "
                "it is named by issuer and subject, as 'https://idp.example.com|dana'"
            ],
        ),
        ('principal == Caller::"https://idp.example.com|dana"', []),
        ('context.sql.unbounded || resource.name == "elsewhere"', []),
        ('context.sql.unbounded || context.sql.function_traits.contains("language:plperl")', []),
        ('context.sql.unbounded || context.sql.functions.contains("pg_sleep")', []),
        ('context.sql.unbounded || context.sql.inference.contains(Inference::"where")', []),
    ],
)
def test_what_there_never_is_is_warned_of_beside_others(condition: str, warned: list[str]) -> None:
    found = findings(f'@id("a") forbid (principal, {QUERY}, resource) when {{ {condition} }};').warnings
    assert [str(one).removeprefix("p.cedar:") for one in found] == warned


def test_a_set_of_a_further_tool_may_have_any_member() -> None:
    tools: dict[str, TargetKind] = {"ask_warehouse": "postgres"}
    text = '@id("a") forbid (principal, action in [Action::"ask_warehouse", %s], resource) when { context.sql.unbounded || context.sql.kinds.contains("SEARCH") };'
    sources = [Source(file="p.cedar", text=text % QUERY[10:])]
    found = compile_policies(sources, targets=TARGETS, classes=[], tools=tools)
    assert [warning.message for warning in findings_on(found, targets=TARGETS).warnings] == [NO_PERMIT]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WRITES_ASK, True),
        ('@id("a") permit (principal, action == Action::"reveal", resource == DataClass::"pii.email");', True),
        (f'@id("a") @mode("shadow") permit (principal, {QUERY}, resource);', True),
        (f'@id("a") permit (principal, {COMMAND}, resource);', False),
        (READ_ALL + WRITES_ASK, False),
    ],
)
def test_a_set_in_which_nothing_permits_a_call_is_warned_of(text: str, *, said: bool) -> None:
    found = compile_policies([Source(file="p.cedar", text=text)], targets=TARGETS, classes=[])

    assert (Problem(message=NO_PERMIT) in findings_on(found, targets=TARGETS).warnings) is said


def test_the_starter_policies_have_no_warnings() -> None:
    found = load_policies([starter_policies()], targets=TARGETS, classes=[], guarded=False)
    assert findings_on(found.compiled, targets=TARGETS).warnings == ()


def test_a_very_large_set_is_looked_over_in_bounded_work() -> None:
    """Policies of one scope and the same attributes: each could be covered by each other."""
    text = "".join(
        f'@id("a{n}") forbid (principal, {QUERY}, resource) when {{ context.sql.row_limit == {n} && context.sql.statements == {n} }};\n'
        for n in range(300)
    )
    assert findings(text).warnings == ()
