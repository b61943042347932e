"""Recorded calls decided again by another set of policies: what would now be allowed, asked or denied.

The facts are those that were recorded: what the call would have done then, not what it would do now. So is the time,
the caller, the age of the token and what had been counted; targets are those of the configuration. A call's first decision is compared, which
no approval had a part in. A command whose record lacks what this version decides by is examined anew, where it is on
record exactly, and counted. What an external decision point made of a decision is left out of it.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, NamedTuple, get_args

from mcp_gateway.approval.describe import people_text
from mcp_gateway.audit import usage
from mcp_gateway.audit.decided import Counted, DecidedCall, Unreadable, count_since, decided_since
from mcp_gateway.audit.schema import USAGE_TABLES
from mcp_gateway.audit.search import opened
from mcp_gateway.calls import Caller, Door, Facts, JSONObject, ShellFacts, SQLFacts, Target, person_name
from mcp_gateway.cli.commands_anew import NotExactError, command_anew
from mcp_gateway.cli.loading import load_knowledge, targets_of
from mcp_gateway.config import Settings
from mcp_gateway.decisions import Allow, Ask, Decision, Deny
from mcp_gateway.facts.program_files import built_in
from mcp_gateway.facts.programs import Knowledge
from mcp_gateway.facts.sql_statements import ANY_MERGE_ACTION
from mcp_gateway.inference import KINDS
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.policy.engine import PolicyEngine, Question
from mcp_gateway.policy.expressions import Path
from mcp_gateway.policy.external import POLICY
from mcp_gateway.policy.schema import Action
from mcp_gateway.usage import NO_HISTORY, WINDOWS, History

EXAMPLES = 3
"""Calls that are named of each change."""
CHANGES = {"allow": "newly allowed", "ask": "newly asked", "deny": "newly denied"}
OTHERS_ASKED, REVEALED, MASKED = "asked of others", "newly revealed", "newly masked"
"""What may change although the decision is the same."""
ORDER = (CHANGES["allow"], REVEALED, OTHERS_ASKED, CHANGES["ask"], CHANGES["deny"], MASKED)
"""What opens first."""


UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)
"""What reading a body raises that is not what it should be."""


class RecordError(ValueError):
    """A recorded call that cannot be decided again."""


class Otherwise(NamedTuple):
    """One way in which a call would be decided otherwise."""

    name: str
    """What changed, in words."""
    was: str
    now: str
    policies: tuple[str, ...]
    """Those that determine it."""
    error: str = ""
    detail: str = ""
    """Who would be asked in place of whom, or which data classes are shown or masked."""


@dataclass(slots=True, kw_only=True)
class Change:
    """Calls that would be decided otherwise, in one way and by the same policies."""

    what: Otherwise
    calls: int = 0
    callers: Counter[str] = field(default_factory=Counter)
    """By human and agent."""
    examples: list[str] = field(default_factory=list)

    def to_json(self) -> JSONObject:
        """One row for `--json`."""
        what = self.what
        told = f" ({what.detail or what.error})" if what.detail or what.error else ""
        return {
            "id": f"{what.was} to {what.now}{told}: {', '.join(what.policies) or 'no policy'}",
            "change": what.name,
            "was": what.was,
            "now": what.now,
            "policies": list(what.policies),
            "error": what.error,
            "detail": what.detail,
            "calls": self.calls,
            "callers": dict(self.callers.most_common()),
            "examples": list(self.examples),
        }


@dataclass(slots=True, kw_only=True, weakref_slot=True)
class Replay:
    """All calls so far."""

    engine: PolicyEngine
    targets: Mapping[str, Target]
    classes: frozenset[str] = frozenset(BUILT_IN)
    """Data classes that policies know."""
    same: int = 0
    """Decided as they were, whichever policies determined it."""
    changes: dict[Otherwise, Change] = field(default_factory=dict)
    anew: int = 0
    """Of those that were decided again: commands whose facts were found anew."""
    knowledge: Callable[[], Knowledge] = built_in
    """Of programs, for these."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Calls that could not be decided again, by why."""
    counts: sqlite3.Connection | None = None
    """What had been counted by then, in memory; None where no policy looks at it."""

    looked_at: frozenset[Path] = field(init=False)
    """What policies look at."""

    def __post_init__(self) -> None:
        self.looked_at = frozenset(path for policy in self.engine.policies.values() for path in policy.reads.attributes)
        if self.engine.looks_at_history:
            self.counts = sqlite3.connect(":memory:", isolation_level=None)
            weakref.finalize(self, self.counts.close)
            self.counts.executescript(USAGE_TABLES)

    def add(self, found: DecidedCall | Counted | Unreadable) -> None:
        """Take the next of what was recorded."""
        match found:
            case DecidedCall():
                self._decide(found)
            case Counted():
                self._count(found)
            case Unreadable():
                self.skipped[found.why] += 1

    def _count(self, counted: Counted) -> None:
        if self.counts is not None:
            with suppress(RecordError, *UNREADABLE):  # its call is counted among those that cannot be read
                caller, at = _caller(counted.identified), datetime.fromisoformat(counted.at)
                usage.add(self.counts.execute, [usage.Added(caller=caller, spent=counted.spent, at=at)])

    def _history(self, caller: Caller, at: datetime, target: Target) -> History:
        if self.counts is None:
            return NO_HISTORY
        return usage.read_history(self.counts, caller, now=at, classes={*self.classes, *target.classes})

    def _decide(self, call: DecidedCall) -> None:
        anew = list[Facts]()

        def examine_command(caller: Caller) -> Facts:
            anew.append(command_anew(call, caller=caller, knowledge=self.knowledge))
            return anew[-1]

        try:
            question = question_of(call, targets=self.targets, actions=self.engine.actions, examine=examine_command)
            question = replace(question, history=self._history(question.caller, question.time, question.target))
            self._refuse_masked(call, question)
            was = said_by_policy(call.decided)
        except RecordError as undecided:
            self.skipped[str(undecided)] += 1
            return
        self.anew += len(anew)
        decision = self.engine.decide(question)
        what = _otherwise(was, decision) or self._shown_otherwise(call, question, decision)
        if what is None:
            self.same += 1
            return
        change = self.changes.setdefault(what, Change(what=what))
        change.calls += 1
        who = person_name(question.caller.key, email=question.caller.email)
        change.callers[f"{who}, through {question.caller.actor}"] += 1
        if len(change.examples) < EXAMPLES:
            change.examples.append(call.call_id)

    def _refuse_masked(self, call: DecidedCall, question: Question) -> None:
        """Raise `RecordError` where policies look at facts that are not on record as they were."""
        record = self.engine.actions[question.tool].record
        for name in call.examined.get("masked") or ():
            if not self.looked_at.isdisjoint({(record, name), (record,)}):
                raise RecordError(f"a detector changed its {name} in the record, which policies look at")

    def _shown_otherwise(self, call: DecidedCall, question: Question, decision: Decision) -> Otherwise | None:
        """Which data classes would come back raw that did not, or the other way round, where the call was and is allowed."""
        if not isinstance(decision, Allow) or call.decided.get("decision") != "allow":
            return None
        before = frozenset(map(str, call.decided.get("revealed") or ()))
        after = self.engine.reveal(question, self.classes | question.target.classes)
        if after == before:
            return None
        name, differ = (REVEALED, after - before) if after - before else (MASKED, before - after)
        policies = {one for of in differ for one in self.engine.evaluate_reveal(question, of).policies}
        return Otherwise(name, "allow", "allow", tuple(sorted(policies)), detail=", ".join(sorted(differ)))

    @property
    def calls(self) -> int:
        """How many there were."""
        return self.same + sum(change.calls for change in self.changes.values()) + self.skipped.total()

    @property
    def ordered(self) -> list[Change]:
        """What opens first, then the most calls."""
        return sorted(
            self.changes.values(), key=lambda change: (ORDER.index(change.what.name), -change.calls, change.what)
        )

    def to_json(self) -> JSONObject:
        """All of it, for `--json`."""
        return {
            "version": self.engine.version,
            "same": self.same,
            "changed": sum(change.calls for change in self.changes.values()),
            "changes": [change.to_json() for change in self.ordered],
            "anew": self.anew,
            "skipped": dict(self.skipped.most_common()),
        }


