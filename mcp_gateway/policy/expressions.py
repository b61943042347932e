"""What the conditions of a policy look at, read from Cedar's JSON form of it.

Two questions are answered, both by walking every node and refusing what is not understood: whether
`context.approval` is used only in the way an approval can lift, and which other attributes of the context can
change the outcome, so that decisions may be cached by just those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mcp_gateway.calls import JSONObject

Path: TypeAlias = tuple[str, ...]
"""`("sql", "reads")` for `context.sql.reads`; `("sql",)` when the record is used as a whole."""

COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!="})
LEAVES = frozenset({"Value", "Var"})
NOT_EXPRESSIONS = frozenset({"attr", "entity_type", "pattern"})
TOKEN_AGE: Path = ("call", "token_age")

ALLOWED_FORMS = (
    'an approval may be used only as context.approval.by.contains("group") or context.approval.approvers >= n, '
    "joined by && and ||"
)


class ExpressionError(ValueError):
    """A condition that the gateway does not take. The message is a sentence for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """Which parts of the context a policy looks at."""

    paths: frozenset[Path]
    token_ages: frozenset[int]
    """Constants that `call.token_age` is compared with; it is in `paths` only when used in another way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalUse:
    """How the `unless` of a forbid looks at the approval."""

    groups: frozenset[str]
    """Those of `.by.contains("group")`."""
    people: frozenset[int]
    """Those of `.approvers >= n`."""


def reads_of(conditions: Sequence[JSONObject]) -> Reads:
    """Find every attribute of the context that the conditions look at."""
    paths: set[Path] = set()
    ages: set[int] = set()
    for condition in conditions:
        _collect(condition["body"], paths, ages)
    return Reads(paths=frozenset(paths), token_ages=frozenset(ages))


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
    paths: set[Path] = set()
    _collect(node, paths, set())
    return any(path[0] == "approval" for path in paths)


def _collect(node: JSONObject, paths: set[Path], ages: set[int]) -> None:
    operator, inside = _only(node)
    if node == {"Var": "context"}:
        raise ExpressionError("context is used as a whole; name the attribute that is meant")
    if (path := _path(node)) is not None:
        paths.add(path[:2])
    elif operator == "has" and (path := _path(inside["left"])) is not None:
        paths.add((*path, inside["attr"])[:2])
    elif operator == "has" and inside["left"] == {"Var": "context"}:
        paths.add((inside["attr"],))
    elif operator in COMPARISONS and (age := _token_age(inside)) is not None:
        ages.add(age)
    else:
        for child in _children(operator, inside):
            _collect(child, paths, ages)


def _token_age(inside: JSONObject) -> int | None:
    """The constant, when `context.call.token_age` is compared with one."""
    for one, other in (("left", "right"), ("right", "left")):
        match inside[other]:
            case {"Value": int(constant)} if _path(inside[one]) == TOKEN_AGE:
                return constant
            case _:
                continue
    return None


def _path(node: JSONObject) -> Path | None:
    """`("sql", "reads")` for the node of `context.sql.reads`, None for anything that is not such a chain."""
    names: list[str] = []
    while (inside := node.get(".")) is not None:
        names.append(inside["attr"])
        node = inside["left"]
    return tuple(reversed(names)) if names and node == {"Var": "context"} else None


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
