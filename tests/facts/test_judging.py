"""What a real catalog says of functions, operators, types and views: every trap is set up on a server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mcp_gateway.facts.catalog import Catalog, Function, Relation
from mcp_gateway.facts.judging import Judge
from mcp_gateway.facts.reach import Named
from mcp_gateway.facts.sql import examine_sql
from mcp_gateway.facts.trust import Trust
from tests.facts.databases import CASTS, DOMAINS, OBJECTS, catalog_of, empty_database
from tests.peers.postgres import PostgresServer


@pytest.fixture(scope="module")
def catalogs(postgres_server: PostgresServer) -> Iterator[dict[str, Catalog]]:
    """One database after each of the set-ups above."""
    found = {}
    with empty_database(postgres_server) as name:
        for step, objects in {"objects": OBJECTS, "domains": DOMAINS, "casts": CASTS}.items():
            postgres_server.execute(objects, database=name)
            found[step] = catalog_of(postgres_server, database=name)
        yield found


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT quoted(1), atomic(2), returning_one(3), public.quoted(4)",
        "SELECT calling(1)",
        "SELECT defaulting()",
        "SELECT calm_sum(id) FROM users",
        "SELECT 1 @-@ 2",
        "SELECT 'good'::mood, ROW(1, 'x')::pair, NULL::users, '{good}'::mood[], mood 'bad'",
        "SELECT * FROM calm_view",
        "SELECT * FROM overloaded_view",
        "SELECT * FROM kept",
        "SELECT o.total FROM orders o",
        "SELECT o.total2 FROM (SELECT total AS total2 FROM orders) o",
        "SELECT o.elsewhere FROM (SELECT total AS elsewhere FROM orders) o",
        "SELECT x.touch FROM json_to_record('{}') AS x(touch int)",
        "WITH u AS (SELECT id AS touch FROM users) SELECT u.touch FROM u",
        "SELECT (u).name FROM users u",
        "SELECT jsonb_populate_record(NULL::users, '{}')",
        "SELECT pg_catalog.lower('x'), upper('x')",
        "SELECT json_object('a' : 1)",
        "SELECT 1 OPERATOR(pg_catalog.||) 'x'",
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace",
        "SELECT * FROM information_schema.tables",
        "EXPLAIN DELETE FROM users",
    ],
)
def test_what_the_catalog_proves_is_read_only(catalogs: dict[str, Catalog], sql: str) -> None:
    assert examine_sql(sql, catalog=catalogs["objects"]).facts.read_only


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT sneaky_sql()",
        "SELECT behind_sneaky_sql()",
        "SELECT writing()",
        "SELECT writing_in_cte()",
        "SELECT locking()",
        "SELECT own_path()",
        "SELECT recursing(1)",
        "SELECT defaulting_badly()",
        "SELECT looks_immutable()",
        "SELECT lower(name) FROM users",
        "SELECT other.elsewhere(o) FROM orders o",
        "SELECT nowhere()",
        "SELECT proc()",
        "SELECT u.touch FROM users u",
        "SELECT users.touch FROM users",
        "SELECT public.users.touch FROM public.users",
        "SELECT (u).touch FROM users u",
        "SELECT u.touch FROM users u(touch2)",
        "SELECT x.touch FROM (users u JOIN orders o ON true) AS x(touch2)",
        "SELECT o.total2 FROM orders o",
        "SELECT o.total2 FROM (SELECT * FROM orders) o",
        "SELECT ((SELECT o FROM orders o)).total2",
        "SELECT touch(u) FROM users u",
        "SELECT * FROM users u, LATERAL touch(u)",
        "SELECT noisy_sum(id) FROM users",
        "SELECT 1 @+@ 2",
        "SELECT 1 || 2",
        "SELECT 1 OPERATOR(other.||) 2",
        "SELECT json_array(1)",
        "SELECT json_value(1, 'a')",
        "SELECT * FROM noisy_view",
        "SELECT * FROM behind_noisy_view",
        "SELECT * FROM far",
        "SELECT * FROM parted",
        "SELECT * FROM parted_near",
        "SELECT * FROM nowhere",
        "EXPLAIN SELECT touch(u) FROM users u",
        "EXPLAIN SELECT * FROM noisy_view",
    ],
)
def test_what_the_catalog_does_not_prove_is_not_read_only(catalogs: dict[str, Catalog], sql: str) -> None:
    found = examine_sql(sql, catalog=catalogs["objects"])

    assert not found.facts.read_only
    assert not found.harmless


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'x'::sneaky",
        "SELECT 'x'::public.sneaky",
        "SELECT 'x'::behind_sneaky",
        "SELECT '{x}'::_sneaky",
        "SELECT '{x}'::sneaky[]",
        "SELECT NULL::holding",
        "SELECT NULL::holder",
        "SELECT sneaky('x')",
        "SELECT ('x'::text).sneaky",
        "SELECT x.sneaky FROM unnest(ARRAY['x']) x",
        "SELECT jsonb_populate_record(h, '{}') FROM holder h",
        "SELECT * FROM json_to_record('{}') AS x(a sneaky)",
        "SELECT * FROM json_to_recordset('[]') AS x(a public.sneaky[])",
        "SELECT * FROM xmltable('/a' PASSING xmlparse(content '<a/>') COLUMNS a sneaky PATH 'b')",
        "SELECT * FROM json_table('{}', '$' COLUMNS (a sneaky PATH '$.a'))",
        "SELECT json_query('{}', '$' RETURNING sneaky)",
        "SELECT taking('x')",
        "SELECT giving()",
        "SELECT x.giving FROM pg_class x",
        "SELECT * FROM giving_rows()",
    ],
)
def test_a_value_of_a_checked_domain_runs_its_check(catalogs: dict[str, Catalog], sql: str) -> None:
    assert not examine_sql(sql, catalog=catalogs["domains"]).facts.read_only


@pytest.mark.parametrize("sql", ["SELECT 'x'::calm", "SELECT 'good'::mood", "SELECT quoted(1)", "SELECT h FROM holder"])
def test_checked_domains_do_not_stand_in_the_way_of_the_rest(catalogs: dict[str, Catalog], sql: str) -> None:
    assert examine_sql(sql, catalog=catalogs["domains"]).facts.read_only


@pytest.mark.parametrize(
    "sql", ["SELECT 'good'::mood::int", "SELECT 1 + m FROM (SELECT 'good'::mood AS m) x", "SELECT abs(1)"]
)
def test_a_cast_that_runs_code_may_be_applied_unseen(catalogs: dict[str, Catalog], sql: str) -> None:
    assert not examine_sql(sql, catalog=catalogs["casts"]).facts.read_only
    assert examine_sql("SELECT name FROM users", catalog=catalogs["casts"]).facts.read_only


def test_read_code_allows_reading_but_no_preview(catalogs: dict[str, Catalog]) -> None:
    assert not examine_sql("SELECT quoted(1)", catalog=catalogs["objects"]).harmless
    assert examine_sql("SELECT name FROM calm_view", catalog=catalogs["objects"]).harmless


def function(name: str, **more: object) -> Function:
    defaults = {"oid": 20_000, "schema": "public", "kind": "f", "language": "c", "volatility": "i"}
    return Function(name=name, **(defaults | more))  # type: ignore[arg-type]


def judged(function: Function, **more: object) -> Trust:
    catalog = Catalog(
        server_version=150018,
        search_path=("public",),
        functions={function.name: (function,)},
        **more,  # type: ignore[arg-type]
    )
    return Judge(catalog, examine_body=lambda _statements, _judge: (Trust.KNOWN, Named())).function((function.name,))


@pytest.mark.parametrize(
    ("extension", "name", "volatility", "trust"),
    [
        ("pg_trgm", "similarity", "i", Trust.KNOWN),
        ("citext", "citext_eq", "s", Trust.KNOWN),
        ("uuid-ossp", "uuid_generate_v4", "v", Trust.KNOWN),
        ("pg_trgm", "set_limit", "v", Trust.UNPROVED),
        ("timescaledb", "time_bucket", "i", Trust.PROVED),
        ("pg_stat_statements", "pg_stat_statements", "v", Trust.PROVED),
        ("pg_stat_statements", "pg_stat_statements_reset", "v", Trust.UNPROVED),
        ("tablefunc", "crosstab", "s", Trust.UNPROVED),
        ("dblink", "dblink_exec", "v", Trust.UNPROVED),
        ("xml2", "xpath_table", "s", Trust.UNPROVED),
        (None, "mine", "i", Trust.UNPROVED),
    ],
)
def test_functions_of_extensions_count_by_what_they_declare(
    extension: str | None, name: str, volatility: str, trust: Trust
) -> None:
    assert judged(function(name, extension=extension, volatility=volatility)) == trust


RANGE = {"language": "internal", "result_type": "public.span", "types": ("pg_catalog.numeric", "public.span")}


@pytest.mark.parametrize("types", [RANGE["types"], ()])
def test_the_constructor_of_a_range_type_is_proved(types: object) -> None:
    assert judged(function("span", **(RANGE | {"types": types}))) == Trust.PROVED


@pytest.mark.parametrize(
    "other",
    [
        {"language": "plpgsql"},
        {"language": "c"},
        {"volatility": "v"},
        {"result_type": "public.other"},
        {"result_type": "other.span"},
        {"types": None},
        {"kind": "p"},
    ],
)
def test_what_only_looks_like_a_constructor_is_not_proved(other: dict[str, object]) -> None:
    assert judged(function("span", **(RANGE | other))) == Trust.UNPROVED


def test_a_constructor_of_a_range_over_a_domain_runs_its_check() -> None:
    made = function("span", **(RANGE | {"types": ("public.checked",)}))

    assert judged(made, domains={"public.checked": True}) == Trust.UNPROVED


def checking(check: str, *others: Function) -> Catalog:
    """A catalog with the domain `checked` over int, with this CHECK, and these functions."""
    return Catalog(
        server_version=150018,
        search_path=("public",),
        functions={one.name: (one,) for one in others},
        domains={"public.checked": True},
        domain_checks={"public.checked": (check,)},
    )


COMPUTING = function("calm", language="sql", body="SELECT true", defaults="", types=())


@pytest.mark.parametrize(
    "sql", ["SELECT '7'::checked", "SELECT id::checked FROM pg_class", "SELECT CAST('{7}' AS checked[])"]
)
def test_a_check_of_built_in_code_is_harmless(sql: str) -> None:
    catalog = checking("((VALUE > 0) AND ((VALUE)::text ~ '^[0-9]+$'::text))")

    assert examine_sql(sql, catalog=catalog).facts.read_only


@pytest.mark.parametrize(
    "check",
    [
        "public.noisy(VALUE)",
        "public.calm()",
        "(VALUE OPERATOR(public.>) 0)",
        "((VALUE)::public.checked > 0)",
        "(nextval('s'::regclass) > VALUE)",
        "(VALUE >",
        "",
    ],
)
def test_a_check_of_any_other_code_is_not_proved(check: str) -> None:
    catalog = checking(check, COMPUTING, function("noisy", language="plpgsql"))

    assert not examine_sql("SELECT '7'::checked", catalog=catalog).facts.read_only


CASTING = function("casting", language="plpgsql", types=("public.mood",), result_type="pg_catalog.int4")
GIVING = function(
    "giving", oid=20_001, language="sql", body="SELECT 7", defaults="", types=(), result_type="pg_catalog.int4"
)


def casts_to_int(*, unwritten: bool) -> Catalog:
    """A catalog in which a cast to int may do anything, and a function gives an int."""
    return Catalog(
        server_version=150018,
        search_path=("public",),
        functions={one.name: (one,) for one in (CASTING, GIVING)},
        casts={"pg_catalog.int4": ("public.casting",)},
        unwritten_casts=frozenset({"public.casting"} if unwritten else ()),
    )


@pytest.mark.parametrize("sql", ["SELECT '7'::int", "SELECT int '7'", "SELECT NULL::int", "SELECT giving()"])
def test_a_written_cast_does_not_reach_what_has_none(sql: str) -> None:
    assert examine_sql(sql, catalog=casts_to_int(unwritten=False)).facts.read_only
    assert not examine_sql(sql, catalog=casts_to_int(unwritten=True)).facts.read_only


@pytest.mark.parametrize(
    "sql", ["SELECT 7::int", "SELECT x::int FROM pg_class x", "SELECT ('7' || '')::int", "SELECT ('7'::text)::int"]
)
def test_a_written_cast_of_anything_else_is_not_proved(sql: str) -> None:
    assert not examine_sql(sql, catalog=casts_to_int(unwritten=False)).facts.read_only


RANKING = function(
    "ranking",
    oid=20_003,
    language="sql",
    body="SELECT CASE $1 WHEN 'good' THEN 1 ELSE 2 END",
    defaults="",
    types=("public.mood",),
    result_type="pg_catalog.int4",
)
REACHING = [
    "SELECT 1 + 1",
    "SELECT giving()",
    "SELECT x.giving FROM pg_class x",
    "SELECT '7'::int",
    "SELECT * FROM seen",
    "SELECT * FROM behind_seen",
    "SELECT * FROM guarded",
    "SELECT relname FROM pg_class ORDER BY relname USING <",
    "SELECT * FROM json_to_record('{}') AS x(a int)",
]


def cast_unwritten(by: Function) -> Catalog:
    """A catalog with a cast to int that needs no writing, and with views and policies that it could be applied in."""
    defined = {
        "seen": "SELECT relname::text = 'x' AS same FROM pg_class",
        "behind_seen": "SELECT same FROM public.seen",
    }
    views = [
        Relation(oid=21_000 + number, schema="public", name=name, kind="v", columns=(), definition=definition)
        for number, (name, definition) in enumerate(defined.items())
    ]
    guarded = Relation(oid=20_004, schema="public", name="guarded", kind="r", columns=(), policies=("(1 = 1)",))
    return replace(
        casts_to_int(unwritten=True),
        functions={one.name: (one,) for one in (by, GIVING)},
        relations={one.qualified: one for one in (*views, guarded)},
        casts={"pg_catalog.int4": (f"public.{by.name}",)},
        unwritten_casts=frozenset({f"public.{by.name}"}),
    )


@pytest.mark.parametrize("sql", REACHING)
def test_a_cast_that_needs_no_writing_counts_wherever_it_could_be_applied(sql: str) -> None:
    assert examine_sql(sql, catalog=cast_unwritten(RANKING)).facts.read_only
    assert not examine_sql(sql, catalog=cast_unwritten(CASTING)).facts.read_only


def test_what_is_assigned_meets_the_casts_that_need_no_writing() -> None:
    sql = "EXPLAIN INSERT INTO public.kept TABLE pg_class"
    kept = {"public.kept": Relation(oid=20_002, schema="public", name="kept", kind="r", columns=())}

    assert examine_sql(sql, catalog=replace(casts_to_int(unwritten=False), relations=kept)).facts.read_only
    assert not examine_sql(sql, catalog=replace(casts_to_int(unwritten=True), relations=kept)).facts.read_only


def test_a_record_filler_of_an_extension_counts_by_the_domains() -> None:
    filler = function("populate_record", extension="hstore")

    assert judged(filler) == Trust.KNOWN
    assert judged(filler, domains={"public.checked": True}) == Trust.UNPROVED


@pytest.mark.parametrize("language", ["plpgsql", "plpython3u", "internal", "c"])
def test_code_that_cannot_be_read_is_not_proved(language: str) -> None:
    assert judged(function("mine", language=language)) == Trust.UNPROVED


@pytest.mark.parametrize("missing", ["body", "defaults", "types"])
def test_a_sql_function_is_proved_only_if_all_of_it_is_known(missing: str) -> None:
    known = {"language": "sql", "body": "SELECT 1", "defaults": "", "types": ()}

    assert judged(function("mine", **known)) == Trust.PROVED
    assert judged(function("mine", **(known | {missing: None}))) == Trust.UNPROVED


def test_a_body_that_cannot_be_parsed_is_not_proved() -> None:
    assert judged(function("mine", language="sql", body="SELEC", defaults="", types=())) == Trust.UNPROVED


def test_a_function_that_took_the_name_of_a_built_in_is_not_it() -> None:
    assert judged(function("lower", language="plpgsql", schema="pg_catalog")) == Trust.UNPROVED


def test_names_fold_further_on_servers_of_other_encodings() -> None:
    own = function("\u00e9", language="plpgsql")
    catalog = Catalog(
        server_version=150018, search_path=("public",), functions={own.name: (own,)}, domains={"public.\u00fc": True}
    )

    assert not examine_sql("SELECT x.\u00c9 FROM unnest(ARRAY[1]) x", catalog=catalog).facts.read_only
    assert not examine_sql("SELECT 'x'::\u00dc", catalog=catalog).facts.read_only


def test_a_view_of_unknown_definition_is_not_proved() -> None:
    view = Relation(oid=20_000, schema="public", name="seen", kind="v", columns=())
    catalog = Catalog(server_version=150018, search_path=("public",), relations={"public.seen": view})

    assert not examine_sql("SELECT * FROM seen", catalog=catalog).facts.read_only


def test_a_judge_remembers_a_bounded_number_of_names() -> None:
    judge = Judge(None, examine_body=lambda _statements, _judge: (Trust.KNOWN, Named()))

    for number in range(10_000):
        judge.function((f"f{number}",))

    assert judge.function.cache_info().currsize <= 4096