class Recorded(NamedTuple):
    """What policy said then."""

    decision: str
    is_error: bool
    approvers: Mapping[str, int] | None
    """Of an ask, where that was recorded."""


def said_by_policy(decided: JSONObject) -> Recorded:
    """What policies said by themselves, whatever an external decision point made of it. Raises `RecordError`."""
    external = decided.get("external") or {}
    alone = external.get("cedar")
    if alone is None and ("error" in external or POLICY in decided.get("policies", ())):
        raise RecordError("an external decision point decided it, and what policy had said is not on record")
    said = decided if alone is None else alone
    decision, approvers = said.get("decision"), said.get("approvers")
    if decision not in CHANGES:
        raise RecordError("its decision cannot be read")
    return Recorded(str(decision), is_error=bool(said.get("error")), approvers=approvers)


def _otherwise(was: Recorded, decision: Decision) -> Otherwise | None:
    """What a decision changes; None where it says the same, whichever policies determine it."""
    now = type(decision).__name__.lower()
    error = (decision.error or "") if isinstance(decision, Deny) else ""
    if now != was.decision or bool(error) != was.is_error:
        return Otherwise(CHANGES[now], was.decision, now, decision.policies, error)
    if isinstance(decision, Ask) and was.approvers is not None and decision.people != was.approvers:
        detail = f"{people_text(decision.people)} in place of {people_text(was.approvers)}"
        return Otherwise(OTHERS_ASKED, now, now, decision.policies, detail=detail)
    return None


