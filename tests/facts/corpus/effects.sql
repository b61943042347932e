-- Statements with an effect. Labels: `kinds:` and `writes:` are what facts have to say. `also:` and `shows:` are what
-- a server shows: tables that change along with those that are named, and in the words of `tests.facts.witness`, the
-- effect. `unseen:` says why no server is asked, `catalog:` why the text alone looks harmless, and `alone:` stands where
-- a transaction block is refused.

-- Data changes

-- kinds: INSERT; writes: public.settings; shows: writes
INSERT INTO settings VALUES ('lang', 'en')

-- kinds: INSERT; writes: hr.departments; shows: writes
INSERT INTO hr.departments (id, name) SELECT 10 + id, name || '!' FROM hr.departments RETURNING id

-- kinds: INSERT; writes: public.settings; shows: writes
INSERT INTO settings VALUES ('theme', 'light') ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- kinds: INSERT; writes: public.cache; shows: writes
INSERT INTO cache VALUES ('a', NULL), ('b', NULL) ON CONFLICT DO NOTHING

-- kinds: INSERT; writes: public.customers; shows: sequences, writes
INSERT INTO customers (name) VALUES ('New') RETURNING *

-- kinds: INSERT; writes: public.tickets; shows: sequences, writes
INSERT INTO tickets DEFAULT VALUES

-- kinds: INSERT; writes: public.events; also: public.events_other; shows: writes
INSERT INTO events VALUES (99, '2026-05-05', 'view', '{}')

-- kinds: INSERT; writes: public.customers; shows: sequences, writes
INSERT INTO "customers" ("name", "country") VALUES ('New', 'FR') RETURNING "customers"."id"

-- kinds: INSERT; writes: public.settings; shows: writes
INSERT INTO settings AS s (key, value) VALUES ('theme', 'x') ON CONFLICT (key) DO UPDATE SET value = excluded.value || s.value WHERE s.value IS DISTINCT FROM excluded.value RETURNING s.*

-- kinds: UPDATE; writes: public.orders; shows: writes
UPDATE "orders" SET "note" = ("orders"."note" || 'x') WHERE "orders"."id" = 1

-- kinds: UPDATE; writes: public.orders; shows: writes
UPDATE orders SET status = 'cancelled' WHERE id = 3

-- kinds: UPDATE; writes: public.products; shows: writes
UPDATE products SET price = price * 1.05

-- kinds: UPDATE; writes: public.order_items; shows: writes
UPDATE order_items i SET price = p.price FROM products p WHERE p.id = i.product_id AND i.price <> p.price

-- kinds: UPDATE; writes: public.customers; shows: writes
UPDATE customers SET (name, nick) = (SELECT 'X', 'Y'), tags[1] = 'z', home.city = 'Paris' WHERE id = 1

-- kinds: UPDATE; writes: public.vehicles; also: public.cars, public.trucks; shows: writes
UPDATE vehicles SET mileage = mileage + 1

-- kinds: UPDATE; writes: public.events; also: public.events_2024, public.events_2025; shows: writes
UPDATE events SET at = at + interval '1 year' WHERE id = 1 RETURNING tableoid::regclass

-- kinds: UPDATE; writes: public.stock; also: audit.log; shows: sequences, writes
UPDATE stock SET quantity = 0

-- kinds: DELETE; writes: public.order_items; shows: writes
DELETE FROM order_items

-- kinds: DELETE; writes: public.order_items; shows: writes
DELETE FROM order_items i USING orders o WHERE o.id = i.order_id AND o.status = 'cancelled' RETURNING i.*

-- kinds: DELETE; writes: public.customers; also: public.order_items, public.orders; shows: writes
DELETE FROM customers WHERE id = 4

-- kinds: DELETE; writes: public.vehicles; shows: writes
DELETE FROM ONLY vehicles WHERE true

-- kinds: DELETE; writes: public.settings; also: audit.log; shows: sequences, writes
DELETE FROM settings WHERE key = 'limit'

-- kinds: MERGE; writes: public.stock; also: audit.log; shows: sequences, writes
MERGE INTO stock s USING products p ON p.id = s.product_id WHEN MATCHED AND s.quantity < 15 THEN DELETE WHEN MATCHED THEN UPDATE SET quantity = 1 WHEN NOT MATCHED THEN INSERT VALUES (p.id, 0, NULL)

