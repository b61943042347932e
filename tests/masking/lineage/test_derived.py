"""Classes spread before any statement is looked at."""

from __future__ import annotations

from dataclasses import replace

from mcp_gateway.masking.lineage import prepare, unknown_paths
from tests.masking.lineage.catalogs import (
    CATALOG,
    CLASSIFY,
    USERS,
    catalog,
    function,
    generated,
    lineage,
    masked,
    relation,
)


def test_children_and_parents_share_the_classes_of_a_column() -> None:
    of = catalog(
        relation("old_users", "id int4, ssn text, extra text", parents=("public.users",)),
        relation("base", "id int4, email text"),
        relation("older", "email text, id int4", parents=("public.base",)),
    )
    assert masked("SELECT id, ssn, extra FROM old_users", of) == ["", "ssn", ""]
    classify = CLASSIFY | {"public.older.email": "email"}
    verdict = lineage("SELECT * FROM base", of, classify=classify)
    assert verdict.columns is not None
    assert [set(column.classes) for column in verdict.columns] == [set(), {"email"}]


def test_what_partitions_a_table_is_told_by_the_partition_that_a_row_is_in() -> None:
    of = catalog(
        relation("people", "id int4, ssn text, kind text", "p", partitioned_by=("kind", "lower(ssn)")),
        relation("people_1", "id int4, ssn text, kind text", "p", parents=("public.people",), partitioned_by=("kind",)),
        relation("people_1_a", "id int4, ssn text, kind text", parents=("public.people_1",)),
    )
    classify = {"public.people.ssn": "ssn"}

    def told(sql: str) -> tuple[list[set[str]], dict[str, set[str]]]:
        verdict = lineage(sql, of, classify=classify)
        assert verdict.columns is not None
        return [set(column.classes) for column in verdict.columns], {k: set(of) for k, of in verdict.inference.items()}

    assert told("SELECT id, ctid FROM people") == ([set[str](), {"ssn"}], {})
    for sql in ("SELECT tableoid FROM people", "SELECT p.tableoid::regclass FROM people p JOIN people q USING (id)"):
        assert told(sql)[0] == [{"ssn"}], sql
    assert told("SELECT x FROM (SELECT tableoid FROM people AS p (a, b)) t (x)") == ([{"ssn"}], {})
    assert told("SELECT tableoid FROM people JOIN (VALUES (1)) v (id) USING (id)")[0] == [{"ssn"}]
    for part in ("people_1", "people_1_a"):
        assert told(f"SELECT id, tableoid FROM {part}") == ([set[str](), set[str]()], {"where": {"ssn"}})
    assert told("EXPLAIN ANALYZE SELECT id FROM people WHERE id = 1") == ([{"ssn"}], {"rows": {"ssn"}})
    by_kind = catalog(
        relation("people", "id int4, ssn text, kind text", "p", partitioned_by=("kind",)),
        relation("people_1", "id int4, ssn text, kind text", parents=("public.people",)),
    )
    verdict = lineage("SELECT tableoid FROM people UNION ALL SELECT tableoid FROM people_1", by_kind, classify=classify)
    assert [column.classes for column in verdict.columns or ()] == [frozenset()]
    assert verdict.inference == {}


def test_classes_spread_through_several_generations_and_back_down() -> None:
    of = catalog(
        relation("top", "a text"),
        relation("middle", "a text", parents=("public.top",)),
        relation("low", "a text", parents=("public.middle",)),
        relation("cousin", "a text, b text", parents=("public.top",)),
    )
    verdict = lineage("SELECT * FROM cousin", of, classify={"public.low.a": "x", "public.cousin.b": "y"})
    assert verdict.columns is not None
    assert [set(column.classes) for column in verdict.columns] == [{"x"}, {"y"}]
    assert lineage("SELECT 1 FROM top", of, classify={"public.low.a": "x", "public.cousin.b": "y"}).touch == {"x", "y"}


