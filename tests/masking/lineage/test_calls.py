"""Functions, operators and casts: what is pure, what is expanded, what is opaque."""

from __future__ import annotations

import pytest

from tests.masking.lineage.catalogs import builtin, catalog, facts, function, lineage, masked, relation

EVERYTHING = ["email+ssn"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT query_to_xml('select ssn from users', true, true, '')",
        "SELECT table_to_xml('users', true, true, '')",
        "SELECT pg_read_file('x')",
        "SELECT hidden(1)",
        "SELECT o.hidden FROM orders o",
        "SELECT id FROM (SELECT hidden(1) AS id) t",
    ],
)
def test_what_cannot_be_seen_through_may_return_anything(sql: str) -> None:
    verdict = lineage(sql)
    assert masked(sql) == EVERYTHING
    assert verdict.opaque
    assert verdict.inference["may_fail"] == {"ssn", "email"}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT hidden(ssn) FROM users",
        "SELECT users.hidden FROM users",
        "SELECT hidden(u.*) FROM users u",
        "SELECT pg_notify('c', ssn) FROM users",
        "SELECT set_config('a.b', ssn, false) FROM users",
        "SELECT nextval(ssn) FROM users",
        "SELECT lo_import(ssn) FROM users",
        "SELECT pg_read_file(ssn) FROM users",
        "SELECT pg_sleep(length(ssn)) FROM users",
        "SELECT hidden(query_to_xml('select 1', true, true, '')::text)",
        "SELECT 1 FROM users WHERE hidden(ssn) IS NULL",
        "SELECT 1 FROM users u, LATERAL (SELECT pg_notify('c', u.ssn)) t",
        "WITH t AS (SELECT pg_notify('c', ssn) FROM users) SELECT 1",
    ],
)
def test_classified_data_is_not_handed_to_what_cannot_be_seen_through(sql: str) -> None:
    assert "handed" in str(lineage(sql).refusal)


def test_a_function_whose_result_tells_nothing_is_clear_while_its_arguments_are() -> None:
    assert masked("SELECT nextval('s'), pg_notify('a', 'b'), pg_sleep(1)") == ["", "", ""]
    assert not lineage("SELECT nextval('s')").opaque


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT ssn_of(1)", ["ssn"]),
        ("SELECT name_of(1)", [""]),
        ("SELECT name_of(length(ssn)) FROM users", ["ssn"]),
        ("SELECT public.ssn_of(1)", ["ssn"]),
    ],
)
def test_a_function_in_sql_is_expanded_like_a_view(sql: str, expected: list[str]) -> None:
    assert masked(sql) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("SELECT count(*) FROM users WHERE ssn LIKE $1", "ssn"),
        ("SELECT name FROM users ORDER BY email LIMIT 1", "email"),
        ("WITH t AS (SELECT ssn FROM users) SELECT ssn FROM t", "ssn"),
        ("RETURN (SELECT ssn FROM public.users LIMIT 1)", "ssn"),
        ("BEGIN ATOMIC SELECT users.ssn FROM public.users; END", "ssn"),
        ("BEGIN ATOMIC SELECT 1; SELECT users.ssn FROM public.users; END", "email+ssn"),
        ("BEGIN ATOMIC SELECT users.name FROM users; END", "email+ssn"),
        ("SELECT 1; SELECT 2", "email+ssn"),
        ("INSERT INTO orders VALUES (1)", "email+ssn"),
        ("SELECT hidden(1)", "email+ssn"),
        ("SELECT f(1)", "email+ssn"),
        ("SELECT nothing FROM users", "email+ssn"),
        ("not SQL at all", "email+ssn"),
        ("SELECT pg_notify('c', $1)", "email+ssn"),
        ("WITH t AS (INSERT INTO orders (note) VALUES ($1) RETURNING 1) SELECT 'x'", "email+ssn"),
        ("SELECT lower(a)", ""),
        ("SELECT lower(f.a)", ""),
    ],
)
def test_what_a_body_in_sql_comes_to(body: str, expected: str) -> None:
    assert masked("SELECT f('x')", catalog(function("f", body, arguments=("a",)))) == [expected]


