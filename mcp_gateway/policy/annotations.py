"""What the annotations of a policy say: whom it asks, how long, why, and within which bounds it permits.

Annotations are obligations that Cedar itself ignores, so each one is checked here: an unknown name, a value that
does not parse or one on the wrong kind of policy would otherwise be silently without effect.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias, TypeVar

from mcp_gateway.quantities import parse_duration

Effect: TypeAlias = Literal["permit", "forbid"]
Mode: TypeAlias = Literal["enforce", "shadow"]

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
MAX_REASON_CHARACTERS = 500
MAX_APPROVERS = 100
MAX_ROWS = 1_000_000_000

KNOWN: Mapping[str, frozenset[Effect]] = {
    "id": frozenset({"permit", "forbid"}),
    "reason": frozenset({"permit", "forbid"}),
    "approval": frozenset({"forbid"}),
    "approvers": frozenset({"forbid"}),
    "ttl": frozenset({"forbid"}),
    "max_rows": frozenset({"permit"}),
    "timeout": frozenset({"permit"}),
    "mode": frozenset({"permit", "forbid"}),
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """The annotations of one policy, parsed."""

    reason: str = ""
    approval: frozenset[str] = frozenset()
    """Groups that are asked; empty when no approval lifts this policy."""
    approvers: int = 1
    """Distinct people that each of them has to bring."""
    ttl: timedelta | None = None
    max_rows: int | None = None
    timeout: timedelta | None = None
    mode: Mode = "enforce"
    """`shadow`: it is evaluated and recorded, and decides nothing."""


def parse_annotations(given: Mapping[str, str | None], *, effect: Effect) -> tuple[Annotations, list[tuple[str, str]]]:
    """Read annotations; the list holds `(name, what is wrong with it)`, and is empty when all is well."""
    wrong: list[tuple[str, str]] = []

    def read(name: str, parse: Callable[[str], T], default: T) -> T:
        text = given.get(name)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            wrong.append((name, f"@{name}({text!r}) {error}"))
            return default

    for name, text in given.items():
        if name not in KNOWN:
            wrong.append((name, f"the annotation @{name} is unknown; there are {_listed(KNOWN)}"))
        elif effect not in KNOWN[name]:
            wrong.append((name, f"@{name} has no effect on a {effect}"))
        elif not text:
            wrong.append((name, f"@{name} has no value"))
        elif name in ("approvers", "ttl") and "approval" not in given:
            wrong.append((name, f"@{name} has no effect without @approval"))
    read("id", _id, "")
    annotations = Annotations(
        reason=read("reason", _reason, ""),
        approval=read("approval", _groups, frozenset()),
        approvers=read("approvers", _count(MAX_APPROVERS), 1),
        ttl=read("ttl", _duration, None),
        max_rows=read("max_rows", _count(MAX_ROWS), None),
        timeout=read("timeout", _duration, None),
        mode=read("mode", _mode, "enforce"),
    )
    return annotations, wrong


def _id(text: str) -> str:
    if not ID.fullmatch(text):
        raise ValueError("is not 1 to 100 letters, digits, '.', '_', '/' and '-', beginning with a letter or digit")
    return text


def _reason(text: str) -> str:
    if len(text) > MAX_REASON_CHARACTERS or not text.isprintable():
        raise ValueError(f"is not one line of at most {MAX_REASON_CHARACTERS} printable characters")
    return text


def _groups(text: str) -> frozenset[str]:
    """Groups stand between commas, since a name may hold spaces (`Domain Admins`)."""
    names = [name.strip() for name in text.split(",")]
    if not all(name and name.isprintable() for name in names) or len(set(names)) != len(names):
        raise ValueError("is not a list of different groups between commas")
    return frozenset(names)


def _mode(text: str) -> Mode:
    match text:
        case "enforce" | "shadow":
            return text
        case _:
            raise ValueError("is neither 'enforce' nor 'shadow'")


def _count(highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[1-9][0-9]{0,9}", text) or int(text) > highest:
            raise ValueError(f"is not a whole number from 1 to {highest:,}")
        return int(text)

    return parse


def _duration(text: str) -> timedelta:
    try:
        duration = parse_duration(text)
    except ValueError:
        duration = timedelta(0)
    if not duration:
        raise ValueError("is not a duration such as 30s, 15m, 2h or 1d")
    return duration


def _listed(names: Mapping[str, object]) -> str:
    *rest, last = [f"@{name}" for name in names]
    return f"{', '.join(rest)} and {last}"
