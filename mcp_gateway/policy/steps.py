"""What it comes to that an expression holds, or does not: other claims, in one or several ways, or a literal of one value. Pure.

Each `||`, each `&&` that is not to hold and each `if` are several ways. What is not understood is a truth that may be so
or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from mcp_gateway.calls import JSONObject
from mcp_gateway.decisions import CALLER_GROUP
from mcp_gateway.policy.expressions import Path
from mcp_gateway.policy.literals import Kind, Literal, matches
from mcp_gateway.policy.schema import OPTIONAL, REVEAL
from mcp_gateway.policy.scopes import Entity
from mcp_gateway.policy.terms import constant_of, key_of, members_of, variable_of
from mcp_gateway.policy.vocabulary import ANYTHING, TIME_OF_DAY, Constant, Domain


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


class Rule(NamedTuple):
    """What holds wherever a literal is true of one value: `implications` has them all."""

    literal: Literal
    then: Claim
    because: str
    """In words."""


class Followed(NamedTuple):
    """What holds where something else does."""

    claim: Claim
    because: str
    """In words."""


class Inclusion(NamedTuple):
    """What a member of one set is in another, if `holds`; else what is no member of one is none of another."""

    path: Path
    """Of the other."""
    holds: bool
    because: str


class Order(NamedTuple):
    """A number that is no less than another one, if `is_more`; else no more."""

    path: Path
    """Of the other."""
    is_more: bool
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is certain of every request for one action, on one target where that is given."""

    action: str
    attributes: Mapping[tuple[str, Path], frozenset[str]]
    """What variables and records of the context have."""
    domains: Mapping[tuple[str, Path], Domain]
    within: frozenset[Entity] | None = None
    """What the target is, and is in; None where it may be any."""
    rules: Mapping[str, Sequence[Rule]] = field(default_factory=dict)
    """What follows from what is said of a value, by its key."""
    inclusions: Mapping[str, Sequence[Inclusion]] = field(default_factory=dict)
    """What follows from what is said of a member of a set, by the key of the set."""
    orders: Mapping[str, Sequence[Order]] = field(default_factory=dict)
    """What follows from a bound of a number, by the key of the number."""
    followed: dict[tuple[str, Literal], tuple[Followed, ...]] = field(default_factory=dict, compare=False)
    """What follows from what was said of a value already."""
    steps: dict[tuple[int, bool], tuple[Claim, Ways | Said]] = field(default_factory=dict, compare=False)
    """What claims come to that were met already, by the identity of their expressions, which the claims here keep."""

    def step(self, claim: Claim) -> Ways | Said:
        """What a claim comes to; what it is made of is that of the first claim of this expression."""
        key = id(claim.node), claim.holds
        if key not in self.steps:
            self.steps[key] = claim, step_of(claim, self)
        return self.steps[key][1]


def step_of(claim: Claim, world: World) -> Ways | Said:
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
        case {"has": {"left": left, "attr": attribute}} if (of := variable_of(left)) and of in world.attributes:
            return _has(world.attributes[of], attribute, claim)
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
    domain = TIME_OF_DAY if "toTime" in node else world.domains.get(variable, ANYTHING) if variable else ANYTHING
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


def _has(known: frozenset[str], attribute: str, claim: Claim) -> Ways | Said:
    if attribute not in known:
        literal = Literal(kind="equal", holds=claim.holds, constants=frozenset({attribute}))
        return Said(f"has {key_of(claim.node)}", Domain(values=known), literal)
    if attribute in OPTIONAL:
        return Said(f"?{key_of(claim.node)}", ANYTHING, Literal(kind="true", holds=claim.holds))
    return _known(claim.holds)


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
