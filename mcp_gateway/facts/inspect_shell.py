"""The `inspect shell` object: what `facts.shell` makes of one command."""

from __future__ import annotations

from collections.abc import Sequence

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.programs import Knowledge
from mcp_gateway.facts.shell import examine_shell


def inspect_shell(
    *, command: str | None = None, argv: Sequence[str] | None = None, knowledge: Knowledge | None = None
) -> JSONObject:
    """The facts as policy has them. Raises `ShellError`."""
    return examine_shell(argv=argv, command=command, knowledge=knowledge).to_json()
