"""What a real server makes of statements, for modules that say which `database` they are run in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mcp_gateway.facts.catalog import Catalog
from tests.facts.databases import catalog_of
from tests.facts.witness import Witness, witness_of
from tests.peers.postgres import PostgresServer


@pytest.fixture(scope="module")
def catalog(postgres_server: PostgresServer, database: str) -> Catalog:
    """The catalog of the module's database."""
    return catalog_of(postgres_server, database=database)


@pytest.fixture
def witness(postgres_server: PostgresServer, database: str) -> Iterator[Witness]:
    """Somebody who watches what a statement does there."""
    with witness_of(postgres_server, database=database) as found:
        yield found
