"""The labelled cases beside the project: read from where they lie, never copied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.peers.parts import missing

ABOVE = Path(__file__).resolve().parents[2:]
CORPORA = next(
    (found for folder in ABOVE if (found := folder / "shared/corpora").exists()), ABOVE[0] / "shared/corpora"
)
"""Beside the project, or beside a folder that it lies in."""
HINT = f"it has to lie in {CORPORA}"


def cases(name: str) -> list[dict[str, Any]]:
    """All cases of one file."""
    path = CORPORA / name
    if not path.exists():
        missing(f"the corpus {name} is missing", hint=HINT)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
