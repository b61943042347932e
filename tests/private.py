"""Files that only their owner may read, as the gateway wants configurations, policies and credentials."""

from __future__ import annotations

from pathlib import Path


def write_private(path: Path, content: str | bytes) -> Path:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
