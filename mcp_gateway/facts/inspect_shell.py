"""The `inspect shell` object: what `facts.shell` makes of one command."""

from __future__ import annotations

from collections.abc import Sequence

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.shell import examine_shell


def inspect_shell(*, command: str | None = None, argv: Sequence[str] | None = None) -> JSONObject:
    """`programs`, `opaque`, `writes_files`, `privileged`. Raises `ShellError`."""
    return examine_shell(argv=argv, command=command).to_json()
