"""What values the attributes of a context can have at all, where that is certain. Pure.

Of facts only those of the built-in tools are certain: a tool of another distribution makes its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase, printable
from types import MappingProxyType
from typing import get_args

from mcp_gateway.calls import Assurance, Door, Target, TargetKind
from mcp_gateway.facts.graphql import KINDS as GRAPHQL_KINDS
from mcp_gateway.facts.http import METHODS, split_base
from mcp_gateway.facts.sql_statements import ALL_KINDS, ANY_MERGE_ACTION
from mcp_gateway.facts.traits import ALL_TRAITS, TRAIT_PREFIXES
from mcp_gateway.inference import KINDS as INFERENCE_KINDS
from mcp_gateway.policy.expressions import Path
from mcp_gateway.policy.schema import ACTIONS, APPROVAL, CALL, CALLER, REVEAL, TARGET, USAGE, Action
from mcp_gateway.policy.scopes import Entity, entities_of_target
from mcp_gateway.usage import HISTORY

Constant = str | int | bool | Entity
"""A text, a number, a truth, or an entity by its type and id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """The values of an attribute, or the members of one that is a set."""

    values: frozenset[Constant] | None = None
    """All there are; None where that is not known."""
    prefixes: tuple[str, ...] = ()
    """What any further text begins with."""
    least: int | None = None
    """Of a number."""
    most: int | None = None
    never: frozenset[str] = frozenset()
    """Characters that no text has."""
    said: str = ""
    """What the value can be, in words, where the rest does not say it."""

    def has(self, value: Constant) -> bool:
        """Whether the attribute can have this value."""
        if isinstance(value, str) and not self.never.isdisjoint(value):
            return False
        if isinstance(value, str) and value.startswith(self.prefixes):
            return True
        return self.values is None or value in self.values

    @property
    def finite(self) -> frozenset[Constant] | None:
        """All values, where there are no others."""
        return None if self.prefixes else self.values


