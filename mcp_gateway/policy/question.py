"""A question to the policies, and its checked form for Cedar: principal, action, resource and context.

Everything that an agent has a hand in is data in a JSON object here, never a piece of Cedar text. The check comes
before any decision and before any cache, so that what could not be decided cannot be answered from memory either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import orjson

from mcp_gateway.calls import Call, Caller, Door, Facts, JSONObject, Target
from mcp_gateway.decisions import NOT_APPROVED, Approved
from mcp_gateway.inference import KINDS
from mcp_gateway.policy.schema import ACTIONS, APPROVAL, CALL, ENTITY_SETS, USAGE, Action, AttributeType, Shape
from mcp_gateway.policy.scopes import Entity, Principal, entities_of_target
from mcp_gateway.usage import HISTORY, NO_HISTORY, History, Usage

MAX_SET = 500
"""Members of one set. A set of 1,000 costs Cedar 6 ms."""
LARGE_SETS = frozenset(
    f"sql.{name}" for name in ("reads", "writes", "columns", "returned_columns", "condition_columns")
)
MAX_LARGE_SET = 5000
"""Members of one of those: `SELECT *` of a few wide tables has a thousand columns, and is nothing odd; partitions count."""
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
            token_age=token_age(call.caller, now=token_now),
            time=now,
            approval=approval,
            history=history,
        )


def token_age(caller: Caller, *, now: datetime) -> int:
    """Seconds since a caller's token was issued; a clock that is behind the issuer's says none."""
    return max(0, int((now - caller.issued_at).total_seconds()))


def record_of(question: Question, *, classes: frozenset[str], actions: Mapping[str, Action] = ACTIONS) -> JSONObject:
    """The facts, as they are in the context. Nobody may change it.

    They may name no data class but `classes`, those that a policy can name, too.
    """
    action = actions.get(question.tool)
    if action is None:
        raise QuestionError(f"there is no action {question.tool!r} in the schema")
    if action.kind != question.target.kind:
        raise QuestionError(f"{question.tool} does not apply to a target of kind {question.target.kind!r}")
    if not isinstance(question.facts, action.facts):
        raise QuestionError(f"the facts of {question.tool} are {type(question.facts).__name__}")
    nameable = {"Set<DataClass>": classes, "Set<Inference>": KINDS_OF_INFERENCE}
    return _record(action.record, question.facts.context(), action.shape, nameable=nameable)


def context_of(
    question: Question,
    *,
    classes: frozenset[str],
    actions: Mapping[str, Action] = ACTIONS,
    record: JSONObject | None = None,
) -> JSONObject:
    """The context of the tool's action but for the approval. The time stays a datetime; see `rendered`.

    `record` is what `record_of` gives, if that is known. Unlike facts, what a caller has touched may name any class: one can
    have left the configuration since.
    """
    record = record_of(question, classes=classes, actions=actions) if record is None else record
    call = {
        "tool": question.tool,
        "door": question.door,
        "assurance": question.caller.assurance,
        "scopes": sorted(question.caller.scopes),
        "token_age": question.token_age,
        "time": question.time,
    }
    return {
        "call": _record("call", call, CALL),
        **_history_of(question.history),
        actions[question.tool].record: record,
    }


def _history_of(history: History) -> JSONObject:
    if history is NO_HISTORY:
        return _NO_HISTORY
    usages = zip(HISTORY, (history.person, history.agent), strict=True)
    return {record: _record(record, usage.context(), USAGE) for record, usage in usages}


def rendered(context: JSONObject, approval: Approved) -> str:
    """A context, or the part of it that is looked at, in Cedar's JSON form."""
    call = context.get("call", {})
    if "time" in call:
        time = call["time"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        context = {**context, "call": {**call, "time": {"__extn": {"fn": "datetime", "arg": time}}}}
    return orjson.dumps({**context, "approval": approval_of(approval)}).decode()


def approval_of(approval: Approved) -> JSONObject:
    """The `approval` record of the context."""
    return _record("approval", {"by": sorted(approval.by), "approvers": approval.approvers}, APPROVAL)


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


def _record(
    name: str, values: JSONObject, shape: Shape, *, nameable: Mapping[str, frozenset[str]] = MappingProxyType({})
) -> JSONObject:
    """Values checked by their types, in the form that these have in Cedar's JSON; `nameable` are the entities of a type."""
    if values.keys() != shape.keys():
        odd = ", ".join(sorted(values.keys() ^ shape.keys()))
        raise QuestionError(f"{name} and the schema differ in {odd}")
    found = dict(values)
    for attribute, of in shape.items():
        value = values[attribute]
        if value == [] and of in _SETS:  # which half of them are
            continue
        if not _IS[of](value) or (
            type(value) is list and len(value) > MAX_SET and f"{name}.{attribute}" not in LARGE_SETS
        ):
            raise _refusal(f"{name}.{attribute}", value, of)
        if of in ENTITY_SETS:
            known = nameable.get(of)
            if known is not None and not known.issuperset(value):
                odd = ", ".join(sorted(set(value) - known))
                raise QuestionError(f"{name}.{attribute} names what no policy can name: {odd}")
            found[attribute] = [{"__entity": named((ENTITY_SETS[of], member))} for member in value]
    return found


def _check(name: str, value: Any, of: AttributeType) -> None:
    if not _IS[of](value) or (type(value) is list and len(value) > MAX_SET):
        raise _refusal(name, value, of)


def _refusal(name: str, value: Any, of: AttributeType) -> QuestionError:
    if of.startswith("Set<") and isinstance(value, list) and len(value) > MAX_SET:
        most = MAX_LARGE_SET if name in LARGE_SETS else MAX_SET
        return QuestionError(f"{name} has {len(value)} members, more than {most}")
    return QuestionError(f"{name} is not a {of}")


# Exact types: to Python `1 == True`, and a cache must not think so too.


def _is_bool(value: Any) -> bool:
    return type(value) is bool


def _is_long(value: Any) -> bool:
    return type(value) is int and MIN_LONG <= value <= MAX_LONG


def _is_string(value: Any) -> bool:
    return type(value) is str and (value.isascii() or _is_text(value))


def _is_datetime(value: Any) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None


def _is_set(value: Any) -> bool:
    return (
        type(value) is list
        and len(value) <= MAX_LARGE_SET
        and _ALL_TEXT.issuperset(map(type, value))
        and _is_string("".join(value))
    )


_ALL_TEXT = frozenset({str})
_IS: Mapping[AttributeType, Callable[[Any], bool]] = {
    "Bool": _is_bool,
    "Long": _is_long,
    "String": _is_string,
    "datetime": _is_datetime,
    "Set<String>": _is_set,
    "Set<DataClass>": _is_set,
    "Set<Inference>": _is_set,
}

_SETS = frozenset(of for of in _IS if of.startswith("Set<"))


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8 at all: a lone surrogate cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_NO_HISTORY: JSONObject = {record: Usage().context() for record in HISTORY}
