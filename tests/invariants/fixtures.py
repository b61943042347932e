"""The fixture that holds tests in which a whole road runs to the invariants. A `conftest` or a test file imports it.

A test fills the `World` with what cannot be found: witnesses, canaries, what its clients got. Found by itself is every
audit store below `tmp_path`, every file there (searched for canaries), and the log of an API target, if it is named
`<target>.api.log`. An end-to-end test without a store fails.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mcp_gateway.audit.files import DATABASE
from tests.invariants.checks import judge
from tests.invariants.resources import left_over, own_footprint, tasks_return
from tests.invariants.witnesses import APIWitness
from tests.invariants.world import World

__all__ = ["tasks_return", "world"]

TARGETS = ("postgres_database",)
"""Fixtures that are targets: set up first, so that they are still there to be asked when the gateway is gone."""
API_LOG = ".api.log"


@pytest.fixture(autouse=True)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """What the test says about its gateway; judged when the test and its other fixtures are over."""
    needs_gateway = "end_to_end" in request.path.parts
    for name in TARGETS:
        if name in request.fixturenames:
            request.getfixturevalue(name)
    if _is_coroutine(request.function):
        request.getfixturevalue("tasks_return")
    # From here on, so that the event loop that is open already is open at the end, too.
    before = own_footprint()
    world = World(folders=[tmp_path])
    with capture_logs() as logs:
        yield world
    for entry in logs:
        world.add_log("the log", repr(entry).encode())
    world.data_dirs += [path.parent for path in sorted(tmp_path.rglob(DATABASE)) if path.parent not in world.data_dirs]
    if needs_gateway and not (world.no_store or world.shared):
        assert world.data_dirs, "an end-to-end test says where its gateway's store is: world.data_dirs"
    for log in sorted(tmp_path.rglob(f"*{API_LOG}")):
        world.witnesses.append(APIWitness(target=log.name.removesuffix(API_LOG), log=log, whole=True))
        world.sources.add(log)
    # A gateway that goes on holds sessions at its targets, which are this process's children.
    left = [] if world.shared else left_over(before)
    violations = judge(world) + [f"I8: {one}" for one in left]
    assert not violations, "violated:\n" + "\n".join(violations)


def _is_coroutine(test: Callable[..., object]) -> bool:
    """Whether it runs in an event loop; `@given` puts a plain function around it."""
    given = getattr(test, "hypothesis", None)
    return inspect.iscoroutinefunction(test if given is None else given.inner_test)
