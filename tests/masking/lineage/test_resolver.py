"""Whole statements: which are refused, what EXPLAIN and SHOW tell, views, and what happens when in doubt."""

from __future__ import annotations

import pytest

from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.facts.parser import SQLSyntaxError, parse_tree
from mcp_gateway.inference import KINDS
from mcp_gateway.masking.lineage import follow, prepare
from tests.masking.lineage.catalogs import (
    CATALOG,
    PREPARED,
    catalog,
    facts,
    function,
    joined,
    lineage,
    masked,
    relation,
)

REFUSED = """
DO $$ BEGIN END $$
CALL f()
PREPARE p AS SELECT 1
EXECUTE p
DECLARE c CURSOR FOR SELECT ssn FROM users
FETCH c
CLOSE c
SET search_path = other
RESET ALL
BEGIN
COMMIT
LISTEN c
NOTIFY c, 'x'
CREATE TABLE t AS SELECT ssn FROM users
CREATE TEMP VIEW v AS SELECT ssn FROM users
CREATE MATERIALIZED VIEW v AS SELECT ssn FROM users
CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT ssn FROM users'
CREATE INDEX ON users (ssn)
ALTER TABLE users RENAME ssn TO x
DROP TABLE users
TRUNCATE users
REFRESH MATERIALIZED VIEW v
COPY users TO STDOUT
COPY (SELECT 1) TO STDOUT
COPY users FROM '/etc/passwd'
COPY users FROM PROGRAM 'id'
LOCK users
VACUUM users
GRANT SELECT ON users TO public
COMMENT ON TABLE users IS 'x'
EXPLAIN CREATE TABLE t AS SELECT 1
EXPLAIN EXECUTE p
EXPLAIN DECLARE c CURSOR FOR SELECT 1
SELECT 1; SELECT 2
"""


@pytest.mark.parametrize("sql", REFUSED.strip().splitlines())
def test_statements_whose_data_cannot_be_followed_are_refused(sql: str) -> None:
    verdict = lineage(sql)
    assert verdict.refusal is not None
    assert verdict.columns is None
    assert verdict.opaque
    assert verdict.touch == {"ssn", "email"}


def test_refusals_are_sentences_for_the_agent() -> None:
    assert lineage("COPY users TO STDOUT").refusal == (
        "COPY is not available on a target with classified columns: use SELECT"
    )
    assert lineage("CREATE TABLE t AS SELECT 1").refusal == (
        "CREATE TABLE AS is not available on a target with classified columns"
    )
    for sql, name in (
        ("COMMIT", "COMMIT"),
        ("ANALYZE users", "ANALYZE"),
        ("CHECKPOINT", "CHECKPOINT"),
        ("REVOKE SELECT ON users FROM bob", "REVOKE"),
        ("SECURITY LABEL ON TABLE users IS 'x'", "SECURITY LABEL"),
        ("EXPLAIN CREATE TABLE t AS SELECT 1", "EXPLAIN CREATE TABLE AS"),
    ):
        assert lineage(sql).refusal == f"{name} is not available on a target with classified columns"
    assert lineage("SELECT 1; SELECT 2").refusal == "a call runs one statement, this text has 2"
    assert lineage("").refusal == "a call runs one statement, this text has 0"