-- kinds: MERGE; writes: public.cache; shows: writes
MERGE INTO cache USING (VALUES ('b', '\x00'::bytea)) AS v(k, x) ON key = v.k WHEN NOT MATCHED THEN INSERT (key, value) VALUES (v.k, v.x) WHEN MATCHED THEN DO NOTHING

-- kinds: TRUNCATE; writes: public.order_items; shows: locks, writes
TRUNCATE order_items

-- kinds: TRUNCATE; writes: public.cache, audit.log; shows: locks, sequences, writes
TRUNCATE TABLE ONLY cache, audit.log RESTART IDENTITY CASCADE

-- Hidden in queries

-- kinds: SELECT, DELETE; writes: public.order_items; shows: writes
WITH gone AS (DELETE FROM order_items WHERE order_id = 1 RETURNING *) SELECT * FROM gone

-- kinds: SELECT, INSERT; writes: public.settings; shows: writes
WITH a AS (SELECT 1), b AS (INSERT INTO settings VALUES ('k', 'v')) SELECT * FROM a

-- kinds: SELECT, UPDATE; writes: public.orders; shows: writes
WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 3), u AS (UPDATE orders SET note = 'x' WHERE id IN (SELECT n FROM t) RETURNING id) SELECT count(*) FROM u

-- kinds: INSERT, DELETE; writes: public.settings, public.cache; shows: writes
WITH old AS (DELETE FROM cache RETURNING key) INSERT INTO settings SELECT key, 'moved' FROM old

-- kinds: UPDATE, INSERT; writes: public.stock, public.settings; also: audit.log; shows: sequences, writes
WITH log AS (INSERT INTO settings VALUES ('run', now()::text) RETURNING key) UPDATE stock SET counted_on = current_date WHERE EXISTS (SELECT FROM log)

-- kinds: SELECT, UPDATE, DELETE; writes: public.orders, public.cache; shows: writes
WITH a AS (UPDATE orders SET note = NULL WHERE id = 2 RETURNING id), b AS (DELETE FROM cache) TABLE a

-- kinds: SELECT_INTO; writes: copied; shows: locks, writes
SELECT id, name INTO copied FROM customers

-- kinds: SELECT_INTO; writes: copied; shows: locks, writes
SELECT * INTO TEMP copied FROM orders

-- kinds: SELECT_INTO; writes: united; shows: locks, writes
SELECT id INTO united FROM orders UNION SELECT id FROM customers

-- kinds: CREATE, SELECT; writes: dump; shows: locks, writes
CREATE TABLE dump AS SELECT * FROM customers

-- kinds: CREATE, SELECT; writes: ranked; shows: locks, writes
CREATE MATERIALIZED VIEW ranked AS SELECT name, rank() OVER (ORDER BY salary) FROM hr.employees

-- kinds: COPY, DELETE; writes: public.cache; shows: writes
COPY (DELETE FROM cache RETURNING key) TO STDOUT

-- kinds: COPY, INSERT; writes: public.settings; shows: writes
COPY (INSERT INTO settings VALUES ('z', '1') RETURNING *) TO STDOUT

-- kinds: EXPLAIN, DELETE; writes: public.order_items; shows: writes
EXPLAIN ANALYZE DELETE FROM order_items WHERE order_id = 7

-- kinds: EXPLAIN, UPDATE; writes: public.orders; shows: writes
EXPLAIN (ANALYZE, FORMAT JSON) UPDATE orders SET note = '' WHERE id < 4

-- kinds: EXPLAIN, DELETE; writes: public.cache; shows: writes
EXPLAIN (ANALYZE false, ANALYZE) DELETE FROM cache WHERE key = 'a'

-- kinds: EXPLAIN, DELETE; writes: public.cache; shows: writes
EXPLAIN ("analyze" 'on') DELETE FROM cache

-- kinds: EXPLAIN, INSERT; writes: public.settings; shows: writes
EXPLAIN (COSTS false, ANALYZE) INSERT INTO settings VALUES ('q', 'q')

-- kinds: EXPLAIN, SELECT, DELETE; writes: public.cache; shows: writes
EXPLAIN ANALYZE WITH x AS (DELETE FROM cache RETURNING 1) SELECT count(*) FROM x