def test_a_generated_column_has_the_class_of_its_expression() -> None:
    of = catalog(generated(generated(USERS, "digits", "replace(ssn, '-'::text, ''::text)"), "loud", "upper(name)"))
    assert masked("SELECT digits, loud FROM users", of) == ["ssn", ""]
    assert masked("SELECT digits IS NULL, count(digits) FROM users GROUP BY 1", of) == ["ssn", "ssn"]


def test_a_generated_column_that_cannot_be_followed_has_every_class() -> None:
    for expression in ("public.hidden(id)", "nothing", "not SQL", "public.hidden(length(ssn))"):
        of = catalog(generated(USERS, "made", expression))
        assert masked("SELECT made FROM users", of) == ["email+ssn"]


def test_a_generated_column_in_a_child_spreads_to_the_parent() -> None:
    child = generated(relation("child", "id int4, ssn text", parents=("public.users",)), "name", "upper(ssn)")
    assert masked("SELECT name FROM users", catalog(child)) == ["ssn"]


def test_a_column_of_a_classified_row_type_has_the_classes_of_the_row() -> None:
    of = catalog(
        relation("many", "id int4, them public.users[]"),
        relation("outer_one", "one public.many"),
        relation("held", "c public.contacts"),
    )
    assert masked("SELECT them FROM many", of) == ["email+ssn"]
    assert masked("SELECT one FROM outer_one", of) == ["email+ssn"]
    assert masked("SELECT c FROM held", of) == ["email"]


def test_foreign_tables_and_toast_have_every_class_unless_declared() -> None:
    of = catalog(relation("far", "id int4, ssn text", "f"))
    assert masked("SELECT id FROM far", of) == ["email+ssn"]
    verdict = lineage("SELECT ssn FROM far", of, classify=CLASSIFY | {"public.far.ssn": "ssn"})
    assert verdict.columns is not None
    assert verdict.columns[0].classes == {"ssn"}
    assert verdict.opaque
    assert masked("SELECT chunk_data FROM pg_toast.pg_toast_1") == ["email+ssn"]


def test_a_class_on_a_view_or_catalog_column_is_added() -> None:
    classify = CLASSIFY | {"public.contacts.id": "ref", "pg_catalog.pg_class.relname": "ref"}
    verdict = lineage("SELECT c.id, relname FROM contacts c, pg_class", classify=classify)
    assert verdict.columns is not None
    assert [set(column.classes) for column in verdict.columns] == [{"ref"}, {"ref"}]


def test_several_classes_may_meet_in_one_column() -> None:
    dotted = catalog(relation("a.b.c", "d text"), replace(relation("a", "c text"), schema="a", name="b"))
    assert unknown_paths(dotted, {"a.b.c": "x"}) == ()


def test_paths_that_name_nothing_are_reported() -> None:
    classify = {
        "public.users.ssn": "a",
        "public.users.sssn": "a",
        "public.nobody.ssn": "a",
        "users.ssn": "a",
        "": "a",
        "public.users": "a",
        "public.users.SSN": "a",
        "public.contacts.address": "a",
    }
    assert unknown_paths(CATALOG, classify) == (
        "", "public.nobody.ssn", "public.users", "public.users.SSN", "public.users.sssn", "users.ssn",
    )  # fmt: skip


def test_spreading_ends_on_inheritance_in_a_circle() -> None:
    of = catalog(relation("a", "x text", parents=("public.b",)), relation("b", "x text", parents=("public.a",)))
    prepared = prepare(of, {"public.a.x": "c"})
    assert prepared.stored["public.b"]["x"] == {"c"}


def test_expansion_waits_for_the_classes_of_tables() -> None:
    # The view reads a generated column whose class is found only in a later round.
    made = generated(USERS, "made", "public.upper_ssn(users.*)")
    of = catalog(made, function("upper_ssn", "SELECT ssn FROM public.users LIMIT 1"))
    assert masked("SELECT made FROM users", of) == ["email+ssn"]
