"""Labelled statements: ordinary reads and statements with an effect, about one database.

Blocks of a file are separated by blank lines. A block's comment lines at its head are labels where they have the form
`-- label: value; label: value`; the rest of it is one text. What the labels mean stands at the fields of `Statement`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SCHEMA = HERE / "schema.sql"
LABELS = frozenset({"alone", "also", "catalog", "kinds", "shows", "unseen", "writes"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One text, and what is true of it."""

    sql: str
    where: str
    """File and line."""
    has_effect: bool
    kinds: frozenset[str]
    writes: frozenset[str]
    """Tables that it names as written, as facts name them with a catalog."""
    also: frozenset[str]
    """Tables that change along with them: partitions, and what cascades, rules, triggers and functions change."""
    shows: frozenset[str]
    """What a server shows of it: see `tests.facts.witness`."""
    unseen: str
    """Why it is labelled by hand and no server asked; empty where one is."""
    catalog: str
    """Why the text alone looks harmless, and what only a catalog tells; empty where the text is enough."""
    alone: bool
    """It refuses to run in a transaction block."""


def reads() -> list[Statement]:
    """Texts without any effect."""
    return list(_statements("reads.sql", has_effect=False))


def effects() -> list[Statement]:
    """Texts that change something, reach a file, program, network or other session, or would if they may."""
    return list(_statements("effects.sql", has_effect=True))


def _statements(name: str, *, has_effect: bool) -> Iterator[Statement]:
    line = 1
    for block in (HERE / name).read_text(encoding="utf-8").split("\n\n"):
        lines = block.splitlines()
        comments = [text for text in lines if text.startswith("--")]
        sql = "\n".join(lines[len(comments) :]).rstrip("\n")
        if sql:
            labels = dict(_labels(comments))
            yield Statement(
                sql=sql,
                where=f"{name}:{line + len(comments)}",
                has_effect=has_effect,
                kinds=_words(labels.get("kinds", "" if has_effect else "SELECT")),
                writes=_words(labels.get("writes", "")),
                also=_words(labels.get("also", "")),
                shows=_words(labels.get("shows", "")),
                unseen=labels.get("unseen", ""),
                catalog=labels.get("catalog", ""),
                alone="alone" in labels,
            )
        line += block.count("\n") + 2


def _labels(comments: list[str]) -> Iterator[tuple[str, str]]:
    for comment in comments:
        for part in comment.removeprefix("--").split(";"):
            label, colon, value = part.partition(":")
            if colon:
                if label.strip() not in LABELS:
                    raise ValueError(f"unknown label {label.strip()!r}")
                yield label.strip(), value.strip()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.replace(",", " ").split())
