"""Whether conditions can hold at all: a search through the ways in which they could. Pure.

Each `||`, each `&&` that is not to hold and each `if` is a choice. A way that was gone to its end is a list of
`literals`, and closed where these contradict each other. Where every way is closed, no request fulfils the conditions,
since Cedar would go one of these ways. What is not understood is a truth that may be so or not. The search ends after
so many steps, and then they may hold.

Of what Cedar does not look at (the right side of `||` behind what is true) nothing is assumed, and a condition that
fails with an error fulfils nothing: so all that is said on one way is said of one request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from mcp_gateway.calls import JSONObject
from mcp_gateway.decisions import CALLER_GROUP
from mcp_gateway.policy.expressions import Path
from mcp_gateway.policy.literals import Kind, Literal, conflict, matches
from mcp_gateway.policy.schema import REVEAL
from mcp_gateway.policy.scopes import Entity
from mcp_gateway.policy.terms import constant_of, key_of, members_of, variable_of
from mcp_gateway.policy.vocabulary import ANYTHING, Constant, Domain, Vocabulary

MAX_STEPS = 3000
"""Of one search."""
MAX_DEPTH = 200
"""Choices one after another on one way."""
STEPS_OF_ONE = 5
"""What a step costs of a budget, in which comparing two policies costs one."""
LITERALS_OF_A_STEP = 8
"""Looking through so many for a contradiction is as much as a step."""
MAX_REASONS = 2


class Claim(NamedTuple):
    """An expression that is to hold, or not to."""

    node: JSONObject
    holds: bool
    shown: tuple[JSONObject, bool] | None = None
    """What it is made of, where it is not written so."""

    @property
    def origin(self) -> tuple[JSONObject, bool]:
        """What is written, and whether it is to hold."""
        return self.shown or (self.node, self.holds)


class Said(NamedTuple):
    """What a claim says of one value."""

    key: str
    domain: Domain
    literal: Literal


Ways: TypeAlias = tuple[tuple[Claim, ...], ...]
"""Claims of which all have to hold, in each of several ways."""
ALWAYS: Ways = ((),)
NEVER: Ways = ()


class Reason(NamedTuple):
    """Why a way is closed: what is written that cannot be so together."""

    claims: tuple[tuple[JSONObject, bool], ...]
    domain: Domain
    """What the value can be that they speak of."""


@dataclass(slots=True)
class Budget:
    """Steps that are left for all searches together."""

    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is certain of every request for one action, on one target where that is given."""

    action: str
    records: frozenset[str]
    domains: Mapping[tuple[str, Path], Domain]
    within: frozenset[Entity] | None = None
    """What the target is, and is in; None where it may be any."""
    steps: dict[tuple[int, bool], tuple[Claim, Ways | Said]] = field(default_factory=dict, compare=False)
    """What claims come to that were met already, by the identity of their expressions, which the claims here keep."""

    def step(self, claim: Claim) -> Ways | Said:
        """What a claim comes to; what it is made of is that of the first claim of this expression."""
        key = id(claim.node), claim.holds
        if key not in self.steps:
            self.steps[key] = claim, _step(claim, self)
        return self.steps[key][1]

    @classmethod
    def of(cls, vocabulary: Vocabulary, action: str, *, target: str = "") -> World:
        """Of an action, on a target where one is named."""
        return cls(
            action=action,
            records=vocabulary.records(action),
            domains=vocabulary.domains(action, target=target),
            within=vocabulary.entities_of(target),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What claims come to before anything is chosen."""

    literals: Mapping[str, tuple[Literal, ...]]
    """By value."""
    choices: tuple[Ways, ...]
    is_closed: bool
    """Whether they cannot all hold, as far as that is known without choosing."""


def contradictions(claims: Iterable[Claim], world: World, budget: Budget) -> tuple[Reason, ...] | None:
    """Why not all of this can hold in one request; None where it may."""
    search = _Search(world=world, budget=budget, explains=True)
    return tuple(search.reasons[:MAX_REASONS]) if search.close([*claims][::-1], [], {}) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """That a claim does not hold, prepared to be asked about often."""

    claim: Claim
    said: Said | None
    """What that says of one value, where it says no more."""
    is_impossible: bool
    """Whether no value can be so, by what that says alone."""

    @classmethod
    def of(cls, claim: Claim, world: World) -> Denial:
        """The denial of a claim."""
        denied = Claim(claim.node, not claim.holds)
        step = _step(denied, world)
        if isinstance(step, Said):
            return cls(claim=denied, said=step, is_impossible=conflict([step.literal], step.domain))
        return cls(claim=denied, said=None, is_impossible=step == NEVER)


def parts_of(claim: Claim, world: World) -> Iterator[Claim]:
    """Claims that hold together exactly where one holds."""
    step = _step(claim, world)
    if isinstance(step, Said) or len(step) != 1:
        yield claim
    else:
        for part in step[0]:
            yield from parts_of(part, world)


def known_from(claims: Iterable[Claim], world: World, budget: Budget) -> Known:
    """What is known where these hold."""
    literals: dict[str, tuple[Literal, ...]] = {}
    choices: list[Ways] = []
    search = _Search(world=world, budget=budget, explains=False)
    is_closed = search.takes([*claims][::-1], choices, literals)
    return Known(literals=literals, choices=tuple(choices), is_closed=is_closed is True)


def excludes(known: Known, denial: Denial, world: World, budget: Budget) -> bool:
    """Whether what is denied holds for certain where this is known."""
    if known.is_closed or denial.is_impossible:
        return True
    if (said := denial.said) is not None:
        literals = known.literals.get(said.key)
        if literals is not None and conflict([*literals, said.literal], said.domain):
            return True
        if not known.choices:
            return False
    search = _Search(world=world, budget=budget, explains=False)
    return search.close([denial.claim], [*known.choices], dict(known.literals))


@dataclass(slots=True)
class _Search:
    world: World
    budget: Budget
    explains: bool
    left: int = MAX_STEPS
    depth: int = 0
    reasons: list[Reason] = field(default_factory=list)
    said_by: list[Claim] = field(default_factory=list)
    """By their numbers, which literals have as their `source`."""

    def close(self, claims: list[Claim], choices: list[Ways], literals: dict[str, tuple[Literal, ...]]) -> bool:
        """Whether every way is closed in which these claims hold, one of each choice's ways, and these literals."""
        is_closed = self.takes(claims, choices, literals)
        if is_closed is not None:
            return is_closed
        if not choices or self.depth >= MAX_DEPTH:
            return False
        choices.sort(key=len)
        self.depth += 1
        closed = all(self.close([*way][::-1], choices[1:], dict(literals)) for way in choices[0])
        self.depth -= 1
        return closed

    def takes(self, claims: list[Claim], choices: list[Ways], literals: dict[str, tuple[Literal, ...]]) -> bool | None:
        """Take claims, the last one first. True: they cannot all hold. False: the steps have come to their end."""
        while claims:
            self._pay(1)
            if self.left <= 0 or self.budget.steps <= 0:
                return False
            claim = claims.pop()
            step = _step(claim, self.world) if self.explains else self.world.step(claim)
            if isinstance(step, Said):
                self._pay(len(literals.get(step.key, ())) // LITERALS_OF_A_STEP)
                if self._is_closed_by(step, claim, literals):
                    return True
            elif len(step) == 1:
                claims += reversed(step[0])
            elif step == NEVER:
                self._note(Reason((claim.origin,), ANYTHING))
                return True
            else:
                choices.append(step)
        return None

    def _pay(self, steps: int) -> None:
        self.left -= steps
        self.budget.steps -= steps * STEPS_OF_ONE

    def _is_closed_by(self, said: Said, claim: Claim, literals: dict[str, tuple[Literal, ...]]) -> bool:
        number = len(self.said_by)
        self.said_by.append(claim)
        together = (*literals.get(said.key, ()), said.literal._replace(source=number))
        literals[said.key] = together
        if not conflict(together, said.domain):
            return False
        if self.explains:
            core = list(together)
            for one in together:  # what is not needed for it is not told
                fewer = [other for other in core if other is not one]
                if conflict(fewer, said.domain):
                    core = fewer
            self._note(Reason(tuple(self.said_by[one.source].origin for one in core), said.domain))
        return True

    def _note(self, reason: Reason) -> None:
        if self.explains and len(self.reasons) < MAX_REASONS and reason not in self.reasons:
            self.reasons.append(reason)


def _step(claim: Claim, world: World) -> Ways | Said:
    """What a claim comes to: other claims, in one or several ways, or what it says of one value."""
    node, holds = claim.node, claim.holds
    match node:
        case {"Value": bool(value)}:
            return _known(value is holds)
        case {"!": {"arg": inner}}:
            return ((Claim(inner, not holds, claim.shown),),)
        case {"&&": {"left": left, "right": right}}:
            return _both(left, right, claim) if holds else _not_both(left, right, claim)
        case {"||": {"left": left, "right": right}}:
            return _not_both(left, right, claim) if holds else _both(left, right, claim)
        case {"if-then-else": {"if": test, "then": yes, "else": no}}:
            return (
                (Claim(test, holds=True, shown=claim.shown), Claim(yes, holds, claim.shown)),
                (Claim(test, holds=False, shown=claim.shown), Claim(no, holds, claim.shown)),
            )
        case {"==": {"left": left, "right": right}}:
            return _equal(left, right, claim, world, holds=holds)
        case {"!=": {"left": left, "right": right}}:
            return _equal(left, right, claim, world, holds=not holds)
        case {"<": {"left": left, "right": right}} | {">": {"left": right, "right": left}}:
            return _below(left, right, world, holds=holds)
        case {">=": {"left": left, "right": right}} | {"<=": {"left": right, "right": left}}:
            return _below(left, right, world, holds=not holds)
        case {"contains": {"left": left, "right": right}}:
            return _contains(left, right, claim, world)
        case {"containsAny": {"left": left, "right": right}}:
            return _contains_any(left, right, claim, world)
        case {"containsAll": {"left": left, "right": right}}:
            return _contains_all(left, right, claim, world)
        case {"isEmpty": {"arg": inner}}:
            return _said("is_set", inner, world, holds=holds)
        case {"like": {"left": left, "pattern": pattern}}:
            return _like(left, pattern, world, holds=holds)
        case {"in": {"left": left, "right": right}}:
            return _in(left, right, claim, world)
        case {"is": {"left": {"Var": variable}, "entity_type": of, **rest}}:
            is_so = of == _type_of(variable, world)
            if "in" in rest and is_so:
                return ((Claim({"in": {"left": {"Var": variable}, "right": rest["in"]}}, holds, claim.origin),),)
            return _known(is_so is holds)
        case {"has": {"left": {"Var": "context"}, "attr": attribute}}:
            return _known((attribute in world.records) is holds)
        case _:
            return _said("true", node, world, holds=holds)


def _known(is_so: object, /) -> Ways:
    return ALWAYS if is_so else NEVER


def _both(left: JSONObject, right: JSONObject, claim: Claim) -> Ways:
    return ((Claim(left, claim.holds, claim.shown), Claim(right, claim.holds, claim.shown)),)


def _not_both(left: JSONObject, right: JSONObject, claim: Claim) -> Ways:
    """One of two: `right` is only looked at where `left` is not what decides."""
    holds, shown = claim.holds, claim.shown
    return (Claim(left, holds, shown),), (Claim(left, not holds, shown), Claim(right, holds, shown))


def _type_of(variable: str, world: World) -> str:
    if variable == "resource":
        return "DataClass" if world.action == REVEAL else "Target"
    return {"principal": "Caller", "action": "Action"}.get(variable, "")


def _said(
    kind: Kind,
    node: JSONObject,
    world: World,
    *,
    holds: bool,
    number: int = 0,
    constants: Iterable[Constant] = (),
    pattern: Sequence[str | None] = (),
) -> Said:
    """What is said of the value of an expression."""
    key = ("?" if kind == "true" else "") + key_of(node)
    variable = variable_of(node)
    domain = world.domains.get(variable, ANYTHING) if variable is not None else ANYTHING
    literal = Literal(kind=kind, holds=holds, number=number, constants=frozenset(constants), pattern=tuple(pattern))
    return Said(key, domain, literal)


def _equal(left: JSONObject, right: JSONObject, claim: Claim, world: World, *, holds: bool) -> Ways | Said:
    if "Value" in left and "Value" in right:
        return _known((key_of(left) == key_of(right)) is holds)
    if left == right and key_of(left) == key_of(right):  # to Python true is 1
        return _known(holds)
    if constant_of(left) is not None or members_of(left) is not None:
        left, right = right, left
    if (members := members_of(right)) is not None and members_of(left) is None:
        return _said("is_set", left, world, holds=holds, constants=members)
    constant = constant_of(right)
    if constant is None or constant_of(left) is not None:
        one, other = sorted([left, right], key=key_of)
        return _said("true", {"==": {"left": one, "right": other}}, world, holds=holds)
    if type(constant) is bool:
        return ((Claim(left, constant is holds, claim.origin),),)
    if left == {"Var": "action"}:
        return _known((constant == ("Action", world.action)) is holds)
    if left == {"Var": "resource"} and world.within is not None:
        return _known((constant in world.within and constant[0] == "Target") is holds)
    return _said("equal", left, world, holds=holds, constants=[constant])


def _below(left: JSONObject, right: JSONObject, world: World, *, holds: bool) -> Ways | Said:
    """Of `left < right`, and so of all four comparisons."""
    one, other = constant_of(left), constant_of(right)
    if left == right and key_of(left) == key_of(right):  # to Python true is 1
        return _known(not holds)
    if type(other) is int and one is None:
        return _said("below", left, world, holds=holds, number=other)
    if type(one) is int and other is None:
        return _said("below", right, world, holds=not holds, number=one + 1)
    if "Value" in left and "Value" in right and type(one) is int and type(other) is int:
        return _known((one < other) is holds)
    return _said("true", {"<": {"left": left, "right": right}}, world, holds=holds)


def _contains(left: JSONObject, right: JSONObject, claim: Claim, world: World) -> Ways | Said:
    constant = constant_of(right)
    if (listed := left.get("Set")) is not None:
        if constant is not None and members_of(left) is not None:
            return _known((constant in (members_of(left) or ())) is claim.holds)
        equals = [Claim({"==": {"left": right, "right": one}}, claim.holds, claim.origin) for one in listed]
        return _any(equals) if claim.holds else (tuple(equals),)
    if constant is None:
        return _said("true", claim.node, world, holds=claim.holds)
    return _said("member", left, world, holds=claim.holds, constants=[constant])


def _any(claims: Sequence[Claim]) -> Ways:
    return tuple((claim,) for claim in claims)


def _contains_any(left: JSONObject, right: JSONObject, claim: Claim, world: World) -> Ways | Said:
    if members_of(right) is None:
        left, right = right, left
    if members_of(right) is None or "Set" in left:
        return _said("true", claim.node, world, holds=claim.holds)
    each = [Claim({"contains": {"left": left, "right": one}}, claim.holds, claim.origin) for one in right["Set"]]
    return _any(each) if claim.holds else (tuple(each),)


def _contains_all(left: JSONObject, right: JSONObject, claim: Claim, world: World) -> Ways | Said:
    if (members := members_of(left)) is not None and "Set" not in right:
        return _said("within", right, world, holds=claim.holds, constants=members)
    if members_of(right) is None or "Set" in left:
        return _said("true", claim.node, world, holds=claim.holds)
    each = [Claim({"contains": {"left": left, "right": one}}, claim.holds, claim.origin) for one in right["Set"]]
    return (tuple(each),) if claim.holds else _any(each)


def _like(left: JSONObject, pattern: Sequence[JSONObject | str], world: World, *, holds: bool) -> Ways | Said:
    characters = tuple(one["Literal"] if isinstance(one, dict) else None for one in pattern)
    constant = constant_of(left)
    if isinstance(constant, str):
        return _known(matches(constant, characters) is holds)
    return _said("like", left, world, holds=holds, pattern=characters)


def _in(left: JSONObject, right: JSONObject, claim: Claim, world: World) -> Ways | Said:
    if (listed := right.get("Set")) is not None:
        each = [Claim({"in": {"left": left, "right": one}}, claim.holds, claim.origin) for one in listed]
        return _any(each) if claim.holds else (tuple(each),)
    entity = constant_of(right)
    variable = left.get("Var")
    if not isinstance(entity, tuple) or variable is None:
        return _said("true", claim.node, world, holds=claim.holds)
    if entity[0] == _type_of(variable, world):  # what of this type is in nothing of its own type but itself
        return _equal(left, right, claim, world, holds=claim.holds)
    if entity == ("Group", CALLER_GROUP) or (world.action == REVEAL and variable == "resource"):
        return _known(not claim.holds)
    if variable != "resource":
        return _said("true", claim.node, world, holds=claim.holds)
    if world.within is not None:
        return _known((entity in world.within) is claim.holds)
    return _said("in", left, world, holds=claim.holds, constants=[entity])
