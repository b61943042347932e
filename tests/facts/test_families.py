from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_gateway.facts.catalog import Dependent, Relation
from mcp_gateway.facts.families import Families
from tests.masking.lineage.catalogs import relation


def families(*relations: Relation) -> Families:
    return Families({of.qualified: of for of in relations})


def keys(*names: str) -> tuple[Dependent, ...]:
    return tuple(Dependent(relation=name, on_delete="c") for name in names)


PARTS = families(
    relation("all", "x text"),
    relation("year", "x text", parents=("public.all",)),
    relation("day", "x text", parents=("public.year", "public.gone")),
    replace(relation("orders", "x text"), dependents=keys("public.year", "public.nowhere")),
    replace(relation("far", "x text", parents=("public.day",)), kind="f"),
)


def test_descendants_are_found_at_any_depth() -> None:
    assert set(PARTS.descendants("public.all")) == {"public.year", "public.day", "public.far"}
    assert set(PARTS.descendants("public.gone")) == {"public.day", "public.far"}
    assert PARTS.descendants("public.orders") == ()


def test_what_is_written_along_is_found_over_cascades_and_descendants() -> None:
    assert PARTS.written_along("public.orders") == (
        "public.orders", "public.nowhere", "public.year", "public.day", "public.far"
    )  # fmt: skip


def test_every_ancestor_of_a_foreign_table_is_read_with_it() -> None:
    assert PARTS.above_foreign == {"public.day", "public.gone", "public.year", "public.all"}


def test_all_that_is_tied_by_inheritance_has_one_head() -> None:
    heads = PARTS.heads()

    assert len({heads[f"public.{name}"] for name in ("all", "year", "day", "far")}) == 1
    assert heads["public.orders"] == "public.orders"


@pytest.mark.parametrize("kind", ["r", "f"])
def test_a_circle_ends(kind: str) -> None:
    circle = families(
        replace(relation("a", "x text", parents=("public.b",)), kind=kind),
        relation("b", "x text", parents=("public.a",)),
    )

    assert set(circle.descendants("public.a")) == set(circle.written_along("public.a")) == {"public.a", "public.b"}
    assert circle.above_foreign == ({"public.a", "public.b"} if kind == "f" else set())
