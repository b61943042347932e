from __future__ import annotations

from dataclasses import replace

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_gateway_policies import starter_policies

from mcp_gateway.policy.loader import load_policies
from mcp_gateway.policy.reach import findings_on
from mcp_gateway.policy.schema import ACTIONS, NO_LABEL, classes_of, labels_of, quoted, schema_text
from tests.policy.worlds import COMMAND, ORDERS, READ, REQUEST, TARGETS, compiled, findings, problems


def test_the_schema_is_the_documented_one() -> None:
    text = schema_text(targets=[ORDERS], classes=classes_of([ORDERS], configured=["shop.price"]))
    assert 'entity Env enum ["dev", "prod", "staging", "test"];' in text
    assert 'entity Label enum ["team=payments"];' in text
    assert '"pii.email"' in text
    assert '"shop.margin"' in text
    assert '"shop.price"' in text
    for line in (
        "entity Group;",
        "entity Target in [Env, Label] { name: String, kind: String };",
        "entity Caller in [Group] { subject: String, issuer: String, actor: String, email?: String };",
        "type Call = { tool: String, door: String, assurance: String, scopes: Set<String>, token_age: Long, time: datetime };",
        "type Approval = { by: Set<String>, approvers: Long };",
        "type Sql = { read_only: Bool, kinds: Set<String>, merge_actions: Set<String>, reads: Set<String>, writes: Set<String>, "
        "columns: Set<String>, returned_columns: Set<String>, condition_columns: Set<String>, functions: Set<String>, function_traits: Set<String>, unbounded: Bool, statements: Long, row_limit: Long, "
        "fingerprint: String, returns: Set<DataClass>, planned_rows: Long, planned_cost: Long, infers: Set<DataClass>, inference: Set<Inference> };",
        "type Shell = { programs: Set<String>, subcommands: Set<String>, opaque: Bool, read_only: Bool, "
        "writes_files: Bool, privileged: Bool, network: Bool, writes: Set<String>, removes: Set<String>, "
        "paths_known: Bool };",
        "type Http = { method: String, host: String, path: String, query_keys: Set<String>, body_keys: Set<String>, "
        "keys_known: Bool, documented: Bool, operation: String, tags: Set<String>, matches: Bool, "
        "graphql_operation: String, graphql_fields: Set<String>, graphql_opaque: Bool };",
        'action "query_database" appliesTo { principal: [Caller], resource: [Target], '
        "context: { call: Call, approval: Approval, usage: Usage, agent_usage: Usage, sql: Sql } };",
        'action "run_ssh_command" appliesTo { principal: [Caller], resource: [Target], '
        "context: { call: Call, approval: Approval, usage: Usage, agent_usage: Usage, shell: Shell } };",
        'action "call_api" appliesTo { principal: [Caller], resource: [Target], '
        "context: { call: Call, approval: Approval, usage: Usage, agent_usage: Usage, http: Http } };",
        'action "reveal" appliesTo { principal: [Caller], resource: [DataClass], '
        "context: { call: Call, approval: Approval, usage: Usage, agent_usage: Usage, target: Target } };",
    ):
        assert line in text.splitlines()


def test_the_shapes_are_those_of_the_facts() -> None:
    for facts in (READ, COMMAND, REQUEST):
        action = next(action for action in ACTIONS.values() if action.facts is type(facts))
        assert facts.context().keys() == action.shape.keys()


def test_without_labels_the_schema_still_parses_and_no_label_can_be_named() -> None:
    text = schema_text(targets=[], classes=classes_of([], configured=[]))
    cedarpy.Schema.from_str(text)
    assert NO_LABEL in text
    assert "=" not in NO_LABEL


def test_env_is_an_entity_type_and_no_label() -> None:
    assert labels_of(ORDERS) == ("team=payments",)


def test_the_environments_of_targets_can_be_named_and_others_cannot() -> None:
    permit = '@id("a") permit (principal, action == Action::"call_api", resource in Env::"%s");'
    live = replace(ORDERS, labels={"env": "live"})
    assert compiled(permit % "live", targets=[live]).policies
    assert problems(permit % "live") == [
        'p.cedar:1:71: a: there is no Env::"live"; there are dev, prod, staging and test'
    ]


@pytest.mark.parametrize("env", ["dev", "test", "staging", "prod"])
def test_well_known_environments_can_always_be_named(env: str) -> None:
    assert problems(f'@id("a") permit (principal, action == Action::"call_api", resource in Env::"{env}");') == []


def test_an_environment_that_no_target_has_is_noted() -> None:
    notes = findings('@id("a")\npermit (principal, action == Action::"call_api", resource in Env::"test");').notes
    assert [str(note) for note in notes] == ['p.cedar:2:62: a: no target is in Env::"test"']


def test_an_environment_that_no_target_has_is_noted_once() -> None:
    permit = '@id("%s") permit (principal, action == Action::"call_api", resource in Env::"%s");'
    notes = findings("\n".join(permit % pair for pair in (("a", "test"), ("b", "staging"), ("c", "test")))).notes
    assert [str(note).partition(": ")[2] for note in notes] == [
        'a: no target is in Env::"test"; also named by c',
        'b: no target is in Env::"staging"',
    ]


def test_an_exception_for_an_environment_that_no_target_has_is_not_noted() -> None:
    forbid = '@id("a") forbid (principal, action == Action::"call_api", resource) %s;'
    exceptions = (
        'unless { resource in [Env::"staging", Env::"test"] } unless { [context.call.tool].contains("unless") }'
    )
    assert findings(forbid % exceptions).notes == ()
    both = f'{exceptions} when {{ resource in Env::"staging" || context.call.tool == "unless" || resource in Env::"test" }}'
    assert [str(note).partition(": a: ")[2] for note in findings(forbid % both).notes] == [
        'no target is in Env::"staging"',
        'no target is in Env::"test"',
    ]


def test_the_starter_policies_have_no_notes_on_any_one_target() -> None:
    for env in ("dev", "test", "staging", "prod", "live"):
        for kind in ("postgres", "ssh", "http"):
            target = replace(ORDERS, kind=kind, labels={"env": env})
            engine = load_policies(
                [starter_policies()], targets=[target], classes=classes_of([target], configured=()), guarded=False
            )
            assert findings_on(engine.compiled, targets=[target]).notes == ()


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_any_name_can_be_written_in_the_schema_and_named_in_a_policy(name: str) -> None:
    schema = cedarpy.Schema.from_str(schema_text(targets=TARGETS, classes=classes_of(TARGETS, configured=[name])))
    text = f'permit (principal, action == Action::"reveal", resource == DataClass::{quoted(name)});'
    assert cedarpy.validate_policies(text, schema).errors == []
