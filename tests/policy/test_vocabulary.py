"""What the attributes of a context can be: nothing that facts have is outside of it."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import get_args

import pytest

from mcp_gateway.calls import Door, TargetKind
from mcp_gateway.facts import traits
from mcp_gateway.facts.parser import SQLSyntaxError
from mcp_gateway.facts.sql import examine_sql
from mcp_gateway.facts.sql_statements import ALL_KINDS, TRANSACTION_KINDS, kind_of
from mcp_gateway.policy.schema import ACTIONS, REVEAL, USAGE, actions_of, classes_of
from mcp_gateway.policy.vocabulary import Domain, Vocabulary
from tests.corpora import cases
from tests.policy.worlds import TARGETS

CLASSES = classes_of(TARGETS, configured=[])
VOCABULARY = Vocabulary.of(TARGETS, actions=ACTIONS, classes=CLASSES)


def domain(action: str, *path: str, variable: str = "context", target: str = "") -> Domain:
    return VOCABULARY.domains(action, target=target)[variable, path]


def values_of(found: Domain) -> set[object]:
    return set(found.values or ())


def test_every_kind_of_the_grammar_is_known() -> None:
    node = import_module("postgast.pg_query_pb2").Node.DESCRIPTOR
    statements = [field.message_type.name for field in node.fields if field.message_type is not None]
    bodies: list[dict[str, object]] = [{}, {"intoClause": {}}, {"kind": "VAR_RESET"}, {"is_grant": True}]
    bodies += [{"is_vacuumcmd": True}, {"ismove": True}]
    bodies += [{"kind": kind} for kind in TRANSACTION_KINDS]
    found = {kind_of(name, body) for name in statements if name.endswith("Stmt") for body in bodies}
    assert found == ALL_KINDS


def test_what_labelled_statements_have_is_known() -> None:
    kinds, of_functions = domain("query_database", "sql", "kinds"), domain("query_database", "sql", "function_traits")
    examined = 0
    for case in cases("sql.jsonl"):
        with suppress(SQLSyntaxError):
            facts = examine_sql(case["input"]["sql"], catalog=None).facts
            examined += 1
            assert all(map(kinds.has, facts.kinds))
            assert all(map(of_functions.has, facts.function_traits))
            assert facts.statements >= 0
            assert facts.row_limit >= -1
    assert examined > 100


def test_paths_and_methods_of_labelled_requests_are_known() -> None:
    path = domain("call_api", "http", "path")
    assert path.has("/v1/invoices")
    assert not path.has("v1/invoices")
    assert domain("call_api", "http", "method").has("GET")
    assert not domain("call_api", "http", "method").has("get")


def test_every_trait_that_has_a_name_in_code_is_known() -> None:
    named = {value for name, value in vars(traits).items() if name.isupper() and isinstance(value, str)}
    assert {"unnamed_tables", "unnamed_parts", "unnamed_columns", "triggers"} <= named
    assert all(map(domain("query_database", "sql", "function_traits").has, named))


def test_a_trait_may_have_a_prefix() -> None:
    found = domain("query_database", "sql", "function_traits")
    assert found.has("language:plpgsql")
    assert not found.has("plpgsql")
    assert found.finite is None


def test_the_tool_of_a_call_is_its_action_and_of_a_reveal_any() -> None:
    assert values_of(domain("call_api", "call", "tool")) == {"call_api"}
    assert values_of(domain(REVEAL, "call", "tool")) == set(ACTIONS)
    assert values_of(domain("call_api", "call", "door")) == set(get_args(Door))


@pytest.mark.parametrize("name", [name for name, of in USAGE.items() if of == "Long"])
def test_counts_begin_at_zero(name: str) -> None:
    assert domain("call_api", "usage", name).least == domain("call_api", "agent_usage", name).least == 0


def test_targets_are_those_of_the_kind_and_the_named_one() -> None:
    assert values_of(domain("query_database", "name", variable="resource")) == {"orders", "sandbox"}
    assert values_of(domain("query_database", "name", variable="resource", target="orders")) == {"orders"}
    assert values_of(domain("query_database", "kind", variable="resource")) == {"postgres"}
    assert values_of(domain(REVEAL, "target", "kind")) == set(get_args(TargetKind))
    assert values_of(domain(REVEAL, "target", "name")) == {target.name for target in TARGETS}
    assert values_of(domain(REVEAL, variable="resource")) == {("DataClass", name) for name in CLASSES}


def test_of_what_a_further_tool_brings_nothing_is_known() -> None:
    actions = actions_of({"ask_warehouse": "postgres"})
    domains = Vocabulary.of(TARGETS, actions=actions, classes=CLASSES).domains("ask_warehouse")
    assert ("context", ("sql", "kinds")) not in domains
    assert values_of(domains["context", ("call", "tool")]) == {"ask_warehouse"}


def test_what_has_been_touched_may_be_a_class_that_is_gone() -> None:
    assert ("context", ("usage", "touched_1h")) not in VOCABULARY.domains("call_api")
