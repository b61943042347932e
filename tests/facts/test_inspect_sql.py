from __future__ import annotations

import pytest

from mcp_gateway.facts.inspect_sql import inspect_sql, inspection_of
from mcp_gateway.facts.parser import SQLSyntaxError
from mcp_gateway.inference import KINDS


def test_the_object_has_the_facts_as_json() -> None:
    found = inspect_sql("WITH d AS (DELETE FROM app.orders RETURNING id) SELECT count(*) FROM d")
    assert len(found.pop("fingerprint")) == 32
    assert found == {
        "read_only": False,
        "kinds": ["DELETE", "SELECT"],
        "merge_actions": [],
        "reads": ["app.orders"],
        "writes": ["app.orders"],
        "columns": ["app.orders.id"],
        "returned_columns": [],
        "condition_columns": [],
        "functions": ["count"],
        "function_traits": [],
        "row_limit": -1,
        "returns": [],
        "planned_rows": -1,
        "planned_cost": -1,
        "unbounded": True,
        "statements": 1,
        "infers": [],
        "inference": {kind: [] for kind in KINDS},
    }


def test_what_only_a_catalog_could_tell_is_taken_as_the_worst() -> None:
    assert not inspect_sql("SELECT touch(id) FROM users")["read_only"]


def test_a_text_that_is_no_sql_has_the_worst_facts() -> None:
    with pytest.raises(SQLSyntaxError):
        inspect_sql("SELEC 1")

    assert inspection_of(None)["read_only"] is False
    assert inspection_of(None).keys() == inspect_sql("SELECT 1").keys()