def test_without_classified_columns_there_is_nothing_to_refuse_or_to_mask() -> None:
    for sql in ("COPY users TO STDOUT", "SELECT hidden(1)", "SELECT 1; SELECT 2"):
        verdict = lineage(sql, classify={})
        assert verdict.refusal is None
        assert not verdict.opaque
        assert verdict.touch == frozenset()


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("EXPLAIN SELECT ssn FROM users WHERE ssn = '123'", ""),
        ("EXPLAIN VERBOSE SELECT lower('x')", ""),
        ("EXPLAIN SELECT ssn_of(1)", "ssn"),
        ("EXPLAIN SELECT id FROM users WHERE name = ssn_of(1)", "ssn"),
        ("EXPLAIN SELECT (SELECT ssn_of(1))", "ssn"),
        ("EXPLAIN SELECT hidden(1)", "email+ssn"),
        ("EXPLAIN SELECT 1 WHERE query_to_xml('select 1', true, true, '') IS NULL", "email+ssn"),
        ("EXPLAIN ANALYZE SELECT id FROM users WHERE ssn = '123'", "ssn"),
        ("EXPLAIN (ANALYZE false, ANALYZE true) SELECT id FROM users WHERE ssn = '123'", "ssn"),
        ("EXPLAIN ANALYZE SELECT id FROM users WHERE id = 1", ""),
        # Rows are kept by what LATERAL refers to, and it is counted how often they could be used again.
        ("EXPLAIN ANALYZE SELECT x FROM users u, LATERAL (SELECT max(u.ssn || id) FROM orders) t (x)", "ssn"),
        ("EXPLAIN ANALYZE SELECT x FROM users u, LATERAL (SELECT u.ssn IS NULL, max(id) FROM orders) t (x)", "ssn"),
        (
            "EXPLAIN ANALYZE SELECT 1 FROM users u JOIN LATERAL (SELECT max(id) FROM (SELECT u.ssn, id FROM orders OFFSET 0) z) t ON true",
            "ssn",
        ),
        ("EXPLAIN ANALYZE SELECT 1 FROM users u, upper(u.ssn) x", "ssn"),
        ("EXPLAIN SELECT x FROM users u, LATERAL (SELECT max(u.ssn || id) FROM orders) t (x)", ""),
        (
            "EXPLAIN ANALYZE SELECT total FROM users u, LATERAL (SELECT total FROM orders WHERE user_id = u.id LIMIT 1) t",
            "",
        ),
        ("EXPLAIN ANALYZE SELECT count(*) FROM (SELECT ssn FROM users) t", ""),
        ("EXPLAIN DELETE FROM users", ""),
    ],
)
def test_a_plan_shows_what_functions_return_and_what_was_counted(sql: str, expected: str) -> None:
    verdict = lineage(sql)
    assert verdict.columns is not None
    assert [(column.name, joined(column.classes)) for column in verdict.columns] == [("QUERY PLAN", expected)]


def test_show_is_clear() -> None:
    assert masked("SHOW search_path") == [""]
    assert masked("SHOW ALL") == ["", "", ""]
    assert lineage("SHOW search_path").touch == frozenset()


def test_a_view_is_expanded_with_all_that_it_reads() -> None:
    verdict = lineage("SELECT address, id FROM contacts")
    assert masked("SELECT * FROM contacts") == ["", "email"]
    assert verdict.relations == {"public.contacts", "public.users"}
    assert verdict.touch == {"ssn", "email"}


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ("SELECT v.id, v.address FROM public.contacts v;", "email"),
        ("SELECT 1, lower(users.ssn) FROM public.users;", "ssn"),
        ("WITH RECURSIVE t(n, s) AS (SELECT 1, users.ssn FROM public.users UNION ALL SELECT n + 1, s FROM t) SELECT n, s FROM t;", "ssn"),
        ("SELECT 1, public.hidden(1);", "email+ssn"),
        ("SELECT 1, public.hidden(length(users.ssn)) FROM public.users;", "email+ssn"),
        ("SELECT x.id, x.b FROM public.v x;", "email+ssn"),
        ("SELECT 1;", "email+ssn"),
        ("nothing that parses", "email+ssn"),
        (None, "email+ssn"),
    ],
)  # fmt: skip
def test_what_a_view_comes_to(definition: str | None, expected: str) -> None:
    for kind in ("v", "m"):
        of = catalog(relation("v", "id int4, b text", kind, definition=definition))
        assert masked("SELECT b FROM v", of) == [expected]


def test_names_in_a_view_are_not_looked_up_on_the_path() -> None:
    # Read with an empty path, an unqualified name can only be of pg_catalog.
    of = catalog(relation("v", "b text", "v", definition="SELECT lower(secrets.ssn) FROM other.secrets;"))
    assert masked("SELECT b FROM v", of) == [""]
    odd = catalog(relation("v", "b text", "v", definition="SELECT users.ssn FROM users;"))
    assert masked("SELECT b FROM v", odd) == ["email+ssn"]


def test_facts_of_a_view_are_facts_of_what_reads_it() -> None:
    of = catalog(relation("v", "id int4", "v", definition="SELECT id FROM public.users WHERE ssn LIKE '1%'"))
    assert facts("SELECT id FROM v", of) == {"where_pattern": "ssn"}
    assert masked("SELECT EXISTS (SELECT 1 FROM v)", of) == ["ssn"]


def test_rows_of_a_view_that_is_not_followed_tell_anything() -> None:
    of = catalog(relation("v", "b text", "v", definition=None))
    assert masked("SELECT EXISTS (SELECT 1 FROM v)", of) == ["email+ssn"]
    assert lineage("SELECT 1 FROM v", of).opaque


