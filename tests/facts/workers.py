"""A worker for tests, and what it is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mcp_gateway.facts.catalog import Catalog, Column, Relation
from mcp_gateway.facts.worker import SQLWorker

SLOW = "/*" * 16_000
"""The scanner looks for the end of each comment to the end of the text: quadratic, seconds at this size."""


def users(*columns: str, version: str = "") -> Catalog:
    relation = Relation(
        oid=20_000,
        schema="public",
        name="users",
        kind="r",
        columns=tuple(Column(name=name, type="pg_catalog.text") for name in columns),
    )
    return Catalog(
        server_version=150018, search_path=("public",), relations={"public.users": relation}, version=version
    )


@pytest.fixture
async def worker() -> AsyncIterator[SQLWorker]:
    one = SQLWorker()
    yield one
    await one.aclose()


def child_of(worker: SQLWorker) -> int:
    (pid,) = worker.pids
    return pid