-- kinds: EXPLAIN, CREATE; writes: planned; shows: locks, writes
EXPLAIN ANALYZE CREATE TABLE planned AS SELECT 1 AS one

-- kinds: EXPLAIN, SELECT; shows: sequences, writes
EXPLAIN (ANALYZE 1) SELECT nextval('invoice_numbers')

-- kinds: EXPLAIN, SELECT; also: audit.log; shows: sequences, writes
EXPLAIN SELECT fixed_note('planned')

-- kinds: EXPLAIN, SELECT; also: audit.log; shows: sequences, writes
EXPLAIN SELECT * FROM orders WHERE customer_id = quiet_note('estimated')

-- kinds: SELECT; shows: writes
SELECT id FROM orders WHERE id = 1 FOR UPDATE

-- kinds: SELECT; shows: writes
SELECT * FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id = 2 FOR NO KEY UPDATE OF o SKIP LOCKED

-- kinds: SELECT; shows: writes
SELECT count(*) FROM (SELECT id FROM orders WHERE status = 'new' FOR SHARE) locked

-- kinds: SELECT; shows: writes
WITH q AS (SELECT id FROM orders ORDER BY id LIMIT 1 FOR KEY SHARE NOWAIT) SELECT id FROM q

-- Functions, operators, casts, views and domains of one's own

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT note('hello')

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT name FROM customers WHERE public.note(name) > 0

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT quiet_note('said to be stable')

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT fixed_note(name) FROM customers

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT * FROM orders ORDER BY note('sorted')

-- kinds: SELECT; shows: sequences, writes
SELECT next_invoice()

-- kinds: SELECT; also: public.order_items; shows: writes
SELECT forget(3)

-- kinds: SELECT; shows: writes
SELECT claim(id) FROM orders WHERE id = 2

-- kinds: SELECT; also: public.products; shows: writes
SELECT reprice(1)

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT seen(c) FROM customers c WHERE id = 1

-- kinds: SELECT; also: audit.log; shows: sequences, writes
-- catalog: it tells a function from a column
SELECT c.seen FROM customers c

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT (c).seen FROM customers c LIMIT 1

-- kinds: SELECT; also: audit.log; shows: sequences, writes
-- catalog: it tells of a function with a built-in one's name
SELECT cosd('7'::text)

-- kinds: SELECT; also: audit.log; shows: sequences, writes
-- catalog: it tells of a function with a built-in one's name
SELECT sum(cosd(name)) FROM customers

-- kinds: SELECT; shows: sequences, writes
SELECT numbered(5)

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT 1 <!> 2

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT id FROM orders WHERE id OPERATOR(public.<!>) 1 > 5

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT noted_total(quantity) FROM stock

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT noted_total(quantity) OVER (ORDER BY product_id) FROM stock

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT ROW(1, 'x')::ticket::point

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT CAST(ROW(id, 'y')::ticket AS point) FROM orders WHERE id < 3

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT 'a'::watched

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT name::watched FROM customers

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT x FROM json_to_record('{"x": "b"}') AS r(x watched)

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT CAST('{a,b}' AS watched[])

-- kinds: SELECT; also: audit.log; shows: sequences, writes
-- catalog: it tells a view from a table
SELECT * FROM watched_customers

-- kinds: SELECT; also: audit.log; shows: sequences, writes
-- catalog: it tells a view from a table
SELECT n FROM behind_watched

-- kinds: SELECT; shows: sequences, writes
-- catalog: it tells a view from a table
SELECT number FROM numbered_orders LIMIT 1

-- kinds: SELECT; shows: sequences, writes
-- catalog: it tells a view from a table
TABLE next_numbers

-- kinds: SELECT; shows: writes
-- catalog: it tells a view from a table
SELECT * FROM claimed_orders

-- kinds: SELECT; shows: sequences, writes
-- catalog: it tells what an index is made of
SELECT id FROM indexed

-- kinds: SELECT; shows: sequences, writes
-- catalog: it tells what an index is made of
SELECT count(*) FROM indexed_sides

-- kinds: SELECT; shows: sequences, writes
-- catalog: it tells what an index is made of
SELECT p.id FROM partly_indexed p WHERE p.side = 7

