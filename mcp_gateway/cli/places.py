"""Paths of the command line, which are relative to where the person is."""

from __future__ import annotations

from pathlib import Path

from mcp_gateway.cli.failures import MisuseError


def from_here(path: str | Path) -> Path:
    """The same as an absolute path. Raises `MisuseError` in a folder that was removed meanwhile."""
    try:
        return Path(path).absolute()
    except FileNotFoundError:
        raise MisuseError("the current folder is not there any more; go to another, or give absolute paths") from None
