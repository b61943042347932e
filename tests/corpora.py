"""The labelled cases beside the project: read from where they lie, never copied."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

CORPORA = Path(__file__).resolve().parents[2] / "shared" / "corpora"


def cases(name: str) -> list[dict[str, Any]]:
    """All cases of one file; absent outside CI means a skip, in CI a failure."""
    path = CORPORA / name
    if not path.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"the corpus {name} is missing beside the checkout")
        pytest.skip(f"the corpus {name} does not lie beside this checkout")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
