"""The scope of a policy, and whether it could match: what it says of principal, action and resource before `when`.

Used where the conditions are left aside: which targets a caller may see at all, and which data classes are worth
asking Cedar about. A scope that is not understood matches nothing. What is decided is always Cedar's to say.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

from mcp_gateway.calls import Caller, JSONObject, Target
from mcp_gateway.decisions import CALLER_GROUP
from mcp_gateway.policy.schema import labels_of

Entity: TypeAlias = tuple[str, str]
"""Type and id."""


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

    def matches_caller(self, caller: Caller) -> bool:
        """Whether it applies to a caller."""
        return _matches(self.principal, self_type="Caller", entities=entities_of_caller(caller))

    def matches_target(self, target: Target) -> bool:
        """Whether it applies to a target."""
        return _matches(self.resource, self_type="Target", entities=entities_of_target(target))

    def matches_class(self, name: str) -> bool:
        """Whether it applies to a data class."""
        return _matches(self.resource, self_type="DataClass", entities=[("DataClass", name)])


def groups_of(caller: Caller) -> frozenset[str]:
    """The groups a caller stands in. `caller` is reserved for approvals, so a token that carries it loses it."""
    return caller.groups - {CALLER_GROUP}


def entities_of_caller(caller: Caller) -> list[Entity]:
    """A caller and everything it is in, itself first."""
    return [("Caller", caller.key), *(("Group", group) for group in sorted(groups_of(caller)))]


def entities_of_target(target: Target) -> list[Entity]:
    """A target and everything it is in, itself first."""
    env = [("Env", target.labels["env"])] if "env" in target.labels else []
    return [("Target", target.name), *env, *(("Label", label) for label in labels_of(target))]


def _matches(constraint: JSONObject, *, self_type: str, entities: Collection[Entity]) -> bool:
    match constraint:
        case {"op": "All"}:
            return True
        case {"op": "==", "entity": entity}:
            return _entity(entity) == next(iter(entities))
        case {"op": "in", "entity": entity}:
            return _entity(entity) in entities
        case {"op": "in", "entities": list(several)}:
            return any(_entity(entity) in entities for entity in several)
        case {"op": "is", "entity_type": of, "in": {"entity": entity}}:
            return bool(of == self_type) and _entity(entity) in entities
        case {"op": "is", "entity_type": of, **rest} if not rest:
            return bool(of == self_type)
        case _:
            return False


def _entity(named: JSONObject) -> Entity:
    return named["type"], named["id"]
