"""What the conditions of a policy look at, read from Cedar's JSON form of it.

Two questions are answered, both by walking every node and refusing what is not understood: whether
`context.approval` is used only in the way an approval can lift, and which other attributes of the context can
change the outcome, and what of them, so that Cedar may be shown just that and decisions may be cached by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mcp_gateway.calls import JSONObject

Path: TypeAlias = tuple[str, ...]
"""`("sql", "reads")` for `context.sql.reads`; `("sql",)` when the record is used as a whole."""

COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!="})
CONTAINS = frozenset({"contains", "containsAny", "containsAll"})
LEAVES = frozenset({"Value", "Var"})
NOT_EXPRESSIONS = frozenset({"attr", "entity_type", "pattern"})
TOKEN_AGE: Path = ("call", "token_age")

ALLOWED_FORMS = (
    'an approval may be used only as context.approval.by.contains("group") or context.approval.approvers >= n, '
    "joined by && and ||"
)


class ExpressionError(ValueError):
    """A condition that the gateway does not take. The message is a sentence for the operator."""

    def __init__(self, message: str, *, node: JSONObject | None = None) -> None:
        super().__init__(message)
        self.node = node
        """The expression that is meant, where that is a certain one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """Which parts of the context a policy looks at, and how closely."""

    paths: frozenset[Path] = frozenset()
    """Of which everything counts."""
    sides: frozenset[tuple[Path, int]] = frozenset()
    """Numbers, and a constant that each is compared with: there it counts which of both is greater."""
    members: frozenset[tuple[Path, str]] = frozenset()
    """Sets, and a member that each is asked for: there it counts whether the set has it."""

    @classmethod
    def of_all(cls, reads: Iterable[Reads]) -> Reads:
        """What several policies look at together: where everything counts to one of them, it does."""
        known = tuple(reads)
        paths = frozenset[Path]().union(*(one.paths for one in known))
        return cls(
            paths=paths,
            sides=frozenset(side for one in known for side in one.sides if not _is_within(side[0], paths)),
            members=frozenset(member for one in known for member in one.members if not _is_within(member[0], paths)),
        )

    @property
    def attributes(self) -> frozenset[Path]:
        """All that is looked at, however closely."""
        return self.paths.union((path for path, _ in self.sides), (path for path, _ in self.members))


def _is_within(path: Path, paths: frozenset[Path]) -> bool:
    return path in paths or path[:1] in paths


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalUse:
    """How the `unless` of a forbid looks at the approval."""

    groups: frozenset[str]
    """Those of `.by.contains("group")`."""
    people: frozenset[int]
    """Those of `.approvers >= n`."""


def reads_of(conditions: Sequence[JSONObject]) -> Reads:
    """Find every attribute of the context that the conditions look at."""
    return Reads.of_all(reads for condition in conditions for reads in _looks(condition["body"]))


def approval_use(conditions: Sequence[JSONObject]) -> ApprovalUse:
    """Find how the conditions use the approval; raises `ExpressionError` where one could not simply lift them."""
    groups: set[str] = set()
    people: set[int] = set()
    for condition in conditions:
        for part in _joined(condition["body"]) if condition["kind"] == "unless" else [condition["body"]]:
            if condition["kind"] == "unless" and (group := _group(part)) is not None:
                groups.add(group)
            elif condition["kind"] == "unless" and (count := _people(part)) is not None:
                people.add(count)
            elif _mentions_approval(part):
                raise ExpressionError(
                    ALLOWED_FORMS if condition["kind"] == "unless" else "an approval may be used only in `unless`"
                )
    return ApprovalUse(groups=frozenset(groups), people=frozenset(people))


def _joined(node: JSONObject) -> Iterator[JSONObject]:
    """The operands of && and ||, which keep what an approval adds; under anything else it might take away."""
    operator, inside = _only(node)
    if operator in ("&&", "||"):
        yield from _joined(inside["left"])
        yield from _joined(inside["right"])
    else:
        yield node


