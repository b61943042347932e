"""A question to the policies, and its checked form for Cedar: principal, action, resource and context.

Everything that an agent has a hand in is data in a JSON object here, never a piece of Cedar text. The check comes
before any decision and before any cache, so that what could not be decided cannot be answered from memory either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from mcp_gateway.calls import Call, Caller, Door, Facts, JSONObject, Target
from mcp_gateway.decisions import NOT_APPROVED, Approved
from mcp_gateway.inference import KINDS
from mcp_gateway.policy.schema import ACTIONS, APPROVAL, CALL, ENTITY_SETS, HISTORY, USAGE, Action, AttributeType, Shape
from mcp_gateway.policy.scopes import Entity, Principal, entities_of_target
from mcp_gateway.usage import NO_HISTORY, History, Usage

MAX_SET = 500
"""Members of one set. A set of 1,000 costs Cedar 6 ms."""
LARGE_SETS = frozenset({"columns"})
MAX_LARGE_SET = 5000
"""Members of one of those: `SELECT *` of a few wide tables has a thousand columns, and is nothing odd."""
KINDS_OF_INFERENCE = frozenset(KINDS)
MIN_LONG, MAX_LONG = -(2**63), 2**63 - 1


class QuestionError(ValueError):
    """A question that cannot be decided, so the answer is Deny. For the audit row, never for the agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May this caller use this tool on this target for something that would do this?"""

    caller: Caller
    target: Target
    tool: str
    facts: Facts
    door: Door
    token_age: int
    """Seconds since the token was issued."""
    time: datetime
    approval: Approved = NOT_APPROVED
    history: History = NO_HISTORY
    """What the caller has done until now; left empty where no policy looks at it."""

    @classmethod
    def about(
        cls,
        call: Call,
        facts: Facts,
        *,
        now: datetime,
        token_now: datetime,
        approval: Approved = NOT_APPROVED,
        history: History = NO_HISTORY,
    ) -> Question:
        """The question that a call asks at this moment; `token_now` is the clock by which tokens age."""
        return cls(
            caller=call.caller,
            target=call.target,
            tool=call.tool,
            facts=facts,
            door=call.door,
            token_age=max(0, int((token_now - call.caller.issued_at).total_seconds())),
            time=now,
            approval=approval,
            history=history,
        )


def context_of(question: Question, *, classes: frozenset[str], actions: Mapping[str, Action] = ACTIONS) -> JSONObject:
    """The context of the tool's action but for the approval. The time stays a datetime; see `rendered`.

    Facts may name no data class but `classes`, those that a policy can name, too. What a caller has touched may: a class
    can have left the configuration since.
    """
    action = actions.get(question.tool)
    if action is None:
        raise QuestionError(f"there is no action {question.tool!r} in the schema")
    if action.kind != question.target.kind:
        raise QuestionError(f"{question.tool} does not apply to a target of kind {question.target.kind!r}")
    if not isinstance(question.facts, action.facts):
        raise QuestionError(f"the facts of {question.tool} are {type(question.facts).__name__}")
    call = {
        "tool": question.tool,
        "door": question.door,
        "assurance": question.caller.assurance,
        "scopes": sorted(question.caller.scopes),
        "token_age": question.token_age,
        "time": question.time,
    }
    facts = question.facts.context()
    _check_record("call", call, CALL)
    _check_record(action.record, facts, action.shape)
    for attribute, of in action.shape.items():
        known = classes if of == "Set<DataClass>" else KINDS_OF_INFERENCE if of == "Set<Inference>" else None
        if known is not None and not known.issuperset(facts[attribute]):
            odd = ", ".join(sorted(set(facts[attribute]) - known))
            raise QuestionError(f"{action.record}.{attribute} names what no policy can name: {odd}")
    return {
        "call": call,
        **_history_of(question.history),
        action.record: {name: _typed(value, action.shape[name]) for name, value in facts.items()},
    }


def _history_of(history: History) -> JSONObject:
    if history is NO_HISTORY:
        return _NO_HISTORY
    found: JSONObject = {}
    for record, usage in zip(HISTORY, (history.person, history.agent), strict=True):
        context = usage.context()
        _check_record(record, context, USAGE)
        found[record] = {name: _typed(value, USAGE[name]) for name, value in context.items()}
    return found


def rendered(context: JSONObject, approval: Approved) -> str:
    """A context, or the part of it that is looked at, in Cedar's JSON form."""
    call = context.get("call", {})
    if "time" in call:
        time = call["time"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        context = {**context, "call": {**call, "time": {"__extn": {"fn": "datetime", "arg": time}}}}
    return orjson.dumps({**context, "approval": approval_of(approval)}).decode()


def approval_of(approval: Approved) -> JSONObject:
    """The `approval` record of the context."""
    record = {"by": sorted(approval.by), "approvers": approval.approvers}
    _check_record("approval", record, APPROVAL)
    return record


def principal_of(principal: Principal) -> JSONObject:
    """The caller as an entity with its attributes."""
    attributes = {"subject": principal.subject, "issuer": principal.issuer, "actor": principal.actor}
    if principal.email is not None:
        attributes["email"] = principal.email
    itself, *groups = principal.entities
    for name, value in attributes.items():
        _check(f"principal.{name}", value, "String")
    _check("the caller's groups", [group for _, group in groups], "Set<String>")
    return _entity(itself, attributes=attributes, parents=groups)


def resource_of(target: Target) -> JSONObject:
    """The target as an entity with its attributes."""
    itself, *parents = entities_of_target(target)
    return _entity(itself, attributes={"name": target.name, "kind": target.kind}, parents=parents)


def _entity(itself: Entity, *, attributes: Mapping[str, str], parents: Sequence[Entity]) -> JSONObject:
    return {"uid": named(itself), "attrs": attributes, "parents": [named(parent) for parent in parents]}


def named(entity: Entity) -> JSONObject:
    """An entity as Cedar wants it named: an object, never a formatted string."""
    return {"type": entity[0], "id": entity[1]}


def _typed(value: Any, of: AttributeType) -> Any:
    """A checked value in the form that its type has in Cedar's JSON."""
    entity = ENTITY_SETS.get(of)
    return value if entity is None else [{"__entity": named((entity, name))} for name in value]


def _check_record(name: str, record: JSONObject, shape: Shape) -> None:
    if record.keys() != shape.keys():
        odd = ", ".join(sorted(record.keys() ^ shape.keys()))
        raise QuestionError(f"{name} and the schema differ in {odd}")
    for attribute, of in shape.items():
        most = MAX_LARGE_SET if attribute in LARGE_SETS else MAX_SET
        if not _is(record[attribute], of, most=most):
            raise _refusal(f"{name}.{attribute}", record[attribute], of, most=most)


def _check(name: str, value: Any, of: AttributeType) -> None:
    if not _is(value, of):
        raise _refusal(name, value, of)


def _is(value: Any, of: AttributeType, *, most: int = MAX_SET) -> bool:
    """Exact types: to Python `1 == True`, and a cache must not think so too."""
    match of:
        case "Bool":
            return type(value) is bool
        case "Long":
            return type(value) is int and MIN_LONG <= value <= MAX_LONG
        case "String":
            return type(value) is str and _is_text(value)
        case "datetime":
            return isinstance(value, datetime) and value.tzinfo is not None
        case "Set<String>" | "Set<DataClass>" | "Set<Inference>":
            return (
                type(value) is list
                and len(value) <= most
                and {str}.issuperset(map(type, value))
                and _is_text("".join(value))
            )


def _refusal(name: str, value: Any, of: AttributeType, *, most: int = MAX_SET) -> QuestionError:
    if of.startswith("Set<") and isinstance(value, list) and len(value) > most:
        return QuestionError(f"{name} has {len(value)} members, more than {most}")
    return QuestionError(f"{name} is not a {of}")


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8 at all: a lone surrogate cannot."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_NO_HISTORY: JSONObject = {record: Usage().context() for record in HISTORY}
