"""The Cedar schema that policies are validated against, and the shape of every context that is decided on.

One table says which attributes a tool's facts have and of what type; the schema text is generated from it and
`question` checks every context against it, so that the two cannot drift apart. Environments, labels and data
classes are enumerated from the configuration: a policy that misspells one does not load.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, TypeAlias

from mcp_gateway.calls import Facts, HTTPFacts, ShellFacts, SQLFacts, Target, TargetKind
from mcp_gateway.inference import KINDS
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.usage import COUNTED, HISTORY, TOUCHED_WINDOWS, WINDOWS

AttributeType: TypeAlias = Literal[
    "Bool", "Long", "String", "Set<String>", "Set<DataClass>", "Set<Inference>", "datetime"
]
ENTITY_SETS: Mapping[AttributeType, str] = MappingProxyType(
    {"Set<DataClass>": "DataClass", "Set<Inference>": "Inference"}
)
"""Sets of enumerated entities, whose members are names: a misspelt one is an error where the policy loads."""

Shape: TypeAlias = Mapping[str, AttributeType]

REVEAL = "reveal"
KNOWN_ENVS = ("dev", "prod", "staging", "test")
"""Environments that a policy may name whether or not a target has them, so that one set of policies (the starter
policies above all) fits several configurations. Any further name has to be the `env` of a target."""
NO_LABEL = "(no target has a label)"
"""Cedar has no empty enumeration. A label is written `key=value`, so no label can be this."""

CALLER: Shape = MappingProxyType({"subject": "String", "issuer": "String", "actor": "String", "email": "String"})
OPTIONAL = frozenset({"email"})
"""Attributes of a caller that may be missing."""
TARGET: Shape = MappingProxyType({"name": "String", "kind": "String"})
CALL: Shape = MappingProxyType(
    {
        "tool": "String",
        "door": "String",
        "assurance": "String",
        "scopes": "Set<String>",
        "token_age": "Long",
        "time": "datetime",
    }
)
APPROVAL: Shape = MappingProxyType({"by": "Set<String>", "approvers": "Long"})
USAGE: Shape = MappingProxyType(
    {
        **dict[str, AttributeType]({f"{name}_{window}": "Long" for name in COUNTED for window in WINDOWS}),
        **dict[str, AttributeType]({f"touched_{window}": "Set<DataClass>" for window in TOUCHED_WINDOWS}),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One governed tool as policy knows it. Tools for the same kind of target have facts of the same shape."""

    name: str
    kind: TargetKind
    record: str
    """The member of the context that holds its facts."""
    record_type: str
    """The name of that record's type in the schema."""
    facts: type[Facts]
    shape: Shape


ACTIONS: Mapping[str, Action] = MappingProxyType(
    {
        action.name: action
        for action in (
            Action(
                name="query_database",
                kind="postgres",
                record="sql",
                record_type="Sql",
                facts=SQLFacts,
                shape=MappingProxyType(
                    {
                        "read_only": "Bool",
                        "kinds": "Set<String>",
                        "merge_actions": "Set<String>",
                        "reads": "Set<String>",
                        "writes": "Set<String>",
                        "columns": "Set<String>",
                        "returned_columns": "Set<String>",
                        "condition_columns": "Set<String>",
                        "functions": "Set<String>",
                        "function_traits": "Set<String>",
                        "unbounded": "Bool",
                        "statements": "Long",
                        "row_limit": "Long",
                        "fingerprint": "String",
                        "returns": "Set<DataClass>",
                        "planned_rows": "Long",
                        "planned_cost": "Long",
                        "infers": "Set<DataClass>",
                        "inference": "Set<Inference>",
                    }
                ),
            ),
            Action(
                name="run_ssh_command",
                kind="ssh",
                record="shell",
                record_type="Shell",
                facts=ShellFacts,
                shape=MappingProxyType(
                    {
                        "programs": "Set<String>",
                        "subcommands": "Set<String>",
                        "opaque": "Bool",
                        "read_only": "Bool",
                        "writes_files": "Bool",
                        "privileged": "Bool",
                        "network": "Bool",
                        "writes": "Set<String>",
                        "removes": "Set<String>",
                        "paths_known": "Bool",
                    }
                ),
            ),
            Action(
                name="call_api",
                kind="http",
                record="http",
                record_type="Http",
                facts=HTTPFacts,
                shape=MappingProxyType(
                    {
                        "method": "String",
                        "host": "String",
                        "path": "String",
                        "query_keys": "Set<String>",
                        "body_keys": "Set<String>",
                        "keys_known": "Bool",
                        "documented": "Bool",
                        "operation": "String",
                        "tags": "Set<String>",
                        "matches": "Bool",
                        "graphql_operation": "String",
                        "graphql_fields": "Set<String>",
                        "graphql_opaque": "Bool",
                    }
                ),
            ),
        )
    }
)
"""Those of the built-in tools, one for each kind of target."""


