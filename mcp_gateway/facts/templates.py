"""Texts that differ in plain values alone, of which all but the first two need no examination. Pure.

Agents send one statement again and again with another number or name in it. What is found of a statement may depend on its
values (a LIMIT, a regular expression, the name of a sequence), so none may simply be left out. A value is *free* where it is

- written plainly: a text in single quotes with no quotation mark and no backslash in it, or one to nine digits; with white
  space, a bracket, a comma, a comparison, a cast or the end of the text beside it, so that it is a token of its own;
- what a column is compared with in the WHERE or ON of a query, to the right of it, or the number of rows that OFFSET skips;
- in a text that is one SELECT and nothing else: nowhere in it is there another kind of statement.

There neither the facts nor the lineage look at it, only at its kind; `tests/facts/test_templates.py` holds every answer to
that. Texts that are equal but for free values are read as the same tokens: the scanner of PostgreSQL goes from left to right
and comes to each free value in one state, takes it as one token of one kind whatever is in it, and goes on in one state.
So their trees are the same but for these values, and for where in the text things stand.

A template is everything else, byte by byte: comments, spaces, and values that are not free. Whether something that looks
like a value is one (it may stand in a comment) need not be known to tell two texts apart, and is known from the tree when a
value is declared free.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.tree import opened, strings
from mcp_gateway.recent import Recent

MAX_CHARACTERS: Final = 4096
"""A longer text is hardly one of a series, and whether it is would cost more to tell."""
_VALUE = re.compile(
    r"""(
        (?<= [ \t\n\r\f\v(,=<>] ) ' [^'\\]* ' (?= [ \t\n\r\f\v),;:] | \Z )
      | (?<= [ \t\n\r\f\v(,=<>-] ) [0-9]{1,9} (?= [ \t\n\r\f\v),;:] | \Z )
    )""",
    re.VERBOSE,
)
COMPARISONS: Final = frozenset({"=", "<>", "<", "<=", ">", ">="})
ALIKE: Final = frozenset({"AEXPR_LIKE", "AEXPR_ILIKE"})
LISTED: Final = frozenset({"AEXPR_IN", "AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN"})
CAST_TO: Final = frozenset({"date", "numeric", "text", "timestamp", "timestamptz", "uuid", "varchar"})
"""Types that a value may be cast to. Of others the examination says the same whatever the value is, too; these suffice."""

Template: TypeAlias = tuple[str, tuple[int, ...], str]
Shape: TypeAlias = Template | str
"""A text without a value is its own."""
T = TypeVar("T")


class Cut(NamedTuple):
    """A text, cut where it may differ from others."""

    outline: str
    """What stands between the values, and the kind of each."""
    values: list[str]

    def template(self, free: tuple[int, ...]) -> Template:
        """What all texts have in common that may differ from this one in those values."""
        chosen = frozenset(free)
        others = [value for number, value in enumerate(self.values) if number not in chosen]
        return self.outline, free, "\0".join(others)


@lru_cache(64)
def cut(sql: str) -> Cut | None:
    """Cut a text that the parser takes (`parser.encode_sql`) where it may differ from others; None where it may not."""
    if len(sql) > MAX_CHARACTERS:
        return None
    pieces = _VALUE.split(sql)
    values = pieces[1::2]
    if not values:
        return None
    pieces[1::2] = ["\0'" if value[0] == "'" else "\0" for value in values]  # no text holds a NUL
    return Cut("".join(pieces), values)


def free_values(sql: str, statements: Sequence[JSONObject]) -> tuple[int, ...]:
    """Which of the values that `cut` finds are free, by the tree of the text."""
    if len(statements) != 1 or len(sql) > MAX_CHARACTERS:
        return ()
    comparands = dict(_comparands(statements))
    return tuple([number for number, (value, place) in enumerate(_placed(sql)) if _is(value, place, comparands)])


class Templates(Generic[T]):
    """What was found of texts, for all those that differ from one of them in free values. `number` is of the catalog.

    The first text of an outline is examined as if nothing like it would follow; of each later one that is examined it is asked
    what is free.
    """

    def __init__(self, most: int) -> None:
        self._free: Recent[tuple[int, str], tuple[int, ...]] = Recent(most)
        """Of the last text of an outline; an empty one of the first."""
        self._held: Recent[tuple[int, Template], T] = Recent(most)

    def find(self, number: int, text: Cut | None) -> T | None:
        """What was found of a text that differs from this one in free values alone."""
        free = None if text is None else self._free.get((number, text.outline))
        return self._held.get((number, text.template(free))) if text is not None and free else None

    def shape(self, number: int, sql: str) -> Shape | None:
        """What a text has in common with all that differ from it in values that are known to be free; None where it is long."""
        if len(sql) > MAX_CHARACTERS:
            return None
        text = cut(sql)
        return sql if text is None else text.template(self._free.get((number, text.outline)) or ())

    def expects(self, number: int, text: Cut | None) -> bool:
        """Whether it is worth while to find out what is free in a text."""
        return text is not None and self._free.get((number, text.outline)) is not None

    def keep(self, number: int, text: Cut | None, *, free: tuple[int, ...], value: T) -> None:
        """Hold what was found of a text in which these values are free."""
        if text is None:
            return
        self._free.put((number, text.outline), free)
        if free:
            self._held.put((number, text.template(free)), value)


def _placed(sql: str) -> Iterator[tuple[str, int]]:
    """Each value, and where it begins, in bytes as the parser counts; the sign of a negative one is none of it."""
    end = 0
    for number, piece in enumerate(_VALUE.split(sql)):
        if number % 2:
            yield piece, end
        end += len(piece.encode())


def _is(value: str, place: int, places: dict[int, JSONObject]) -> bool:
    """Whether the tree has this value in that place, or its opposite one before it."""
    if value[0] == "'":
        return places.get(place, {}).get("sval") == {"sval": value[1:-1]}
    number, before = int(value), places.get(place - 1, {})
    return places.get(place, {}).get("ival") == _integer(number) or before.get("ival") == _integer(-number)


def _integer(number: int) -> JSONObject:
    return {"ival": number} if number else {}  # protobuf leaves a zero out


def _comparands(statements: Sequence[JSONObject]) -> Iterator[tuple[int, JSONObject]]:
    """The constants in comparisons with columns, by their places; none at all where there is more than queries."""
    found: list[JSONObject] = []
    todo: list[Any] = list(statements)
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            todo += item
        elif isinstance(item, dict):
            for name, value in item.items():
                if name == "intoClause" or (name.endswith("Stmt") and name != "SelectStmt"):
                    return
                if name in {"whereClause", "quals"}:
                    found += _compared(value)
                elif name == "limitOffset":
                    found.append(value)
                todo.append(value)
    for node in found:
        constant = _constant(node)
        if constant is not None and "location" in constant:
            yield constant["location"], constant


def _compared(condition: JSONObject) -> Iterator[JSONObject]:
    """What columns are compared with, in a condition that may have several parts."""
    todo = [condition]
    while todo:
        kind, body = opened(todo.pop())
        if kind == "BoolExpr":
            todo += body["args"]
        elif kind == "A_Expr" and "ColumnRef" in body.get("lexpr", {}):
            names, right = strings(body["name"]), body.get("rexpr", {})
            if body["kind"] in LISTED:
                yield from right.get("List", {}).get("items", ())
            elif body["kind"] in ALIKE or (body["kind"] == "AEXPR_OP" and len(names) == 1 and names[0] in COMPARISONS):
                yield right


def _constant(node: JSONObject) -> JSONObject | None:
    """The constant that a node is, plainly or cast to a type of the closed list."""
    if "TypeCast" in node:
        cast = node["TypeCast"]
        to = cast["typeName"]
        *schema, name = strings(to.get("names", ())) or ("",)
        if name not in CAST_TO or schema not in ([], ["pg_catalog"]) or "typmods" in to or "arrayBounds" in to:
            return None
        node = cast["arg"]
    constant: JSONObject | None = node.get("A_Const")
    return constant