-- kinds: SELECT; shows: sequences, writes
-- catalog: it tells what an index is made of
SELECT id FROM customers WHERE EXISTS (SELECT FROM shifted_index s WHERE s.id = customers.id)

-- kinds: SELECT; shows: sequences, writes
-- catalog: it tells what statistics are made of
SELECT id FROM measured WHERE side = 2

-- kinds: EXPLAIN, SELECT; shows: sequences, writes
-- catalog: it tells what statistics are made of
EXPLAIN SELECT id FROM measured

-- kinds: SELECT; shows: messages
SELECT shouting('from sql')

-- kinds: SELECT; also: public.cache; shows: writes
SELECT run('DELETE FROM public.cache')

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT CASE WHEN count(*) > 0 THEN note('case') END FROM orders

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT coalesce(NULL, note('coalesce'), 1)

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT ARRAY(SELECT note(name) FROM customers)

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT sum(x) FROM customers, LATERAL note(name) AS x

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT id FROM orders LIMIT note('limit')

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT count(*) FILTER (WHERE note('filter') = 1) FROM orders

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT status, count(*) FROM orders GROUP BY status, note(status::text)

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT 1 FROM orders HAVING note('having') = 1

-- kinds: SELECT; also: audit.log; shows: sequences, writes
VALUES (1, note('values'))

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT row_number() OVER (PARTITION BY note('window')) FROM stock

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id AND note('join') = 1

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT * FROM orders WHERE id IN (SELECT note('sublink'))

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT DISTINCT ON (note('distinct')) id FROM orders

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT * FROM ROWS FROM (generate_series(1, 2), note('rows'))

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT xmlelement(name x, note('xml'))

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT x.* FROM XMLTABLE('/a' PASSING (('<a n="' || note('table') || '"/>')::xml) COLUMNS n int PATH '@n') x

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT jsonb_build_object('n', note('json')) -> 'n'

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT count(*) FROM orders TABLESAMPLE SYSTEM (note('sample'))

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT id FROM orders UNION SELECT note('union')

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY note('order')) FROM customers

-- kinds: EXPLAIN, SELECT; also: audit.log; shows: sequences, writes
EXPLAIN ANALYZE SELECT note('analyzed')

-- kinds: COPY, SELECT; also: audit.log; shows: sequences, writes
COPY (SELECT note('copied')) TO STDOUT

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT query_to_xml('SELECT public.note(''run'')', true, false, '')

-- kinds: SELECT; shows: sequences, writes
SELECT table_to_xml('next_numbers'::regclass, true, false, '')

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT * FROM ts_stat($$SELECT to_tsvector(public.note('stat')::text)$$)

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, (''b'' || public.note(''rewrite''))::tsquery')

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT * FROM crosstab('SELECT 1, ''a''::text, public.note(''cross'')') AS ct(k int, a int)

-- kinds: SELECT; also: audit.log; shows: sequences, writes
SELECT * FROM connectby('customers', 'id', 'id + 0 * public.note(''x'')', '1', 1) AS t(a int, b int, c int)

-- Views, rules and triggers that pass writes on

-- kinds: UPDATE; writes: public.german_customers; also: public.customers; shows: writes
UPDATE german_customers SET name = upper(name)

-- kinds: DELETE; writes: public.german_customers; also: public.customers, public.order_items, public.orders; shows: writes
DELETE FROM german_customers

-- kinds: INSERT; writes: public.german_customers; also: public.customers; shows: sequences, writes
INSERT INTO german_customers (name, country) VALUES ('Emmy Noether', 'DE')

-- kinds: UPDATE; writes: public.customer_names; also: public.customers; shows: writes
UPDATE customer_names SET name = 'Renamed' WHERE id = 2

-- kinds: UPDATE; writes: public.order_notes; also: public.orders; shows: writes
UPDATE order_notes SET note = 'ruled' WHERE id = 5

-- kinds: SELECT, UPDATE; writes: public.order_notes; also: public.orders; shows: writes
WITH x AS (UPDATE order_notes SET note = 'deep' WHERE id = 6) SELECT 1

-- Sequences, large objects, locks, settings, messages

-- kinds: SELECT; shows: sequences, writes
SELECT nextval('invoice_numbers')

-- kinds: SELECT; shows: sequences, writes
SELECT setval('invoice_numbers', 5000)

