"""What is known of statements that differ in values alone, from those of them that have run. Of one snapshot of the catalog.

Nothing of it is believed: the server says with each statement how it describes it, and whether versions hold. Where something is
wrong the statement is run step by step, which takes its time.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

from mcp_gateway.recent import Recent
from mcp_gateway.targets.postgres_catalog import Touched
from mcp_gateway.targets.postgres_preface import Check
from mcp_gateway.targets.postgres_session import Prepared

REMEMBERED = 256
MAX_DESCRIBED = 4096
"""Bytes of how a statement is described, a hundred columns or so; what the driver knows of one with more is a megabyte."""
MAX_VERSIONS = 16 * 1024
"""Characters of the versions that are sent with each statement; one that touches more is run step by step."""


class Shapes:
    """How the server describes statements, by shape, and the versions of what they touch."""

    def __init__(self) -> None:
        self._prepared: Recent[Hashable, Prepared | Literal[False]] = Recent(REMEMBERED)
        """The last one of a shape; False where the server describes its statements in several ways."""
        self._versions: Recent[Touched, str] = Recent(REMEMBERED)
        """Where they are what is expected, in the server's own words."""

    def find(
        self, shape: Hashable, parameters: Sequence[Any], *, touched: Touched | None
    ) -> tuple[Prepared, Check | None] | None:
        """How the server will describe a statement, and what has to be checked for it; None where that is not known."""
        prepared = self._prepared.get(shape)
        if not prepared or len(prepared.parameters) != len(parameters):
            return None
        if touched is None:
            return prepared, None
        versions = self._versions.get(touched)
        if versions is None:
            return None
        return prepared, Check(touched=touched, versions=versions)

    def learn(self, shape: Hashable, prepared: Prepared) -> None:
        """Keep how a statement is described."""
        if len(prepared.described) <= MAX_DESCRIBED and self._prepared.get(shape) is not False:
            self._prepared.put(shape, prepared)

    def give_up(self, shape: Hashable) -> None:
        """Know nothing of a shape from now on: a statement of it was described in another way."""
        self._prepared.put(shape, False)  # noqa: FBT003

    def hold(self, touched: Touched, versions: str) -> None:
        """Keep versions that are what is expected."""
        if len(versions) <= MAX_VERSIONS:
            self._versions.put(touched, versions)
