"""What all tests share: only markers and fixtures that no folder owns."""

from __future__ import annotations

import functools
import gc
import inspect
import os
from collections.abc import Generator
from typing import Any

import anyio
import pytest

from tests.peers.oidc_provider import oidc_provider
from tests.peers.postgres import embedded_postgres_server, postgres_database, postgres_programs, postgres_server
from tests.peers.prometheus import prometheus
from tests.peers.sshd import ssh_server

__all__ = [
    "embedded_postgres_server",
    "oidc_provider",
    "postgres_database",
    "postgres_programs",
    "postgres_server",
    "prometheus",
    "ssh_server",
]


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Tests marked `anyio` run on the event loop that a gateway runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.hookimpl(trylast=True)  # after what puts tests in a random order
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long: the first worker does it, and the others take over what else was the first's."""
    items.sort(key=lambda item: item.get_closest_marker("early") is None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while tests are found, and leave them all out of later looks: nearly everything stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_itemcollected(item: pytest.Item) -> None:
    """A signal ends no wait of uvloop's, so a coroutine that takes too long is cancelled, or its process ended."""
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        item.add_marker(pytest.mark.timeout(_seconds(item), method="thread"), append=False)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Cancel a test that takes too long a little before `pytest-timeout` would end the whole process."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return

    @functools.wraps(test)
    async def bounded(**arguments: Any) -> None:
        with anyio.fail_after(0.9 * _seconds(pyfuncitem)):
            await test(**arguments)

    pyfuncitem.obj = bounded


def _seconds(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0] if marker is not None else item.config.getini("timeout"))


def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means: two more than there are processors, because tests of servers wait more than they work."""
    return (os.cpu_count() or 1) + 2
