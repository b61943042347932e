"""The scope of a policy, and whether it could match: what it says of principal, action and resource before `when`.

Used where the conditions are left aside: which targets a caller may see at all, which data classes are worth asking
Cedar about, and which policies. A scope that is not understood shows nothing, and is always worth asking about. What is
decided is always Cedar's to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from mcp_gateway.calls import Caller, JSONObject, Target
from mcp_gateway.decisions import CALLER_GROUP
from mcp_gateway.policy.schema import labels_of

Entity: TypeAlias = tuple[str, str]
"""Type and id."""


class Principal(NamedTuple):
    """What policy sees of a caller: the same for each of their tokens."""

    key: str
    subject: str
    issuer: str
    actor: str
    email: str | None
    groups: frozenset[str]
    """`caller` is reserved for approvals, so a token that carries it loses it."""

    @classmethod
    def of(cls, caller: Caller) -> Principal:
        """The principal that a caller is."""
        return cls(
            key=caller.key,
            subject=caller.subject,
            issuer=caller.issuer,
            actor=caller.actor,
            email=caller.email,
            groups=caller.groups - {CALLER_GROUP},
        )

    @property
    def entities(self) -> tuple[Entity, ...]:
        """Itself and everything it is in, itself first."""
        return ("Caller", self.key), *(("Group", group) for group in sorted(self.groups))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One policy's scope, as Cedar's JSON form has it."""

    principal: JSONObject
    action: JSONObject
    resource: JSONObject

    @property
    def actions(self) -> frozenset[str] | None:
        """The actions that it names; None when it is unconstrained."""
        match self.action:
            case {"op": "All"}:
                return None
            case {"op": "==" | "in", "entity": {"id": str(name)}}:
                return frozenset({name})
            case {"op": "in", "entities": list(entities)}:
                return frozenset(entity["id"] for entity in entities)
            case _:
                return frozenset()

    def names(self, action: str) -> bool:
        """Whether it applies to an action."""
        return self.actions is None or action in self.actions

    def matches_principal(self, principal: Principal) -> bool:
        """Whether it applies to a caller."""
        return _matches(self.principal, self_type="Caller", entities=principal.entities) is True

    def matches_target(self, target: Target) -> bool:
        """Whether it applies to a target."""
        return _matches(self.resource, self_type="Target", entities=entities_of_target(target)) is True

    def matches_class(self, name: str) -> bool:
        """Whether it applies to a data class."""
        return _matches(self.resource, self_type="DataClass", entities=entities_of_class(name)) is True

    def could_match(self, action: str, *, principal: Sequence[Entity], resource: Sequence[Entity]) -> bool:
        """Whether Cedar could find that it applies to these, each the thing itself and what it is in."""
        known = self.actions
        return (
            (known is None or not known or action in known)
            and _matches(self.principal, self_type=principal[0][0], entities=principal) is not False
            and _matches(self.resource, self_type=resource[0][0], entities=resource) is not False
        )


def entities_of_target(target: Target) -> tuple[Entity, ...]:
    """A target and everything it is in, itself first."""
    env = [("Env", target.labels["env"])] if "env" in target.labels else []
    return ("Target", target.name), *env, *(("Label", label) for label in labels_of(target))


def entities_of_class(name: str) -> tuple[Entity, ...]:
    """A data class, which is in nothing."""
    return (("DataClass", name),)


def _matches(constraint: JSONObject, *, self_type: str, entities: Sequence[Entity]) -> bool | None:
    """Whether one side of a scope applies to a thing; None where that side is not understood."""
    match constraint:
        case {"op": "All"}:
            return True
        case {"op": "==", "entity": entity}:
            return _entity(entity) == entities[0]
        case {"op": "in", "entity": entity}:
            return _entity(entity) in entities
        case {"op": "in", "entities": list(several)}:
            return any(_entity(entity) in entities for entity in several)
        case {"op": "is", "entity_type": of, "in": {"entity": entity}}:
            return bool(of == self_type) and _entity(entity) in entities
        case {"op": "is", "entity_type": of, **rest} if not rest:
            return bool(of == self_type)
        case _:
            return None


def _entity(named: JSONObject) -> Entity:
    return named["type"], named["id"]
