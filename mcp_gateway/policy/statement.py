"""One loaded policy, and all of them together, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp_gateway.errors import Problem
from mcp_gateway.policy.annotations import Annotations, Effect
from mcp_gateway.policy.expressions import Reads
from mcp_gateway.policy.schema import Action
from mcp_gateway.policy.scopes import Scope
from mcp_gateway.policy.split import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the gateway keeps of one policy beside Cedar's own form of it."""

    id: str
    effect: Effect
    place: Place
    text: str
    scope: Scope
    annotations: Annotations
    reads: Reads
    lifted_by: frozenset[str]
    """Groups that its `unless` asks `context.approval.by` for; empty when it only counts people, or asks nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A valid set of policies with Cedar's handles to it."""

    policies: Mapping[str, Policy]
    """By id."""
    handle: Any
    """`cedarpy.PolicySet`, whose ids are those of `@id`."""
    schema: Any
    """`cedarpy.Schema`."""
    version: str
    """SHA-256 over the schema and every policy: the same set from other files has the same version."""
    actions: Mapping[str, Action]
    """What the schema knows to be decided on beside `reveal`, by tool."""
    notes: tuple[Problem, ...]
    """What is no error but worth a look, for `policy check`."""
