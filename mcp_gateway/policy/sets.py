"""One set of policies as it decides: what Cedar is asked, and a memory of what was decided.

Cedar is shown what it needs: the policies whose scope could match (the others are never satisfied and never fail), and of
the context what the policies of an action look at. Most of a decision's time would else go into reading what nobody
looks at. Either can only err towards Deny: a policy that looks at what it is not shown fails, and a failure is a Deny.
Nothing here asks the schema again, because `question` has checked each attribute's type by the table it is made from.

Decisions are remembered by exactly what the policies of an action look at, too. What is read but cannot be part of a
key, the time of day above all, keeps an action out of the memory, and so does an approval: a remembered Allow never
comes from one. Above is `engine`, which has one set that decides and, where some policies are in shadow mode, another.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import cedarpy
import orjson

from mcp_gateway.calls import JSONObject
from mcp_gateway.decisions import NOT_APPROVED, Approved, Decision, Deny
from mcp_gateway.policy.decide import Verdict, decide, short_of_people
from mcp_gateway.policy.expressions import TOKEN_AGE, Path, Reads
from mcp_gateway.policy.question import Question, named, rendered
from mcp_gateway.policy.schema import REVEAL
from mcp_gateway.policy.scopes import Entity, Principal
from mcp_gateway.policy.statement import Policy, handle_of

REMEMBERED_DECISIONS = 8192
REMEMBERED_MATCHES = 1024
"""Which policies could match a caller, for one action on one resource."""
REMEMBERED_SLICES = 256
"""Cedar's handles; callers whom the same policies could match share one."""

CLOCK: frozenset[Path] = frozenset({("call",), ("call", "time"), TOKEN_AGE})
"""What passes by itself: a decision that looks at all of it is for its moment alone."""

V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A checked question in Cedar's terms."""

    caller: Principal
    principal: JSONObject
    """The caller as an entity."""
    action: str
    target: str
    resource: tuple[Entity, ...]
    """The target or data class, and what it is in; itself first."""
    context: JSONObject
    """All but the approval."""


