"""Ordinary analytics over a database with secrets: nothing is masked needlessly, nothing refused, nothing asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from mcp_gateway_policies import starter_policies

from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.masking.lineage import ClassifiedCatalog, Lineage, follow, prepare
from mcp_gateway.policy.loader import load_policies
from tests.masking.lineage import shop
from tests.masking.lineage.databases import catalog_of, database, outcome
from tests.peers.postgres import PostgresServer
from tests.policy.worlds import ORDERS, READ, question

CLEAR = """
SELECT count(*) FROM users
SELECT id, name, city FROM users WHERE id = 1
SELECT city, count(*) AS people FROM users GROUP BY city ORDER BY people DESC, city NULLS LAST
SELECT city, count(*) FROM users GROUP BY 1 HAVING count(*) > 1
SELECT u.name, sum(o.total) AS spent FROM users u JOIN orders o ON o.user_id = u.id GROUP BY u.name ORDER BY 2 DESC LIMIT 3
SELECT u.name, coalesce(sum(o.total), 0) FROM users u LEFT JOIN orders o ON o.user_id = u.id GROUP BY u.id, u.name
SELECT p.name, sum(l.amount * p.price) FROM lines l JOIN products p ON p.id = l.product_id GROUP BY p.name
SELECT date_trunc('month', created)::date AS month, count(*), sum(total) FROM orders GROUP BY 1 ORDER BY 1
SELECT extract(year FROM created) AS y, avg(total)::numeric(10, 2) FROM orders GROUP BY 1
SELECT to_char(created, 'YYYY-MM') AS m, max(total) FROM orders GROUP BY 1
SELECT id, total, rank() OVER (ORDER BY total DESC) FROM orders
SELECT id, user_id, row_number() OVER (PARTITION BY user_id ORDER BY created, id) FROM orders
SELECT id, total, sum(total) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM orders
SELECT id, total - lag(total) OVER w AS change, avg(total) OVER w FROM orders WINDOW w AS (ORDER BY id)
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total) FROM orders
SELECT count(*) FILTER (WHERE total > 50) AS big, count(*) FILTER (WHERE note IS NULL) AS silent FROM orders
SELECT CASE WHEN total > 100 THEN 'big' WHEN total > 50 THEN 'middle' ELSE 'small' END AS size, count(*) FROM orders GROUP BY 1
WITH spent AS (SELECT user_id, sum(total) AS s FROM orders GROUP BY 1) SELECT u.name, s FROM spent JOIN users u ON u.id = user_id
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i, count(o.id) FROM n LEFT JOIN orders o ON o.user_id = i GROUP BY i
WITH a AS (SELECT * FROM users), b AS (SELECT id, name FROM a) SELECT * FROM b
SELECT name FROM users u WHERE EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id AND o.total > 50)
SELECT name FROM users WHERE id NOT IN (SELECT user_id FROM orders)
SELECT name, (SELECT max(total) FROM orders o WHERE o.user_id = u.id) AS best FROM users u
SELECT name, EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id) AS bought FROM users u
SELECT u.name, x.total FROM users u CROSS JOIN LATERAL (SELECT total FROM orders o WHERE o.user_id = u.id ORDER BY total DESC LIMIT 1) x
SELECT DISTINCT city FROM users
SELECT DISTINCT ON (user_id) user_id, id, total FROM orders ORDER BY user_id, total DESC
SELECT name FROM users UNION SELECT name FROM products ORDER BY 1
SELECT name FROM users INTERSECT SELECT name FROM partner.accounts
SELECT name, 'user' AS kind FROM users UNION ALL SELECT name, 'product' FROM products
SELECT city, user_id, sum(total) FROM orders o JOIN users u ON u.id = o.user_id GROUP BY GROUPING SETS ((city), (user_id), ())
SELECT city, grouping(city), count(*) FROM users GROUP BY ROLLUP (city)
SELECT string_agg(name, ', ' ORDER BY name), array_agg(DISTINCT city) FROM users
SELECT json_agg(json_build_object('id', id, 'name', name)) FROM users
SELECT to_jsonb(o) FROM orders o WHERE id = 10
SELECT o.* FROM orders o JOIN users u ON u.id = o.user_id
SELECT * FROM orders ORDER BY created DESC, id LIMIT 10 OFFSET 1
SELECT * FROM orders o JOIN lines l ON l.order_id = o.id JOIN products p ON p.id = l.product_id
SELECT p.name, t.tag FROM products p, unnest(p.tags) AS t(tag)
SELECT tag, count(*) FROM products, unnest(tags) AS tag GROUP BY tag
SELECT d::date, count(o.id) FROM generate_series(date '2024-01-01', date '2024-03-01', interval '1 month') d LEFT JOIN orders o ON date_trunc('month', o.created) = d GROUP BY 1 ORDER BY 1
SELECT count(email) AS with_email, count(*) - count(ssn) AS without_ssn FROM users
SELECT name, ssn IS NULL AS missing, email IS NOT NULL AS reachable FROM users
SELECT name FROM users WHERE email IS NULL
SELECT count(*) FILTER (WHERE age IS NULL) * 100.0 / count(*) FROM users
SELECT label, undocumented FROM contacts
SELECT * FROM cities
SELECT label, total FROM nested
SELECT id, city FROM stored
SELECT id, name FROM users ORDER BY lower(name), id
SELECT upper(name), length(name), left(name, 1), name || '!' FROM users WHERE name ILIKE 'a%'
SELECT now() - created, current_date - created, age(created) FROM orders
SELECT name_of(user_id), twice(total) FROM orders
SELECT uid, town FROM listed(2)
SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'
SELECT relname, reltuples, pg_size_pretty(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r'
SELECT attname, null_frac, n_distinct FROM pg_stats WHERE tablename = 'users'
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
SELECT current_user, version(), current_setting('server_version')
SHOW server_version
EXPLAIN SELECT * FROM users WHERE id = 1
EXPLAIN ANALYZE SELECT name FROM users JOIN orders ON users.id = user_id
INSERT INTO orders (id, user_id, total) VALUES (99, 1, 5) RETURNING id
UPDATE orders SET note = upper(note) WHERE id = 10 RETURNING *
DELETE FROM orders WHERE id = 10
"""


@pytest.fixture(scope="module")
def connection(postgres_server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    with database(postgres_server, "lineage_analytics", shop.schema("a")) as connection:
        yield connection


@pytest.fixture(scope="module")
def prepared(postgres_server: PostgresServer, connection: psycopg.Connection[Any]) -> ClassifiedCatalog:
    return prepare(catalog_of(postgres_server, "lineage_analytics"), shop.CLASSIFY)


@pytest.mark.parametrize("sql", CLEAR.strip().splitlines())
def test_ordinary_analytics_pass_untouched(
    sql: str, connection: psycopg.Connection[Any], prepared: ClassifiedCatalog
) -> None:
    verdict = follow(parse_tree(sql), prepared).lineage

    result = outcome(connection, sql)
    assert result.sqlstate is None, result.message
    assert verdict.refusal is None
    assert verdict.columns is not None
    assert [column.name or name for column, name in zip(verdict.columns, result.names, strict=True)] == list(
        result.names
    )
    assert not any(column.classes for column in verdict.columns)
    assert verdict.inference.keys() <= {"null_test"}
    assert decided(verdict) == "allow"
    assert not verdict.opaque


@pytest.mark.parametrize(
    ("sql", "fact", "decision"),
    [
        ("SELECT count(DISTINCT email) FROM users", "count_distinct", "allow"),
        ("SELECT count(*) FROM users WHERE age > 30", "where_range", "ask"),
        (
            "SELECT avg(total) FROM orders o JOIN users u ON u.id = o.user_id WHERE u.email LIKE '%@a%'",
            "where_pattern",
            "ask",
        ),
    ],
)
def test_what_is_asked_about_secrets_is_one_fact_and_no_mask(
    sql: str, fact: str, decision: str, prepared: ClassifiedCatalog
) -> None:
    verdict = follow(parse_tree(sql), prepared).lineage
    assert verdict.columns is not None
    assert not any(column.classes for column in verdict.columns)
    assert set(verdict.inference) == {fact}
    assert decided(verdict) == decision


def decided(verdict: Lineage) -> str:
    """What the starter policies say to it in production, were it a read, to somebody who may see nothing raw."""
    target = replace(ORDERS, classes=frozenset(shop.CLASSIFY.values()))
    policies = load_policies([starter_policies()], targets=[target], classes=[], guarded=False)
    facts = replace(READ, inference=verdict.inference)
    return type(policies.decide(question(target=target, facts=facts))).__name__.lower()