def test_functions_that_call_each_other_are_opaque() -> None:
    of = catalog(function("ping", "SELECT pong()"), function("pong", "SELECT ping()"))
    assert masked("SELECT ping(), pong()", of) == ["email+ssn", "email+ssn"]


def test_a_doubling_chain_of_functions_is_expanded_once_each() -> None:
    chain = [function(f"f{n}", f"SELECT f{n + 1}() || f{n + 1}()") for n in range(40)]
    of = catalog(*chain, function("f40", "SELECT ssn FROM users"))
    assert masked("SELECT f0()", of) == ["ssn"]


def test_in_doubt_everything_is_masked_and_everything_may_be_inferred() -> None:
    verdict = lineage("SELECT id FROM users WHERE nothing = 1")
    assert verdict.columns is None
    assert verdict.refusal is None
    assert verdict.opaque
    assert verdict.touch == {"ssn", "email"}
    assert set(verdict.inference) == set(KINDS)
    assert all(classes == {"ssn", "email"} for classes in verdict.inference.values())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT hidden(1), nothing",
        "SELECT u.hidden, nothing FROM users u",
        "SELECT elsewhere.f(ssn), nothing FROM users",
        "SELECT pg_notify('c', ssn), nothing FROM users",
        "SELECT id % 2, nothing FROM users",
        "SELECT id::odd, nothing FROM users",
        "WITH t AS (DELETE FROM users) SELECT nothing",
    ],
)
def test_in_doubt_what_writes_or_runs_code_is_refused(sql: str) -> None:
    of = catalog(function("elsewhere.f"), operators={"%": ("public.hidden",)}, casts={"public.odd": ("public.hidden",)})
    assert lineage(sql, of).refusal is not None


@pytest.mark.parametrize(
    "tree", [[{}], [{"stmt": {}}], [{"stmt": {"SelectStmt": {}}}], [{"stmt": {"SelectStmt": None}}], [None]]
)
def test_a_tree_of_an_unknown_form_is_never_an_exception(tree: list[object]) -> None:
    verdict = follow(tree, PREPARED).lineage  # type: ignore[arg-type]
    assert verdict.columns is None
    assert verdict.touch == {"ssn", "email"}


def test_nodes_that_are_not_listed_are_not_followed() -> None:
    [statement] = parse_tree("SELECT id FROM users")
    target = statement["stmt"]["SelectStmt"]["targetList"][0]["ResTarget"]
    target["val"] = {"NewInSomeVersion": {"arg": target["val"]}}
    assert follow([statement], PREPARED).lineage.columns is None


def test_the_work_is_bounded() -> None:
    # A class takes a round to move one place, and every round visits the whole text again.
    many = ",".join(["a"] * 8000)
    sql = (
        "WITH RECURSIVE r(a, b, c, d) AS (SELECT ssn, 'x', 'y', 'z' FROM users UNION ALL"
        f" SELECT d, a, b, c FROM r WHERE ROW({many}) IS NULL) SELECT d FROM r"
    )
    verdict = lineage(sql)
    assert verdict.columns is None
    assert verdict.refusal is None


@pytest.mark.parametrize("depth", [10, 100, 200, 400])
def test_depth_is_followed_or_masked_and_never_an_error(depth: int) -> None:
    for sql in (
        "SELECT " + "lower(" * depth + "ssn" + ")" * depth + " FROM users",
        "SELECT " + "(" * depth + "ssn" + ")" * depth + " FROM users",
        "SELECT a FROM " + "(SELECT a FROM " * depth + "(SELECT ssn AS a FROM users) t" + ") t" * depth,
        "SELECT " + "CASE WHEN true THEN " * depth + "ssn" + " END" * depth + " FROM users",
    ):
        try:
            found = lineage(sql).columns
        except SQLSyntaxError:
            continue
        assert found is None or found[0].classes == {"ssn"}


def test_the_columns_used_do_not_depend_on_what_is_classified() -> None:
    tree = parse_tree("SELECT u.*, ssn_of(1) FROM users u WHERE email > 'a'")
    assert follow(tree, PREPARED).uses == follow(tree, prepare(CATALOG, {})).uses


def test_an_empty_catalog_knows_nothing() -> None:
    nothing = Catalog(server_version=150000, search_path=())
    assert masked("SELECT ssn FROM users", nothing) == ["?"]
