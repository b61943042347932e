"""What all tests share: only markers and fixtures that no folder owns."""

from __future__ import annotations

import functools
import gc
import inspect
import os
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


def pytest_configure() -> None:
    """Look for no garbage while modules are loaded and tests are found: nearly all of it stays."""
    gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Take what there is now out of later collections, of which each would look at every test that was found."""
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
