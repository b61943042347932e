"""Policies that can never decide anything, or not what they seem to: what `policy check` notes beside errors. Pure.

Only what is certain is noted, for these targets: a condition that never holds, a principal or a target that there is not,
a target of a kind that the action is not for, a permit that an unconditional forbid stands against as a whole, and a table
that is asked for without its schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mcp_gateway.calls import JSONObject, Target
from mcp_gateway.decisions import CALLER_GROUP
from mcp_gateway.errors import Problem
from mcp_gateway.policy.expressions import Path
from mcp_gateway.policy.schema import REVEAL, Action
from mcp_gateway.policy.scopes import Scope
from mcp_gateway.policy.statement import Policy

TABLES: frozenset[Path] = frozenset({("sql", "reads"), ("sql", "writes")})


def notes_on(
    policies: Mapping[str, Policy],
    *,
    forms: Mapping[str, JSONObject],
    targets: Sequence[Target],
    actions: Mapping[str, Action],
) -> list[Problem]:
    """Notes on policies, of which there may be none. `forms` are Cedar's JSON forms of the same policies."""
    walls = [
        policy
        for name, policy in policies.items()
        if policy.effect == "forbid" and policy.annotations.mode == "enforce" and not forms[name]["conditions"]
    ]
    notes = []
    for name, policy in policies.items():
        why = next(_whys(policy, forms[name], targets={found.name: found for found in targets}, actions=actions), None)
        if why is None and policy.effect == "permit":
            why = next(
                (
                    f"the forbid {wall.id!r} stands against all that it permits"
                    for wall in walls
                    if _covers(wall.scope, policy.scope)
                ),
                None,
            )
        if why is not None:
            notes.append(policy.place.problem(f"it never decides anything: {why}", policy=name))
        notes += [
            policy.place.problem(
                f"context.{'.'.join(path)} is asked for {member!r}, which names no schema: tables that the target's catalog"
                " knows are schema.table there",
                policy=name,
            )
            for path, member in sorted(policy.reads.members)
            if path in TABLES and "." not in member
        ]
    return notes


def _whys(
    policy: Policy, form: JSONObject, *, targets: Mapping[str, Target], actions: Mapping[str, Action]
) -> Iterator[str]:
    for condition in form["conditions"]:
        if _constant(condition["body"]) is (condition["kind"] == "unless"):
            yield f"its `{condition['kind']}` is always {'true' if condition['kind'] == 'unless' else 'false'}"
    if _named(policy.scope.principal) == ("Group", CALLER_GROUP):
        yield f"no caller is in Group::{CALLER_GROUP!r}, which is reserved"
    of, name = _named(policy.scope.resource)
    if of != "Target" or policy.scope.names(REVEAL):
        return
    target = targets.get(name)
    if target is None:
        yield f"there is no target {name!r}"
    elif target.kind not in {action.kind for tool, action in actions.items() if policy.scope.names(tool)}:
        yield f"{name!r} is of kind {target.kind!r}, which its actions are not for"


def _named(constraint: JSONObject) -> tuple[str, str]:
    """Type and id of the entity that a part of a scope names; empty where it names none, or says more than that."""
    match constraint:
        case {"op": "==" | "in", "entity": entity}:
            return entity["type"], entity["id"]
        case _:
            return "", ""


def _constant(body: Any) -> bool | None:
    """What an expression is whatever is asked; None where that depends."""
    match body:
        case {"Value": bool(value)}:
            return value
        case {"!": {"arg": inner}}:
            found = _constant(inner)
            return None if found is None else not found
        case {"&&": {"left": left, "right": right}}:
            both = _constant(left), _constant(right)
            return False if False in both else True if both == (True, True) else None
        case {"||": {"left": left, "right": right}}:
            both = _constant(left), _constant(right)
            return True if True in both else False if both == (False, False) else None
        case _:
            return None


def _covers(wide: Scope, narrow: Scope) -> bool:
    """Whether everything in one scope is in another, for certain."""
    everything = {"op": "All"}
    sides = ((wide.principal, narrow.principal), (wide.resource, narrow.resource))
    if any(outer not in (everything, inner) for outer, inner in sides):
        return False
    return wide.actions is None or (narrow.actions is not None and narrow.actions <= wide.actions)
