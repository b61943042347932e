"""What conditions say of one value, as literals, and whether all of it can be true of one value at once. Pure.

A value is whatever an expression is in one request: `context.sql.statements`, `resource.name`, or an expression that is
not understood, which is a truth of its own then. `conflict` only says so where it is certain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal as Choice
from typing import NamedTuple

from mcp_gateway.policy.vocabulary import Constant, Domain

Kind = Choice["true", "below", "equal", "member", "within", "is_set", "like", "in"]
MIN_LONG, MAX_LONG = -(2**63), 2**63 - 1
SOME_TEXT = "\ud800"
"""In place of `*`: a character that no policy has, so that only a `*` is like it."""


class Literal(NamedTuple):
    """One thing that is said of a value, or that it is not so."""

    kind: Kind
    """`true`: it is. `below` a number. `equal` to the one constant. A set that has the one as a `member`, that has none
    but these (`within`), or is just these (`is_set`). A text `like` a pattern. An entity `in` the one.
    """
    holds: bool
    number: int = 0
    constants: frozenset[Constant] = frozenset()
    pattern: tuple[str | None, ...] = ()
    """Characters, and None for `*`."""
    source: int = 0
    """Which claim says so."""

    @property
    def constant(self) -> Constant:
        """The only one."""
        (one,) = self.constants
        return one


def conflict(literals: Sequence[Literal], domain: Domain) -> bool:
    """Whether no value can be all of this."""
    by_kind: dict[Kind, list[Literal]] = {}
    for literal in literals:
        by_kind.setdefault(literal.kind, []).append(literal)
    if {literal.holds for literal in by_kind.get("true", ())} == {True, False}:
        return True
    equal, like = by_kind.get("equal", []), by_kind.get("like", [])
    numbers = [literal for literal in equal if type(literal.constant) is int]
    if "below" in by_kind or numbers:
        return _no_number(by_kind.get("below", []), numbers, domain)
    if {"member", "within", "is_set"} & by_kind.keys():
        return _no_set([*by_kind.get("member", ()), *by_kind.get("within", ()), *by_kind.get("is_set", ())], domain)
    if equal or like or "in" in by_kind:
        return _no_thing(equal, like, by_kind.get("in", []), domain)
    return False


def _no_number(bounds: Iterable[Literal], equal: Iterable[Literal], domain: Domain) -> bool:
    low = MIN_LONG if domain.least is None else domain.least
    high = MAX_LONG if domain.most is None else domain.most
    excluded = set()
    for bound in bounds:
        if bound.holds:
            high = min(high, bound.number - 1)
        else:
            low = max(low, bound.number)
    for literal in equal:
        if not literal.holds:
            excluded.add(literal.constant)
        elif isinstance(literal.constant, int):
            low, high = max(low, literal.constant), min(high, literal.constant)
    while low in excluded:
        low += 1
    return low > high


def _no_thing(equal: Sequence[Literal], like: Sequence[Literal], within: Sequence[Literal], domain: Domain) -> bool:
    """Of a text or an entity."""
    if _in_and_not_in(within):
        return True
    candidates = domain.finite
    named = {literal.constant for literal in equal if literal.holds}
    if len(named) > 1:
        return True
    if named:
        candidates = frozenset(value for value in named if domain.has(value))
    if candidates is not None:
        return not any(_is_thing(value, equal, like) for value in candidates)
    return _no_text(like, domain)


def _is_thing(value: Constant, equal: Iterable[Literal], like: Iterable[Literal]) -> bool:
    """Whether a value is all that is said, as far as that can be told."""
    if any((literal.constant == value) is not literal.holds for literal in equal):
        return False
    return not isinstance(value, str) or all(matches(value, one.pattern) is one.holds for one in like)


def _in_and_not_in(within: Sequence[Literal]) -> bool:
    """Whether something would have to be in the one and not in it, or a target have two values of one label."""
    inside = {one.constant for one in within if one.holds}
    if any(one.constant in inside for one in within if not one.holds):
        return True
    labels = [_label_of(*one) for one in inside if isinstance(one, tuple)]
    return len(labels) > len(set(labels))


def _label_of(entity_type: str, name: str) -> tuple[str, str]:
    """What tells a label from those that a target may have beside it: `env` is one, as is each key of others."""
    if entity_type == "Env":
        return entity_type, ""
    return entity_type, name.partition("=")[0] if name.count("=") == 1 else name  # the key may have one, too


def _no_text(like: Iterable[Literal], domain: Domain) -> bool:
    """Whether no text at all is like these: it would have to begin or end in two ways."""
    likes = list(like)
    asked = [one.pattern for one in likes if one.holds]
    if any(not one.holds and _is_narrower(pattern, one.pattern) for one in likes for pattern in (*asked, (None,))):
        return True
    if any(not domain.never.isdisjoint(pattern) for pattern in asked):
        return True
    begins = [_begins(one.pattern) for one in likes if one.holds]
    ends = [_begins(tuple(reversed(one.pattern))) for one in likes if one.holds]
    exact = ["".join(map(str, one.pattern)) for one in likes if one.holds and None not in one.pattern]
    if any(matches(text, one.pattern) is not one.holds for text in exact for one in likes):
        return True
    starts = domain.prefixes if domain.values == frozenset() else ()
    if starts and not any(_all_agree([*begins, start]) for start in starts):
        return True
    return not (_all_agree(begins) and _all_agree(ends))


def _is_narrower(pattern: Sequence[str | None], other: Sequence[str | None]) -> bool:
    """Whether every text of one pattern is of another, as far as that is certain."""
    return matches("".join(SOME_TEXT if one is None else one for one in pattern), other)


def _begins(pattern: Sequence[str | None]) -> str:
    """The characters before the first `*`."""
    end = next((at for at, one in enumerate(pattern) if one is None), len(pattern))
    return "".join(str(one) for one in pattern[:end])


def _all_agree(texts: Sequence[str]) -> bool:
    return all(_agree(one, other) for at, one in enumerate(texts) for other in texts[at + 1 :])


def _agree(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _no_set(literals: Sequence[Literal], domain: Domain) -> bool:
    must = {one.constant for one in literals if one.kind == "member" and one.holds}
    without = {one.constant for one in literals if one.kind == "member" and not one.holds}
    uppers = [one.constants for one in literals if one.kind in ("within", "is_set") and one.holds]
    for one in literals:
        if one.kind == "is_set" and one.holds:
            must |= one.constants

    def may_have(member: Constant) -> bool:
        return domain.has(member) and member not in without and all(member in upper for upper in uppers)

    if not all(map(may_have, must)):
        return True
    others = [one for one in literals if not one.holds and one.kind != "member"]
    if not others:
        return False
    candidates = frozenset.intersection(*uppers) if uppers else domain.finite
    if candidates is None:
        return False
    possible = {member for member in candidates if may_have(member)}
    return any(
        possible <= one.constants if one.kind == "within" else must == possible == one.constants for one in others
    )


def matches(text: str, pattern: Sequence[str | None]) -> bool:
    """Whether a text is of a pattern, as Cedar's `like` says.

    What stands between two `*` is taken where it comes first, so that the time is that of one search for each.
    """
    parts = [""]
    for one in pattern:
        if one is None:
            parts.append("")
        else:
            parts[-1] += one
    first, *middle = parts
    if not middle:
        return text == first
    last = middle.pop()
    at, end = len(first), len(text) - len(last)
    if at > end or not (text.startswith(first) and text.endswith(last)):
        return False
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