def test_a_body_that_shows_its_arguments_elsewhere_takes_no_classified_ones() -> None:
    for body in (
        "SELECT 'x' FROM (SELECT hidden($1)) t",
        "SELECT pg_notify('c', $1)",
        "WITH t AS (INSERT INTO orders (note) VALUES ($1) RETURNING 1) SELECT 'x'",
    ):
        verdict = lineage("SELECT f(ssn) FROM users", catalog(function("f", body)))
        assert verdict.refusal is not None


def test_a_body_that_is_not_known_is_opaque() -> None:
    # One with a SET clause: its names may mean something else.
    assert masked("SELECT f(1)", catalog(function("f", None, language="sql"))) == EVERYTHING


def test_every_function_of_a_name_must_be_pure() -> None:
    overloaded = catalog(function("lower"))
    assert masked("SELECT lower(name) FROM orders, products", overloaded) == EVERYTHING
    elsewhere = catalog(function("elsewhere.lower"))
    assert masked("SELECT lower(name) FROM products", elsewhere) == [""]
    assert masked("SELECT elsewhere.lower(name) FROM products", elsewhere) == EVERYTHING


@pytest.mark.parametrize(
    ("more", "clear"),
    [
        ({"language": "c", "volatility": "i"}, True),
        ({"language": "c", "volatility": "s"}, False),
        ({"language": "c", "volatility": "s", "extension": "unaccent"}, True),
        ({"language": "c", "volatility": "s", "extension": "other"}, False),
        ({"language": "internal", "volatility": "i"}, False),
        ({"language": "internal", "volatility": "i", "extension": "citext"}, True),
        ({"language": "internal", "volatility": "s", "extension": "citext"}, False),
        ({"language": "plpgsql", "volatility": "i"}, False),
    ],
)
def test_a_users_function_is_pure_only_in_c_and_immutable_or_known(more: dict[str, str], clear: bool) -> None:
    assert masked("SELECT unaccent(1)", catalog(function("unaccent", None, **more))) == ([""] if clear else EVERYTHING)


def test_an_aggregate_is_pure_if_all_its_own_functions_are() -> None:
    step = function("step", None, language="c", volatility="i")
    pure = function("mine", None, kind="a", language="internal", transitions=("public.step",))
    own = function("own", None, kind="a", language="internal", transitions=("public.own",))
    of_same_name = function("own", None, language="c", volatility="i")
    sly = function("sly", None, kind="a", language="internal", transitions=("public.step", "public.hidden"))
    of = catalog(step, pure, own, of_same_name, sly)
    assert masked("SELECT mine(ssn), mine(id) FROM users", of) == ["ssn", ""]
    assert masked("SELECT own(ssn), own(id) FROM users", of) == ["ssn", ""]
    assert masked("SELECT sly(id) FROM users", of) == EVERYTHING


def test_an_operator_is_judged_by_name() -> None:
    of = catalog(
        function("pure", None, language="c", volatility="i"), operators={"+": ("public.pure",), "%": ("public.hidden",)}
    )
    assert masked("SELECT id + 1 FROM users", of) == [""]
    assert masked("SELECT id % 2 FROM users", of) == EVERYTHING
    assert masked("SELECT id FROM users ORDER BY id USING %", of) == [""]
    assert lineage("SELECT id FROM users ORDER BY id USING %", of).opaque
    assert lineage("SELECT id FROM users WHERE ssn % 'x'", of).refusal is not None