class PolicySet:
    """Policies that decide together."""

    def __init__(
        self,
        policies: Mapping[str, Policy],
        *,
        forms: Mapping[str, JSONObject],
        actions: Iterable[str],
        entities: Callable[[Principal, str], Any],
        remember: bool,
    ) -> None:
        """`forms` are Cedar's JSON forms of these policies at least; `entities` gives the parsed caller and target."""
        self.policies = policies
        self._forms = forms
        self._entities = entities
        self._views = {name: _View.of(name, policies.values()) for name in (*actions, REVEAL)}
        self._slice = lru_cache(maxsize=REMEMBERED_MATCHES)(self._slice_of)
        self._handle = lru_cache(maxsize=REMEMBERED_SLICES)(self._handle_of)
        self._handle(tuple(policies))  # what Cedar does not take is an error here, not a Deny later
        self._decisions: _Memory[Decision] = _Memory(REMEMBERED_DECISIONS if remember else 0)
        self._revealed: _Memory[bool] = _Memory(REMEMBERED_DECISIONS if remember else 0)

    def decide(self, question: Question, prepared: Prepared) -> Decision:
        """Allow, Ask or Deny. What cannot be decided is a Deny with an `error`."""
        key = self._views[question.tool].digest(question, prepared)
        if key is not None and (known := self._decisions.get(key)) is not None:
            return known
        decision = decide(
            lambda approval: self.evaluate(prepared, approval), policies=self.policies, approval=question.approval
        )
        if key is not None and not (isinstance(decision, Deny) and decision.error is not None):
            self._decisions.put(key, decision)
        return decision

    def reveals(self, question: Question, asked: Prepared) -> bool:
        """Whether a data class may be seen raw; `asked` is the question of that class."""
        key = self._views[REVEAL].digest(question, asked)
        if key is not None and (known := self._revealed.get(key)) is not None:
            return known
        verdict = self.evaluate_reveal(asked, question.approval)
        if key is not None and verdict.error is None:
            self._revealed.put(key, verdict.allowed)
        return verdict.allowed

    def evaluate_reveal(self, asked: Prepared, approval: Approved) -> Verdict:
        """What Cedar says, unless an approval of fewer people than a lifted policy asks for made it say so.

        The approval was given for the call, whose own policies may ask for fewer people of the same group.
        """
        verdict = self.evaluate(asked, approval)
        if not verdict.allowed or approval == NOT_APPROVED:
            return verdict
        without = self.evaluate(asked, NOT_APPROVED)
        if without.error is not None:
            return without
        short = short_of_people(without, self.policies, approval)
        return Verdict(allowed=False, policies=short) if short else verdict

    def evaluate(self, prepared: Prepared, approval: Approved) -> Verdict:
        """Ask Cedar. An error in any policy, or no decision at all, is never an Allow: Cedar skips a forbid that fails."""
        try:
            request = {
                "principal": prepared.principal["uid"],
                "action": named(("Action", prepared.action)),
                "resource": named(prepared.resource[0]),
                "context": rendered(self._views[prepared.action].part_of(prepared.context), approval),
            }
            policies = self._slice(prepared.action, prepared.caller, prepared.resource)
            result = cedarpy.is_authorized(request, policies, self._entities(prepared.caller, prepared.target))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            return Verdict(allowed=False, error=f"{type(error).__name__}: {error}")
        errors, determining = sorted(map(str, result.diagnostics.errors)), sorted(result.diagnostics.reasons)
        if errors:
            return Verdict(allowed=False, error="; ".join(errors))
        if result.decision is cedarpy.Decision.NoDecision or not self.policies.keys() >= set(determining):
            return Verdict(allowed=False, error="the policies gave no decision")
        return Verdict(allowed=result.decision is cedarpy.Decision.Allow, policies=tuple(determining))

    def _slice_of(self, action: str, caller: Principal, resource: Sequence[Entity]) -> Any:
        """Cedar's handle of the policies whose scope could match."""
        entities = caller.entities
        return self._handle(
            tuple(
                name
                for name, policy in self.policies.items()
                if policy.scope.could_match(action, principal=entities, resource=resource)
            )
        )

    def _handle_of(self, names: Sequence[str]) -> Any:
        return handle_of({name: self._forms[name] for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """What the policies of one action look at: what they are shown of a context, and how their decisions are told apart."""

    action: str
    paths: tuple[Path, ...]
    """Of which everything counts."""
    sides: tuple[tuple[Path, tuple[int, ...]], ...]
    """Numbers of which it counts where among these constants they are."""
    members: tuple[tuple[Path, frozenset[str]], ...]
    """Sets of which it counts which of these they have."""
    cacheable: bool
    whole: frozenset[str]
    """Records that are shown with all that is in them."""
    parts: Mapping[str, tuple[str, ...]]
    """Attributes that are shown of the others."""

    @classmethod
    def of(cls, action: str, policies: Collection[Policy]) -> _View:
        reads = Reads.of_all(policy.reads for policy in policies if policy.scope.names(action))
        shown = {path for path in reads.attributes if path[0] != "approval"}
        whole = frozenset(path[0] for path in shown if len(path) == 1) | {"target"}
        sides: dict[Path, set[int]] = {}
        for path, constant in reads.sides:
            sides.setdefault(path, set()).add(constant)
        members: dict[Path, set[str]] = {}
        for path, name in reads.members:
            members.setdefault(path, set()).add(name)
        return cls(
            action=action,
            paths=tuple(sorted(reads.paths & shown)),
            sides=tuple((path, tuple(sorted(sides[path]))) for path in sorted(sides.keys() & shown)),
            members=tuple((path, frozenset(members[path])) for path in sorted(members.keys() & shown)),
            cacheable=not reads.paths & CLOCK,
            whole=whole,
            parts={
                record: tuple(sorted(path[1] for path in shown if path[0] == record))
                for record in {path[0] for path in shown} - whole
            },
        )

    def part_of(self, context: JSONObject) -> JSONObject:
        """What of a context the policies are shown."""
        found: JSONObject = {name: context[name] for name in self.whole if name in context}
        for record, names in self.parts.items():
            if record in context:
                within = context[record]
                found[record] = {name: within[name] for name in names if name in within}
        return found

    def digest(self, question: Question, prepared: Prepared) -> bytes | None:
        """A key of fixed size over all that can change the decision; None when it must not be remembered."""
        if not self.cacheable or question.approval != NOT_APPROVED:
            return None
        context = prepared.context
        seen = [
            [self.action, question.target.name, prepared.resource, prepared.principal],
            _all_at(context, self.paths),
            [_place_of(_at(context, path), constants) for path, constants in self.sides],
            [
                [name for name in map(_name_of, _at(context, path) or ()) if name in asked]
                for path, asked in self.members
            ],
        ]
        return hashlib.sha256(orjson.dumps(seen)).digest()


def _all_at(context: JSONObject, paths: Sequence[Path]) -> list[Any]:
    """The values at some paths."""
    found = []
    for path in paths:
        value: Any = context
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        found.append(value)
    return found


def _at(context: JSONObject, path: Path) -> Any:
    """The value at a path; None where this action's context has no such record."""
    return _all_at(context, (path,))[0]


def _place_of(value: int | None, constants: Sequence[int]) -> tuple[int, int] | None:
    """How many of these are less than a number, and how many are not greater."""
    return None if value is None else (bisect_left(constants, value), bisect_right(constants, value))


def _name_of(member: Any) -> str:
    """A member of a set as policies name it: a text, or an entity."""
    return str(member if isinstance(member, str) else member["__entity"]["id"])


class _Memory(Generic[V]):
    """A bounded memory that forgets the oldest first. Keys are digests, so that facts do not pile up in it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: dict[bytes, V] = {}

    def get(self, key: bytes) -> V | None:
        return self._entries.get(key)

    def put(self, key: bytes, value: V) -> None:
        if self._size == 0:
            return
        while len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = value