def replay(
    settings: Settings, *, since: datetime, engine: PolicyEngine, progress: Callable[[int, int], None]
) -> Replay:
    """Decide every call that came in since then again, by these policies.

    Raises:
        ConfigError: what is known of programs cannot be used. StoreError: the record cannot be read.
    """
    found = Replay(
        engine=engine,
        targets={target.name: target for target in targets_of(settings)},
        classes=settings.classes,
        knowledge=cache(lambda: load_knowledge(settings)),
    )
    before = max(WINDOWS.values()) if found.engine.looks_at_history else timedelta(0)
    with opened(settings.gateway.data_dir) as connection:
        everything = count_since(connection, since)
        for event in decided_since(connection, since, before=before):
            found.add(event)
            if found.calls % 100 == 0:
                progress(found.calls, everything)
    return found


def question_of(
    call: DecidedCall,
    *,
    targets: Mapping[str, Target],
    actions: Mapping[str, Action],
    examine: Callable[[Caller], Facts] | None = None,
) -> Question:
    """The question that a recorded call was; `examine` finds facts anew of a command whose record lacks some.

    Raises:
        RecordError: it cannot be told. And what `examine` raises beside `NotExactError`.
    """
    tool, name = str(call.received.get("tool")), str(call.received.get("target"))
    action, target = actions.get(tool), targets.get(name)
    if action is None:
        raise RecordError(f"there is no tool {tool!r} any more")
    if target is None or target.kind != action.kind:
        raise RecordError(f"there is no target {name!r} for {tool} any more")
    try:
        at = datetime.fromisoformat(call.at)
        caller = _caller(call.identified)
        door: Door = call.received["door"]
        if door not in get_args(Door):
            raise RecordError(f"there is no door {door!r} any more")
        return Question(
            caller=caller,
            target=target,
            tool=tool,
            facts=_facts(call, action.facts, None if examine is None else partial(examine, caller)),
            door=door,
            token_age=max(0, int((at - caller.issued_at).total_seconds())),
            time=at,
        )
    except RecordError:
        raise
    except UNREADABLE as error:
        raise RecordError(f"its record lacks what this version decides by ({type(error).__name__}: {error})") from None


def _facts(call: DecidedCall, kind: type[Facts], examine: Callable[[], Facts] | None) -> Facts:
    try:
        return facts_of(kind, call.examined["facts"])
    except UNREADABLE as error:
        if kind is not ShellFacts or examine is None:
            raise
        try:
            return examine()
        except NotExactError as cause:
            lacks = f"its record lacks what this version decides by ({type(error).__name__}: {error})"
            raise RecordError(f"{lacks}, and {cause}") from None


def facts_of(kind: type[Facts], recorded: Any) -> Facts:
    """Facts from their recorded form, the reverse of `to_json`. Raises what reading a mapping raises."""
    known = {one.name for one in fields(kind)} - {"inference", "hidden"}
    found = {name: _value(value) for name, value in recorded.items() if name in known}
    if kind is SQLFacts:
        if "merge_actions" not in found and "MERGE" in found["kinds"]:
            found["merge_actions"] = ANY_MERGE_ACTION  # recorded before there was this fact
        told = {name: frozenset(of) for name, of in recorded["inference"].items()}
        # Recorded with all kinds and no class, it was not found out.
        unknown = told.keys() == set(KINDS) and not any(told.values())
        return SQLFacts(**found, inference=None if unknown else told)
    return kind(**found)


def _value(value: Any) -> Any:
    return frozenset(value) if isinstance(value, list) else value


def _caller(identified: JSONObject) -> Caller:
    issued = identified.get("token_issued_at")
    if issued is None:
        raise RecordError("the age of its token was not recorded")
    return Caller(
        issuer=identified["issuer"],
        subject=identified["subject"],
        actor=identified["actor"],
        client_id=None,
        delegated=False,
        email=identified["email"],
        groups=frozenset(identified["groups"]),
        scopes=frozenset(identified["scopes"]),
        token_id=identified["token_id"],
        issued_at=datetime.fromisoformat(issued),
        expires_at=datetime.fromisoformat(identified["token_expires_at"]),
        auth_time=None,
        assurance=identified["assurance"],
    )
