"""What a test does where a part of the outside is not installed: it is skipped and says how to get it; in CI it fails."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(part: str, *, hint: str) -> NoReturn:
    """End the test over a part that is not here; the hint says how to get it."""
    message = f"{part}: {hint}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
