"""What a change changes along with it: foreign keys that cascade, and triggers, which nobody looks into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mcp_gateway.facts.catalog import Catalog, Dependent, Rule
from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.facts.sql import examine_sql, examine_statements, judge_of
from tests.facts.corpus import Statement
from tests.facts.databases import empty_database
from tests.facts.witness import Witness
from tests.peers.postgres import PostgresServer

OBJECTS = """
CREATE SEQUENCE numbers;
CREATE TABLE people (id int PRIMARY KEY, mail text UNIQUE, name text, doubled int GENERATED ALWAYS AS (length(name) * 2) STORED UNIQUE);
CREATE TABLE accounts (id int PRIMARY KEY, person int REFERENCES people ON DELETE CASCADE);
CREATE TABLE sessions (id int PRIMARY KEY, account int REFERENCES accounts ON DELETE CASCADE);
CREATE TABLE posts (id int PRIMARY KEY, author int UNIQUE REFERENCES people ON DELETE SET NULL);
CREATE TABLE quotes (id int PRIMARY KEY, author int REFERENCES posts (author) ON UPDATE SET NULL ON DELETE CASCADE);
CREATE TABLE letters (id int PRIMARY KEY, mail text REFERENCES people (mail) ON UPDATE CASCADE);
CREATE TABLE sizes (size int REFERENCES people (doubled) ON UPDATE CASCADE);
CREATE TABLE kept (person int REFERENCES people);
CREATE TABLE visits (id int, person int REFERENCES people ON DELETE CASCADE) PARTITION BY LIST (id);
CREATE TABLE visits_1 PARTITION OF visits FOR VALUES IN (1);
CREATE TABLE visits_2 PARTITION OF visits FOR VALUES IN (2);
CREATE TABLE tree (id int PRIMARY KEY, above int REFERENCES tree ON DELETE CASCADE);
CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
CREATE TABLE of_parted (parted int REFERENCES parted ON DELETE CASCADE);
CREATE TABLE of_part (part int REFERENCES parted_1 ON DELETE CASCADE);
CREATE VIEW shown AS SELECT id, name, mail FROM people;
CREATE FUNCTION leaving(int) RETURNS void LANGUAGE sql AS 'DELETE FROM people WHERE id = $1';
CREATE TABLE watched (id int PRIMARY KEY, n int);
CREATE TABLE below_watched (id int REFERENCES watched ON UPDATE CASCADE);
CREATE TABLE above_watched (id int PRIMARY KEY, of_watched int REFERENCES watched);
CREATE TABLE log (n int);
CREATE FUNCTION noting() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (1); NEW.id := NEW.id + 100; RETURN NEW; END';
CREATE TRIGGER noting BEFORE UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION noting();
CREATE TABLE ruled (id int);
CREATE RULE spread AS ON DELETE TO ruled DO ALSO DELETE FROM log;
CREATE VIEW ruled_view AS SELECT id FROM ruled;
CREATE RULE elsewhere AS ON INSERT TO ruled_view DO INSTEAD (INSERT INTO log SELECT count(*) FROM kept; DELETE FROM accounts WHERE id = NEW.id);
CREATE RULE nothing AS ON UPDATE TO ruled_view DO INSTEAD NOTHING;
CREATE TABLE first (id int PRIMARY KEY, n int);
CREATE TABLE second (id int REFERENCES first ON DELETE CASCADE);
CREATE RULE round AS ON UPDATE TO first DO ALSO INSERT INTO ruled_view VALUES (NEW.n);
CREATE RULE below AS ON DELETE TO second DO ALSO UPDATE tree SET above = NULL WHERE above = OLD.id;
CREATE TABLE there (id int);
CREATE TABLE back (id int);
CREATE RULE there AS ON INSERT TO there DO ALSO INSERT INTO back VALUES (NEW.id);
CREATE RULE back AS ON INSERT TO back DO ALSO INSERT INTO there VALUES (NEW.id);
CREATE TABLE to_watched (id int PRIMARY KEY);
ALTER TABLE watched ADD up int REFERENCES to_watched ON DELETE SET NULL;
CREATE VIEW watched_view AS SELECT id, n FROM watched;
INSERT INTO people VALUES (1, 'a', 'ann'), (2, 'b', 'robert');
INSERT INTO accounts VALUES (1, 1);
INSERT INTO sessions VALUES (1, 1);
INSERT INTO posts VALUES (1, 1);
INSERT INTO quotes VALUES (1, 1);
INSERT INTO letters VALUES (1, 'b');
INSERT INTO sizes VALUES (12);
INSERT INTO kept VALUES (2);
INSERT INTO visits VALUES (1, 1), (2, 1);
INSERT INTO tree VALUES (1, NULL), (2, 1);
INSERT INTO parted VALUES (1), (11);
INSERT INTO of_parted VALUES (1), (11);
INSERT INTO of_part VALUES (1);
INSERT INTO to_watched VALUES (1);
INSERT INTO watched VALUES (1, 1, 1);
INSERT INTO below_watched VALUES (1);
INSERT INTO ruled VALUES (1);
INSERT INTO log VALUES (0);
"""
VISITS = ["visits", "visits_1", "visits_2"]
PARTED = ["parted", "parted_1", "parted_2"]
OF_PEOPLE = ["people", "accounts", "sessions", "posts", "quotes", *VISITS]


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[str]:
    with empty_database(postgres_server) as name:
        postgres_server.execute(OBJECTS, database=name)
        yield name


def named(*names: str) -> set[str]:
    return {f"public.{name}" for name in names}


def changed_by(sql: str, witness: Witness) -> frozenset[str]:
    """What a real server changes."""
    none = frozenset[str]()
    statement = Statement(
        sql=sql, where="", has_effect=True, kinds=none, writes=none, also=none, shows=none, unseen="", catalog="", alone=False
    )  # fmt: skip
    return witness.watch(statement).changed


@pytest.mark.parametrize(
    ("sql", "writes"),
    [
        ("DELETE FROM people WHERE id = 1", OF_PEOPLE),
        ("DELETE FROM ONLY people WHERE id = 1", OF_PEOPLE),
        ("WITH gone AS (DELETE FROM people WHERE id = 1 RETURNING id) SELECT * FROM gone", OF_PEOPLE),
        ("SELECT leaving(1)", OF_PEOPLE),
        ("DELETE FROM accounts", ["accounts", "sessions"]),
        ("DELETE FROM sessions", ["sessions"]),
        ("DELETE FROM posts", ["posts", "quotes"]),
        ("UPDATE posts SET author = NULL", ["posts", "quotes"]),
        ("UPDATE posts SET id = id + 1", ["posts"]),
        ("UPDATE people SET mail = 'c' WHERE id = 2", ["people", "letters", "sizes"]),  # what is computed of it may change
        ("UPDATE people SET (mail, id) = ('c', 7) WHERE id = 2 AND false", ["people", "letters", "sizes"]),
        ("UPDATE people SET name = 'anne' WHERE id = 2", ["people", "sizes"]),
        ("UPDATE shown SET name = 'anne' WHERE id = 2", ["shown", "people", "letters", "sizes"]),  # any column may be it
        ("INSERT INTO people VALUES (2, 'c') ON CONFLICT (id) DO UPDATE SET mail = excluded.mail", ["people", "letters", "sizes"]),
        ("INSERT INTO people VALUES (1, 'c') ON CONFLICT DO NOTHING", ["people"]),
        ("INSERT INTO people VALUES (3, 'c')", ["people"]),
        ("MERGE INTO people p USING kept k ON k.person = p.id WHEN MATCHED THEN UPDATE SET mail = 'c'", ["people", "letters", "sizes"]),
        ("MERGE INTO accounts a USING people p ON a.person = p.id WHEN MATCHED THEN DELETE", ["accounts", "sessions"]),
        ("MERGE INTO accounts a USING people p ON a.person = p.id WHEN NOT MATCHED THEN INSERT VALUES (9, p.id)", ["accounts"]),
        ("DELETE FROM shown WHERE id = 1", ["shown", *OF_PEOPLE]),
        ("DELETE FROM tree WHERE id = 1", ["tree"]),
        ("DELETE FROM parted", [*PARTED, "of_parted", "of_part"]),
        ("DELETE FROM parted_1", ["parted_1", "parted", "of_parted", "of_part"]),
        ("DELETE FROM parted_2", ["parted_2", "parted", "of_parted"]),
        ("TRUNCATE accounts CASCADE", ["accounts", "sessions"]),
        ("TRUNCATE people CASCADE", [*OF_PEOPLE, "letters", "sizes", "kept"]),
        ("TRUNCATE parted_1 CASCADE", ["parted_1", "parted", "of_parted", "of_part"]),
        ("TRUNCATE sessions", ["sessions"]),
    ],
)  # fmt: skip
def test_foreign_keys_change_tables_along(catalog: Catalog, witness: Witness, sql: str, writes: list[str]) -> None:
    facts = examine_sql(sql, catalog=catalog).facts
    assert facts.writes == named(*writes)
    assert facts.writes >= changed_by(sql, witness)
    assert "triggers" not in facts.function_traits


def test_what_is_only_planned_changes_nothing_along(catalog: Catalog) -> None:
    assert examine_sql("EXPLAIN DELETE FROM people", catalog=catalog).facts.writes == set()
    assert examine_sql("EXPLAIN ANALYZE DELETE FROM people", catalog=catalog).facts.writes == named(*OF_PEOPLE)


def test_columns_of_keys_that_are_set_are_written(catalog: Catalog) -> None:
    assert examine_sql("DELETE FROM posts", catalog=catalog).facts.columns == set()
    assert examine_sql("UPDATE posts SET author = 1", catalog=catalog).facts.columns == named(
        "posts.author", "quotes.author"
    )


@pytest.mark.parametrize(
    ("sql", "writes"),
    [
        ("UPDATE watched SET n = 2", ["watched", "below_watched"]),  # the trigger may assign the key
        ("UPDATE watched_view SET n = 2", ["watched_view", "watched", "below_watched"]),
        ("INSERT INTO watched VALUES (5, 5)", ["watched"]),
        ("COPY watched FROM STDIN", ["watched"]),
        ("TRUNCATE watched CASCADE", ["watched", "below_watched", "above_watched"]),
        ("DELETE FROM to_watched", ["to_watched", "watched", "below_watched"]),
    ],
)
def test_triggers_and_rules_are_told(catalog: Catalog, witness: Witness, sql: str, writes: list[str]) -> None:
    facts = examine_sql(sql, catalog=catalog).facts
    assert facts.writes == named(*writes)
    assert "triggers" in facts.function_traits
    if not sql.startswith("COPY"):
        assert facts.writes >= changed_by(sql, witness) - named("log")


@pytest.mark.parametrize(
    ("sql", "writes", "reads"),
    [
        ("DELETE FROM ruled", ["ruled", "log"], []),
        ("INSERT INTO ruled VALUES (2)", ["ruled"], []),
        ("DELETE FROM ruled_view WHERE id = 2", ["ruled_view", "ruled", "log"], ["ruled_view", "ruled"]),
        ("INSERT INTO ruled_view VALUES (1)", ["ruled_view", "ruled", "log", "accounts", "sessions"], ["kept", "accounts"]),
        ("UPDATE ruled_view SET id = 2", ["ruled_view", "ruled"], []),
        ("UPDATE first SET n = 2", ["first", "ruled_view", "ruled", "log", "accounts", "sessions"], ["kept", "accounts"]),
        ("DELETE FROM first", ["first", "second", "tree"], ["tree"]),
        ("INSERT INTO first VALUES (1, 1)", ["first"], []),
    ],
)  # fmt: skip
def test_what_rules_do_is_named(
    catalog: Catalog, witness: Witness, sql: str, writes: list[str], reads: list[str]
) -> None:
    facts = examine_sql(sql, catalog=catalog).facts
    assert facts.writes == named(*writes)
    assert facts.reads == named(*reads)
    assert facts.writes >= changed_by(sql, witness)
    assert facts.columns >= (named("tree.above") if "tree" in writes else set())
    if sql != "INSERT INTO first VALUES (1, 1)":
        assert "triggers" in facts.function_traits
        assert not facts.read_only


def test_rules_that_lead_back_end(catalog: Catalog) -> None:
    assert examine_sql("INSERT INTO there VALUES (1)", catalog=catalog).facts.writes == named("there", "back")


def test_a_rule_that_cannot_be_read_is_told(catalog: Catalog) -> None:
    ruled = catalog.relations["public.ruled"]
    odd = replace(ruled, rules=(Rule(on="delete", definition="CREATE RULE ("),))
    facts = examine_sql(
        "DELETE FROM ruled", catalog=replace(catalog, relations={**catalog.relations, "public.ruled": odd})
    ).facts
    assert facts.function_traits >= {"triggers", "unknown", "unnamed_tables"}


@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM watched", "EXPLAIN DELETE FROM ruled", "DELETE FROM log", "INSERT INTO log SELECT id FROM ruled"],
)
def test_where_no_row_of_such_a_table_changes_none_is_told(catalog: Catalog, sql: str) -> None:
    assert "triggers" not in examine_sql(sql, catalog=catalog).facts.function_traits


def test_a_row_that_an_old_server_moves_is_deleted_where_it_was(catalog: Catalog) -> None:
    old = replace(catalog, server_version=140010)
    sql = "UPDATE parted SET id = 12 WHERE id = 1"
    assert examine_sql(sql, catalog=catalog).facts.writes == named(*PARTED)
    assert examine_sql(sql, catalog=old).facts.writes == named(*PARTED, "of_parted", "of_part")


def test_what_an_update_may_do_is_remembered_by_columns_that_are_there(catalog: Catalog) -> None:
    judge = judge_of(catalog)
    for number in range(20):
        assigned = f"UPDATE people SET name = 'x', other_{number} = 1"
        assert examine_statements(parse_tree(assigned), judge=judge).facts.writes == named("people", "sizes")
    assert judge.meanings.along.cache_info().currsize == 1


def test_a_circle_of_keys_ends(catalog: Catalog) -> None:
    key = Dependent(relation="public.kept", columns=("person",), referenced=("id",), on_delete="n", on_update="c")
    back = Dependent(relation="public.people", columns=("id",), referenced=("person",), on_delete="c", on_update="c")
    relations = {
        **catalog.relations,
        "public.people": replace(catalog.relations["public.people"], dependents=(key,)),
        "public.kept": replace(catalog.relations["public.kept"], dependents=(back,)),
    }
    facts = examine_sql("DELETE FROM people", catalog=replace(catalog, relations=relations)).facts
    assert facts.writes == named("people", "kept")


def test_a_key_of_a_table_that_is_gone_names_nothing(catalog: Catalog) -> None:
    gone = Dependent(relation="public.gone", on_delete="c")
    relations = {**catalog.relations, "public.log": replace(catalog.relations["public.log"], dependents=(gone,))}
    assert examine_sql("DELETE FROM log", catalog=replace(catalog, relations=relations)).facts.writes == named("log")
