"""A catalog by hand: a few tables with secrets, and as much of PostgreSQL as the tests call.

The classes are named after the columns they stand on, so that a verdict reads as what it derives from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mcp_gateway.facts.catalog import Catalog, Column, Function, Relation
from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.masking.lineage import Lineage, follow, prepare

CLASSIFY = {"public.users.ssn": "ssn", "public.users.email": "email"}
FIRST_USER_OID = 16384

BUILTINS = """
count/a sum/a max/a min/a string_agg/a array_agg/a:anyarray bool_or/a percentile_cont/a json_agg/a:json
rank/w row_number/w first_value/w
lower:text upper:text left:text length:int4 md5:text replace:text repeat:text reverse:text starts_with:bool
substring:text ascii:int4 num_nulls:int4 cardinality:int4 array_length:int4 pg_typeof:regtype
to_char/s:text now/s:timestamptz date_trunc/s concat/s:text format/s:text json_build_object/s:json row_to_json/s:json
extract/s:numeric date_part/s:float8 current_setting/s:text jsonb_typeof:text pg_get_viewdef/s:text
timezone/s:timestamptz similar_to_escape:text name:name
generate_series+ unnest+:anyelement regexp_split_to_table+:text string_to_array:text[]
random/v:float8 clock_timestamp/v:timestamptz pg_total_relation_size/v:int8
nextval/v:int8 set_config/v:text pg_notify/v:void pg_sleep/v:void
pg_read_file/v:text query_to_xml/v:xml table_to_xml/s:xml lo_import/v:oid system/v:tsm_handler bernoulli/v:tsm_handler
"""


def builtin(word: str, oid: int) -> Function:
    """`name/volatility-or-kind:type`, with `+` after the name of one that returns a set."""
    head, _, result = word.partition(":")
    head, _, mark = head.partition("/")
    return Function(
        oid=oid,
        schema="pg_catalog",
        name=head.rstrip("+"),
        kind=mark if mark in ("a", "w") else "f",
        language="internal",
        volatility=mark if mark in ("s", "v") else "i",
        returns_set=head.endswith("+"),
        result_type=f"pg_catalog.{result or 'text'}",
    )


def function(name: str, body: str | None = None, **more: object) -> Function:
    """A function of the user's, in SQL where it has a body, else in PL/pgSQL."""
    schema, _, bare = name.rpartition(".")
    plain = Function(
        oid=FIRST_USER_OID + 1,
        schema=schema or "public",
        name=bare,
        kind="f",
        language="sql" if body is not None else "plpgsql",
        volatility="s",
        result_type="pg_catalog.text",
        body=body,
        defaults="",
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def relation(name: str, columns: str, kind: str = "r", **more: object) -> Relation:
    """`schema.name` or a name in public, and its columns as `name type, ...` of pg_catalog unless qualified."""
    schema, _, bare = name.rpartition(".")
    found = []
    for number, text in enumerate(columns.split(","), start=1):
        column, of = text.split()
        found.append(Column(name=column, type=of if "." in of else f"pg_catalog.{of}", number=number))
    plain = Relation(oid=1, schema=schema or "public", name=bare, kind=kind, columns=tuple(found))
    return replace(plain, **more)  # type: ignore[arg-type]


def generated(of: Relation, column: str, expression: str) -> Relation:
    """The relation with a further, generated column."""
    added = Column(name=column, type="pg_catalog.text", generated=expression, number=len(of.columns) + 1)
    return replace(of, columns=(*of.columns, added))


USERS = relation("users", "id int4, name text, email text, ssn text, age int4, tags text[]")
RELATIONS = (
    USERS,
    relation("orders", "id int4, user_id int4, total numeric, note text"),
    relation("products", "id int4, name text, email text"),
    relation("other.users", "id int4, ssn text"),
    relation("other.secrets", "id int4, ssn text"),
    relation("contacts", "id int4, address text", "v", definition="SELECT id, email AS address FROM public.users;"),
    relation("pg_catalog.pg_class", "oid oid, relname name, relpartbound pg_node_tree"),
    relation("pg_catalog.pg_stats", "tablename name, attname name, null_frac float4, most_common_vals anyarray"),
    relation("pg_catalog.pg_new_in_some_version", "anything text"),
    relation("pg_toast.pg_toast_1", "chunk_id oid, chunk_data bytea", "t"),
    relation("archive", "id int4, was public.users"),
    relation("address", "street text, city text", "c"),
)
FUNCTIONS = (
    function("hidden"),
    function("hidden_rows", returns_set=True, outputs=("a", "b"), result_type="pg_catalog.record"),
    function("ssn_of", "SELECT ssn FROM users WHERE id = $1"),
    function("name_of", "SELECT name FROM users WHERE id = who", arguments=("who",)),
    function("sec", "SELECT $1.ssn", arguments=("",)),
    function(
        "listed",
        "SELECT id, email, name FROM users WHERE id >= lowest",
        arguments=("lowest",),
        outputs=("uid", "contact", "label"),
        returns_set=True,
        result_type="pg_catalog.record",
    ),
    function("everyone", "SELECT * FROM users", returns_set=True, result_type="public.users"),
)


def catalog(
    *more: Relation | Function,
    operators: Mapping[str, tuple[str, ...]] | None = None,
    casts: Mapping[str, tuple[str, ...]] | None = None,
    domains: Mapping[str, bool] | None = None,
    server_version: int = 180000,
) -> Catalog:
    """The catalog, with further relations and functions; one of the same name takes the place of the first."""
    relations = {of.qualified: of for of in (*RELATIONS, *more) if isinstance(of, Relation)}
    functions: dict[str, tuple[Function, ...]] = {}
    builtins = [builtin(word, oid) for oid, word in enumerate(BUILTINS.split(), start=100)]
    for of in (*builtins, *FUNCTIONS, *more):
        if isinstance(of, Function):
            functions[of.name] = (*functions.get(of.name, ()), of)
    return Catalog(
        server_version=server_version,
        search_path=("public",),
        relations=relations,
        functions=functions,
        operators=operators or {},
        casts=casts or {},
        domains=domains or {},
    )


CATALOG = catalog()
PREPARED = prepare(CATALOG, CLASSIFY)


def lineage(sql: str, of: Catalog | None = None, *, classify: Mapping[str, str] = CLASSIFY) -> Lineage:
    """The verdict on a statement."""
    if of is None and classify is CLASSIFY:
        return follow(parse_tree(sql), PREPARED).lineage
    return follow(parse_tree(sql), prepare(of or CATALOG, classify)).lineage


def masked(sql: str, of: Catalog | None = None) -> list[str]:
    """The classes of each output column, as `a+b`; `?` for a statement that is not followed."""
    verdict = lineage(sql, of)
    assert verdict.refusal is None, verdict.refusal
    return ["?"] if verdict.columns is None else [joined(column.classes) for column in verdict.columns]


def facts(sql: str, of: Catalog | None = None) -> dict[str, str]:
    """What can be inferred, by kind."""
    return {kind: joined(classes) for kind, classes in lineage(sql, of).inference.items()}


def joined(classes: Iterable[str]) -> str:
    return "+".join(sorted(classes))
