"""Whatever is said to follow from a fact does in every fact that there is: those of the labelled cases are asked, by Cedar."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import cedarpy
import pytest

from mcp_gateway.calls import Facts, JSONObject, SQLFacts
from mcp_gateway.decisions import NOT_APPROVED
from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.facts.openapi import read_openapi
from mcp_gateway.facts.requests import Interface
from mcp_gateway.facts.shell import examine_shell
from mcp_gateway.facts.worker_process import Desk
from mcp_gateway.inference import KINDS
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.policy.examiners import examine_request
from mcp_gateway.policy.implications import IMPLICATIONS, SUBSETS
from mcp_gateway.policy.question import context_of, named, rendered
from mcp_gateway.policy.schema import ACTIONS, REVEAL
from tests.corpora import CORPORA, cases
from tests.facts.databases import OBJECTS, catalog_of, empty_database
from tests.peers.postgres import PostgresServer
from tests.policy.worlds import BILLING, ORDERS, WEB, findings, question

pytestmark = pytest.mark.timeout(300)

TARGETS = {"query_database": ORDERS, "run_ssh_command": WEB, "call_api": BILLING}
CLASSIFY = {"public.users.ssn": "pii.national_id", "public.users.email": "pii.email"}
AROUND = (
    "{}",
    "EXPLAIN {}",
    "EXPLAIN ANALYZE {}",
    "WITH q AS ({}) SELECT * FROM q",
    "CREATE TABLE t AS {}",
    "SELECT (SELECT max(id) FROM users) FROM ({}) AS s",
)


def pairs(action: str) -> list[tuple[str, str]]:
    """Premises, and what follows from them."""
    stated = [(one.premise, one.then) for one in IMPLICATIONS.get(action, ())]
    for narrow, wide in SUBSETS.get(action, ()):
        few, many = (f"context.{'.'.join(path)}" for path in (narrow, wide))
        stated.append((f"!{few}.isEmpty()", f"{many}.containsAll({few})"))
    return stated


def where(conditions: Iterable[str]) -> cedarpy.PolicySet:
    """One policy for each condition, named by its number."""
    text = "".join(
        f'@id("{n}") permit (principal, action, resource) when {{ {one} }};' for n, one in enumerate(conditions)
    )
    return cedarpy.PolicySet.from_str(text)


def matching(policies: cedarpy.PolicySet, action: str, context: str) -> set[int]:
    request = {
        "principal": named(("Caller", "x")),
        "action": named(("Action", action)),
        "resource": named(("Target", TARGETS[action].name)),
        "context": context,
    }
    result = cedarpy.is_authorized(request, policies, [])
    assert not result.diagnostics.errors
    return {int(result.diagnostics.id_annotations_by_reason[reason]) for reason in result.diagnostics.reasons}


def as_decided(facts: Facts) -> Facts:
    """As every decision takes them, on a target with a class."""
    if isinstance(facts, SQLFacts) and facts.inference is None:
        return replace(facts, inference=dict.fromkeys(KINDS, frozenset({"pii.email"})))
    return facts


def assert_all_follow(action: str, facts: Sequence[Facts], *, met: Iterable[str] | None = None) -> None:
    """Nothing of it is broken by any of these facts, and each premise is met by some of them."""
    stated = pairs(action)
    broken, premises = where(f"{one} && !({then})" for one, then in stated), where(one for one, _ in stated)
    seen: set[int] = set()
    for one in map(as_decided, facts):
        asked = question(tool=action, target=TARGETS[action], facts=one)
        context = rendered(context_of(asked, classes=frozenset(BUILT_IN), actions=ACTIONS), NOT_APPROVED)
        assert not matching(broken, action, context), one
        seen |= matching(premises, action, context)
    wanted = {one for one, _ in stated} if met is None else set(met)
    assert {stated[number][0] for number in seen} >= wanted


def statements() -> Iterator[str]:
    for case in cases("sql.jsonl") + cases("mask_evasion.jsonl"):
        yield from (
            text.format(case["input"]["sql"].rstrip("; \n")) for text in AROUND if "{" not in case["input"]["sql"]
        )


def of_statements(texts: Iterable[str], *, catalog: Catalog | None) -> list[SQLFacts]:
    """The facts of those that could be calls."""
    desk = Desk()
    if catalog is not None:
        desk.answer(("load", 1, catalog, CLASSIFY))
    answers = [desk.answer(("examine", None if catalog is None else 1, sql)) for sql in texts]
    return [one.examination.facts for one in answers if one.examination is not None and one.examination.refusal is None]


WITHOUT_CATALOG = ["!context.sql.infers.isEmpty()"]
"""What only a catalog tells of."""


def test_what_follows_from_facts_of_statements_does() -> None:
    premises = {one for one, _ in pairs("query_database")}

    assert_all_follow(
        "query_database", of_statements(statements(), catalog=None), met=premises.difference(WITHOUT_CATALOG)
    )


def test_what_follows_from_facts_by_a_catalog_does(postgres_server: PostgresServer) -> None:
    schema = (CORPORA / "mask_evasion.sql").read_text(encoding="utf-8")
    with empty_database(postgres_server) as name:
        postgres_server.execute(schema, database=name)
        classified = catalog_of(postgres_server, database=name)
    with empty_database(postgres_server) as name:
        postgres_server.execute(OBJECTS, database=name)
        trapped = catalog_of(postgres_server, database=name)
    pick = random.Random(7)
    some = pick.sample(sorted(set(statements())), 1500)

    facts = of_statements(some, catalog=classified) + of_statements(some, catalog=trapped)

    assert_all_follow("query_database", facts)


def test_what_follows_from_facts_of_commands_does() -> None:
    facts: list[Facts] = []
    for case in cases("shell.jsonl"):
        command = case["input"]["command"]
        for text in (
            command,
            f"sudo {command}",
            f"{command} > /tmp/x",
            f"rm -r /a; {command}",
            f"curl -o /b {command}",
        ):
            try:
                facts.append(examine_shell(command=text))
            except ValueError:
                continue
        facts += [examine_shell(argv=["sh", "-c", command]), examine_shell(argv=["cat", command or "-"])] * (
            "\0" not in command
        )

    assert_all_follow("run_ssh_command", facts)


@cache
def interfaces() -> list[Interface]:
    document = read_openapi(
        """