-- kinds: SELECT; shows: sequences, writes
SELECT setval('customers_id_seq', (SELECT max(id) FROM customers) + 1, false)

-- kinds: SELECT; shows: sequences, writes
SELECT ('invoice_numbers'::regclass).nextval

-- kinds: SELECT; shows: sequences, writes
SELECT x.nextval FROM unnest(ARRAY['invoice_numbers'::regclass]) x

-- kinds: SELECT; shows: sequences
SELECT max(nextval(pg_get_serial_sequence('products', 'id'))) FROM generate_series(1, 3)

-- kinds: SELECT; shows: writes
SELECT lo_create(0)

-- kinds: SELECT; shows: locks, writes
SELECT lo_unlink(content) FROM files

-- kinds: SELECT; shows: writes
SELECT lo_put(content, 0, '\x41') FROM files

-- kinds: SELECT; shows: writes
SELECT lo_from_bytea(0, '\x00')

-- kinds: SELECT; shows: writes
SELECT lowrite(lo_open(content, 131072), 'x') FROM files

-- kinds: SELECT; shows: writes
SELECT lo_truncate(lo_open(content, 131072), 1) FROM files

-- kinds: SELECT; shows: writes
SELECT lo_import('FOLDER/PG_VERSION')

-- kinds: SELECT; shows: files
SELECT lo_export(content, 'FOLDER/corpus_out') FROM files

-- kinds: SELECT; shows: locks
SELECT pg_advisory_lock(42)

-- kinds: SELECT; shows: locks
SELECT pg_try_advisory_xact_lock(id) FROM orders WHERE id = 1

-- kinds: SELECT; shows: locks
SELECT pg_advisory_xact_lock_shared(1, 2)

-- kinds: SELECT; shows: session
SELECT set_limit(0.7)

-- kinds: SELECT; shows: session
SELECT set_config('search_path', 'hr', false)

-- kinds: SELECT; shows: session
SELECT set_config('statement_timeout', '90s', true) FROM orders LIMIT 1

-- kinds: SELECT; shows: session
SELECT set_config('myapp.user', 'root', false)

-- kinds: SELECT; shows: messages
SELECT pg_notify('corpus', 'hello')

-- kinds: SELECT; shows: messages
SELECT pg_notify('corpus', name) FROM customers

-- kinds: SELECT; shows: writes
SELECT pg_current_xact_id()

-- kinds: SELECT; shows: writes
SELECT txid_current()

-- kinds: SELECT
-- unseen: the seed is the session's, and no function tells it
SELECT setseed(0.5)

-- kinds: SELECT; shows: writes
SELECT pg_logical_emit_message(true, 'corpus', 'x')

-- kinds: SELECT
-- unseen: the snapshot is a file of its own, and gone with the transaction
SELECT pg_export_snapshot() AS snapshot

-- kinds: SELECT
-- unseen: only the write-ahead log shows it
SELECT pg_create_restore_point('corpus')

-- kinds: SELECT
-- unseen: only the write-ahead log shows it
SELECT pg_switch_wal()

-- Files, programs, network, other sessions

-- kinds: SELECT
-- unseen: a server file is read, which leaves no trace
SELECT pg_read_file('PG_VERSION')

-- kinds: SELECT
-- unseen: a server file is read, which leaves no trace
SELECT pg_read_binary_file('postgresql.conf', 0, 20)

-- kinds: SELECT
-- unseen: a server folder is read, which leaves no trace
SELECT name FROM pg_ls_dir('.') AS name

-- kinds: SELECT
-- unseen: a server folder is read, which leaves no trace
SELECT * FROM pg_ls_waldir()

-- kinds: SELECT
-- unseen: a server file is looked at, which leaves no trace
SELECT (pg_stat_file('postgresql.conf')).size

-- kinds: SELECT
-- unseen: the server's configuration files are read, which leaves no trace
SELECT * FROM pg_hba_file_rules

-- kinds: COPY; shows: files
COPY customers TO 'FOLDER/corpus_out'

-- kinds: COPY, SELECT; shows: files
COPY (SELECT 1) TO 'FOLDER/corpus_out' (FORMAT binary)

-- kinds: COPY; shows: files
COPY customers TO PROGRAM 'cat > FOLDER/corpus_out'

