"""Columns that a statement uses: what it returns, and what only decides over that. Pure.

`masking.lineage` finds them; here they are made complete by what else is known of the statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mcp_gateway.facts.reach import Reached
from mcp_gateway.facts.traits import UNNAMED_COLUMNS


class Uses(NamedTuple):
    """Stored columns as facts call them, `schema.relation.column`. One may be in both."""

    returned: frozenset[str]
    """What the result is made of, or what is written somewhere."""
    conditions: frozenset[str]
    """What decides which rows or values there are, how many, or in which order."""
    parts: Mapping[str, Sequence[tuple[str, str]]]
    """To these, their like in every part of their relation: the part and its column."""
    apart: bool = True
    """Whether the two are told apart. Otherwise all of these may be in both, and code that nobody sees may use others."""
    followed: bool = True
    """Whether the statement was followed to its end. Otherwise it may use any column."""


NOT_FOLLOWED = Uses(frozenset(), frozenset(), {}, apart=False, followed=False)


def completed(uses: Uses, *, reached: Reached, traits: frozenset[str]) -> tuple[Uses, frozenset[str]]:
    """With columns of parts, as far as these are named, and with what only the code behind a statement uses.

    That code was not followed where it does not make the result, so its columns may be used for anything. `traits`
    are those of the statement and may become more.
    """
    named = reached.columns.union(*reached.part_columns.values()) if uses.parts else frozenset[str]()
    returned, conditions = (
        names.union(column for one in names for _, column in uses.parts.get(one, ()) if column in named)
        for names in (uses.returned, uses.conditions)
    )
    if not reached.beyond.isdisjoint(returned | conditions):
        traits |= {UNNAMED_COLUMNS}
    unseen = reached.columns - returned - conditions
    return uses._replace(returned=returned | unseen, conditions=conditions | unseen, parts={}), traits


def among(uses: Uses, columns: frozenset[str]) -> Uses:
    """What is said of these columns alone, of which `relation.*` stands for all that a star may bring.

    Without a catalog any name may be a column of any table; only what is certain of these is named.
    """
    stars = [one.removesuffix("*") for one in columns if one.endswith(".*")]

    def certain(names: frozenset[str]) -> frozenset[str]:
        others = names - columns
        brought = [star + "*" for star in stars if any(one.startswith(star) for one in others)]
        return (names & columns).union(brought)

    return uses._replace(returned=certain(uses.returned), conditions=certain(uses.conditions), parts={})