def test_an_operator_of_the_users_for_equality_is_met_in_joins_and_ranges() -> None:
    of = catalog(operators={"=": ("public.hidden",), ">=": ("public.hidden",)})
    assert lineage("SELECT 1 FROM users JOIN products USING (id)", of).opaque
    assert lineage("SELECT 1 FROM users JOIN products USING (email)", of).refusal is not None
    assert lineage("SELECT id BETWEEN 1 AND 2 FROM users", of).opaque
    assert lineage("SELECT id IN (SELECT id FROM orders) FROM users", of).opaque


def test_a_cast_to_a_type_that_runs_code_is_opaque() -> None:
    of = catalog(casts={"public.odd": ("public.hidden",)}, domains={"public.checked": True, "public.loose": False})
    assert masked("SELECT id::odd FROM users", of) == EVERYTHING
    assert masked("SELECT id::checked FROM users", of) == EVERYTHING
    assert masked("SELECT id::loose, id::text, id::int8 FROM users", of) == ["", "", ""]
    assert lineage("SELECT ssn::odd FROM users", of).refusal is not None
    assert lineage("SELECT odd(ssn) FROM users", of).refusal is not None


def test_a_composite_type_with_a_checked_domain_in_it_is_opaque() -> None:
    of = catalog(relation("pair", "a int4, b public.checked", "c"), domains={"public.checked": True})
    assert masked("SELECT ROW(1, 2)::pair", of) == EVERYTHING


def test_a_call_that_means_a_cast_is_one() -> None:
    assert masked("SELECT uuid(ssn), uuid(name) FROM users") == ["ssn", ""]
    assert masked("SELECT nothing_at_all(id) FROM users") == ["?"]


def test_a_composite_result_gives_its_fields() -> None:
    of = catalog(builtin("json_populate_record/s:anyelement", 900))
    assert masked("SELECT (json_populate_record(NULL::users, row_to_json(o))).ssn FROM orders o", of) == [""]
    assert masked("SELECT (json_populate_record(NULL::users, row_to_json(u))).id FROM users u", of) == EVERYTHING
    assert masked("SELECT (listed(1)).*") == ["email", "email", "email"]


def test_failing_or_not_is_a_fact_where_a_call_is_partial() -> None:
    assert facts("SELECT lower(ssn), left(ssn, 3), replace(ssn, '-', ''), ssn || 'x', ssn::text FROM users") == {}
    for partial in (
        "ssn::int", "repeat(ssn, 2)", "replace(ssn, '1', repeat('x', 200000000))", "ssn::regclass", "1 / length(ssn)",
        "length(ssn) + 2147483640", "left('abc', length(ssn))::int", "substring('abc', length(ssn))", "ssn LIKE '1\\'",
        "starts_with(ssn, 'a')::text::int", "ssn ~ name", "date_part(ssn, now())", "ssn::date", "ssn::json",
    ):  # fmt: skip
        assert facts(f"SELECT {partial} FROM users").get("may_fail") == "ssn", partial


def test_what_a_call_leaves_out_counts_as_the_default_of_that_argument() -> None:
    of = catalog(
        function("greet", "SELECT who", arguments=("who",), defaults="public.hidden(1)"),
        function("named", "SELECT who", arguments=("who",), defaults="public.ssn_of(1)"),
        function("again", "SELECT public.named()"),
        function("counted", "SELECT who", arguments=("who",), defaults="nextval('public.s'::regclass)"),
        function("plain", "SELECT id, who FROM users", arguments=("who",), defaults="upper('x'::text), NULL::text"),
        function("unread", "SELECT who", arguments=("who",), defaults=None),
        function("outside", language="c", volatility="i", defaults="public.hidden(1)"),
    )
    assert masked("SELECT greet(), named(), again(), counted(), unread(), outside()", of) == [
        *EVERYTHING, "ssn", "ssn", *EVERYTHING, *EVERYTHING, *EVERYTHING,
    ]  # fmt: skip
    assert masked("SELECT plain()", of) == [""]
    assert lineage("SELECT greet()", of).opaque
    assert "public.ssn_of" in lineage("SELECT named()", of).functions