-- kinds: COPY; writes: public.cache; shows: writes
COPY cache (key) FROM 'FOLDER/PG_VERSION'

-- kinds: COPY; writes: public.cache
-- unseen: the rows come from the client
COPY cache FROM STDIN

-- kinds: SELECT
-- unseen: another server is reached, which this one does not show
SELECT * FROM dblink('host=127.0.0.1 port=1', 'SELECT 1') AS t(a int)

-- kinds: SELECT
-- unseen: another server is reached, which this one does not show
SELECT dblink_connect('c', 'host=127.0.0.1 port=1')

-- kinds: SELECT
-- unseen: another server is reached, which this one does not show
SELECT dblink_exec('host=127.0.0.1 port=1', 'DROP TABLE customers')

-- kinds: SELECT
-- unseen: another server is reached, which this one does not show
-- catalog: it tells a foreign table from one at hand
SELECT sum(total) FROM far_orders

-- kinds: SELECT
-- unseen: another session ends
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle'

-- kinds: SELECT
-- unseen: another session's statement ends
SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()

-- kinds: SELECT
-- unseen: the whole server reads its configuration again
SELECT pg_reload_conf()

-- kinds: SELECT
-- unseen: the server's log is begun anew
SELECT pg_rotate_logfile()

-- kinds: SELECT
-- unseen: another session writes to the log
SELECT pg_log_backend_memory_contexts(pg_backend_pid())

-- kinds: SELECT
-- unseen: statistics are gone, which are not part of any transaction
SELECT pg_stat_reset() IS NULL

-- kinds: SELECT
-- unseen: statistics are gone, which are not part of any transaction
SELECT pg_stat_reset_single_table_counters('orders'::regclass)

-- kinds: SELECT
-- unseen: a standby becomes a primary
SELECT pg_promote()

-- kinds: SELECT
-- unseen: a slot outlives the test's database
SELECT pg_create_physical_replication_slot('corpus')

-- kinds: SELECT
-- unseen: a backup begins, which the whole server takes part in
SELECT pg_backup_start('corpus')

-- Definitions, rights, maintenance

-- kinds: CREATE; writes: fresh; shows: locks, writes
CREATE TABLE fresh (id int PRIMARY KEY, at timestamptz DEFAULT now())

-- kinds: CREATE; writes: public.orders_like; shows: locks, writes
CREATE TABLE IF NOT EXISTS public.orders_like (LIKE orders INCLUDING ALL)

-- kinds: CREATE; writes: events_2026; shows: locks, writes
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01+0') TO ('2027-01-01+0')

-- kinds: CREATE; shows: locks, writes
CREATE INDEX ON orders (status)

-- kinds: CREATE; shows: locks, writes
CREATE UNIQUE INDEX by_nick ON customers (lower(name)) WHERE country = 'DE'

-- kinds: CREATE; shows: locks, writes
CREATE OR REPLACE VIEW vip AS SELECT * FROM customers WHERE 'vip' = ANY (tags)

-- kinds: CREATE; shows: writes
CREATE FUNCTION evil() RETURNS int LANGUAGE sql AS 'DELETE FROM orders; SELECT 1'

-- kinds: CREATE; shows: writes
CREATE OR REPLACE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN NULL; END $$

-- kinds: CREATE; also: public.orders; shows: locks, writes
CREATE TRIGGER t AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION count_stock()

-- kinds: CREATE, INSERT; writes: audit.log
-- unseen: what it makes writes to that table only when it fires
CREATE RULE r AS ON INSERT TO cache DO ALSO INSERT INTO audit.log (what) VALUES (new.key)

-- kinds: CREATE; shows: writes
CREATE TYPE color AS ENUM ('red', 'green')

-- kinds: CREATE; shows: writes
CREATE DOMAIN short AS text CHECK (length(VALUE) < 5)

-- kinds: CREATE; shows: locks, writes
CREATE SEQUENCE counters OWNED BY orders.id

-- kinds: CREATE; shows: writes
CREATE SCHEMA extra

-- kinds: CREATE; writes: inner_table; shows: locks, writes
CREATE SCHEMA nested CREATE TABLE inner_table (id int)

-- kinds: CREATE; shows: locks, writes
CREATE EXTENSION cube

