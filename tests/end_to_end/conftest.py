"""Every end-to-end test is held to the invariants I1 to I8 of its gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.invariants.fixtures import held_to_invariants
from tests.invariants.resources import tasks_return
from tests.invariants.world import World

__all__ = ["tasks_return"]


@pytest.fixture(autouse=True)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """What the test says about its gateway; judged when it is over."""
    yield from held_to_invariants(request, tmp_path, needs_gateway=True)
