"""What tables run by themselves, in the verdict: policies on a read, all of it on a write, casts nobody wrote."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_gateway.facts.catalog import Catalog, Dependent
from tests.masking.lineage.catalogs import CATALOG, catalog, function, lineage, masked

EVERYTHING = ["email+ssn"]
RETURNING = "UPDATE products SET name = 'x' RETURNING id"


def with_products(**changes: object) -> Catalog:
    found = CATALOG.relations["public.products"]
    return replace(CATALOG, relations={**CATALOG.relations, "public.products": replace(found, **changes)})  # type: ignore[arg-type]


def test_nothing_special_is_clear() -> None:
    assert masked(RETURNING) == [""]
    assert not lineage("SELECT id FROM products").opaque


@pytest.mark.parametrize("policy", ["(id > 1)", "(name = CURRENT_USER)", "(lower(name) = current_setting('a'::text))"])
def test_a_policy_that_can_be_seen_through_changes_nothing(policy: str) -> None:
    of = with_products(policies=(policy,))
    assert not lineage("SELECT id FROM products", of).opaque
    assert masked(RETURNING, of) == [""]


@pytest.mark.parametrize(
    "policy",
    ["public.hidden(id)", "(id IN (SELECT id FROM public.products))", "nothing_at_all(id)", "(((", "nextval('s')"],
)
def test_a_policy_that_cannot_be_seen_through_makes_a_read_opaque(policy: str) -> None:
    of = with_products(policies=(policy,))
    assert lineage("SELECT id FROM products", of).opaque
    assert lineage("SELECT u.id FROM users u WHERE EXISTS (SELECT FROM products)", of).opaque
    assert masked("SELECT id FROM products", of) == [""]
    assert masked(RETURNING, of) == EVERYTHING


@pytest.mark.parametrize("kind", ["defaults", "checks"])
def test_a_write_that_runs_what_cannot_be_seen_through_is_masked_whole(kind: str) -> None:
    of = with_products(**{kind: ("public.hidden(1)",)})
    assert masked(RETURNING, of) == EVERYTHING
    assert lineage(RETURNING, of).opaque
    assert masked("SELECT id FROM products", of) == [""]
    assert not lineage("SELECT id FROM products", of).opaque


def test_a_default_that_brings_classified_data_is_masked() -> None:
    of = with_products(defaults=("public.ssn_of(1)",))
    assert masked("INSERT INTO products (id) VALUES (1) RETURNING *", of)[:1] == EVERYTHING


def test_what_a_foreign_key_changes_along_is_written_too() -> None:
    orders = CATALOG.relations["public.orders"]
    of = with_products(dependents=(Dependent(relation="public.orders", on_delete="c"),))
    assert masked(RETURNING, of) == [""]
    of = replace(of, relations={**of.relations, "public.orders": replace(orders, has_triggers=True)})
    assert masked(RETURNING, of) == EVERYTHING
    of = with_products(
        dependents=tuple(Dependent(relation=f"public.{name}", on_delete="c") for name in ("products", "gone"))
    )
    assert masked(RETURNING, of) == [""]


def test_an_opaque_cast_that_nobody_writes_leaves_only_stored_columns_clear() -> None:
    of = replace(catalog(casts={"public.odd": ("public.hidden",)}), unwritten_casts=frozenset({"public.hidden"}))
    assert masked("SELECT id, name FROM products", of) == ["", ""]
    assert masked("SELECT id + 1 FROM products", of) == EVERYTHING
    assert lineage("SELECT id FROM products", of).opaque
    of = replace(of, unwritten_casts=frozenset())
    assert masked("SELECT id + 1 FROM products", of) == [""]
    assert not lineage("SELECT id FROM products", of).opaque


def test_an_opaque_comparison_that_nobody_writes_does_the_same() -> None:
    of = replace(CATALOG, comparing={"public.hidden": ("public.ver",)})
    assert masked("SELECT id, name FROM products ORDER BY id", of) == ["", ""]
    assert masked("SELECT rank() OVER (ORDER BY id) FROM products", of) == EVERYTHING
    assert lineage("SELECT id FROM products", of).opaque


def test_casts_and_comparisons_in_sql_are_looked_into() -> None:
    calm = function("calm", "SELECT $1.a < $2.a")
    reading = function("reading", "SELECT id < 1 FROM public.products")
    telling = function("telling", "SELECT ssn FROM public.users LIMIT 1")
    loop = function("loop", "SELECT public.loop($1)")
    sql = "SELECT id + 1 FROM products"
    for kind, of_kind in (("comparing", dict.fromkeys), ("unwritten_casts", frozenset)):
        for one in (calm, reading, telling, loop):
            of = replace(catalog(one), **{kind: of_kind([f"public.{one.name}"])})  # type: ignore[arg-type]
            assert masked(sql, of) == ([""] if one is calm else EVERYTHING)
            assert f"public.{one.name}" in lineage(sql, of).functions
