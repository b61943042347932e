"""Policies that can never decide anything are noted, and no other."""

from __future__ import annotations

import pytest
from mcp_gateway_policies import starter_policies

from mcp_gateway.policy.loader import load_policies
from tests.policy.worlds import READ_ALL, TARGETS, WRITES_ASK, compiled

QUERY = 'action == Action::"query_database"'


def notes(text: str) -> list[str]:
    return [str(note).partition(": ")[2] for note in compiled(text).notes]


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (f'@id("a") permit (principal, {QUERY}, resource) when {{ false }};', "its `when` is always false"),
        (
            f'@id("a") permit (principal, {QUERY}, resource) when {{ context.sql.read_only && !true }};',
            "its `when` is always false",
        ),
        (
            f'@id("a") forbid (principal, {QUERY}, resource) unless {{ true || context.sql.read_only }};',
            "its `unless` is always true",
        ),
        (
            f'@id("a") permit (principal in Group::"caller", {QUERY}, resource);',
            "no caller is in Group::'caller', which is reserved",
        ),
        (f'@id("a") permit (principal, {QUERY}, resource == Target::"order");', "there is no target 'order'"),
        (
            f'@id("a") permit (principal, {QUERY}, resource == Target::"web1");',
            "'web1' is of kind 'ssh', which its actions are not for",
        ),
        (
            f'@id("a") permit (principal, {QUERY}, resource); @id("b") forbid (principal, action, resource);',
            "the forbid 'b' stands against all that it permits",
        ),
    ],
)
def test_what_never_decides_is_noted_at_its_place(policy: str, why: str) -> None:
    assert notes(policy) == [f"a: it never decides anything: {why}"]


@pytest.mark.parametrize(
    "policy",
    [
        READ_ALL + WRITES_ASK,
        f'@id("a") permit (principal, {QUERY}, resource) when {{ true }};',
        f'@id("a") permit (principal, {QUERY}, resource) when {{ context.sql.read_only || true }};',
        f'@id("a") permit (principal, {QUERY}, resource == Target::"orders");',
        f'@id("a") permit (principal, {QUERY}, resource);'
        f' @id("b") forbid (principal in Group::"x", {QUERY}, resource);',
        f'@id("a") permit (principal, {QUERY}, resource);'
        f' @id("b") forbid (principal, {QUERY}, resource) when {{ context.sql.unbounded }};',
        f'@id("a") permit (principal, {QUERY}, resource);'
        f' @id("b") @mode("shadow") forbid (principal, {QUERY}, resource);',
        f'@id("a") permit (principal, {QUERY}, resource);'
        ' @id("b") forbid (principal, action == Action::"run_ssh_command", resource);',
        '@id("a") permit (principal, action == Action::"reveal", resource == DataClass::"pii.email");',
        '@id("a") permit (principal is Caller, action == Action::"call_api", resource is Target);',
    ],
)
def test_what_can_decide_is_not_noted(policy: str) -> None:
    assert notes(policy) == []


@pytest.mark.parametrize(
    ("condition", "noted"),
    [
        ('context.sql.reads.contains("orders")', ["context.sql.reads is asked for 'orders'"]),
        (
            'context.sql.writes.containsAny(["public.orders", "orders", "items"])',
            ["context.sql.writes is asked for 'items'", "context.sql.writes is asked for 'orders'"],
        ),
        ('context.sql.reads.contains("public.orders")', []),
        ('context.sql.kinds.contains("DELETE")', []),
    ],
)
def test_a_table_without_its_schema_is_noted(condition: str, noted: list[str]) -> None:
    found = notes(f'@id("a") forbid (principal, {QUERY}, resource) when {{ {condition} }};')
    assert [note.removeprefix("a: ").partition(", which names no schema")[0] for note in found] == noted


def test_nothing_is_noted_of_the_starter_policies() -> None:
    found = load_policies([starter_policies()], targets=TARGETS, classes=[], guarded=False).notes
    assert [note for note in found if "never decides" in str(note)] == []