def _group(node: JSONObject) -> str | None:
    match node:
        case {"contains": {"left": left, "right": {"Value": str(group)}}} if _path(left) == ("approval", "by"):
            return group
        case _:
            return None


def _people(node: JSONObject) -> int | None:
    match node:
        case {">=": {"left": left, "right": {"Value": int(count)}}} if _path(left) == ("approval", "approvers"):
            return count
        case _:
            return None


def _mentions_approval(node: JSONObject) -> bool:
    return any(path[0] == "approval" for path in reads_of([{"body": node}]).attributes)


def _looks(node: JSONObject) -> Iterator[Reads]:
    operator, inside = _only(node)
    if node == {"Var": "context"}:
        raise ExpressionError("context is used as a whole; name the attribute that is meant", node=node)
    if (path := _path(node)) is not None:
        yield Reads(paths=frozenset({path[:2]}))
    elif operator == "has" and (path := _path(inside["left"])) is not None:
        yield Reads(paths=frozenset({(*path, inside["attr"])[:2]}))
    elif operator == "has" and inside["left"] == {"Var": "context"}:
        yield Reads(paths=frozenset({(inside["attr"],)}))
    elif operator in COMPARISONS and (side := _side(inside)) is not None:
        yield Reads(sides=frozenset({side}))
    elif operator in CONTAINS and (members := _members(inside)):
        yield Reads(members=members)
    else:
        for child in _children(operator, inside):
            yield from _looks(child)


def _side(inside: JSONObject) -> tuple[Path, int] | None:
    """The number and the constant, when an attribute is compared with one."""
    for one, other in (("left", "right"), ("right", "left")):
        path, constant = _path(inside[one]), inside[other].get("Value")
        if path is not None and len(path) == 2 and type(constant) is int:
            return path, constant
    return None


def _members(inside: JSONObject) -> frozenset[tuple[Path, str]]:
    """The set and the members that it is asked for, when an attribute is asked for constants; else nothing."""
    path, asked = _path(inside["left"]), inside["right"]
    names = [_name(one) for one in asked.get("Set", [asked])]
    if path is None or len(path) != 2:
        return frozenset()
    return frozenset() if None in names else frozenset((path, name) for name in names if name is not None)


def _name(node: JSONObject) -> str | None:
    """A constant that can be a member of a set: a text, or the id of an entity, whose type is that of the set's others."""
    match node:
        case {"Value": str(name)} | {"Value": {"__entity": {"id": str(name)}}}:
            return name
        case _:
            return None


def _path(node: JSONObject) -> Path | None:
    """`("sql", "reads")` for the node of `context.sql.reads`, None for anything that is not such a chain."""
    names: list[str] = []
    while (inside := node.get(".")) is not None:
        names.append(inside["attr"])
        node = inside["left"]
    return tuple(reversed(names)) if names and node == {"Var": "context"} else None


def children_of(node: JSONObject) -> Iterator[JSONObject]:
    """The expressions inside an expression."""
    return _children(*_only(node))


def _children(operator: str, inside: Any) -> Iterator[JSONObject]:
    """The expressions inside a node. Names that a record literal gives to its values are no operators."""
    if operator in LEAVES:
        return
    parts: Sequence[Any]
    if operator == "Record" and isinstance(inside, Mapping):
        parts = list(inside.values())
    elif isinstance(inside, Mapping):
        parts = [value for key, value in inside.items() if key not in NOT_EXPRESSIONS]
    elif isinstance(inside, list):
        parts = inside
    else:
        parts = [inside]
    for part in parts:
        if not isinstance(part, dict):
            raise ExpressionError(f"the expression {operator!r} is not understood")
        yield part


def _only(node: JSONObject) -> tuple[str, Any]:
    if len(node) != 1:
        raise ExpressionError("an expression is not understood")
    return next(iter(node.items()))