ANYTHING = Domain()
FROM_ZERO = Domain(least=0)
IN_LOWER_CASE = Domain(never=frozenset(ascii_uppercase), said="it has no letter in upper case")
TIME_OF_DAY = Domain(least=0, most=86_399_999, said='it is less than duration("24h")')
"""In milliseconds."""
FACTS: Mapping[str, Mapping[Path, Domain]] = {
    "query_database": {
        ("sql", "kinds"): Domain(values=frozenset(ALL_KINDS)),
        ("sql", "merge_actions"): Domain(values=frozenset(ANY_MERGE_ACTION)),
        ("sql", "function_traits"): Domain(values=frozenset(ALL_TRAITS), prefixes=TRAIT_PREFIXES),
        ("sql", "statements"): FROM_ZERO,
        ("sql", "row_limit"): Domain(least=-1),
        ("sql", "functions"): IN_LOWER_CASE,
        ("sql", "fingerprint"): Domain(
            never=frozenset(printable) - frozenset("0123456789abcdef"), said="it is 32 of 0-9 and a-f"
        ),
    },
    "run_ssh_command": {},
    "call_api": {
        ("http", "method"): Domain(values=frozenset(METHODS)),
        ("http", "host"): IN_LOWER_CASE,
        ("http", "path"): Domain(
            values=frozenset(), prefixes=("/",), never=frozenset("?#"), said="it has no query and no fragment"
        ),
        ("http", "graphql_operation"): Domain(values=frozenset({"", *GRAPHQL_KINDS})),
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Of one configuration."""

    actions: Mapping[str, Action]
    classes: Collection[str]
    targets: Mapping[str, Target]
    """By name. Where there are none, of a kind or at all, policies are for targets to come, and nothing is said of them."""

    bases: Mapping[str, str]
    """The base URLs of APIs among them."""

    @classmethod
    def of(
        cls,
        targets: Sequence[Target],
        *,
        actions: Mapping[str, Action],
        classes: Collection[str],
        bases: Mapping[str, str] = MappingProxyType({}),
    ) -> Vocabulary:
        """What a configuration can bring to policy."""
        known = {target.name: target for target in targets}
        return cls(actions=actions, classes=classes, targets=known, bases=bases)

    def domains(self, action: str, *, target: str = "") -> Mapping[tuple[str, Path], Domain]:
        """What the attributes of variables can be for one action, on one target where that is certain."""
        found = {("context", path): domain for path, domain in self._facts(action).items()}
        found |= {("context", path): domain for path, domain in self._of_calls(action).items()}
        variable, prefix = ("context", ("target",)) if action == REVEAL else ("resource", ())
        kinds, names = self._targets(action, target)
        found |= {("context", path): domain for path, domain in self._of_paths(action, names).items()}
        found[variable, (*prefix, "kind")] = Domain(values=frozenset(kinds))
        if names:
            found[variable, (*prefix, "name")] = Domain(values=frozenset(names))
        if action == REVEAL:
            found["resource", ()] = Domain(values=frozenset(("DataClass", name) for name in self.classes))
        elif names:
            found["resource", ()] = Domain(values=frozenset(("Target", name) for name in names))
        return found

    def attributes(self, action: str) -> Mapping[tuple[str, Path], frozenset[str]]:
        """What the variables of an action and the records in its context have."""
        records = {"call": CALL, "approval": APPROVAL, **dict.fromkeys(HISTORY, USAGE)}
        own = self.actions.get(action)
        records |= {"target": TARGET} if own is None else {own.record: own.shape}
        return {
            ("principal", ()): frozenset(CALLER),
            ("resource", ()): frozenset[str]() if own is None else frozenset(TARGET),
            ("context", ()): frozenset(records),
            **{("context", (name,)): frozenset(shape) for name, shape in records.items()},
        }

    def entities_of(self, target: str) -> frozenset[Entity] | None:
        """What a target is, and is in; None where there is no such target."""
        found = self.targets.get(target)
        return frozenset(entities_of_target(found)) if found is not None else None

    def _targets(self, action: str, target: str) -> tuple[Collection[TargetKind], Collection[str]]:
        if (known := self.targets.get(target)) is not None and action != REVEAL:
            return {known.kind}, {known.name}
        if action == REVEAL:
            return get_args(TargetKind), self.targets
        kind = self.actions[action].kind
        return {kind}, {found.name for found in self.targets.values() if found.kind == kind}

    def knows_facts_of(self, action: str) -> bool:
        """Whether an action is that of a built-in tool."""
        return action in ACTIONS and self.actions.get(action) == ACTIONS[action]

    def _facts(self, action: str) -> Mapping[Path, Domain]:
        if not self.knows_facts_of(action):
            return {}
        found = dict(FACTS[action])
        if action == "query_database":
            of_classes = Domain(values=frozenset(("DataClass", name) for name in self.classes))
            found[("sql", "returns")] = found[("sql", "infers")] = of_classes
            found[("sql", "inference")] = Domain(values=frozenset(("Inference", kind) for kind in INFERENCE_KINDS))
        return found

    def _of_paths(self, action: str, names: Collection[str]) -> Mapping[Path, Domain]:
        """What the paths of requests to these targets begin with, if it is known of each."""
        if action != "call_api" or not self.knows_facts_of(action) or not names or not self.bases.keys() >= set(names):
            return {}
        where = ("http", "path")
        paths = sorted({split_base(self.bases[name])[-1] or "/" for name in names})
        return {where: replace(FACTS[action][where], prefixes=tuple(paths))}

    def _of_calls(self, action: str) -> Mapping[Path, Domain]:
        tools = self.actions if action == REVEAL else {action}
        counts: dict[Path, Domain] = {
            (record, name): FROM_ZERO for record in HISTORY for name, of in USAGE.items() if of == "Long"
        }
        return counts | {
            ("call", "tool"): Domain(values=frozenset(tools)),
            ("call", "door"): Domain(values=frozenset(get_args(Door))),
            ("call", "assurance"): Domain(values=frozenset(get_args(Assurance))),
            ("call", "token_age"): FROM_ZERO,
            ("approval", "approvers"): FROM_ZERO,
        }
