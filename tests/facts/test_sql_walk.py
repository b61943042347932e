from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.facts.parser import SQLSyntaxError
from mcp_gateway.facts.sql import examine_sql
from mcp_gateway.facts.sql_nodes import LEAVES, PLAIN

POSITIONS = [
    "SELECT {}", "SELECT 1, 2 + {}", "SELECT -{}", "SELECT ALL {} AS x", "SELECT DISTINCT ON ({}) 1", "SELECT a FROM b WHERE {} > 0",
    "SELECT a FROM b GROUP BY {}", "SELECT a FROM b GROUP BY ROLLUP ({}, a)", "SELECT a FROM b GROUP BY GROUPING SETS ((a), ({}))",
    "SELECT a FROM b GROUP BY a HAVING {} > 0", "SELECT a FROM b ORDER BY {}", "SELECT a FROM b ORDER BY a, {} DESC NULLS LAST",
    "SELECT a FROM b LIMIT {}", "SELECT a FROM b OFFSET {}", "SELECT a FROM b FETCH FIRST ({}) ROWS ONLY", "VALUES (1), ({})",
    "SELECT (SELECT {})", "SELECT a IN (SELECT {}) FROM b", "SELECT EXISTS (SELECT {})", "SELECT ARRAY(SELECT {})",
    "SELECT {} = ANY (SELECT 1)", "SELECT 1 = ALL (ARRAY[{}])", "SELECT 1 IN (2, {})", "SELECT 1 NOT IN ({})",
    "WITH x AS (SELECT {}) SELECT 1", "WITH RECURSIVE x AS (SELECT 1 UNION SELECT {} FROM x) TABLE x", "SELECT 1 UNION SELECT {}",
    "SELECT {} UNION ALL SELECT 1 UNION ALL SELECT 2", "(SELECT 1) EXCEPT (SELECT {} LIMIT 1)", "SELECT 1 UNION SELECT 2 LIMIT {}",
    "SELECT 1 UNION SELECT 2 ORDER BY 1 OFFSET {}", "SELECT 1 INTERSECT (WITH y AS (SELECT {}) TABLE y)",
    "SELECT * FROM (SELECT {}) x", "SELECT * FROM LATERAL (SELECT {}) x", "SELECT * FROM generate_series(1, {})",
    "SELECT * FROM ROWS FROM (generate_series(1, {}), unnest(ARRAY[1])) WITH ORDINALITY", "SELECT * FROM {} AS x",
    "SELECT * FROM a JOIN b ON {} > 0", "SELECT * FROM a LEFT JOIN (b JOIN c ON {} > 0) ON true", "SELECT * FROM (VALUES ({})) x",
    "SELECT * FROM a JOIN LATERAL (SELECT {}) x ON true", "SELECT * FROM a TABLESAMPLE system ({})",
    "SELECT * FROM a TABLESAMPLE bernoulli (1) REPEATABLE ({})", "SELECT count(*) FILTER (WHERE {} > 0)",
    "SELECT sum(a) OVER (PARTITION BY {}) FROM b", "SELECT sum(a) OVER (ORDER BY {}) FROM b", "SELECT string_agg(a, b ORDER BY {}) FROM c",
    "SELECT sum(a) OVER w FROM b WINDOW w AS (ORDER BY {})", "SELECT sum(a) OVER (ROWS BETWEEN {} PRECEDING AND CURRENT ROW) FROM b",
    "SELECT percentile_cont({}) WITHIN GROUP (ORDER BY a) FROM b", "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY {})",
    "SELECT CASE WHEN {} > 0 THEN 1 END", "SELECT CASE {} WHEN 1 THEN 2 END", "SELECT CASE 1 WHEN {} THEN 2 ELSE 3 END",
    "SELECT CASE WHEN a THEN {} END FROM b", "SELECT CASE WHEN a THEN 1 ELSE {} END FROM b", "SELECT COALESCE(NULL, {})",
    "SELECT GREATEST(1, {})", "SELECT LEAST({}, 1)", "SELECT NULLIF({}, 1)", "SELECT NULLIF(1, {})", "SELECT ROW(1, {})",
    "SELECT (1, {})", "SELECT ARRAY[1, {}]", "SELECT ARRAY[[{}]]", "SELECT (ARRAY[1])[{}]", "SELECT (ARRAY[1])[1:{}]",
    "SELECT a[{}] FROM b", "SELECT (a).b[{}] FROM c", "SELECT {}::text", "SELECT CAST({} AS text)", "SELECT int8 '1' + {}",
    "SELECT {} COLLATE \"C\"", "SELECT {} IS NULL", "SELECT {} IS NOT NULL", "SELECT ({} > 0) IS TRUE", "SELECT NOT {} > 0",
    "SELECT {} IS DISTINCT FROM 1", "SELECT {} BETWEEN 1 AND 2", "SELECT 1 BETWEEN SYMMETRIC {} AND 2", "SELECT 1 BETWEEN 0 AND {}",
    "SELECT 'a' LIKE {}::text", "SELECT {}::text ILIKE 'a' ESCAPE 'b'", "SELECT 'a' LIKE 'b' ESCAPE {}::text",
    "SELECT 'a' SIMILAR TO {}::text", "SELECT 'a' ~ {}::text", "SELECT a AND {} > 0 FROM b", "SELECT a OR {} > 0 FROM b",
    "SELECT extract(year FROM to_timestamp({}))", "SELECT substring('a' FROM {}::int)", "SELECT trim('a' FROM {}::text)",
    "SELECT overlay('a' PLACING 'b' FROM {}::int)", "SELECT position('a' IN {}::text)", "SELECT to_timestamp({}) AT TIME ZONE 'UTC'",
    "SELECT lower({}::text)", "SELECT concat(VARIADIC ARRAY[{}])", "SELECT make_interval(days => {}::int)", "SELECT jsonb_build_object('a', {})",
    "SELECT (SELECT {}) + (SELECT 1)", "SELECT (ROW({})).f1", "SELECT ((SELECT {})).b", "SELECT (lower({}::text)).b",
    "SELECT xmlelement(name a, {})", "SELECT xmlelement(name a, xmlattributes({} AS b))", "SELECT xmlforest({} AS a)",
    "SELECT xmlconcat(a, xmlparse(content {}::text)) FROM b", "SELECT xmlserialize(content {}::text::xml AS text)", "SELECT xmlpi(name a, {}::text)",
    "SELECT {}::text::xml IS DOCUMENT", "SELECT * FROM xmltable('/a' PASSING ({}::text::xml) COLUMNS b int PATH 'c')",
    "SELECT * FROM xmltable('/a' PASSING d COLUMNS b int PATH {}::text)", "SELECT * FROM xmltable(({}::text) PASSING d COLUMNS b int)",
    "SELECT * FROM xmltable('/a' PASSING d COLUMNS b int DEFAULT {})", "SELECT json_object('a' : {})", "SELECT json_object({}::text : 1)",
    "SELECT json_array(1, {})", "SELECT json_array(SELECT {})", "SELECT json_objectagg('a' : {})", "SELECT json_arrayagg({} ORDER BY 1)",
    "SELECT json_arrayagg(1 ORDER BY {})", "SELECT json_arrayagg(1) FILTER (WHERE {} > 0)", "SELECT {}::text IS JSON", "SELECT json({}::text)",
    "SELECT json_arrayagg(1) OVER (ORDER BY {})", "SELECT json_objectagg('a' : 1) FILTER (WHERE {} > 0)",
    "SELECT json_scalar({})", "SELECT json_serialize({}::text)", "SELECT json_value({}::text::jsonb, '$')", "SELECT json_exists(a, {}::text::jsonpath) FROM b",
    "SELECT json_value(a, '$' PASSING {} AS x) FROM b", "SELECT json_value(a, '$' DEFAULT {} ON EMPTY) FROM b",
    "SELECT json_query(a, '$' RETURNING int8 DEFAULT {} ON ERROR) FROM b", "SELECT * FROM json_table({}::text::jsonb, '$' COLUMNS (a int PATH '$'))",
    "SELECT * FROM json_table('1', '$' PASSING {} AS x COLUMNS (a int PATH '$'))",
    "SELECT * FROM json_table('1', '$' COLUMNS (a int PATH '$' DEFAULT {} ON EMPTY))",
    "SELECT * FROM json_table('1', '$' COLUMNS (NESTED PATH '$' COLUMNS (a int PATH '$' DEFAULT {} ON ERROR)))",
    "SELECT grouping(a), {} FROM b GROUP BY a", "TABLE a UNION SELECT {}", "EXPLAIN ANALYZE SELECT {}", "EXPLAIN (ANALYZE) VALUES ({})",
    "COPY (SELECT {}) TO STDOUT", "WITH RECURSIVE x(a) AS (SELECT 1 UNION SELECT a FROM x) CYCLE a SET b TO {} DEFAULT 2 USING c TABLE x",
]  # fmt: skip


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(
    ("call", "named"),
    [("nextval('s')", "nextval"), ("public.touch(u)", "public.touch"), ("('s'::regclass).nextval", "nextval")],
)
def test_a_call_is_found_wherever_an_expression_can_stand(position: str, call: str, named: str) -> None:
    text = position.format(call)
    try:
        found = examine_sql(text, catalog=None)
    except SQLSyntaxError:
        # Where the grammar wants less than any expression, a subquery is one too.
        try:
            found = examine_sql(position.format(f"(SELECT {call})"), catalog=None)
        except SQLSyntaxError:
            assert "AS x" in position or "TO {}" in position
            return

    assert not found.facts.read_only
    assert not found.harmless
    assert named in found.facts.functions


