"""The database that the lineage tests share: a small web shop whose people have secrets.

`schema()` creates it; `people()` gives its classified values three times: two databases that differ in every one of
them, and a third that differs from the first only behind what predicates of the tests can see (order, equality,
length and prefix), so that statements with predicates can be compared as well.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

CLASSIFY = {
    "public.users.ssn": "pii.national_id",
    "public.users.email": "pii.email",
    "public.users.age": "pii.age",
    "public.events_2024.actor": "pii.email",
    "public.staff.badge": "secret.token",
    "partner.accounts.iban": "payment.iban",
}

SCHEMA = """
CREATE SCHEMA partner;
CREATE TABLE users (id int PRIMARY KEY, name text, email text, ssn text, age int, city text, tags text[],
  digits text GENERATED ALWAYS AS (replace(ssn, '-', '')) STORED, created date DEFAULT '2024-01-01');
CREATE TABLE orders (id int PRIMARY KEY, user_id int, total int, note text, created date DEFAULT '2024-02-01');
CREATE TABLE products (id int PRIMARY KEY, name text, price int, email text, tags text[]);
CREATE TABLE lines (order_id int, product_id int, amount int);
CREATE TABLE person (id int, name text);
CREATE TABLE staff (badge text) INHERITS (person);
CREATE TABLE events (id int, actor text, kind text) PARTITION BY LIST (kind);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES IN ('a');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE TABLE archive (id int, was users);
CREATE TABLE partner.accounts (id int, name text, iban text);
CREATE VIEW contacts AS SELECT id, name AS label, email AS address, ssn IS NULL AS undocumented FROM users;
CREATE VIEW cities AS SELECT city, count(*) AS people FROM users GROUP BY city;
CREATE VIEW nested AS SELECT c.label, c.address, o.total FROM contacts c JOIN orders o ON o.user_id = c.id;
CREATE MATERIALIZED VIEW stored AS SELECT id, ssn AS tax_ref, city FROM users;
CREATE FUNCTION ssn_of(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM users WHERE id = $1';
CREATE FUNCTION name_of(who int) RETURNS text LANGUAGE sql STABLE AS 'SELECT name FROM users WHERE id = who';
CREATE FUNCTION said(text DEFAULT ssn_of(1)) RETURNS text LANGUAGE sql STABLE AS 'SELECT $1';
CREATE FUNCTION listed(lowest int) RETURNS TABLE (uid int, contact text, town text) LANGUAGE sql STABLE
  AS 'SELECT id, email, city FROM users WHERE id >= lowest';
CREATE FUNCTION everyone() RETURNS SETOF users LANGUAGE sql STABLE AS 'SELECT * FROM users';
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT $1 * 2; END;
CREATE FUNCTION secret(users) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1.ssn';
CREATE FUNCTION hidden(int) RETURNS text LANGUAGE plpgsql STABLE
  AS $$ BEGIN RETURN (SELECT u.ssn FROM public.users u WHERE u.id = $1); END $$;
CREATE FUNCTION hidden_rows() RETURNS TABLE (a int, b text) LANGUAGE plpgsql STABLE
  AS $$ BEGIN RETURN QUERY SELECT u.id, u.ssn FROM public.users u; END $$;
"""

ORDERS = """
INSERT INTO orders VALUES (10,1,95,'gift'),(11,2,200,NULL),(12,3,70,'call'),(13,1,15,'gift'),(14,4,40,'x'),(15,9,1,'y');
INSERT INTO products VALUES (1,'lamp',30,'sales@shop.example','{a,b}'),(2,'desk',120,'sales@shop.example','{b}'),
  (3,'chair',60,NULL,'{}');
INSERT INTO lines VALUES (10,1,2),(10,2,1),(11,2,1),(12,3,4),(13,1,1),(14,3,2);
INSERT INTO person VALUES (100,'zoe');
"""


class Person(NamedTuple):
    """One row of `users`: what is clear, and what is not."""

    id: int
    name: str
    city: str | None
    ssn: str | None
    email: str | None
    age: int | None


def people(variant: str) -> list[Person]:
    """The users of database `a`, `b` (all classified values differ) or `c` (keeps order, equality, prefixes)."""
    clear = [(1, "alice", "Rome"), (2, "bob", "Oslo"), (3, "carol", "Rome"), (4, "dora", None), (5, "emil", "Bonn")]
    found = []
    for rank, (key, name, city) in enumerate(clear):
        twin = rank if rank != 4 else 1  # two people share their values
        ssn, email = _text("ssn", twin, variant), _text("email", twin, variant)
        age = {"a": 20, "b": 61, "c": 20}[variant] + 7 * twin
        if key == 3:
            found.append(Person(key, name, city, None, email, None))
        else:
            found.append(Person(key, name, city, ssn, email, age))
    return found


def _text(what: str, rank: int, variant: str) -> str:
    tail = hashlib.sha256(f"{what}{rank}{variant}".encode()).hexdigest()[:12]
    if variant == "b":
        # Another length, another prefix, another order.
        return f"{9 - rank}{tail}{tail[: rank + 2]}"
    return f"{rank + 1}{what[:2]}{tail}"


def schema(variant: str) -> str:
    """SQL that makes the whole database."""
    statements = [SCHEMA, ORDERS]
    for of in people(variant):
        values = ", ".join(_quoted(value) for value in (of.id, of.name, of.email, of.ssn, of.age, of.city))
        statements.append(f"INSERT INTO users (id, name, email, ssn, age, city, tags) VALUES ({values}, '{{x,y}}');")
    secrets = [_text("badge", rank, variant) for rank in range(3)]
    statements.append(f"INSERT INTO staff VALUES (101,'yan','{secrets[0]}'),(102,'xia','{secrets[1]}');")
    statements.append(
        f"INSERT INTO events VALUES (1,'{secrets[0]}','a'),(2,'{secrets[1]}','b'),(3,'{secrets[2]}','a');"
    )
    statements.append("INSERT INTO archive SELECT id, u FROM users u;")
    statements.append(f"INSERT INTO partner.accounts VALUES (1,'acme','{secrets[2]}'),(2,'alice','{secrets[0]}');")
    statements.append("REFRESH MATERIALIZED VIEW stored; ANALYZE;")
    return "\n".join(statements)


def _quoted(value: object) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else f"'{value}'"


def canaries(variant: str) -> frozenset[str]:
    """Pieces of classified text that may stand in no unmasked cell."""
    texts = [value for of in people(variant) for value in (of.ssn, of.email) if value]
    texts += [_text("badge", rank, variant) for rank in range(3)]
    return frozenset(text[3:13] for text in texts)