-- kinds: CREATE; shows: writes
CREATE ROLE corpus_intruder SUPERUSER LOGIN

-- kinds: CREATE; shows: locks, writes
CREATE POLICY only_own ON orders USING (customer_id = 1)

-- kinds: CREATE; shows: writes
CREATE AGGREGATE least_of(int) (sfunc = int4smaller, stype = int)

-- kinds: CREATE; shows: writes
CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq)

-- kinds: CREATE; shows: locks, writes
CREATE STATISTICS more ON customer_id, placed_at FROM orders

-- kinds: CREATE; shows: writes
CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple)

-- kinds: CREATE; shows: writes
CREATE PUBLICATION everything FOR ALL TABLES

-- kinds: CREATE; writes: session_notes; shows: locks, writes
CREATE TEMP TABLE session_notes (x int)

-- kinds: ALTER; writes: public.orders; shows: locks, writes
ALTER TABLE orders ADD COLUMN priority int DEFAULT 0

-- kinds: ALTER; writes: public.cache; shows: locks, writes
ALTER TABLE cache DROP COLUMN value, ALTER COLUMN key TYPE varchar(200)

-- kinds: ALTER; writes: public.orders; shows: locks, writes
ALTER TABLE orders RENAME COLUMN note TO remark

-- kinds: ALTER; writes: public.cache; also: public.cached; shows: locks, writes
ALTER TABLE cache RENAME TO cached

-- kinds: ALTER; writes: public.stock; shows: locks, writes
ALTER TABLE stock DISABLE TRIGGER ALL

-- kinds: ALTER; writes: hr.departments; shows: locks, writes
ALTER TABLE hr.departments SET SCHEMA public

-- kinds: ALTER; shows: locks, writes
ALTER SEQUENCE invoice_numbers RESTART

-- kinds: ALTER; shows: locks, writes
ALTER TYPE order_status RENAME VALUE 'new' TO 'fresh'

-- kinds: ALTER; shows: writes
ALTER FUNCTION square(int) SECURITY DEFINER

-- kinds: ALTER; shows: writes
ALTER ROLE corpus_reader SET search_path = hr

-- kinds: ALTER; shows: writes
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO corpus_reader

-- kinds: ALTER; shows: files
-- alone: yes
ALTER SYSTEM SET work_mem = '64MB'

-- kinds: DROP; writes: public.tickets; shows: locks, writes
DROP TABLE tickets

-- kinds: DROP; writes: public.cars, public.trucks; shows: locks, writes
DROP TABLE IF EXISTS cars, public.trucks CASCADE

-- kinds: DROP; shows: locks, writes
DROP VIEW behind_watched

-- kinds: DROP; writes: public.sales_by_month; shows: locks, writes
DROP MATERIALIZED VIEW sales_by_month

-- kinds: DROP; shows: locks, writes
DROP FUNCTION square

-- kinds: DROP; also: audit.log; shows: locks, writes
DROP SCHEMA audit CASCADE

-- kinds: DROP; shows: locks, writes
DROP INDEX orders_by_customer

-- kinds: DROP; also: public.customers; shows: writes
DROP OWNED BY corpus_reader

-- kinds: COMMENT; shows: locks, writes
COMMENT ON TABLE orders IS 'other'

-- kinds: GRANT; also: hr.departments, public.orders; shows: writes
GRANT SELECT ON orders, hr.departments TO PUBLIC

-- kinds: GRANT; shows: writes
GRANT corpus_reader TO postgres WITH ADMIN OPTION

-- kinds: REVOKE; also: public.customers; shows: writes
REVOKE ALL ON customers FROM corpus_reader

-- kinds: REFRESH; writes: public.sales_by_month; shows: locks, writes
REFRESH MATERIALIZED VIEW sales_by_month

-- kinds: REFRESH; writes: public.sales_by_month; shows: locks, writes
REFRESH MATERIALIZED VIEW CONCURRENTLY sales_by_month

-- kinds: ANALYZE; shows: locks, writes
ANALYZE orders

-- kinds: VACUUM; shows: writes
-- alone: yes
VACUUM (FULL) cache

-- kinds: CLUSTER; also: public.orders; shows: locks, writes
CLUSTER orders USING orders_pkey

-- kinds: REINDEX; shows: locks, writes
REINDEX TABLE orders

