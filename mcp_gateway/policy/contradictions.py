"""Whether conditions can hold at all: a search through the ways in which they could. Pure.

Each `||`, each `&&` that is not to hold and each `if` is a choice. A way that was gone to its end is a list of
`literals`, with what they imply of other values, and closed where these contradict each other. Where every way is closed, no request fulfils the conditions,
since Cedar would go one of these ways. What is not understood is a truth that may be so or not. The search ends after
so many steps, and then they may hold.

Of what Cedar does not look at (the right side of `||` behind what is true) nothing is assumed, and a condition that
fails with an error fulfils nothing: so all that is said on one way is said of one request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mcp_gateway.calls import JSONObject
from mcp_gateway.policy.implications import following
from mcp_gateway.policy.literals import Literal, conflict
from mcp_gateway.policy.steps import NEVER, Claim, Said, Ways, World, step_of
from mcp_gateway.policy.vocabulary import ANYTHING, Domain

MAX_STEPS = 3000
"""Of one search."""
MAX_DEPTH = 200
"""Choices one after another on one way."""
STEPS_OF_ONE = 5
"""What a step costs of a budget, in which comparing two policies costs one."""
LITERALS_OF_A_STEP = 8
"""Looking through so many for a contradiction is as much as a step."""
MAX_REASONS = 2


class Reason(NamedTuple):
    """Why a way is closed: what is written that cannot be so together."""

    claims: tuple[tuple[JSONObject, bool], ...]
    domain: Domain
    """What the value can be that they speak of."""
    because: tuple[str, ...] = ()
    """What of it follows from what is written, in words."""


@dataclass(slots=True)
class Budget:
    """Steps that are left for all searches together."""

    steps: int


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
        step = step_of(denied, world)
        if isinstance(step, Said):
            return cls(claim=denied, said=step, is_impossible=conflict([step.literal], step.domain))
        return cls(claim=denied, said=None, is_impossible=step == NEVER)


def parts_of(claim: Claim, world: World) -> Iterator[Claim]:
    """Claims that hold together exactly where one holds."""
    step = step_of(claim, world)
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
    said_by: list[tuple[Claim, tuple[str, ...]]] = field(default_factory=list)
    """By their numbers, which literals have as their `source`; and why they follow, where they are not written."""

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
            step = step_of(claim, self.world) if self.explains else self.world.step(claim)
            if isinstance(step, Said):
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
        """Keep a literal and what follows from it; whether they contradict what there is."""
        todo: list[tuple[Said, Claim, tuple[str, ...]]] = [(said, claim, ())]
        while todo:
            said, claim, because = todo.pop()
            together = (*literals.get(said.key, ()), said.literal._replace(source=len(self.said_by)))
            self.said_by.append((claim, because))
            literals[said.key] = together
            self._pay(len(together) // LITERALS_OF_A_STEP)
            if conflict(together, said.domain):
                self._note_contradiction(together, said.domain)
                return True
            for then, why in following(said, self.world):
                self._pay(1)
                implied = self.world.step(then)
                if isinstance(implied, Said) and not _is_known(implied, literals):
                    todo.append((implied, Claim(then.node, then.holds, claim.origin), (*because, why)))
        return False

    def _note_contradiction(self, literals: tuple[Literal, ...], domain: Domain) -> None:
        if not self.explains:
            return
        core = list(literals)
        for one in literals:  # what is not needed for it is not told
            fewer = [other for other in core if other is not one]
            if conflict(fewer, domain):
                core = fewer
        claims = tuple(self.said_by[one.source][0].origin for one in core)
        because = dict.fromkeys(why for one in core for why in self.said_by[one.source][1])
        self._note(Reason(claims, domain, tuple(because)))

    def _note(self, reason: Reason) -> None:
        if self.explains and len(self.reasons) < MAX_REASONS and reason not in self.reasons:
            self.reasons.append(reason)


def _is_known(said: Said, literals: Mapping[str, tuple[Literal, ...]]) -> bool:
    """Whether it follows from what is said of its value."""
    denied = said.literal._replace(holds=not said.literal.holds)
    return conflict((*literals.get(said.key, ()), denied), said.domain)
