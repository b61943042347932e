"""Policies that add nothing, since another says as much: for `policy check`. Pure.

One covers another if it matches wherever the other does (no request fulfils the one and not the other), whichever
targets there are, and asks for no less. What is compared is bounded: of a very large set not every pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mcp_gateway.calls import JSONObject
from mcp_gateway.errors import Problem
from mcp_gateway.policy.contradictions import Budget, Denial, Known, excludes, known_from, parts_of
from mcp_gateway.policy.formulas import Formula
from mcp_gateway.policy.implications import world_of
from mcp_gateway.policy.schema import REVEAL
from mcp_gateway.policy.statement import Policy
from mcp_gateway.policy.steps import World
from mcp_gateway.policy.terms import key_of
from mcp_gateway.policy.vocabulary import Vocabulary

ANY = "any"


def policies_that_add_nothing(
    formulas: Sequence[Formula], *, vocabulary: Vocabulary, budget: Budget
) -> Iterator[Problem]:
    """Warnings, in the order of the formulas; these are of policies that match something."""
    covering = _Covering(vocabulary=vocabulary, budget=budget)
    for formula in formulas:
        covering.add(formula)
    for formula in formulas:
        if (why := covering.why(formula)) is not None:
            yield formula.policy.place.problem(why, policy=formula.policy.id)


@dataclass(slots=True)
class _Covering:
    vocabulary: Vocabulary
    budget: Budget
    places: dict[str, int] = field(default_factory=dict)
    """By id which policy is the earlier one."""
    actions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By id what a policy is for."""
    by_scope: dict[tuple[str, str, str], list[Formula]] = field(default_factory=dict)
    """By action, principal and resource."""
    worlds: dict[str, World] = field(default_factory=dict)
    known: dict[tuple[str, str], Known] = field(default_factory=dict)
    """By id and action what is so where a policy matches."""
    denied: dict[tuple[str, str], tuple[Denial, ...]] = field(default_factory=dict)
    """By id and action the ways in which a policy does not match."""

    def add(self, formula: Formula) -> None:
        policy = formula.policy
        self.places[policy.id] = len(self.places)
        actions = tuple(name for name in (*self.vocabulary.actions, REVEAL) if policy.scope.names(name))
        self.actions[policy.id] = actions
        for action in actions if formula.is_whole else ():
            key = (action, _side(policy.scope.principal), _side(policy.scope.resource))
            self.by_scope.setdefault(key, []).append(formula)

    def why(self, formula: Formula) -> str | None:
        """Why a policy adds nothing; None where it may."""
        policy = formula.policy
        for other in self._wider(formula):
            wide = other.policy
            if wide.effect == policy.effect:
                if not (_asks_no_less(wide, policy) and self._implies(formula, other)):
                    continue
                says_the_same = _asks_no_less(policy, wide) and _in_force_with(policy, wide)
                if says_the_same and self._implies(other, formula):
                    if self.places[wide.id] > self.places[policy.id]:
                        continue
                    return f"it adds nothing: {wide.id!r} says the same ({wide.place})"
                return f"it adds nothing: the {wide.effect} {wide.id!r} {wide.effect}s all of it ({wide.place})"
            if wide.effect == "forbid" and not wide.annotations.approval and self._implies(formula, other):
                return f"it never decides anything: the forbid {wide.id!r} stands against all that it permits ({wide.place})"
        return None

    def _wider(self, formula: Formula) -> Iterator[Formula]:
        """Those whose scope may hold all of another's, for every action of it."""
        policy = formula.policy
        first, *others = self.actions[policy.id] or ("",)
        sides = [sorted({ANY, _side(scope)}) for scope in (policy.scope.principal, policy.scope.resource)]
        for principal in sides[0]:
            for resource in sides[1]:
                for wider in self.by_scope.get((first, principal, resource), ()):
                    known = self.actions[wider.policy.id]
                    if (
                        wider is not formula
                        and _in_force_with(wider.policy, policy)
                        and all(one in known for one in others)
                    ):
                        yield wider

    def _implies(self, narrow: Formula, wide: Formula) -> bool:
        """Whether one matches wherever another does, for certain."""
        self.budget.steps -= 1
        return all(
            excludes(self._known(narrow, action), denial, self._world(action), self.budget)
            for action in self.actions[narrow.policy.id]
            for denial in self._denials(wide, action)
        )

    def _known(self, formula: Formula, action: str) -> Known:
        key = formula.policy.id, action
        if key not in self.known:
            self.known[key] = known_from(formula.claims, self._world(action), self.budget)
        return self.known[key]

    def _denials(self, formula: Formula, action: str) -> tuple[Denial, ...]:
        key = formula.policy.id, action
        if key not in self.denied:
            world = self._world(action)
            parts = (part for claim in formula.claims for part in parts_of(claim, world))
            self.denied[key] = tuple(Denial.of(part, world) for part in parts)
        return self.denied[key]

    def _world(self, action: str) -> World:
        if action not in self.worlds:
            self.worlds[action] = world_of(self.vocabulary, action)
        return self.worlds[action]


def _side(constraint: JSONObject) -> str:
    """What tells one side of a scope from others; all that leave it open are the same."""
    is_open = constraint == {"op": "All"} or (constraint.get("op") == "is" and "in" not in constraint)
    return ANY if is_open else key_of({name: value for name, value in constraint.items() if name != "op"})


def _in_force_with(wide: Policy, narrow: Policy) -> bool:
    return wide.annotations.mode == "enforce" or narrow.annotations.mode == "shadow"


def _asks_no_less(wide: Policy, narrow: Policy) -> bool:
    """Whether the annotations of one bring all that those of the other would."""
    one, other = wide.annotations, narrow.annotations
    if wide.effect == "permit":
        rows = other.max_rows is None or (one.max_rows is not None and one.max_rows <= other.max_rows)
        time = other.timeout is None or (one.timeout is not None and one.timeout <= other.timeout)
        return rows and time
    if not one.approval:
        return True
    asked = (one.approval, one.approvers, one.ttl, wide.lifted_by)
    return asked == (other.approval, other.approvers, other.ttl, narrow.lifted_by)