@pytest.mark.parametrize("position", POSITIONS)
def test_the_same_places_with_a_harmless_call_are_read_only(position: str) -> None:
    for call in ("abs(1)", "(SELECT abs(1))"):
        try:
            found = examine_sql(position.format(call), catalog=None)
        except SQLSyntaxError:
            continue
        assert found.facts.read_only
        assert "abs" in found.facts.functions
        return
    assert "TO {}" in position


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT", "TABLE users", "SELECT * FROM ONLY users", "SELECT a.b.c FROM a.b", "SELECT u.* FROM users u", "SELECT u FROM users u",
        "SELECT users.id, o.total FROM users JOIN orders o USING (id)", "SELECT * FROM a NATURAL FULL JOIN b", "SELECT * FROM a, b CROSS JOIN c",
        "SELECT 1::int, '1'::numeric(10, 2), 'x'::varchar(3)[], NULL::text[][], date '2000-01-01', interval '1 day', timestamptz 'now'",
        "SELECT float8 '1', bit '1', char 'x', national character varying 'x', 'a'::name, '{}'::jsonb, 'x'::\"char\"",
        "SELECT 'pg_class'::regclass, 'a'::pg_catalog.text, '1'::_int4, 'x'::information_schema.sql_identifier",
        "SELECT current_user, session_user, current_date, current_timestamp(3), localtime, current_schema, current_catalog, user",
        "SELECT now(), clock_timestamp(), random(), gen_random_uuid(), version(), pg_backend_pid(), txid_current_if_assigned()",
        "SELECT a OPERATOR(pg_catalog.+) b FROM c", "SELECT a ORDER BY b USING <", "SELECT 1 WHERE (1, 2) < (3, 4)",
        "SELECT a #>> '{b,c}', a -> 'b' ->> 'c', a @> '{}', a ? 'b', a || b, a ~* 'x', a !~ 'y' FROM t",
        "SELECT * FROM pg_stat_activity", "SELECT * FROM information_schema.columns", "SELECT * FROM pg_catalog.pg_class c, pg_namespace n",
        "SELECT pg_size_pretty(pg_total_relation_size('users'))", "SELECT has_table_privilege('users', 'SELECT')",
        "SELECT * FROM unnest(ARRAY[1, 2]) WITH ORDINALITY AS x(a, n)", "SELECT * FROM json_to_recordset('[]') AS x(a int, b text)",
        "SELECT rank() OVER (w ROWS 1 PRECEDING) FROM a WINDOW w AS (PARTITION BY b ORDER BY c)", "SELECT $1, $2::int + 1",
        "WITH a AS MATERIALIZED (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM b, a", "SELECT * FROM a ORDER BY 1 FETCH FIRST 3 ROWS WITH TIES",
        "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 9) SEARCH DEPTH FIRST BY n SET o SELECT sum(n) FROM t",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) CYCLE n SET c USING p SELECT * FROM t",
        "EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1", "EXPLAIN (FORMAT json, VERBOSE, SETTINGS, WAL, BUFFERS, SUMMARY) SELECT 1",
        "EXPLAIN DELETE FROM users", "EXPLAIN (ANALYZE off) UPDATE users SET a = 1", "EXPLAIN SELECT * FROM users FOR UPDATE",
        "EXPLAIN CREATE TABLE a AS SELECT 1", "EXPLAIN INSERT INTO a SELECT * FROM b", "SHOW search_path", "SHOW ALL",
        "SELECT a AT TIME ZONE 'UTC', extract(epoch FROM a), a::date - 1, (a, b) OVERLAPS (c, d), overlay(a PLACING b FROM 1) FROM t",
        "SELECT U&'d\\0061t', E'\\x41', $$x; DROP TABLE y$$, X'1F', B'01' -- ; DELETE FROM users",
        "SELECT (u).name, (u.address).street, (array_agg(u))[1].name FROM users u", "SELECT version FROM migrations",
        "SELECT system_user, grouping(a) FROM b GROUP BY CUBE (a)", "SELECT xmlagg(x), xpath('/a', x) FROM y",
    ],
)  # fmt: skip
def test_ordinary_reads_are_read_only_and_harmless(sql: str) -> None:
    found = examine_sql(sql, catalog=None)

    assert found.facts.read_only
    assert found.refusal is None
    assert found.harmless or sql.startswith(("EXPLAIN", "SHOW"))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM users FOR UPDATE", "SELECT * FROM users FOR KEY SHARE SKIP LOCKED", "SELECT * FROM (SELECT 1 FROM a FOR SHARE) x",
        "WITH x AS (SELECT * FROM a FOR UPDATE) SELECT 1", "SELECT EXISTS (SELECT 1 FROM a FOR NO KEY UPDATE)", "TABLE a FOR UPDATE",
        "SELECT 1 FROM a UNION (SELECT 2 FROM b FOR UPDATE)", "SELECT 1 INTO a", "SELECT 1 UNION SELECT 2 INTO a", "TABLE a; TABLE b",
        "SELECT x.nextval FROM unnest(ARRAY['s'::regclass]) x", "SELECT (x).pg_read_file FROM unnest(ARRAY['/etc/passwd']) x",
        "SELECT (5).pg_terminate_backend", "SELECT ((1)).pg_advisory_lock", "SELECT ($1).lo_unlink", "SELECT (SELECT 's'::regclass).nextval",
        "SELECT ('s'::regclass).nextval.x", "SELECT (ARRAY['s'::regclass])[1].nextval", "SELECT a.b.c.pg_stat_reset_slru FROM a.b.c",
        "SELECT 'x'::sneaky", "SELECT CAST(1 AS app.sneaky)", "SELECT '{x}'::sneaky[]", "SELECT '{x}'::_sneaky", "SELECT sneaky 'x'", "SELECT sneaky('x')",
        "SELECT * FROM json_to_record('{}') AS x(a sneaky)", "SELECT json_populate_record(u, '{}') FROM users u", "SELECT json_value(a, '$' RETURNING sneaky) FROM b",
        "SELECT * FROM xmltable('/a' PASSING b COLUMNS c sneaky)", "SELECT * FROM json_table('1', '$' COLUMNS (a sneaky PATH '$'))",
        "SELECT * FROM ROWS FROM (json_to_record('{}') AS (a sneaky)) x", "SELECT xmlserialize(content a AS sneaky) FROM b",
        "SELECT 1 @#@ 2", "SELECT 1 OPERATOR(app.+) 2", "SELECT @#@ 1", "SELECT a FROM b ORDER BY a USING @#@", "SELECT 1 @#@ ANY (ARRAY[1])",
        "SELECT 1 OPERATOR(app.=) ANY (SELECT 1)", "SELECT (1, 2) OPERATOR(app.<) (3, 4)", "SELECT * FROM users TABLESAMPLE app.mine(1)",
        'SELECT "LOWER"(\'x\')', 'SELECT "Count"(*)', "SELECT app.lower('x')", "SELECT db.pg_catalog.lower('x')", "SELECT pg_temp.lower('x')",
        "SELECT * FROM pg_file_settings", "SELECT * FROM pg_catalog.pg_hba_file_rules", "TABLE pg_ident_file_mappings",
        "SELECT query_to_xml('DELETE FROM a', true, true, '')", "SELECT * FROM ts_stat('SELECT setval()')", "SELECT ts_rewrite('a'::tsquery, 'SELECT 1')",
        "SELECT pg_input_is_valid('x', 'sneaky')", "SELECT lo_get(1)", "SELECT setseed(0)", "SELECT pg_notify('a', 'b')", "SELECT txid_current()",
        "SELECT pg_advisory_xact_lock(1)", "SELECT pg_current_logfile()", "SELECT pg_export_snapshot()", "SELECT U&\"\\0073etval\"('s', 1)",
        "EXPLAIN SELECT app.touch(1)", "EXPLAIN ANALYZE SELECT 1 INTO a", "EXPLAIN ANALYZE CREATE TABLE a AS SELECT 1", "EXPLAIN (FROBNICATE) SELECT 1",
        "EXPLAIN ANALYZE CREATE MATERIALIZED VIEW a AS SELECT 1", "EXPLAIN EXECUTE a", "EXPLAIN ANALYZE EXECUTE a", "EXPLAIN (ANALYZE false, ANALYZE) DELETE FROM a",
        "EXPLAIN ANALYSE DELETE FROM a", "EXPLAIN ANALYZE WITH x AS (DELETE FROM a RETURNING *) TABLE x", "EXPLAIN ANALYZE DECLARE c CURSOR FOR SELECT 1",
        "EXPLAIN ANALYZE SELECT * FROM a FOR UPDATE", "COPY a FROM STDIN", "COPY a TO '/tmp/x'", "COPY (SELECT 1) TO PROGRAM 'id'", "COPY a FROM '/etc/passwd'",
        "COPY (DELETE FROM a RETURNING *) TO STDOUT", "COPY (SELECT 1 FROM a FOR UPDATE) TO STDOUT", "DO 'x'", "CALL f()", "LOCK TABLE a", "CHECKPOINT",
        "VACUUM", "ANALYZE", "SET a = 1", "RESET a", "DISCARD ALL", "LISTEN a", "NOTIFY a", "LOAD 'x'", "PREPARE a AS SELECT 1", "EXECUTE a",
        "DECLARE c CURSOR FOR SELECT 1", "FETCH c", "CLOSE c", "BEGIN", "COMMIT", "SAVEPOINT a", "SET CONSTRAINTS ALL DEFERRED", "GRANT a TO b",
        "CREATE TEMP TABLE a (b int)", "CREATE TEMP VIEW a AS SELECT 1", "REFRESH MATERIALIZED VIEW a", "COMMENT ON TABLE a IS 'b'", "", ";",
        "INSERT INTO a SELECT 1 WHERE false", "UPDATE a SET b = 1 WHERE false", "DELETE FROM a WHERE false", "TRUNCATE a",
        "MERGE INTO a USING b ON true WHEN MATCHED THEN DO NOTHING",
    ],
)  # fmt: skip
def test_what_is_not_proved_harmless_is_not_read_only(sql: str) -> None:
    assert not examine_sql(sql, catalog=None).facts.read_only


