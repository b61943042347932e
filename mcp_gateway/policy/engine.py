"""The policies in force: asks Cedar, and remembers what it may.

Decisions are remembered by exactly what the policies of an action look at. What is read but cannot be part of a
key, the time of day above all, keeps an action out of the cache, and so does an approval: a remembered Allow never
comes from one. Below are `question` (what is asked), `decide` (what an answer means) and `compiling` (the set).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Generic, TypeVar

import cedarpy
import orjson

from mcp_gateway.calls import Caller, JSONObject, SQLFacts, Target
from mcp_gateway.decisions import NOT_APPROVED, Approved, Decision, Deny
from mcp_gateway.errors import Problem
from mcp_gateway.inference import KINDS
from mcp_gateway.policy.decide import Verdict, decide, short_of_people
from mcp_gateway.policy.expressions import TOKEN_AGE, Path
from mcp_gateway.policy.question import (
    Question,
    QuestionError,
    approval_of,
    context_of,
    named,
    principal_of,
    rendered,
    resource_of,
)
from mcp_gateway.policy.schema import REVEAL, Action
from mcp_gateway.policy.scopes import Scope
from mcp_gateway.policy.statement import Compiled, Policy

__all__ = ["PolicyEngine", "Question", "Verdict"]

REMEMBERED_DECISIONS = 8192
REMEMBERED_CALLERS = 256

V = TypeVar("V")


class PolicyEngine:
    """One valid set of policies for one configuration. Never changes; a reload makes another."""

    def __init__(self, compiled: Compiled, *, targets: Sequence[Target], remember: bool = True) -> None:
        self.version = compiled.version
        self.policies: Mapping[str, Policy] = compiled.policies
        self.notes: tuple[Problem, ...] = compiled.notes
        self._actions = compiled.actions
        self._handle = compiled.handle
        self._schema = compiled.schema
        self._targets = {target.name: target for target in targets}
        self._keys = {name: _Key.of(name, self.policies.values()) for name in (*self._actions, REVEAL)}
        self._permits = [
            (policy, _reach(policy, targets, self._actions))
            for policy in self.policies.values()
            if policy.effect == "permit"
        ]
        self._decisions: _Memory[Decision] = _Memory(REMEMBERED_DECISIONS if remember else 0)
        self._revealed: _Memory[bool] = _Memory(REMEMBERED_DECISIONS if remember else 0)
        self._resources = {target.name: resource_of(target) for target in targets}
        self._principals = lru_cache(maxsize=REMEMBERED_CALLERS)(principal_of)
        self._visible = lru_cache(maxsize=REMEMBERED_CALLERS)(self._visible_to)
        self._revealing = lru_cache(maxsize=REMEMBERED_CALLERS)(self._reveals_for)
        self._entities = lru_cache(maxsize=REMEMBERED_CALLERS)(self._parsed_entities)

    def decide(self, question: Question) -> Decision:
        """Allow, Ask or Deny. What cannot be decided is a Deny with an `error`."""
        question = self.concealed(question)
        try:
            prepared = self._prepare(question)
        except QuestionError as error:
            return Deny(policies=(), error=str(error))
        key = self._keys[question.tool].digest(question, prepared)
        if key is not None and (known := self._decisions.get(key)) is not None:
            return known
        decision = decide(
            lambda approval: self._evaluate(prepared, approval), policies=self.policies, approval=question.approval
        )
        if key is not None and not (isinstance(decision, Deny) and decision.error is not None):
            self._decisions.put(key, decision)
        return decision

    def reveal(self, question: Question, classes: Collection[str]) -> frozenset[str]:
        """Those of `classes` that this caller may see raw in the result of this call. When in doubt: none."""
        scopes = self._revealing(question.caller)
        wanted = [name for name in sorted(classes) if any(scope.matches_class(name) for scope in scopes)]
        if not wanted:
            return frozenset()
        try:
            prepared = self._prepare(question)
        except QuestionError:
            return frozenset()
        return frozenset(name for name in wanted if self._reveals_class(question, prepared, name))

    def concealed(self, question: Question) -> Question:
        """The question with what its statement tells, and with which of it stays masked for this caller.

        What a caller may see raw they need not infer. That is asked as things stand without any approval: an approval
        of the call is given for what its approver was shown, so it must not make what was shown disappear. Every
        decision asks anew, so a set of policies that reveals less is not bound by what an earlier one revealed.
        """
        facts = question.facts
        if not isinstance(facts, SQLFacts) or facts.inference == {}:
            return question
        told = facts.inference
        if told is None:
            classes = question.target.classes
            told = dict.fromkeys(KINDS, classes) if classes else {}
        classes = frozenset[str]().union(*told.values())
        shown = self.reveal(replace(question, approval=NOT_APPROVED), classes)
        return replace(question, facts=replace(facts, inference=told, hidden=classes - shown))

    def visible(self, caller: Caller) -> frozenset[tuple[str, str]]:
        """`(tool, target)` where the scope of some permit, its conditions left aside, matches."""
        return self._visible(caller)

    def evaluate(self, question: Question, approval: Approved) -> Verdict:
        """What Cedar says under an approval; for `explain`. Never from memory."""
        try:
            prepared = self._prepare(self.concealed(question))
        except QuestionError as error:
            return Verdict(allowed=False, error=str(error))
        return self._evaluate(prepared, approval)

    def evaluate_reveal(self, question: Question, name: str) -> Verdict:
        """What Cedar says of showing one data class raw; for `explain`. Never from memory."""
        try:
            prepared = self._prepare(question)
        except QuestionError as error:
            return Verdict(allowed=False, error=str(error))
        return self._evaluate_reveal(_revealing(prepared, name), question.approval)

    def _reveals_class(self, question: Question, prepared: _Prepared, name: str) -> bool:
        asked = _revealing(prepared, name)
        key = self._keys[REVEAL].digest(question, asked)
        if key is not None and (known := self._revealed.get(key)) is not None:
            return known
        verdict = self._evaluate_reveal(asked, question.approval)
        if key is not None and verdict.error is None:
            self._revealed.put(key, verdict.allowed)
        return verdict.allowed

    def _evaluate_reveal(self, asked: _Prepared, approval: Approved) -> Verdict:
        """What Cedar says, unless an approval of fewer people than a lifted policy asks for made it say so.

        The approval was given for the call, whose own policies may ask for fewer people of the same group.
        """
        verdict = self._evaluate(asked, approval)
        if not verdict.allowed or approval == NOT_APPROVED:
            return verdict
        without = self._evaluate(asked, NOT_APPROVED)
        if without.error is not None:
            return without
        short = short_of_people(without, self.policies, approval)
        return Verdict(allowed=False, policies=short) if short else verdict

    def _prepare(self, question: Question) -> _Prepared:
        """Check a question and name its parts as Cedar takes them, without the approval."""
        known = self._targets.get(question.target.name)
        if known is None or (known.kind, known.labels) != (question.target.kind, question.target.labels):
            raise QuestionError(f"{question.target.name!r} is not a target that the policies were loaded for")
        approval_of(question.approval)
        return _Prepared(
            principal=self._principals(question.caller),
            action=question.tool,
            resource=self._resources[known.name]["uid"],
            context=context_of(question, actions=self._actions),
            entities=(question.caller, known.name),
        )

    def _evaluate(self, prepared: _Prepared, approval: Approved) -> Verdict:
        """Ask Cedar. An error in any policy, or no decision at all, is never an Allow: Cedar skips a forbid that fails."""
        try:
            request = {
                "principal": prepared.principal["uid"],
                "action": named(("Action", prepared.action)),
                "resource": prepared.resource,
                "context": rendered(prepared.context, approval),
            }
            entities = self._entities(*prepared.entities)
            result = cedarpy.is_authorized(request, self._handle, entities, self._schema)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            return Verdict(allowed=False, error=f"{type(error).__name__}: {error}")
        errors, policies = sorted(map(str, result.diagnostics.errors)), sorted(result.diagnostics.reasons)
        if errors:
            return Verdict(allowed=False, error="; ".join(errors))
        if result.decision is cedarpy.Decision.NoDecision or not self.policies.keys() >= set(policies):
            return Verdict(allowed=False, error="the policies gave no decision")
        return Verdict(allowed=result.decision is cedarpy.Decision.Allow, policies=tuple(policies))

    def _visible_to(self, caller: Caller) -> frozenset[tuple[str, str]]:
        return frozenset[tuple[str, str]]().union(
            *(reach for policy, reach in self._permits if reach and policy.scope.matches_caller(caller))
        )

    def _reveals_for(self, caller: Caller) -> tuple[Scope, ...]:
        """The scopes of the permits that could reveal something to a caller: nothing else is worth asking Cedar."""
        scopes = (policy.scope for policy, _ in self._permits if policy.scope.names(REVEAL))
        return tuple(scope for scope in scopes if scope.matches_caller(caller))

    def _parsed_entities(self, caller: Caller, target: str) -> Any:
        document = orjson.dumps([self._principals(caller), self._resources[target]])
        return cedarpy.Entities.from_json_str(document.decode())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A checked question in Cedar's terms."""

    principal: JSONObject
    action: str
    resource: JSONObject
    context: JSONObject
    """All but the approval."""
    entities: tuple[Caller, str]
    """The caller, and the target by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """How the decisions of one action are told apart."""

    action: str
    paths: tuple[Path, ...]
    token_ages: tuple[int, ...]
    """Constants; only the side of each that a token's age is on counts."""
    cacheable: bool

    @classmethod
    def of(cls, action: str, policies: Collection[Policy]) -> _Key:
        reads = [policy.reads for policy in policies if policy.scope.names(action)]
        paths = {path for read in reads for path in read.paths if path[0] != "approval"}
        clock = {("call",), ("call", "time"), TOKEN_AGE}
        return cls(
            action=action,
            paths=tuple(sorted(paths)),
            token_ages=tuple(sorted({age for read in reads for age in read.token_ages})),
            cacheable=not paths & clock,
        )

    def digest(self, question: Question, prepared: _Prepared) -> bytes | None:
        """A key of fixed size over all that can change the decision; None when it must not be remembered."""
        if not self.cacheable or question.approval != NOT_APPROVED:
            return None
        age = question.token_age
        seen = [
            [self.action, question.target.name, prepared.resource, prepared.principal],
            [_at(prepared.context, path) for path in self.paths],
            [(age > constant) - (age < constant) for constant in self.token_ages],
        ]
        return hashlib.sha256(orjson.dumps(seen)).digest()


def _revealing(prepared: _Prepared, name: str) -> _Prepared:
    """The same question, asked of one data class in the result."""
    return replace(
        prepared,
        action=REVEAL,
        resource=named(("DataClass", name)),
        context={"call": prepared.context["call"], "target": {"__entity": prepared.resource}},
    )


def _at(context: JSONObject, path: Path) -> Any:
    """The value at a path; None where this action's context has no such record."""
    value: Any = context
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


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


def _reach(policy: Policy, targets: Sequence[Target], actions: Mapping[str, Action]) -> frozenset[tuple[str, str]]:
    """The tools and targets that a permit could be for."""
    return frozenset(
        (action.name, target.name)
        for action in actions.values()
        for target in targets
        if action.kind == target.kind and policy.scope.names(action.name) and policy.scope.matches_target(target)
    )
