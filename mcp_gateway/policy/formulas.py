"""One policy as claims that all hold where it matches, and how these are written. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_gateway.calls import JSONObject
from mcp_gateway.policy.parsing import Condition, Expressions, read_expressions
from mcp_gateway.policy.split import Place, Statement
from mcp_gateway.policy.statement import Policy
from mcp_gateway.policy.steps import Claim

MAX_SHOWN = 80
"""Characters of an expression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """What has to be so for one policy to match."""

    policy: Policy
    statement: Statement
    conditions: tuple[Condition, ...]
    scope: Mapping[str, JSONObject]
    """What the scope says of the principal and of the resource, as expressions."""
    is_whole: bool
    """Whether that is all it says."""
    expressions: Expressions | None

    @classmethod
    def of(cls, policy: Policy, form: JSONObject) -> Formula:
        """The formula of a policy with this form to Cedar."""
        statement = policy.statement
        expressions = read_expressions(statement, form)
        if expressions is None:
            conditions = [Condition(kind=one["kind"], body=one["body"]) for one in form["conditions"]]
        else:
            conditions = list(expressions.conditions)
        constraints = {"principal": policy.scope.principal, "resource": policy.scope.resource}
        scope = {name: _expression(name, constraint) for name, constraint in constraints.items()}
        return cls(
            policy=policy,
            statement=statement,
            conditions=tuple(conditions),
            scope={name: node for name, node in scope.items() if node is not None and node != TRUE},
            is_whole=None not in scope.values(),
            expressions=expressions,
        )

    @property
    def claims(self) -> list[Claim]:
        """What has to hold."""
        said = [Claim(node, holds=True) for node in self.scope.values()]
        return said + [Claim(one.body, holds=one.kind == "when") for one in self.conditions]

    @property
    def target(self) -> str:
        """The one target that the scope names; empty where it names none."""
        match self.policy.scope.resource:
            case {"op": "==" | "in", "entity": {"type": "Target", "id": str(name)}}:
                return name
            case _:
                return ""

    def text(self, node: JSONObject) -> str:
        """An expression as it is written, on one line; empty where that is not known."""
        expressions = self.expressions
        if expressions is None:
            return ""
        if id(node) in expressions.spans:
            line = " ".join(expressions.text(node).split())
            return line if len(line) <= MAX_SHOWN else line[: MAX_SHOWN - 3] + "..."
        part = self._part(node)
        return self.statement.text_of(expressions.scope.parts[part]) if part else ""

    def place(self, node: JSONObject) -> Place:
        """Where an expression begins; where the policy does, if that is not known."""
        expressions = self.expressions
        if expressions is not None and id(node) in expressions.spans:
            return expressions.place(node)
        if expressions is not None and (part := self._part(node)):
            return self.statement.at(self.statement.tokens[expressions.scope.parts[part].first])
        return self.policy.place

    def _part(self, node: JSONObject) -> str:
        return next((name for name, written in self.scope.items() if written is node), "")


TRUE: JSONObject = {"Value": True}


def _expression(variable: str, constraint: JSONObject) -> JSONObject | None:
    """What one part of a scope says; None where that is not understood."""
    left = {"Var": variable}
    match constraint:
        case {"op": "All"}:
            return TRUE
        case {"op": "==" | "in" as operator, "entity": entity}:
            return {operator: {"left": left, "right": _value(entity)}}
        case {"op": "in", "entities": list(several)}:
            return {"in": {"left": left, "right": {"Set": [_value(entity) for entity in several]}}}
        case {"op": "is", "entity_type": of, "in": {"entity": entity}}:
            return {"is": {"left": left, "entity_type": of, "in": _value(entity)}}
        case {"op": "is", "entity_type": of, **rest} if not rest:
            return {"is": {"left": left, "entity_type": of}}
        case _:
            return None


def _value(entity: Any) -> JSONObject:
    return {"Value": {"__entity": {"type": entity["type"], "id": entity["id"]}}}


def formulas_of(policies: Sequence[Policy], forms: Mapping[str, JSONObject]) -> dict[str, Formula]:
    """Of all policies, by their ids."""
    return {policy.id: Formula.of(policy, forms[policy.id]) for policy in policies}
