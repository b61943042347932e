"""What a database has from widely used extensions taints nothing that does not use it. On a real server."""

from __future__ import annotations

import secrets

import pytest

from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.masking.lineage import follow, prepare
from tests.masking.lineage.databases import catalog_of, database
from tests.peers.postgres import PostgresServer


@pytest.mark.parametrize("extension", ["citext", "hstore", "isn", "ltree", "pg_trgm"])
def test_what_is_computed_is_clear_beside_an_extension(postgres_server: PostgresServer, extension: str) -> None:
    name = f"extended_{secrets.token_hex(4)}"
    made = f"CREATE EXTENSION {extension}; CREATE TABLE people (id int, name text, ssn text);"
    with database(postgres_server, name, made):
        catalog = catalog_of(postgres_server, name)
    sql = "SELECT upper(name), id + 1, count(*) OVER (ORDER BY name), ssn FROM people ORDER BY name"

    lineage = follow(parse_tree(sql), prepare(catalog, {"public.people.ssn": "ssn"})).lineage

    assert lineage.columns is not None
    assert [set(column.classes) for column in lineage.columns] == [set(), set(), set(), {"ssn"}]
    assert not lineage.opaque