-- kinds: LOCK; shows: locks
LOCK TABLE orders IN EXCLUSIVE MODE

-- kinds: LOCK; shows: locks, writes
LOCK customers, orders

-- kinds: DO; also: public.cache; shows: writes
DO $$ BEGIN DELETE FROM public.cache; END $$

-- kinds: DO; also: public.made; shows: locks, writes
DO LANGUAGE plpgsql 'BEGIN EXECUTE ''CREATE TABLE made (x int)''; END'

-- kinds: CALL; also: public.orders; shows: writes
CALL close_orders()

-- kinds: CALL; also: audit.log, public.cache; shows: writes
CALL tidy(days => 1)

-- kinds: IMPORT
-- unseen: another server is reached, which this one does not show
IMPORT FOREIGN SCHEMA public FROM SERVER elsewhere INTO hr

-- kinds: SECURITY_LABEL
-- unseen: it needs a provider of labels, which no package brings
SECURITY LABEL ON TABLE orders IS 'secret'

-- kinds: CHECKPOINT
-- unseen: it is the whole server's
CHECKPOINT

-- kinds: LOAD
-- unseen: what a library does is its own
LOAD '$libdir/auto_explain.so'

-- kinds: CREATE
-- unseen: it makes a database of its own
CREATE DATABASE corpus_copy TEMPLATE template0

-- kinds: DROP
-- unseen: it is another database that would go
DROP DATABASE IF EXISTS corpus_copy

-- The session and its transaction

-- kinds: SET; shows: session
SET search_path = hr

-- kinds: SET; shows: session
SET LOCAL statement_timeout = '90s'

-- kinds: SET; shows: session
SET ROLE corpus_reader

-- kinds: SET; shows: session
SET SESSION AUTHORIZATION corpus_reader

-- kinds: SET
-- unseen: it has to come before anything else in its transaction
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE

-- kinds: SET; shows: session
SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY

-- kinds: SET
-- unseen: which constraints are deferred, no view tells
SET CONSTRAINTS ALL DEFERRED

-- kinds: RESET
-- unseen: what it resets is already so
RESET ALL

-- kinds: DISCARD
-- unseen: what it discards is not there
DISCARD PLANS

-- kinds: LISTEN; shows: session
LISTEN other_channel

-- kinds: UNLISTEN; shows: session
UNLISTEN *

-- kinds: NOTIFY; shows: messages
NOTIFY corpus, 'hello'

-- kinds: DECLARE, SELECT; shows: session
DECLARE c CURSOR WITH HOLD FOR SELECT * FROM orders

-- kinds: PREPARE, SELECT; shows: session
PREPARE q AS SELECT * FROM orders WHERE id = $1

-- kinds: PREPARE, DELETE; writes: public.orders
-- unseen: it deletes when it is executed
PREPARE d AS DELETE FROM orders

-- kinds: BEGIN
-- unseen: transaction control
BEGIN READ WRITE

-- kinds: COMMIT
-- unseen: transaction control
COMMIT WORK AND NO CHAIN

-- kinds: ROLLBACK
-- unseen: transaction control
ROLLBACK AND CHAIN

-- kinds: SAVEPOINT
-- unseen: transaction control
SAVEPOINT here

-- kinds: PREPARE_TRANSACTION
-- unseen: transaction control
PREPARE TRANSACTION 'later'

-- kinds: EXECUTE
-- unseen: it depends on what was prepared
EXECUTE q (1)

-- kinds: DEALLOCATE
-- unseen: it depends on what was prepared
DEALLOCATE PREPARE q

-- kinds: FETCH
-- unseen: it depends on what was declared
FETCH ALL FROM c

-- kinds: MOVE
-- unseen: it depends on what was declared
MOVE NEXT IN c

-- kinds: CLOSE
-- unseen: it depends on what was declared
CLOSE c

-- Several at once

-- kinds: SELECT, DELETE; writes: public.cache; shows: writes
SELECT 1; DELETE FROM cache

-- kinds: SELECT, DROP; writes: public.tickets; shows: locks, writes
SELECT count(*) FROM orders; DROP TABLE tickets; --

-- kinds: SET, SELECT; shows: session
SET LOCAL search_path = hr; SELECT * FROM employees
