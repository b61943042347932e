"""The second wall by itself: a relation's oid and a column's number to classes."""

from __future__ import annotations

from mcp_gateway.facts.catalog import Catalog, Column, Relation
from mcp_gateway.masking.lineage.origins import origins_of

CLASSIFY = {"public.people.ssn": "pii.national_id", "public.people.email": "pii.email"}
TOP = frozenset(CLASSIFY.values())
NONE: frozenset[str] = frozenset()


def relation(
    oid: int, name: str, *columns: str, schema: str = "public", kind: str = "r", parents: str = ""
) -> Relation:
    return Relation(
        oid=oid,
        schema=schema,
        name=name,
        kind=kind,
        columns=tuple(Column(name=column, type="pg_catalog.text", number=at) for at, column in enumerate(columns, 1)),
        parents=tuple(parents.split()),
    )


RELATIONS = (
    relation(20001, "people", "id", "ssn", "email"),
    relation(20002, "people_eu", "ssn", "vat", "id", "email", parents="public.people"),
    relation(20003, "people_de", "email", "ssn", parents="public.people_eu"),
    relation(20004, "root", "ssn", "note"),
    relation(20005, "child", "note", "ssn", parents="public.root public.people"),
    relation(20006, "remote", "ssn", kind="f"),
    relation(20007, "plain", "ssn"),
    relation(12001, "pg_stats", "tablename", "most_common_vals", schema="pg_catalog", kind="v"),
)
CATALOG = Catalog(
    server_version=150000, search_path=("public",), relations={found.qualified: found for found in RELATIONS}
)


def test_a_classified_column_has_its_class_and_its_neighbour_none() -> None:
    found = origins_of(CATALOG, CLASSIFY)

    assert [found.classes(20001, number) for number in (1, 2, 3)] == [NONE, {"pii.national_id"}, {"pii.email"}]
    assert found.classes(20007, 1) == NONE


def test_a_class_is_that_of_all_relatives_by_inheritance_whatever_the_number() -> None:
    found = origins_of(CATALOG, CLASSIFY)

    assert [found.classes(20002, number) for number in (1, 2, 4)] == [{"pii.national_id"}, NONE, {"pii.email"}]
    assert [found.classes(20003, number) for number in (1, 2)] == [{"pii.email"}, {"pii.national_id"}]
    assert [found.classes(20004, number) for number in (1, 2)] == [{"pii.national_id"}, NONE]
    assert [found.classes(20005, number) for number in (1, 2)] == [NONE, {"pii.national_id"}]


def test_what_the_catalog_does_not_know_may_be_anything() -> None:
    found = origins_of(CATALOG, CLASSIFY)

    assert found.classes(99999, 1) == TOP
    assert found.classes(20001, 0) == TOP


def test_expressions_and_system_columns_have_none() -> None:
    found = origins_of(CATALOG, CLASSIFY)

    assert (found.classes(0, 0), found.classes(20001, -1)) == (NONE, NONE)


def test_foreign_tables_and_samples_in_system_catalogs_hold_anything() -> None:
    found = origins_of(CATALOG, CLASSIFY)

    assert found.classes(20006, 1) == TOP
    assert [found.classes(12001, number) for number in (1, 2)] == [NONE, TOP]


def test_without_a_classification_nothing_has_a_class() -> None:
    found = origins_of(CATALOG, {})

    assert [found.classes(oid, 1) for oid in (20001, 12001, 99999)] == [NONE, NONE, NONE]
