"""One loaded policy, and all of them together, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cedarpy
import orjson

from mcp_gateway.calls import JSONObject
from mcp_gateway.policy.annotations import Annotations, Effect
from mcp_gateway.policy.expressions import Reads
from mcp_gateway.policy.schema import Action
from mcp_gateway.policy.scopes import Scope
from mcp_gateway.policy.split import Place, Source, Statement, split

NO_PERMIT = "no policy permits a call, so every call of everybody is denied: a forbid only takes away"
NO_POLICY = "there is no policy in any *.cedar file: nothing is permitted to anybody"


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

    @property
    def statement(self) -> Statement:
        """Its text in tokens again, which stand where they do in its file."""
        place = self.place
        before = "\n" * (place.line - 1) + " " * (place.column - 1)
        (statement,), _ = split(Source(file=place.file, text=before + self.text))
        return statement

    def to_json(self) -> JSONObject:
        """What names it, for `--json`."""
        return {
            "id": self.id,
            "effect": self.effect,
            "mode": self.annotations.mode,
            "file": self.place.file,
            "line": self.place.line,
            "reason": self.annotations.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A valid set of policies."""

    policies: Mapping[str, Policy]
    """By id."""
    forms: Mapping[str, JSONObject]
    """Cedar's JSON form of each, by the same ids."""
    version: str
    """SHA-256 over the schema and every policy: the same set from other files has the same version."""
    actions: Mapping[str, Action]
    """What the schema knows to be decided on beside `reveal`, by tool."""
    classes: frozenset[str]
    """Every data class that a policy can name."""


def why_nothing_is_permitted(compiled: Compiled) -> str | None:
    """That a set denies every call, whatever is asked; None where it may permit one. What permits `reveal` alone permits none."""
    if not compiled.policies:
        return NO_POLICY
    permits = [one for one in compiled.policies.values() if one.effect == "permit" and one.annotations.mode != "shadow"]
    if not any(one.scope.names(name) for one in permits for name in compiled.actions):
        return NO_PERMIT
    return None


def handle_of(forms: Mapping[str, JSONObject]) -> Any:
    """A `cedarpy.PolicySet` of policies by their JSON forms; raises `ValueError` or `TypeError` where they nest too deeply."""
    whole = {"templates": {}, "staticPolicies": forms, "templateLinks": []}
    return cedarpy.PolicySet.from_json_str(orjson.dumps(whole).decode())