openapi: 3.1.0
info: {title: t, version: '1'}
servers: [{url: https://api.example.com/v1}]
paths:
  /invoices:
    get: {operationId: listInvoices, tags: [reads], parameters: [{name: year, in: query, schema: {type: integer}}]}
    post: {requestBody: {content: {application/json: {schema: {type: object}}}}}
  /graphql:
    post: {tags: [graph], requestBody: {content: {application/json: {schema: {type: object}}}}}
""",
        file="api.yaml",
    )
    base = "https://api.example.com/v1"
    return [
        Interface(base_url=base),
        Interface(base_url=base, graphql="/graphql"),
        Interface(base_url=base, document=document),
        Interface(base_url=base, graphql="/graphql", document=document),
    ]


def requests() -> Iterator[JSONObject]:
    for path in (
        "/invoices",
        "/invoices?year=2026",
        "/invoices?year=x",
        "/GraphQL",
        "/graphql",
        "/graphql?query={a}",
        "/",
    ):
        yield from ({"method": method, "path": path} for method in ("GET", "DELETE", "HEAD"))
        for query in (
            "{ a b }",
            "mutation { c }",
            "subscription { d }",
            "query A { a } query B { b }",
            "{",
            "{ ...F }",
            "",
        ):
            yield {"method": "POST", "path": path, "json": {"query": query}}
        yield {"method": "POST", "path": path, "json": [{"query": "{ a }"}]}
        yield {"method": "POST", "path": path, "body": "{ a }", "headers": {"Content-Type": "application/graphql"}}
        yield {"method": "PUT", "path": path, "body": "x=1", "headers": {"Content-Type": "text/plain"}}
    for case in cases("ssrf.jsonl"):
        yield {"method": "GET", "path": "/" + str(case["input"].get("url", "")).rpartition("/")[2]}


def test_what_follows_from_facts_of_requests_does() -> None:
    facts: list[Facts] = []
    for interface in interfaces():
        for arguments in requests():
            try:
                facts.append(examine_request(arguments, interface))
            except ValueError:
                continue

    assert_all_follow("call_api", facts)


QUERY = 'action == Action::"query_database"'
COMMAND = 'action == Action::"run_ssh_command"'
CALL = 'action == Action::"call_api"'


@pytest.mark.parametrize(
    ("scope", "conditions", "why"),
    [
        (QUERY, 'when { context.sql.merge_actions.contains("DELETE") && !context.sql.kinds.contains("MERGE") }',
         '`context.sql.merge_actions.contains("DELETE")` and not `context.sql.kinds.contains("MERGE")` cannot both be true: '
         "only a MERGE has merge_actions"),
        (QUERY, 'when { context.sql.kinds == ["SELECT"] } when { !context.sql.merge_actions.isEmpty() }',
         '`context.sql.kinds == ["SELECT"]` and not `context.sql.merge_actions.isEmpty()` cannot both be true: '
         "only a MERGE has merge_actions"),
        (QUERY, "when { context.sql.read_only } when { context.sql.unbounded }",
         "`context.sql.read_only` and `context.sql.unbounded` cannot both be true: what is unbounded changes rows"),
        (QUERY, 'when { ["SELECT", "INSERT"].containsAll(context.sql.kinds) && context.sql.unbounded }',
         '`["SELECT", "INSERT"].containsAll(context.sql.kinds)` and `context.sql.unbounded` cannot both be true: '
         "only an UPDATE, a DELETE or a MERGE is unbounded"),
        (QUERY, 'when { context.sql.returned_columns.contains("a.b.c") } unless { context.sql.columns.contains("a.b.c") }',
         '`context.sql.returned_columns.contains("a.b.c")` and not `context.sql.columns.contains("a.b.c")` cannot both be true: '
         "columns has returned_columns"),
        (QUERY, 'when { context.sql.columns.isEmpty() } when { context.sql.condition_columns.contains("a.b.c") }',
         '`context.sql.columns.isEmpty()` and `context.sql.condition_columns.contains("a.b.c")` cannot both be true: '
         "columns has condition_columns"),
        (COMMAND, 'when { context.shell.read_only && context.shell.writes.contains("/etc/passwd") }',
         '`context.shell.read_only` and `context.shell.writes.contains("/etc/passwd")` cannot both be true: '),
        (COMMAND, "when { context.shell.opaque } unless { context.shell.network }",
         "`context.shell.opaque` and not `context.shell.network` cannot both be true: what is opaque may reach the network"),
        (CALL, 'when { context.http.operation like "list*" } unless { context.http.documented }',
         '`context.http.operation like "list*"` and not `context.http.documented` cannot both be true: '
         "an operation is one of a document"),
        (CALL, 'when { context.http.graphql_opaque && context.http.graphql_operation == "query" }',
         '`context.http.graphql_opaque` and `context.http.graphql_operation == "query"` cannot both be true: '
         "GraphQL that is opaque counts as a mutation"),
        (QUERY, 'when { context.sql.inference.contains(Inference::"order") && context.sql.infers.isEmpty() }',
         '`context.sql.inference.contains(Inference::"order")` and `context.sql.infers.isEmpty()` cannot both be true: '
         "a kind of inference is one of a class that it infers"),
        (CALL, "when { context.usage.rows_1m > 1000 && context.usage.rows_1h < 500 }",
         "`context.usage.rows_1m > 1000` and `context.usage.rows_1h < 500` cannot both be true: rows_1m is no more than rows_1h"),
        (CALL, "when { context.agent_usage.calls_24h == 3 } unless { context.agent_usage.calls_1m <= 3 }",
         "`context.agent_usage.calls_24h == 3` and not `context.agent_usage.calls_1m <= 3` cannot both be true: "
         "calls_1h is no more than calls_24h, and calls_1m is no more than calls_1h"),
        (CALL, 'when { context.usage.touched_1h.contains(DataClass::"pii.email") } unless { context.usage.touched_24h.contains(DataClass::"pii.email") }',
         '`context.usage.touched_1h.contains(DataClass::"pii.email")` and not `context.usage.touched_24h.contains(DataClass::"pii.email")` '
         "cannot both be true: touched_24h has touched_1h"),
    ],
)  # fmt: skip
def test_a_policy_against_what_follows_never_matches(scope: str, conditions: str, why: str) -> None:
    (warning,) = findings(f'@id("a") forbid (principal, {scope}, resource) {conditions};').warnings

    assert warning.message.startswith(f"it never matches: {why}")


@pytest.mark.parametrize(
    ("scope", "conditions"),
    [
        (QUERY, 'when { context.sql.kinds.contains("MERGE") && context.sql.merge_actions.isEmpty() }'),
        (QUERY, 'when { context.sql.read_only && context.sql.kinds.contains("DELETE") }'),
        (QUERY, 'when { context.sql.read_only && context.sql.writes.contains("a.b") }'),
        (QUERY, 'when { !["SELECT"].containsAll(context.sql.kinds) && context.sql.unbounded }'),
        (QUERY, 'when { context.sql.columns.contains("a.b.c") && !context.sql.returned_columns.contains("a.b.c") }'),
        (COMMAND, "when { !context.shell.read_only && !context.shell.writes_files && !context.shell.network }"),
        (COMMAND, "when { context.shell.writes_files && context.shell.writes.isEmpty() && context.shell.paths_known }"),
        (CALL, 'when { context.http.documented && context.http.operation == "" }'),
        (CALL, "when { context.usage.rows_1m == 0 && context.usage.rows_1h > 500 && context.usage.rows_24h == 501 }"),
        (
            CALL,
            "when { context.usage.calls_1h > 5 && context.agent_usage.calls_24h < 5 && context.usage.rows_24h < 5 }",
        ),
        (
            CALL,
            'when { !context.usage.touched_1h.contains(DataClass::"pii.email") && context.usage.touched_24h.contains(DataClass::"pii.email") }',
        ),
        (
            CALL,
            'when { context.usage.touched_1h.contains(DataClass::"pii.email") && !context.usage.touched_24h.contains(DataClass::"pii.phone") }',
        ),
    ],
)
def test_what_does_not_follow_may_be(scope: str, conditions: str) -> None:
    assert findings(f'@id("a") forbid (principal, {scope}, resource) {conditions};').warnings == ()


def test_what_another_policy_says_by_what_follows_adds_nothing() -> None:
    text = (
        f'@id("wide") forbid (principal, {QUERY}, resource) when {{ context.sql.columns.contains("public.c.ssn") }};'
        f'@id("narrow") forbid (principal, {QUERY}, resource) when {{ context.sql.returned_columns.contains("public.c.ssn") }};'
    )

    (warning,) = findings(text).warnings

    assert warning.path == "narrow"
    assert warning.message.startswith("it adds nothing: the forbid 'wide' forbids all of it")


def test_of_a_further_tool_nothing_follows() -> None:
    """It makes its facts itself."""
    from mcp_gateway.policy.implications import world_of
    from mcp_gateway.policy.schema import Action
    from mcp_gateway.policy.vocabulary import Vocabulary

    built_in = ACTIONS["query_database"]
    other: dict[str, Action] = {"query_database": built_in, "ask_warehouse": built_in}
    vocabulary = Vocabulary.of((), actions=other, classes=())

    assert world_of(vocabulary, "query_database").rules
    assert not world_of(vocabulary, "ask_warehouse").rules
    assert world_of(vocabulary, "ask_warehouse").inclusions == world_of(vocabulary, REVEAL).inclusions


def test_each_is_of_an_attribute_that_there_is() -> None:
    for action, stated in IMPLICATIONS.items():
        record: Any = ACTIONS[action].record
        for one in stated:
            assert f"context.{record}." in one.premise
            assert f"context.{record}." in one.then