def test_no_node_is_in_two_lists() -> None:
    assert not LEAVES & PLAIN


WORDS = st.sampled_from(
    """
    SELECT FROM WHERE users u orders o , , , ( ) ( ) . * = + - < 1 2 'x' $1 AS JOIN LEFT ON USING GROUP BY ORDER HAVING LIMIT
    OFFSET WITH RECURSIVE UNION ALL VALUES INSERT INTO UPDATE SET DELETE MERGE WHEN MATCHED THEN NOT DO NOTHING RETURNING
    EXPLAIN ANALYZE ( ) COPY TO STDOUT CREATE TABLE VIEW FUNCTION DROP ; nextval lower touch id name ::text ::mood [ ] ARRAY
    CASE WHEN THEN ELSE END OVER PARTITION FILTER IN EXISTS ANY LATERAL NULL IS true FOR UPDATE ROW JSON_OBJECT JSON_TABLE
    COLUMNS XMLTABLE PASSING CALL CURSOR DECLARE PREPARE EXECUTE CONFLICT excluded old new DEFAULT COLLATE ESCAPE BETWEEN AND
    """.split()
)
SEEDS = [position.format("lower('x')") for position in POSITIONS] + [
    "INSERT INTO a (b) VALUES (1) ON CONFLICT (b) DO UPDATE SET b = excluded.b WHERE a.c > 1 RETURNING *",
    "UPDATE a x SET b = y.c, (d, e) = (SELECT 1, 2) FROM y WHERE x.id = y.id RETURNING WITH (OLD AS o) o.*, new.b",
    "MERGE INTO a USING b ON a.id = b.id WHEN MATCHED AND a.c THEN DELETE WHEN NOT MATCHED THEN INSERT (x) VALUES (b.y)",
    "WITH x AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM x",
    "CREATE TABLE a (b int DEFAULT nextval('s') CHECK (b > 0), c text GENERATED ALWAYS AS (lower(d)) STORED)",
    "CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT a; UPDATE b SET c = a; END",
    "CREATE RULE r AS ON UPDATE TO a DO INSTEAD (UPDATE b SET c = new.d; NOTIFY e)",
    "CREATE SCHEMA a CREATE TABLE b (c int) CREATE VIEW d AS SELECT 1 GRANT SELECT ON b TO e",
]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_no_mutation_of_a_statement_breaks_the_walk(data: st.DataObject) -> None:
    words = data.draw(st.sampled_from(SEEDS)).replace("(", " ( ").replace(")", " ) ").split()
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(words)))
        end = data.draw(st.integers(at, min(len(words), at + 3)))
        words[at:end] = data.draw(st.lists(WORDS, max_size=3))
    text = " ".join(words)
    try:
        found = examine_sql(text, catalog=None)
    except SQLSyntaxError:
        return
    if found.facts.read_only:
        assert not found.facts.writes
        assert "nextval" not in found.facts.functions
        assert found.facts.kinds <= {
            "SELECT",
            "EXPLAIN",
            "COPY",
            "SHOW",
            "INSERT",
            "UPDATE",
            "DELETE",
            "MERGE",
            "CREATE",
            "SELECT_INTO",
            "DECLARE",
        }
        assert "EXPLAIN" in found.facts.kinds or found.facts.kinds <= {"SELECT", "COPY", "SHOW"}
    assert found.facts.statements == 1 or found.refusal is not None


@settings(max_examples=100, deadline=None)
@given(st.lists(WORDS, max_size=30))
def test_no_heap_of_words_breaks_the_walk(words: list[str]) -> None:
    try:
        examine_sql(" ".join(words), catalog=None)
    except SQLSyntaxError:
        return