def actions_of(further: Mapping[str, TargetKind]) -> Mapping[str, Action]:
    """The built-in actions and those of further tools, by name."""
    of_kind = {action.kind: action for action in ACTIONS.values()}
    return {**ACTIONS, **{name: replace(of_kind[kind], name=name) for name, kind in further.items()}}


def labels_of(target: Target) -> tuple[str, ...]:
    """The ids of the `Label`s that a target is in: `key=value`, sorted. `env` is an entity type of its own."""
    return tuple(sorted(f"{key}={value}" for key, value in target.labels.items() if key != "env"))


def classes_of(targets: Sequence[Target], *, configured: Collection[str]) -> frozenset[str]:
    """Every data class: the built-in ones, the configured ones and the targets' own."""
    return frozenset([*BUILT_IN, *configured, *(name for target in targets for name in target.classes)])


def names_of(targets: Sequence[Target], *, classes: Collection[str]) -> Mapping[str, Sequence[str]]:
    """The types of entities that have no names but these, sorted."""
    envs = {*KNOWN_ENVS, *(target.labels["env"] for target in targets if "env" in target.labels)}
    labels = {label for target in targets for label in labels_of(target)}
    return {
        "Env": sorted(envs),
        "Label": sorted(labels),
        "DataClass": sorted(classes),
        "Inference": sorted(KINDS),
    }


def schema_text(*, targets: Sequence[Target], classes: Collection[str], actions: Mapping[str, Action] = ACTIONS) -> str:
    """The schema in Cedar's own syntax. `classes` are all that `classes_of` finds."""
    lines = [
        "entity Group;",
        *(
            f"entity {of} enum {_enumerated(names or [NO_LABEL])};"
            for of, names in names_of(targets, classes=classes).items()
        ),
        f"entity Target in [Env, Label] {_attributes(TARGET)};",
        f"entity Caller in [Group] {_attributes(CALLER, optional=OPTIONAL)};",
        _record("Call", CALL),
        _record("Approval", APPROVAL),
        _record("Usage", USAGE),
        *(_record(action.record_type, action.shape) for action in ACTIONS.values()),
        *(
            _action(action.name, resource="Target", last=f"{action.record}: {action.record_type}")
            for action in actions.values()
        ),
        _action(REVEAL, resource="DataClass", last="target: Target"),
    ]
    return "\n".join(lines) + "\n"


def _record(name: str, shape: Shape) -> str:
    return f"type {name} = {_attributes(shape)};"


def _attributes(shape: Shape, *, optional: Collection[str] = ()) -> str:
    named = (f"{attribute}{'?' if attribute in optional else ''}: {of}" for attribute, of in shape.items())
    return f"{{ {', '.join(named)} }}"


def _action(name: str, *, resource: str, last: str) -> str:
    usage = ", ".join(f"{name}: Usage" for name in HISTORY)
    context = f"{{ call: Call, approval: Approval, {usage}, {last} }}"
    return f'action "{name}" appliesTo {{ principal: [Caller], resource: [{resource}], context: {context} }};'


def _enumerated(names: Iterable[str]) -> str:
    return f"[{', '.join(quoted(name) for name in sorted(names))}]"


def quoted(text: str) -> str:
    r"""Write a string literal: printable ASCII as it is, everything else as `\u{...}`."""
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if " " <= character <= "~" else f"\\u{{{ord(character):x}}}"
