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
from mcp_gateway.policy.schema import ACTIONS, APPROVAL, CALL, ENTITY_SETS, Action, AttributeType, Shape
from mcp_gateway.policy.scopes import Entity, entities_of_caller, entities_of_target

MAX_SET = 500
"""Members of one set. A set of 1,000 costs Cedar 6 ms."""
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

    @classmethod
    def about(
        cls, call: Call, facts: Facts, *, now: datetime, token_now: datetime, approval: Approved = NOT_APPROVED
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
        )


def context_of(question: Question, *, actions: Mapping[str, Action] = ACTIONS) -> JSONObject:
    """The context of the tool's action but for the approval. The time stays a datetime; see `rendered`."""
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
    return {"call": call, action.record: {name: _typed(value, action.shape[name]) for name, value in facts.items()}}


def rendered(context: JSONObject, approval: Approved) -> str:
    """The whole context in Cedar's JSON form."""
    time = context["call"]["time"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    call = {**context["call"], "time": {"__extn": {"fn": "datetime", "arg": time}}}
    return orjson.dumps({**context, "call": call, "approval": approval_of(approval)}).decode()


def approval_of(approval: Approved) -> JSONObject:
    """The `approval` record of the context."""
    record = {"by": sorted(approval.by), "approvers": approval.approvers}
    _check_record("approval", record, APPROVAL)
    return record


def principal_of(caller: Caller) -> JSONObject:
    """The caller as an entity with its attributes."""
    attributes = {"subject": caller.subject, "issuer": caller.issuer, "actor": caller.actor}
    if caller.email is not None:
        attributes["email"] = caller.email
    itself, *groups = entities_of_caller(caller)
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
        if not _is(record[attribute], of):
            raise _refusal(f"{name}.{attribute}", record[attribute], of)


def _check(name: str, value: Any, of: AttributeType) -> None:
    if not _is(value, of):
        raise _refusal(name, value, of)


def _is(value: Any, of: AttributeType) -> bool:
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
                and len(value) <= MAX_SET
                and {str}.issuperset(map(type, value))
                and _is_text("".join(value))
            )


def _refusal(name: str, value: Any, of: AttributeType) -> QuestionError:
    if of.startswith("Set<") and isinstance(value, list) and len(value) > MAX_SET:
        return QuestionError(f"{name} has {len(value)} members, more than {MAX_SET}")
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
