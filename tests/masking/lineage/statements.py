"""Random statements over the shop: typed enough that most of them run, and rich in ways for a column to travel."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

Typed = tuple[str, str]
"""Expression and type."""


class Table(NamedTuple):
    """Something to select from: its SQL and its columns with types (`int`, `text`, `bool`, `date`)."""

    sql: str
    columns: tuple[Typed, ...]
    takes_alias: bool = True


TABLES = (
    Table("users", (("id", "int"), ("name", "text"), ("email", "text"), ("ssn", "text"), ("age", "int"), ("city", "text"),
                    ("digits", "text"), ("created", "date"))),
    Table("public.users", (("id", "int"), ("name", "text"), ("ssn", "text"))),
    Table("orders", (("id", "int"), ("user_id", "int"), ("total", "int"), ("note", "text"), ("created", "date"))),
    Table("products", (("id", "int"), ("name", "text"), ("price", "int"), ("email", "text"))),
    Table("lines", (("order_id", "int"), ("product_id", "int"), ("amount", "int"))),
    Table("person", (("id", "int"), ("name", "text"))),
    Table("staff", (("id", "int"), ("name", "text"), ("badge", "text"))),
    Table("events", (("id", "int"), ("actor", "text"), ("kind", "text"))),
    Table("events_rest", (("id", "int"), ("actor", "text"), ("kind", "text"))),
    Table("contacts", (("id", "int"), ("label", "text"), ("address", "text"), ("undocumented", "bool"))),
    Table("cities", (("city", "text"), ("people", "int"))),
    Table("nested", (("label", "text"), ("address", "text"), ("total", "int"))),
    Table("stored", (("id", "int"), ("tax_ref", "text"), ("city", "text"))),
    Table("partner.accounts", (("id", "int"), ("name", "text"), ("iban", "text"))),
    Table("listed(1)", (("uid", "int"), ("contact", "text"), ("town", "text"))),
    Table("everyone()", (("id", "int"), ("name", "text"), ("email", "text"), ("ssn", "text"))),
    Table("ROWS FROM (generate_series(1, 3), listed(2)) AS {alias} (g, uid, contact, town)",
          (("g", "int"), ("uid", "int"), ("contact", "text")), False),
    Table("generate_series(1, 4) WITH ORDINALITY AS {alias} (n, o)", (("n", "int"), ("o", "int")), False),
    Table("(VALUES (1, 'x'), (2, 'y')) AS {alias} (k, v)", (("k", "int"), ("v", "text")), False),
    Table("users AS {alias} (name, id)", (("name", "int"), ("id", "text"), ("ssn", "text")), False),
    Table("users TABLESAMPLE bernoulli (100)", (("id", "int"), ("ssn", "text"))),
    Table("hidden_rows()", (("a", "int"), ("b", "text"))),
)  # fmt: skip
SHARED = {"id": "int", "name": "text"}
CONSTANTS = {
    "int": ("1", "3", "30"),
    "text": ("'x'", "'1s'", "'Rome'"),
    "bool": ("true",),
    "date": ("date '2024-01-15'",),
}


class Generator:
    """Statements from a seeded source."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.count = 0

    def statement(self) -> str:
        """One statement."""
        kind = self.random.random()
        if kind < 0.08:
            return self.change()
        if kind < 0.12:
            return f"EXPLAIN (COSTS off) {self.query(2)[0]}"
        return self.query(3)[0]

    def alias(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def pick(self, *choices: str) -> str:
        return self.random.choice(choices)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    # Queries

    def query(self, depth: int, outer: tuple[Typed, ...] = ()) -> tuple[str, list[Typed]]:
        """A query and its columns."""
        kind = self.random.random()
        if depth > 1 and kind < 0.12:
            return self.set_operation(depth, outer)
        if depth > 1 and kind < 0.24:
            return self.with_query(depth, outer)
        if depth > 1 and kind < 0.30:
            return self.recursive(depth)
        return self.select(depth, outer)

    def select(
        self, depth: int, outer: tuple[Typed, ...] = (), types: list[str] | None = None
    ) -> tuple[str, list[Typed]]:
        source, columns, aliases = self.sources(depth, outer)
        visible = tuple(columns) + outer
        where = f" WHERE {self.condition(visible, depth - 1)}" if self.chance(0.3) else ""
        if types is None and self.chance(0.12):
            star = self.pick("*", f"{self.random.choice(aliases)}.*") if aliases else "*"
            return f"SELECT {star} FROM {source}{where}", []
        if types is None and self.chance(0.2):
            return self.grouped(source, where, tuple(columns), visible, depth)
        wanted = types or [self.pick("int", "text", "text", "bool") for _ in range(self.random.randint(1, 4))]
        targets, out = [], []
        for number, asked in enumerate(wanted):
            whole = types is None and bool(aliases) and self.chance(0.06)
            of = "json" if whole else asked
            text = self.whole_row(aliases) if whole else self.expression(visible, of, depth - 1)
            if self.chance(0.75):
                targets.append(f"{text} AS c{number}")
                out.append((f"c{number}", of))
            else:
                targets.append(text)
        distinct = "DISTINCT " if self.chance(0.08) else ""
        order = (
            f" ORDER BY {self.random.randint(1, len(targets))}"
            if self.chance(0.15) and "json" not in [t for _, t in out]
            else ""
        )
        if order or distinct:
            return f"SELECT {distinct}{', '.join(targets)} FROM {source}{where}{order}", out
        if self.chance(0.1):
            order = f" ORDER BY {self.column(visible)[0]} LIMIT 2"
        return f"SELECT {', '.join(targets)} FROM {source}{where}{order}", out

    def grouped(
        self, source: str, where: str, columns: tuple[Typed, ...], visible: tuple[Typed, ...], depth: int
    ) -> tuple[str, list[Typed]]:
        key = self.column(columns)
        ints = [text for text, of in columns if of == "int"] or ["1"]
        texts = [text for text, of in columns if of == "text"] or ["'x'"]
        anything, number, text = self.column(columns)[0], self.random.choice(ints), self.random.choice(texts)
        aggregates = [
            ("count(*)", "int"), (f"count({anything})", "int"), (f"count(DISTINCT {anything})", "int"),
            (f"sum({number})::int", "int"), (f"max({text})", "text"), (f"min({number})", "int"),
            (f"string_agg({text}, ',' ORDER BY {anything})", "text"), (f"bool_or({text} IS NULL)", "bool"),
            (f"count(*) FILTER (WHERE {self.condition(columns, 0)})::int", "int"),
            (f"array_to_string(array_agg({text}), ';')", "text"), (f"(array_agg({number}))[1]", "int"),
        ]  # fmt: skip
        chosen = self.random.sample(aggregates, 2)
        having = (
            f" HAVING {self.pick('count(*) > 0', f'count({anything}) >= 1', f'max({number}) > 0')}"
            if self.chance(0.3)
            else ""
        )
        targets = ", ".join([f"{key[0]} AS g", *(f"{sql} AS a{n}" for n, (sql, _) in enumerate(chosen))])
        grouping = self.pick("1", "g", key[0])
        return (
            f"SELECT {targets} FROM {source}{where} GROUP BY {grouping}{having} ORDER BY g",
            [("g", key[1]), *((f"a{n}", of) for n, (_, of) in enumerate(chosen))],
        )

    def set_operation(self, depth: int, outer: tuple[Typed, ...]) -> tuple[str, list[Typed]]:
        types = [self.pick("int", "text") for _ in range(self.random.randint(1, 3))]
        left, out = self.select(depth - 1, outer, types)
        right, _ = self.select(depth - 1, outer, types)
        operation = self.pick("UNION", "UNION ALL", "EXCEPT", "INTERSECT", "EXCEPT ALL")
        return f"({left}) {operation} ({right})", out

    def with_query(self, depth: int, outer: tuple[Typed, ...]) -> tuple[str, list[Typed]]:
        inner, columns = self.query(depth - 1)
        name = self.pick(self.alias(), "users", "orders")
        if not columns:
            return f"WITH {name} AS ({inner}) SELECT * FROM {name}", []
        alias = self.alias()
        visible = tuple((f"{alias}.{column}", of) for column, of in columns if of != "json")
        if not visible:
            return f"WITH {name} AS ({inner}) SELECT {alias} FROM {name} AS {alias}", []
        wanted = [self.random.choice(visible) for _ in range(2)]
        targets = ", ".join(f"{text} AS w{n}" for n, (text, _) in enumerate(wanted))
        extra = f", {self.expression(visible, 'text', 0)} AS wx" if self.chance(0.5) else ""
        return f"WITH {name} AS ({inner}) SELECT {targets}{extra} FROM {name} AS {alias}", [
            (f"w{n}", of) for n, (_, of) in enumerate(wanted)
        ]

    def recursive(self, depth: int) -> tuple[str, list[Typed]]:
        name = self.alias()
        base, _ = self.select(1, (), ["text", "text", "int"])
        swap = self.pick("b, a, n + 1", "a, b, n + 1", "b, upper(a), n + 1", "a, name_of(n), n + 1")
        columns = [("a", "text"), ("b", "text"), ("n", "int")]
        chosen = self.random.sample(columns, 2)
        return (
            f"WITH RECURSIVE {name} (a, b, n) AS (({base.partition(' ORDER BY')[0]}) UNION ALL "
            f"SELECT {swap} FROM {name} WHERE n < 3 AND n > -5) SELECT {', '.join(c for c, _ in chosen)} FROM {name}",
            chosen,
        )

    # Sources

    def sources(self, depth: int, outer: tuple[Typed, ...]) -> tuple[str, list[Typed], list[str]]:
        text, columns, aliases = self.source(depth, outer)
        for _ in range(self.random.choice((0, 0, 1, 1, 2))):
            kind = self.random.random()
            if kind < 0.25:
                more, others, names = self.source(depth, outer, lateral=tuple(columns))
                text, columns, aliases = f"{text}, {more}", columns + others, aliases + names
                continue
            more, others, names = self.source(depth, outer)
            if kind < 0.7:
                condition = self.join_condition(columns, others)
                join = self.pick("JOIN", "LEFT JOIN", "FULL JOIN")
                if join == "FULL JOIN" and "=" not in condition:
                    join = "JOIN"
                text = f"{text} {join} {more} ON {condition}"
                columns = columns + others
                aliases = aliases + names
            else:
                common = self.using(columns, others)
                if not common:
                    text, columns, aliases = f"{text}, {more}", columns + others, aliases + names
                    continue
                text = f"{text} {self.pick('JOIN', 'LEFT JOIN', 'RIGHT JOIN')} {more} USING ({common})"
                of = next(of for column, of in others if column.endswith(f".{common}"))
                columns = [(common, of), *columns, *others]
                aliases = aliases + names
        return text, columns, aliases

    def using(self, columns: list[Typed], others: list[Typed]) -> str:
        left = [column.rpartition(".")[2] for column, _ in columns]
        for name, of in SHARED.items():
            there = [t for column, t in others if column.rpartition(".")[2] == name]
            here = [t for column, t in columns if column.rpartition(".")[2] == name]
            if left.count(name) == 1 and there == [of] and here == [of]:
                return name
        return ""

    def source(
        self, depth: int, outer: tuple[Typed, ...], lateral: tuple[Typed, ...] = ()
    ) -> tuple[str, list[Typed], list[str]]:
        alias = self.alias()
        if depth > 1 and self.chance(0.3):
            word = "LATERAL " if lateral else ""
            inner, columns = self.query(depth - 1, (*lateral, *outer) if lateral else outer)
            if columns:
                if self.chance(0.3):
                    names = [f"n{n}" for n in range(len(columns))]
                    renamed = [(name, of) for name, (_, of) in zip(names, columns, strict=True)]
                    return f"{word}({inner}) AS {alias} ({', '.join(names)})", self.qualified(alias, renamed), [alias]
                return f"{word}({inner}) AS {alias}", self.qualified(alias, columns), [alias]
            return f"{word}({inner}) AS {alias}", [], [alias]
        table = self.random.choice(TABLES)
        if not table.takes_alias:
            return table.sql.format(alias=alias), self.qualified(alias, list(table.columns)), [alias]
        return (
            f"{table.sql} AS {alias}" if "TABLESAMPLE" not in table.sql else table.sql.replace(" ", f" AS {alias} ", 1),
            self.qualified(alias, list(table.columns)),
            [alias],
        )

    def qualified(self, alias: str, columns: list[Typed]) -> list[Typed]:
        return [(f"{alias}.{name}", of) for name, of in columns]

    def join_condition(self, left: list[Typed], right: list[Typed]) -> str:
        pairs = [(a, b) for a, of in left for b, other in right if of == other and of in ("int", "text")]
        if not pairs:
            return "true"
        a, b = self.random.choice(pairs)
        return f"{a} = {b}"

    # Expressions

    def column(self, visible: tuple[Typed, ...], of: str | None = None) -> Typed:
        found = [column for column in visible if of is None or column[1] == of]
        found = [column for column in found if column[1] != "json"]
        if not found:
            wanted = of or "int"
            return self.random.choice(CONSTANTS[wanted]), wanted
        return self.random.choice(found)

    def whole_row(self, aliases: list[str]) -> str:
        alias = self.random.choice(aliases)
        field = self.pick("name", "ssn", "id", "email", "secret")
        if self.chance(0.4):
            return self.pick(
                f"(({alias}).{field})::text", f"((SELECT {alias})).{field}::text", f"{alias}.{field}::text"
            )
        return self.pick(
            f"row_to_json({alias})::text", f"{alias}::text", f"to_jsonb({alias})->>'ssn'", f"md5({alias}::text)"
        )

    def expression(self, visible: tuple[Typed, ...], of: str, depth: int) -> str:
        if depth <= 0 or self.chance(0.45):
            return self.column(visible, of)[0]

        def nested(wanted: str) -> str:
            return self.expression(visible, wanted, depth - 1)

        if of == "bool":
            return f"({self.condition(visible, depth)})"
        ways: list[Callable[[], str]] = []
        if of == "int":
            ways = [
                lambda: f"length({nested('text')})", lambda: f"coalesce({nested('int')}, {nested('int')})",
                lambda: f"({nested('int')} + 1)", lambda: f"CASE WHEN {self.condition(visible, 0)} THEN {nested('int')} ELSE 0 END",
                lambda: self.scalar(visible, "int", depth), lambda: f"greatest({nested('int')}, 2)",
                lambda: f"rank() OVER (ORDER BY {self.column(visible)[0]})::int",
                lambda: f"count(*) OVER (PARTITION BY {self.column(visible)[0]})::int", lambda: f"twice({nested('int')})",
                lambda: f"cardinality(ARRAY[{nested('text')}])",
                lambda: f"num_nulls({nested('text')}, {nested('int')})",
            ]  # fmt: skip
        if of == "text":
            ways = [
                lambda: f"upper({nested('text')})", lambda: f"({nested('text')} || {nested('text')})",
                lambda: f"coalesce({nested('text')}, '-')", lambda: f"nullif({nested('text')}, 'x')",
                lambda: f"({nested('int')})::text", lambda: f"left({nested('text')}, 3)", lambda: f"md5({nested('text')})",
                lambda: f"CASE {nested('text')} WHEN 'x' THEN {nested('text')} ELSE {nested('text')} END",
                lambda: self.scalar(visible, "text", depth), lambda: f"format('%s', {nested('text')})",
                lambda: f"(ARRAY[{nested('text')}, {nested('text')}])[1]", lambda: f"(ROW({nested('text')}, 1)).f1",
                lambda: f"json_build_object('k', {nested('text')})->>'k'",
                lambda: f"first_value({nested('text')}) OVER (ORDER BY {self.column(visible)[0]})",
                lambda: f"string_agg({nested('text')}, '') OVER ()",
                lambda: f"name_of({nested('int')})", lambda: "ssn_of(1)", lambda: "hidden(2)",
                lambda: f"said({self.pick('', nested('text'))})",
                lambda: f"array_to_string(ARRAY({self.select(1, visible, ['text'])[0]}), ',')",
            ]  # fmt: skip
        return self.random.choice(ways)() if ways else self.column(visible, of)[0]

    def scalar(self, visible: tuple[Typed, ...], of: str, depth: int) -> str:
        inner, _ = self.select(max(depth - 1, 1), visible, [of])
        aggregate = self.pick("max", "min")
        return f"(SELECT {aggregate}(q) FROM ({inner}) AS s{self.alias()} (q))"

    def condition(self, visible: tuple[Typed, ...], depth: int) -> str:
        kind = self.random.random()
        text, of = self.column(visible)
        if kind < 0.2:
            return f"{text} IS {self.pick('', 'NOT ')}NULL"
        if kind < 0.22 and depth > 0:
            alias, _, name = text.rpartition(".")
            if alias.startswith("t"):
                return f"((CASE WHEN {self.condition(visible, 0)} THEN {alias} END)).{name} IS NULL"
        if kind < 0.3 and depth > 0:
            return f"nullif({text}, {self.random.choice(CONSTANTS[of])}) IS NULL" if of in CONSTANTS else "true"
        if kind < 0.4 and depth > 0:
            inner, _ = self.select(1, visible, ["int"])
            return f"{self.pick('', 'NOT ')}EXISTS ({inner})"
        if kind < 0.5 and depth > 0 and of in ("int", "text"):
            inner, _ = self.select(1, visible, [of])
            return f"{text} {self.pick('IN', 'NOT IN', '= ANY', '>= ALL')} ({inner})"
        if of == "text":
            return self.pick(f"{text} LIKE '1%'", f"{text} = 'Rome'", f"{text} < '3'", f"length({text}) > 2")
        if of == "int":
            return self.pick(f"{text} > 2", f"{text} = 30", f"{text} BETWEEN 1 AND 3", f"{text} IN (1, 2)")
        if of == "bool":
            return text
        return f"{text} > date '2023-01-01'" if of == "date" else "true"

    # Changes

    def change(self) -> str:
        source = self.pick("'x'", "name", "email", "ssn", "upper(note)", "(SELECT max(ssn) FROM users)", "hidden(1)")
        condition = self.pick("", " WHERE orders.id > 11", " WHERE users.ssn LIKE '1%'", " WHERE users.age > 30")
        returning = self.pick("", " RETURNING *", " RETURNING orders.*, 1", " RETURNING id", " RETURNING email, id")
        return self.pick(
            f"INSERT INTO products (id, name) SELECT id + 100, {self.pick('name', 'ssn', 'city')} FROM users{returning}",
            f"INSERT INTO orders (id, note) VALUES (77, {self.pick('lower($$A$$)', '(SELECT min(email) FROM users)')})"
            f"{returning}",
            f"UPDATE orders SET note = {source} FROM users WHERE users.id = orders.user_id"
            f"{condition.replace(' WHERE', ' AND')}{returning.replace(' id', ' orders.id')}",
            f"UPDATE users SET email = {self.pick('name', 'email', 'ssn', 'upper(email)')}{returning}",
            f"UPDATE users SET (name, city) = (SELECT {self.pick('name', 'email', 'note')}, 'z' FROM products, orders LIMIT 1)"
            f"{returning}",
            f"DELETE FROM orders USING users WHERE users.id = orders.user_id{condition.replace(' WHERE', ' AND')}"
            f"{returning.replace(' id', ' orders.id')}",
            f"WITH gone AS (DELETE FROM users WHERE id = 5 RETURNING *) SELECT {self.pick('*', 'name', 'ssn', 'count(*)')} FROM gone",
            f"INSERT INTO users (id, name, ssn) VALUES (1, 'q', 'r') ON CONFLICT (id) DO UPDATE SET "
            f"{self.pick('name = excluded.ssn', 'name = excluded.name', 'ssn = users.email', 'city = users.name')}{returning}",
            f"MERGE INTO products AS p USING users AS u ON p.id = u.id WHEN MATCHED THEN UPDATE SET "
            f"{self.pick('name = u.name', 'name = u.ssn', 'price = u.age')} WHEN NOT MATCHED THEN INSERT (id, name) "
            f"VALUES (u.id, {self.pick('u.name', 'u.email', '$$x$$')})",
        )
