-- Ordinary reads. Blocks are separated by blank lines; a block of comments alone is a heading.
-- `kinds:` stands where it is more than SELECT.

-- Plain queries

SELECT id, name, country FROM customers ORDER BY name LIMIT 20

SELECT * FROM orders WHERE placed_at >= '2024-03-01' AND placed_at < '2024-04-01' ORDER BY placed_at DESC

SELECT count(*) FROM orders

SELECT DISTINCT country FROM customers WHERE country IS NOT NULL

SELECT DISTINCT ON (customer_id) customer_id, id, placed_at FROM orders ORDER BY customer_id, placed_at DESC

TABLE products

TABLE hr.departments ORDER BY name FETCH FIRST 1 ROW WITH TIES

VALUES (1, 'one'), (2, 'two'), (3, NULL) ORDER BY 1 DESC

SELECT v.n, v.label FROM (VALUES (1, 'low'), (2, 'high')) AS v(n, label) WHERE v.n > 1

SELECT c.name, o.id, o.status FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE o.status <> 'cancelled' OR o.id IS NULL

SELECT c.name FROM customers c WHERE NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.status = 'cancelled')

SELECT c.name FROM customers c WHERE c.id IN (SELECT customer_id FROM orders WHERE status = 'paid')

SELECT o.id FROM orders o WHERE o.id = ANY (ARRAY[1, 5, 9]) ORDER BY o.id OFFSET 1

SELECT id, coalesce(note, '-') AS note, nullif(status, 'new') AS status FROM orders

SELECT id, CASE WHEN price < 25 THEN 'cheap' WHEN price < 100 THEN 'fair' ELSE 'dear' END AS class FROM products

SELECT id, CASE status WHEN 'new' THEN 'open' WHEN 'paid' THEN 'open' ELSE 'done' END AS state, count(*) OVER () FROM orders

SELECT name FROM customers WHERE name ILIKE '%hop%' OR name SIMILAR TO '(A|K)%'

SELECT name FROM customers WHERE name BETWEEN SYMMETRIC 'Z' AND 'G'

SELECT name FROM products WHERE price NOT BETWEEN 20 AND 50 AND specs IS DISTINCT FROM '{}'

SELECT 1 AS "select", 2 AS "drop table", 'DELETE FROM orders; --' AS note

SELECT /* UPDATE orders SET note = NULL */ max(id) FROM orders -- TRUNCATE orders

SELECT o.*, i.line, i.quantity FROM orders o NATURAL JOIN (SELECT order_id AS id, line, quantity FROM order_items) i

SELECT customer_id, array_agg(id ORDER BY placed_at) AS ids FROM orders GROUP BY customer_id

SELECT a.id, b.id FROM orders a CROSS JOIN orders b WHERE a.id < b.id AND a.id < 3 AND b.id < 5

SELECT id FROM orders WHERE (customer_id, status) = (2, 'new')

SELECT id, placed_at FROM orders WHERE (placed_at, id) > ('2024-05-01', 12) ORDER BY placed_at, id LIMIT 5

SELECT * FROM orders FULL JOIN customers USING (id) ORDER BY id NULLS LAST LIMIT 7

SELECT p.name, s.quantity FROM stock s JOIN products p ON p.id = s.product_id WHERE s.quantity < 25

SELECT u.name FROM public.customers AS u (key, name) WHERE u.key > 2

SELECT (SELECT max(placed_at) FROM orders o WHERE o.customer_id = c.id) AS latest, c.name FROM customers c

SELECT name FROM customers ORDER BY created_at DESC NULLS LAST FETCH NEXT 2 ROWS ONLY

SELECT e.name, m.name AS manager FROM hr.employees e LEFT JOIN hr.employees m ON m.id = e.manager_id

SELECT id, name FROM customers WHERE email LIKE '%@example.org' ESCAPE '\'

SELECT true AND NOT false OR NULL AS three_valued, 1 IS NOT NULL, (1 = 2) IS NOT TRUE, NULL IS UNKNOWN

-- Aggregates

SELECT status, count(*) AS n, min(placed_at), max(placed_at) FROM orders GROUP BY status HAVING count(*) > 2 ORDER BY n DESC

SELECT count(*) FILTER (WHERE status = 'paid') AS paid, count(*) FILTER (WHERE status = 'new') AS fresh, count(DISTINCT customer_id) FROM orders

SELECT customer_id, sum(total) AS revenue, avg(total)::numeric(10, 2) FROM order_totals GROUP BY customer_id ORDER BY revenue DESC

SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY price) AS median, percentile_disc(0.9) WITHIN GROUP (ORDER BY price) FROM order_items

SELECT percentile_cont(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP (ORDER BY salary) FROM hr.employees

SELECT mode() WITHIN GROUP (ORDER BY kind) FROM events

SELECT rank(6000) WITHIN GROUP (ORDER BY salary), percent_rank(6000) WITHIN GROUP (ORDER BY salary) FROM hr.employees

SELECT department_id, extract(year FROM hired) AS year, count(*) FROM hr.employees GROUP BY GROUPING SETS ((department_id), (extract(year FROM hired)), ())

SELECT status, customer_id, count(*), grouping(status, customer_id) FROM orders GROUP BY CUBE (status, customer_id)

SELECT date_trunc('quarter', placed_at) AS q, status, count(*) FROM orders GROUP BY ROLLUP (1, 2) ORDER BY 1 NULLS LAST, 2

SELECT country, count(*) FROM customers GROUP BY DISTINCT ROLLUP (country), CUBE (country)

SELECT string_agg(name, ', ' ORDER BY name DESC) FROM products

SELECT string_agg(DISTINCT kind, '|' ORDER BY kind) FROM events

SELECT bool_and(quantity > 0), bool_or(quantity > 35), every(quantity < 100), bit_or(quantity), bit_xor(quantity) FROM stock

SELECT stddev(salary), stddev_pop(salary), variance(salary), var_pop(salary) FROM hr.employees

SELECT corr(quantity, price), covar_samp(quantity, price), regr_slope(price, quantity), regr_r2(price, quantity) FROM order_items

SELECT jsonb_object_agg(sku, price) FROM products

SELECT jsonb_agg(jsonb_build_object('id', id, 'status', status) ORDER BY id) FROM orders WHERE id < 4

SELECT json_agg(c) FROM customers c

SELECT array_agg(DISTINCT customer_id) FILTER (WHERE status = 'shipped') FROM orders

SELECT product_of(price) FROM products

SELECT range_agg(during), range_intersect_agg(during) FROM bookings GROUP BY room

SELECT sum(quantity * price) / nullif(count(DISTINCT order_id), 0) AS per_order FROM order_items

SELECT customer_id, sum(quantity) FROM orders JOIN order_items ON order_id = id GROUP BY customer_id HAVING sum(quantity) > (SELECT avg(quantity) FROM order_items)

SELECT width_bucket(price, 0, 60, 6) AS bucket, count(*), repeat('#', count(*)::int) FROM order_items GROUP BY bucket ORDER BY bucket

SELECT round(100.0 * count(*) FILTER (WHERE status = 'cancelled') / count(*), 1) || ' %' AS cancelled FROM orders

-- Windows

SELECT id, customer_id, row_number() OVER (PARTITION BY customer_id ORDER BY placed_at) FROM orders

SELECT name, salary, rank() OVER w, dense_rank() OVER w, percent_rank() OVER w, cume_dist() OVER w FROM hr.employees WINDOW w AS (ORDER BY salary DESC)

SELECT id, placed_at - lag(placed_at) OVER (PARTITION BY customer_id ORDER BY placed_at) AS gap FROM orders

SELECT month, revenue, sum(revenue) OVER (ORDER BY month ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS running FROM sales_by_month

SELECT month, avg(revenue) OVER (ORDER BY month ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS moving FROM sales_by_month

SELECT month, revenue, revenue / lag(revenue, 1, revenue) OVER (ORDER BY month) - 1 AS growth FROM sales_by_month

SELECT id, first_value(id) OVER w, last_value(id) OVER w, nth_value(id, 2) OVER w FROM orders WINDOW w AS (PARTITION BY status ORDER BY id RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)

SELECT at, count(*) OVER (ORDER BY at RANGE BETWEEN '7 days' PRECEDING AND CURRENT ROW) FROM events

SELECT at, sum(1) OVER (ORDER BY at GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW) FROM events

SELECT ntile(4) OVER (ORDER BY price) AS quartile, sku FROM products

SELECT * FROM (SELECT o.*, row_number() OVER (PARTITION BY status ORDER BY placed_at DESC) AS n FROM orders o) ranked WHERE n <= 2

SELECT department_id, name, salary - avg(salary) OVER (PARTITION BY department_id) AS above FROM hr.employees ORDER BY above DESC

SELECT name, sum(salary) FILTER (WHERE hired > '2018-01-01') OVER (ORDER BY hired) FROM hr.employees

SELECT kind, count(*) AS n, sum(count(*)) OVER () AS total, count(*)::float8 / sum(count(*)) OVER () AS share FROM events GROUP BY kind

SELECT id, lead(status) OVER (ORDER BY id) IS DISTINCT FROM status AS changes FROM orders

-- CTEs and recursion

WITH paid AS (SELECT * FROM orders WHERE status = 'paid') SELECT customer_id, count(*) FROM paid GROUP BY 1

WITH a AS MATERIALIZED (SELECT id FROM orders), b AS NOT MATERIALIZED (SELECT id FROM a WHERE id > 3) SELECT count(*) FROM b

WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 100) SELECT sum(n) FROM t

WITH RECURSIVE tree AS (SELECT id, name, manager_id, ARRAY[name] AS path FROM hr.employees WHERE manager_id IS NULL UNION ALL SELECT e.id, e.name, e.manager_id, t.path || e.name FROM hr.employees e JOIN tree t ON t.id = e.manager_id) SELECT array_to_string(path, ' > ') FROM tree ORDER BY path

WITH RECURSIVE g AS (SELECT id, manager_id FROM hr.employees WHERE id = 5 UNION SELECT e.id, e.manager_id FROM hr.employees e, g WHERE e.id = g.manager_id) SEARCH DEPTH FIRST BY id SET ordercol SELECT * FROM g ORDER BY ordercol

WITH RECURSIVE g(id, next) AS (SELECT id, related[1] FROM products WHERE id = 1 UNION ALL SELECT p.id, p.related[1] FROM products p JOIN g ON p.id = g.next) CYCLE id SET is_cycle USING path SELECT id, is_cycle, path FROM g

WITH orders AS (SELECT * FROM orders WHERE customer_id = 1) SELECT count(*) FROM orders

WITH months AS (SELECT generate_series('2024-01-01'::date, '2024-12-01', '1 month')::date AS month) SELECT m.month, count(o.id) FROM months m LEFT JOIN orders o ON date_trunc('month', o.placed_at) = m.month GROUP BY 1 ORDER BY 1

WITH cohort AS (SELECT customer_id, min(date_trunc('month', placed_at)) AS first FROM orders GROUP BY 1) SELECT c.first, extract(month FROM age(date_trunc('month', o.placed_at), c.first)) AS months, count(DISTINCT o.customer_id) FROM orders o JOIN cohort c USING (customer_id) GROUP BY 1, 2 ORDER BY 1, 2

WITH steps AS (SELECT (payload ->> 'user')::int AS u, bool_or(kind = 'view') AS viewed, bool_or(kind = 'buy') AS bought FROM events GROUP BY 1) SELECT count(*) FILTER (WHERE viewed), count(*) FILTER (WHERE viewed AND bought) FROM steps

WITH s AS (SELECT (payload ->> 'user')::int AS u, at, at - lag(at) OVER (PARTITION BY payload ->> 'user' ORDER BY at) > '10 days' AS new FROM events) SELECT u, count(*) FILTER (WHERE new IS NOT FALSE) AS sessions FROM s GROUP BY u

WITH RECURSIVE fib(a, b) AS (SELECT 0::numeric, 1::numeric UNION ALL SELECT b, a + b FROM fib WHERE b < 1e10) SELECT a FROM fib

WITH "update" AS (SELECT 1 AS "set") SELECT "update"."set" FROM "update"

WITH t AS (SELECT id FROM orders UNION SELECT id FROM customers), u AS (TABLE t) SELECT count(*) FROM u, LATERAL (SELECT 1) x

-- Set operations

SELECT id FROM orders EXCEPT SELECT order_id FROM order_items

SELECT name FROM customers UNION ALL SELECT name FROM hr.employees ORDER BY 1

(SELECT id FROM orders ORDER BY id LIMIT 3) UNION (SELECT id FROM customers ORDER BY id DESC LIMIT 2) INTERSECT ALL VALUES (1), (2), (3)

SELECT 'order' AS kind, id FROM orders WHERE id < 3 UNION SELECT 'customer', id FROM customers ORDER BY kind, id OFFSET 1

SELECT country FROM customers INTERSECT SELECT 'DE'

-- LATERAL and functions in FROM

SELECT c.name, last.placed_at FROM customers c, LATERAL (SELECT placed_at FROM orders o WHERE o.customer_id = c.id ORDER BY placed_at DESC LIMIT 1) last

SELECT c.name, t.tag, t.n FROM customers c CROSS JOIN LATERAL unnest(c.tags) WITH ORDINALITY AS t(tag, n)

SELECT p.sku, s.key, s.value FROM products p, jsonb_each_text(p.specs) s

SELECT d::date FROM generate_series(current_date - 7, current_date, '1 day') AS d

SELECT * FROM ROWS FROM (generate_series(1, 3), unnest(ARRAY['a', 'b'])) WITH ORDINALITY AS t(n, letter, i)

SELECT x.* FROM json_to_recordset('[{"a": 1, "b": "x"}, {"a": 2}]') AS x(a int, b text)

SELECT i, ('{4,5,6}'::int[])[i] FROM generate_subscripts('{4,5,6}'::int[], 1) AS i

SELECT c.id, o.* FROM customers c LEFT JOIN LATERAL (SELECT count(*) AS n, max(id) FROM orders WHERE customer_id = c.id) o ON true

SELECT word, nentry FROM documents, LATERAL (SELECT lexeme AS word, cardinality(positions) AS nentry FROM unnest(search)) w ORDER BY nentry DESC LIMIT 10

SELECT * FROM orders_of(2) WHERE status = 'new'

SELECT e.name, c.depth FROM hr.employees e, chain_of(e.id) c WHERE c.depth > 0

SELECT n, n %% 7 AS percent FROM generate_series(1, 3) n

SELECT * FROM string_to_table('a,b,,c', ',', '') AS piece

SELECT * FROM customers TABLESAMPLE SYSTEM (50) REPEATABLE (7)

SELECT count(*) FROM events TABLESAMPLE BERNOULLI (10)

-- Time

SELECT now(), current_timestamp(0), localtime, current_date, clock_timestamp() > statement_timestamp()

SELECT age(now(), created_at), extract(epoch FROM now() - created_at) / 86400 AS days FROM customers

SELECT date_part('dow', placed_at) AS weekday, to_char(placed_at, 'Dy HH24:MI') FROM orders

SELECT placed_at AT TIME ZONE 'Europe/Berlin', placed_at::date, placed_at::time FROM orders LIMIT 3

SELECT date_bin('15 minutes', at, '2024-01-01') AS slot, count(*) FROM events GROUP BY slot

SELECT id FROM orders WHERE placed_at > now() - interval '30 days' - make_interval(hours => 2)

SELECT make_date(2024, 2, 29) + interval '1 year', justify_interval('40 days 30 hours'), interval '1' YEAR

SELECT (date '2024-01-01', date '2024-02-01') OVERLAPS (date '2024-01-15', interval '10 days')

SELECT to_timestamp(1717200000), to_date('31.12.2024', 'DD.MM.YYYY'), timestamptz 'epoch', 'infinity'::date, isfinite('today'::date)

SELECT extract(isodow FROM d), extract(week FROM d), extract(century FROM d) FROM (SELECT date '2024-06-01') t(d)

SELECT count(*) FROM orders WHERE placed_at::date = current_date - 1

SELECT name, hired, hired + (interval '1 month' * 6) AS probation_ends FROM hr.employees WHERE age(hired) > interval '3 years'

SELECT localtimestamp - date_trunc('week', localtimestamp) AS into_week, current_time

-- Strings and patterns

SELECT upper(name), lower(name), initcap(name), length(name), octet_length(name), reverse(name) FROM customers

SELECT split_part(email, '@', 2) AS domain, count(*) FROM customers GROUP BY 1

SELECT left(name, 3), right(name, 2), substr(name, 2, 3), substring(name FROM 2 FOR 3), position('a' IN name), overlay(name PLACING 'xx' FROM 1 FOR 2) FROM customers

SELECT substring(note FROM '\d+')::int AS number FROM orders WHERE note ~ '^order \d+$'

SELECT regexp_replace(name, '([aeiou])', '<\1>', 'g'), regexp_match(email::text, '@(.+)$') FROM customers

SELECT (regexp_matches(body, '\m(\w+)er\M', 'g'))[1] FROM documents

SELECT word, count(*) FROM documents, regexp_split_to_table(lower(body), '\W+') AS word GROUP BY word ORDER BY 2 DESC, 1 LIMIT 5

SELECT regexp_count(body, 'a'), regexp_instr(body, 'server'), regexp_substr(body, 's\w+'), regexp_like(body, '^run', 'i') FROM documents

SELECT trim(BOTH 'x' FROM 'xxaxx'), ltrim('  a'), rtrim('a  '), btrim('-a-', '-'), lpad('7', 3, '0'), rpad('a', 3, '.')

SELECT concat(name, ' <', email, '>'), concat_ws(', ', (home).street, (home).city), format('%s (%L) %I', name, country, 'Order') FROM customers

SELECT translate(name, 'áÁé', 'aAe'), unaccent(name), ascii(name), chr(65), md5(name), to_hex(255) FROM customers

SELECT name COLLATE "C" FROM customers WHERE name COLLATE "C" > 'B' ORDER BY name COLLATE "POSIX"

SELECT encode(sha256(convert_to(name, 'UTF8')), 'hex'), encode(value, 'base64') FROM customers, cache

SELECT starts_with(sku, 'KB'), sku ^@ 'MS', sku ~* '^bk', sku !~ 'x', sku !~~ 'K%' FROM products

SELECT quote_ident('Order'), quote_literal('it''s'), quote_nullable(NULL), E'tab\there', U&'\0041', $$dollar 'quoted'$$, $q$ $$ $q$

SELECT normalize('é', NFD), 'é' IS NFC NORMALIZED, unistr('\0041'), char_length('ß')

SELECT parse_ident('public.orders'), strpos('haystack', 'st'), repeat('ab', 3), replace('a-b', '-', '+'), string_to_array('a b', ' ')

SELECT nick = 'ada' AS same, nick LIKE 'AD%', replace(nick, 'a', 'x'), regexp_match(nick, 'A'), split_part(nick, 'd', 1) FROM customers

SELECT ''::text || 1 || true, 'a' || NULL, to_char(1234567.891, 'FM9,999,990.00'), to_number('1,234', '9,999')

SELECT count(*) FROM customers WHERE name LIKE ANY (ARRAY['A%', 'G%']) AND name NOT LIKE ALL ('{X%,Y%}')

SELECT difference('Zuse', 'Suse'), levenshtein('kitten', 'sitting'), soundex('Hopper'), metaphone('Lovelace', 6), dmetaphone('Konrad')

SELECT name, similarity(name, 'Moniter') AS s FROM products WHERE name % 'Moniter' ORDER BY name <-> 'Moniter'

SELECT show_trgm('book'), word_similarity('proof', 'Book of Proofs'), 'proof' <% 'Book of Proofs'

-- Numbers

SELECT abs(-1), ceil(1.2), floor(1.8), round(2.567, 2), trunc(2.567, 1), mod(7, 3), 7 / 2, 7 % 2, 7.0 / 2, div(7, 2), power(2, 10), 2 ^ 3

SELECT sqrt(2), cbrt(27), |/ 16, ||/ 27, exp(1), ln(10), log(100), log(2, 8), pi(), degrees(1), sin(0), atan2(1, 1), 5 # 3, ~5, 1 << 4, @ -3

SELECT greatest(1, 2, NULL), least(price, 20), sign(-2), gcd(12, 18), lcm(4, 6), factorial(5), scale(1.50), trim_scale(1.50) FROM products

SELECT random() BETWEEN 0 AND 1, floor(random() * 6)::int + 1 AS die

SELECT '12'::int + '1.5'::numeric, 1e3::float4, CAST('7' AS bigint), int8 '9', numeric 'NaN', 'Infinity'::float8, 0.1 + 0.2

SELECT budget, budget * 2, budget::numeric FROM hr.departments

SELECT vat(price), vat(price, rate => 0.1), gross - price FROM products

SELECT x, x * x AS squared FROM generate_series(0.5, 2.5, 0.5) AS x

SELECT B'1010' | B'0101', bit_count(B'1011'), get_bit('\x01'::bytea, 0), 5::bit(8), X'FF'

SELECT order_total(id) FROM orders WHERE order_total(id) > 100

SELECT normal_rand FROM normal_rand(3, 5, 1)

SELECT square(quantity) FROM stock

-- JSON

SELECT payload ->> 'user' AS u, payload -> 'at' ->> 'page' AS page, payload #>> '{tags,0}' AS tag FROM events LIMIT 5

SELECT count(*) FROM events WHERE payload @> '{"user": 2}' AND payload ? 'ms' AND payload ?| ARRAY['x', 'ms'] AND payload ?& ARRAY['ms']

SELECT jsonb_path_query(payload, '$.tags[*] ? (@ starts with "a")') FROM events LIMIT 3

SELECT jsonb_path_query_array(payload, '$.tags[*]'), jsonb_path_exists(payload, '$.ms ? (@ > 40)'), jsonb_path_query_first(payload, '$.at.page') FROM events LIMIT 3

SELECT count(*) FROM events WHERE payload @? '$.ms ? (@ > $min)' OR payload @@ '$.user == 3'

SELECT jsonb_path_query(payload, '$.ms ? (@ > $min)', vars => '{"min": 40}') FROM events

SELECT jsonb_set(payload, '{user}', '99'), payload - 'ms', payload #- '{at,page}', payload || '{"x": 1}' FROM events LIMIT 2

SELECT jsonb_pretty(specs), jsonb_typeof(specs -> 'ports'), jsonb_array_length(coalesce(specs -> 'ports', '[]')) FROM products

SELECT specs['stand']['tilt'], specs['keys'] FROM products

SELECT key, count(*) FROM products, jsonb_object_keys(specs) AS key GROUP BY key

SELECT e.id, tag.value, tag.ordinality FROM events e, jsonb_array_elements_text(e.payload -> 'tags') WITH ORDINALITY AS tag(value, ordinality) LIMIT 6

SELECT to_jsonb(o) - 'note' FROM orders o LIMIT 1

SELECT row_to_json(r) FROM (SELECT id, status FROM orders LIMIT 2) r

SELECT json_build_object('name', name, 'tags', array_to_json(tags), 'home', to_json(home)) FROM customers

SELECT meta ->> 'lang', (meta ->> 'pages')::int, json_typeof(meta), json_extract_path_text(meta, 'lang') FROM documents

SELECT avg((payload ->> 'ms')::numeric) AS mean, payload ->> 'user' FROM events GROUP BY payload ->> 'user'

SELECT jsonb_strip_nulls('{"a": null}'), jsonb_insert('[1]', '{0}', '0'), jsonb_build_array(1, 'x', NULL), '[1, 2]'::jsonb <@ '[1, 2, 3]', jsonb_concat('[1]', '[2]')

SELECT x.id, x.ms FROM events, jsonb_to_record(payload) AS x(id int, ms int) LIMIT 3

SELECT (jsonb_populate_record(NULL::order_items, '{"order_id": 1, "quantity": 2}')).quantity

SELECT r.street FROM jsonb_populate_recordset(NULL::address, '[{"street": "a"}, {"city": "b"}]') r

SELECT json_object('{a,b}', '{1,2}'), '{"a": 1}'::json #>> '{a}'

SELECT json_object('{a,1,b,2}'), jsonb_object(ARRAY['a', 'b'], ARRAY['1', '2']), json_array_length('[1, 2]'), jsonb_each('{"a": 1}')

SELECT hstore_to_json(attributes), attributes -> 'size', attributes ? 'lang', attributes @> 'lang=>en', akeys(attributes), hstore('k', 'v') || attributes FROM customers

SELECT (each(attributes)).key, count(*) FROM customers GROUP BY 1

SELECT skeys(attributes), delete(attributes, 'size'), slice(attributes, ARRAY['lang']), exist(attributes, 'x') FROM customers

-- Full-text search

SELECT id, title, ts_rank(search, q) AS rank FROM documents, websearch_to_tsquery('english', 'database server -backup') q WHERE search @@ q ORDER BY rank DESC

SELECT ts_headline('english', body, to_tsquery('server & start'), 'StartSel=<b>, StopSel=</b>') FROM documents WHERE search @@ to_tsquery('server & start')

SELECT title FROM documents WHERE to_tsvector('simple', title) @@ plainto_tsquery('simple', 'backups') OR search @@ phraseto_tsquery('second server')

SELECT setweight(to_tsvector(title), 'A') || setweight(to_tsvector(body), 'B') FROM documents

SELECT ts_rank_cd('{0.1, 0.2, 0.4, 1.0}', search, to_tsquery('server:*')), numnode(to_tsquery('a & b')), querytree(to_tsquery('!a & b')) FROM documents

SELECT alias, token, lexemes FROM ts_debug('english', 'The quick databases')

SELECT to_tsquery('server') && to_tsquery('start'), to_tsquery('a') <-> to_tsquery('b'), !!to_tsquery('c'), tsvector_to_array(search), ts_delete(search, 'server'), strip(search) FROM documents

SELECT ts_lexize('english_stem', 'databases'), get_current_ts_config(), to_tsvector('english', meta) FROM documents

-- Arrays

SELECT name FROM customers WHERE 'vip' = ANY (tags) AND tags && ARRAY['early', 'late'] AND tags @> '{vip}' AND NOT tags <@ ARRAY['x']

SELECT array_length(tags, 1), cardinality(tags), tags[1], tags[1:2], array_upper(tags, 1), array_ndims(tags), array_dims(tags) FROM customers

SELECT array_position(skills, 'sql'), array_remove(skills, 'sql'), array_append(skills, 'x'), array_cat(skills, '{y}'), array_replace(skills, 'sql', 'SQL'), array_to_string(skills, '/', '?') FROM hr.employees

SELECT ARRAY(SELECT id FROM orders WHERE status = 'paid' ORDER BY 1), (ARRAY[[1, 2], [3, 4]])[2][1], '{1,2}'::int[] || 3, array_fill(0, ARRAY[3]), trim_array(ARRAY[1, 2, 3], 1)

SELECT unnest(ARRAY[1, 2]) AS a, unnest(ARRAY['x', 'y', 'z']) AS b

SELECT skill, array_agg(name) FROM hr.employees, unnest(skills) AS skill GROUP BY skill

SELECT related @> ARRAY[3], related & ARRAY[2, 3], icount(related), sort(related), idx(related, 3), uniq(sort(related)), related @@ '1 & !2' FROM products

SELECT id FROM products WHERE id <> ALL (SELECT unnest(related) FROM products WHERE related IS NOT NULL)

SELECT array_agg(ARRAY[id, customer_id]) FROM orders WHERE id < 3

-- Ranges, networks, geometry, other types

SELECT id, lower(during), upper(during), upper(during) - lower(during), isempty(during), lower_inc(during), upper_inf(during) FROM bookings

SELECT a.id, b.id FROM bookings a JOIN bookings b ON a.during && b.during AND a.id < b.id

SELECT id FROM bookings WHERE during @> timestamp '2024-06-01 10:30' AND NOT during << '[2024-06-01 08:00,2024-06-01 09:00)' AND during -|- '[2024-06-01 11:00,)'

SELECT free, free @> date '2024-06-03', unnest(free), free * '{[2024-06-04,2024-06-09)}', range_merge(free) FROM bookings

SELECT int4range(1, 5) * int4range(3, 8), int4range(1, 5) + int4range(5, 8), numrange(1, 2, '[]'), tstzrange(now(), NULL), daterange('2024-01-01', '2024-02-01') - daterange('2024-01-20', NULL)

SELECT '[1.5,2.5]'::price_range @> price, price_range(10, 50) @> price, '{[1,2),[3,4)}'::price_ranges @> 1.5, price_ranges() FROM products

SELECT login, host(login), masklen(login), network(set_masklen(login, 24)), login << '10.0.0.0/16', login & '255.0.0.0' FROM hr.employees

SELECT inet '10.0.0.5' + 7, cidr '10.0.0.0/8' >>= inet '10.1.1.1', macaddr '08:00:2b:01:02:03', inet_merge('10.0.0.1', '10.0.1.1')

SELECT point(1, 2) <-> point(4, 6), box '((0,0),(2,2))' @> point '(1,1)', circle '((0,0),2)', area(box '((0,0),(2,2))'), polygon '((0,0),(1,1),(1,0))'

SELECT (home).city, (c.home).postcode, c.home IS NULL, ROW('a', 'b', 'c')::address, (ROW('s', 'c', 'p')::address).city FROM customers c

SELECT status::text, status > 'new', enum_first(status), enum_range('paid'::order_status, NULL), status::int, 'paid'::order_status FROM orders

SELECT 'someone@example.org'::email, 'DE'::country_code

SELECT gen_random_uuid(), uuid_generate_v4(), uuid_generate_v5(uuid_ns_dns(), 'example.org'), '6b0e8f9c-0d4e-4b7a-9c7e-0d6f1f4b2a11'::uuid = token FROM files

SELECT digest(name, 'sha256'), hmac(name, 'key', 'sha256'), crypt('secret', gen_salt('bf', 4)), encode(gen_random_bytes(8), 'hex') FROM customers

SELECT pgp_sym_decrypt(pgp_sym_encrypt(name, 'key'), 'key') = name, armor(pgp_sym_encrypt_bytea('\x00', 'key')) FROM customers

SELECT category, nlevel(category), subpath(category, 0, 1), category <@ 'hardware', category ~ '*.input.*', ltree2text(lca(category, 'hardware.x')) FROM products

SELECT xmlelement(name customer, xmlattributes(id), name), xmlforest(name, country) FROM customers

SELECT xpath('/a/b/text()', '<a><b>1</b></a>'::xml), xml_is_well_formed('<a/>'), xmlserialize(CONTENT '<a/>'::xml AS text)

SELECT x.* FROM XMLTABLE('/r/i' PASSING ('<r><i n="1">a</i></r>'::xml) COLUMNS n int PATH '@n', v text PATH '.' DEFAULT '-') x

SELECT xmlagg(xmlelement(name o, id)) FROM orders WHERE id < 3

SELECT * FROM crosstab('SELECT customer_id, status::text, count(*) FROM orders GROUP BY 1, 2 ORDER BY 1, 2', $$VALUES ('new'), ('paid')$$) AS ct(customer int, fresh bigint, paid bigint)

SELECT ctid, xmin, tableoid::regclass, id FROM events LIMIT 3

SELECT '\xdeadbeef'::bytea, length('\x00'::bytea), substring('\x0102'::bytea FROM 1 FOR 1), decode('aGk=', 'base64'), hashtext('x'), pg_column_size(ROW(1))

SELECT pg_typeof(1::numeric), 1::text, '1'::"char", 'x'::name, 'now'::text::varchar(2), date '2024-01-01'::timestamp, 1::boolean

SELECT row(1, 'a') = row(1, 'a'), row(1, 2) < row(1, 3), (1, NULL) IS NULL, ROW(1, 2) IS DISTINCT FROM ROW(1, 3), (1, 2) = (SELECT 1, 2)

-- Partitions, inheritance, views

SELECT tableoid::regclass AS part, count(*) FROM events GROUP BY 1

SELECT count(*) FROM ONLY vehicles

SELECT v.tableoid::regclass, v.plate, c.seats FROM vehicles v LEFT JOIN cars c USING (plate)

SELECT id, kind FROM events_2024 WHERE at >= '2024-12-01'

SELECT * FROM sales_by_month ORDER BY month DESC LIMIT 3

SELECT depth, count(*) FROM org_chart GROUP BY depth

SELECT * FROM german_customers

SELECT initials FROM customer_names WHERE initials = 'AL'

SELECT note FROM order_notes WHERE id = 3

SELECT t.total, c.name FROM order_totals t JOIN customers c ON c.id = t.customer_id WHERE t.total > (SELECT avg(total) FROM order_totals)

SELECT display_name(c), initials(c.name) FROM customers c

SELECT c.display_name FROM customers c

SELECT (c).name, (c.*)::text, c FROM customers c

SELECT last_value, is_called FROM invoice_numbers

SELECT id, what FROM audit.log

SELECT key, length(value) FROM cache

SELECT t.code, t.label FROM tickets t

-- The catalogs

SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')

SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns WHERE table_name = 'orders' ORDER BY ordinal_position

SELECT tc.constraint_name, kcu.column_name, ccu.table_name FROM information_schema.table_constraints tc JOIN information_schema.key_column_usage kcu USING (constraint_name) JOIN information_schema.constraint_column_usage ccu USING (constraint_name) WHERE tc.constraint_type = 'FOREIGN KEY'

SELECT routine_name, routine_type, data_type FROM information_schema.routines WHERE routine_schema = 'public'

SELECT grantee, privilege_type FROM information_schema.role_table_grants WHERE table_name = 'customers'

SELECT schema_name FROM information_schema.schemata UNION SELECT catalog_name FROM information_schema.information_schema_catalog_name

SELECT view_name, table_name FROM information_schema.view_table_usage

SELECT c.relname, pg_size_pretty(pg_total_relation_size(c.oid)), c.reltuples FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') ORDER BY pg_relation_size(c.oid) DESC

SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attrelid = 'public.orders'::regclass AND a.attnum > 0 AND NOT a.attisdropped

SELECT conname, contype, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'orders'::regclass

SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'orders'

SELECT i.indrelid::regclass, i.indexrelid::regclass, i.indisunique, pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relname = 'documents'

SELECT pg_get_viewdef('order_totals'::regclass, true)

SELECT p.proname, pg_get_function_arguments(p.oid), l.lanname, p.provolatile FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.pronamespace = 'public'::regnamespace AND p.prokind = 'f'

SELECT pg_get_functiondef('vat'::regproc)

SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal

SELECT t.typname, e.enumlabel FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid ORDER BY e.enumsortorder

SELECT rolname, rolsuper, rolcreatedb FROM pg_roles

SELECT datname, pg_encoding_to_char(encoding), pg_database_size(oid) FROM pg_database WHERE datallowconn

SELECT schemaname, viewname, definition FROM pg_views WHERE schemaname = 'public'

SELECT name, setting, unit, source FROM pg_settings WHERE name LIKE '%work_mem%'

SELECT extname, extversion FROM pg_extension

SELECT obj_description('orders'::regclass), col_description('orders'::regclass, 1), shobj_description(d.oid, 'pg_database') FROM pg_database d WHERE datname = current_database()

SELECT tablename, attname, n_distinct, most_common_vals FROM pg_stats WHERE schemaname = 'public' LIMIT 5

SELECT inhparent::regclass, inhrelid::regclass, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid

SELECT relid, parentrelid, isleaf, level FROM pg_partition_tree('events')

SELECT has_table_privilege('corpus_reader', 'customers', 'SELECT'), has_schema_privilege('public', 'USAGE'), pg_has_role('postgres', 'MEMBER')

SELECT to_regclass('public.nowhere') IS NULL, 'orders'::regclass::oid, 'customers'::regclass, pg_table_is_visible('orders'::regclass)

SELECT sequencename, last_value, increment_by FROM pg_sequences

SELECT defaclobjtype, defaclacl, (aclexplode(defaclacl)).* FROM pg_default_acl

SELECT grantee::regrole, privilege_type FROM pg_class, aclexplode(relacl) WHERE relname = 'customers'

SELECT stxname, stxkeys FROM pg_statistic_ext

SELECT srvname, srvoptions FROM pg_foreign_server

SELECT rulename, definition FROM pg_rules

SELECT matviewname, ispopulated FROM pg_matviews

SELECT pg_get_serial_sequence('products', 'id'), pg_get_partkeydef('events'::regclass), pg_get_userbyid(10), pg_relation_filenode('orders')

SELECT d.refobjid::regclass, pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend d WHERE d.refobjid = 'orders'::regclass

SELECT name, default_version, comment FROM pg_available_extensions ORDER BY name LIMIT 5

SELECT count(*) FROM pg_timezone_names WHERE name LIKE 'Europe/%'

SELECT castsource::regtype, casttarget::regtype, castcontext FROM pg_cast WHERE castfunc = 0 LIMIT 5

-- Statistics and the session

SELECT pid, usename, state, wait_event_type, now() - query_start AS runtime, left(query, 60) FROM pg_stat_activity WHERE pid <> pg_backend_pid()

SELECT relname, seq_scan, idx_scan, n_live_tup, n_dead_tup, last_autovacuum FROM pg_stat_user_tables ORDER BY n_dead_tup DESC

SELECT indexrelname, idx_scan FROM pg_stat_user_indexes WHERE idx_scan = 0

SELECT datname, xact_commit, blks_hit::float8 / nullif(blks_hit + blks_read, 0) AS ratio FROM pg_stat_database

SELECT relname, heap_blks_read, heap_blks_hit FROM pg_statio_user_tables

SELECT l.pid, l.mode, l.granted, l.relation::regclass FROM pg_locks l WHERE NOT l.granted

SELECT blocked.pid, blocking.pid FROM pg_stat_activity blocked JOIN pg_stat_activity blocking ON blocking.pid = ANY (pg_blocking_pids(blocked.pid))

SELECT slot_name, active FROM pg_replication_slots

SELECT client_addr, state, sync_state FROM pg_stat_replication

SELECT buffers_clean, maxwritten_clean FROM pg_stat_bgwriter

SELECT current_user, session_user, current_database(), current_schema, current_schemas(true), current_setting('search_path'), version()

SELECT pg_postmaster_start_time(), pg_conf_load_time(), pg_is_in_recovery(), inet_server_port(), pg_backend_pid(), txid_current_if_assigned()

SELECT current_setting('no.such', true), pg_size_bytes('1 GB'), current_catalog, user

SELECT pg_current_wal_lsn(), pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), pg_walfile_name(pg_current_wal_lsn())

SELECT name, statement FROM pg_prepared_statements UNION ALL SELECT name, statement FROM pg_cursors

SELECT pg_sleep(0.001)

SELECT age(datfrozenxid), datname FROM pg_database ORDER BY 1 DESC

SELECT pid, datname, phase FROM pg_stat_progress_vacuum

-- kinds: SHOW
SHOW max_parallel_workers_per_gather

-- kinds: SHOW
SHOW "DateStyle"

-- kinds: SHOW
SHOW TIME ZONE

-- kinds: SHOW
SHOW server_version

-- kinds: SHOW
SHOW TRANSACTION ISOLATION LEVEL

-- EXPLAIN that only plans

-- kinds: EXPLAIN SELECT
EXPLAIN SELECT * FROM orders WHERE customer_id = 1

-- kinds: EXPLAIN SELECT
EXPLAIN (VERBOSE, FORMAT JSON) SELECT c.name, count(*) FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY c.name

-- kinds: EXPLAIN SELECT
EXPLAIN (ANALYZE, BUFFERS, TIMING off) SELECT count(*) FROM events WHERE at > '2025-01-01'

-- kinds: EXPLAIN SELECT
EXPLAIN ANALYZE SELECT sum(total) FROM order_totals

-- kinds: EXPLAIN UPDATE
EXPLAIN UPDATE orders SET note = 'x' WHERE id = 1

-- kinds: EXPLAIN DELETE
EXPLAIN (COSTS off) DELETE FROM order_items WHERE order_id IN (SELECT id FROM orders WHERE status = 'cancelled')

-- kinds: EXPLAIN INSERT
EXPLAIN (ANALYZE false) INSERT INTO hr.departments VALUES (9, 'Legal', 0)

-- kinds: EXPLAIN SELECT
EXPLAIN (ANALYZE off, FORMAT YAML) TABLE customers

-- kinds: EXPLAIN SELECT
EXPLAIN WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT * FROM t

-- kinds: EXPLAIN SELECT
EXPLAIN (SETTINGS, SUMMARY) VALUES (1)

-- kinds: COPY SELECT
COPY (SELECT id, name FROM customers ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER)

-- kinds: COPY
COPY hr.departments TO STDOUT

-- What agents send when they look around

SELECT 1

SELECT FROM orders WHERE id = 1

SELECT count(*) AS rows, pg_size_pretty(pg_relation_size('orders')) AS size FROM orders

SELECT id, note FROM orders WHERE note IS NOT NULL ORDER BY random() LIMIT 3

SELECT 'orders' AS t, count(*) FROM orders UNION ALL SELECT 'customers', count(*) FROM customers UNION ALL SELECT 'products', count(*) FROM products

SELECT column_name FROM information_schema.columns WHERE table_schema = 'hr' AND table_name = 'employees' AND column_name ~* 'pass|secret|token'

SELECT c.id, c.name, count(o.*) AS orders, coalesce(sum(t.total), 0) AS spent, max(o.placed_at)::date AS latest FROM customers c LEFT JOIN orders o ON o.customer_id = c.id LEFT JOIN order_totals t ON t.id = o.id GROUP BY c.id ORDER BY spent DESC

SELECT status, min(total), max(total), avg(total), percentile_cont(0.95) WITHIN GROUP (ORDER BY total) AS p95 FROM order_totals GROUP BY status

SELECT date_trunc('week', placed_at)::date AS week, count(*) AS orders, count(DISTINCT customer_id) AS buyers FROM orders WHERE placed_at >= date_trunc('year', timestamptz '2024-06-01') GROUP BY 1 ORDER BY 1

SELECT email, count(*) FROM customers GROUP BY email HAVING count(*) > 1

SELECT o.id FROM orders o LEFT JOIN order_items i ON i.order_id = o.id WHERE i.order_id IS NULL

SELECT avg(length(body)), max(length(body)) FROM documents

SELECT count(*) - count(email) AS without_email, round(avg((email IS NULL)::int), 3) AS share FROM customers

SELECT p.name, rank() OVER (ORDER BY sum(i.quantity * i.price) DESC) FROM products p JOIN order_items i ON i.product_id = p.id GROUP BY p.id, p.name

SELECT to_char(placed_at, 'YYYY-MM') AS month, sum(CASE WHEN status = 'paid' THEN 1 ELSE 0 END) AS paid, sum((status = 'new')::int) AS fresh FROM orders GROUP BY 1 ORDER BY 1

SELECT a.product_id, b.product_id, count(*) AS together FROM order_items a JOIN order_items b ON a.order_id = b.order_id AND a.product_id < b.product_id GROUP BY 1, 2 ORDER BY 3 DESC

SELECT * FROM orders WHERE id = 1::bigint::int AND status IN ('new', 'paid') AND note NOT IN ('a', 'b')

SELECT e.name, d.name AS department, e.salary, round(e.salary / sum(e.salary) OVER (PARTITION BY d.id) * 100) AS percent FROM hr.employees e JOIN hr.departments d ON d.id = e.department_id

SELECT kind, avg((payload ->> 'ms')::int) FILTER (WHERE at >= '2025-01-01') AS recent, stddev_samp((payload ->> 'ms')::int) FROM events GROUP BY kind

SELECT generate_series(1, 5) AS n, (SELECT count(*) FROM orders)

SELECT s.day, coalesce(e.n, 0) AS n, avg(coalesce(e.n, 0)) OVER (ORDER BY s.day ROWS 6 PRECEDING) FROM generate_series('2024-10-01'::date, '2024-10-31', '1 day') s(day) LEFT JOIN (SELECT at::date AS day, count(*) AS n FROM events GROUP BY 1) e ON e.day = s.day

SELECT name FROM customers WHERE lower(name) = 'ada lovelace'

SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = 'customers'

SELECT table_name, (xpath('/row/c/text()', query_to_xml(format('SELECT count(*) AS c FROM %I.%I', table_schema, table_name), false, true, '')))[1]::text::int AS n FROM information_schema.tables WHERE table_schema = 'hr'

SELECT lo_get(content) FROM files

SELECT id, encode(hash, 'hex'), uuid_nil() <> token FROM files

SELECT min(id), max(id), max(id) - min(id) + 1 - count(*) AS gaps FROM orders

SELECT i.*, o.status FROM order_items i JOIN orders o ON o.id = i.order_id AND o.status = 'shipped' WHERE i.quantity * i.price > 40 ORDER BY i.price DESC, 1, 2 LIMIT ALL

SELECT m.month, m.revenue, rank() OVER (ORDER BY m.revenue DESC) FROM sales_by_month m WHERE m.month >= '2024-01-01' AND m.revenue IS NOT NULL

SELECT c.country, count(*) FILTER (WHERE 'vip' = ANY (c.tags)) AS vip, count(*) AS everyone FROM customers c GROUP BY ROLLUP (c.country) HAVING grouping(c.country) = 1 OR c.country > 'A'

SELECT least(a, b) AS lo, greatest(a, b) AS hi FROM (SELECT min(price), max(price) FROM products) r(a, b)

SELECT d.name, coalesce(json_agg(json_build_object('name', e.name, 'since', e.hired) ORDER BY e.hired) FILTER (WHERE e.id IS NOT NULL), '[]') AS people FROM hr.departments d LEFT JOIN hr.employees e ON e.department_id = d.id GROUP BY d.id

SELECT x.n, y.n FROM generate_series(1, 3) AS x(n) JOIN generate_series(2, 4) AS y(n) ON x.n = y.n

SELECT ranked.name FROM (SELECT name, dense_rank() OVER (PARTITION BY department_id ORDER BY salary DESC) AS r FROM hr.employees) AS ranked WHERE ranked.r = 1

SELECT o.id, o.placed_at, i.n FROM orders o JOIN (SELECT order_id, count(*) AS n FROM order_items GROUP BY order_id) i ON i.order_id = o.id WHERE o.placed_at BETWEEN '2024-02-01' AND '2024-02-29 23:59:59'

-- What object-relational mappers send

SELECT "Order Lines"."Id", "Order Lines"."unitPrice" * 2 AS "lineTotal" FROM "Order Lines" WHERE "Order Lines"."orderId" = 1 ORDER BY "order"

SELECT "customers"."id", "customers"."name" FROM "customers" WHERE ("customers"."country" IN ('DE', 'GB') AND UPPER("customers"."name"::text) LIKE UPPER('%a%')) ORDER BY "customers"."id" ASC LIMIT 21

SELECT COUNT(*) AS "__count" FROM "customers" INNER JOIN "orders" ON ("customers"."id" = "orders"."customer_id") WHERE "orders"."placed_at" BETWEEN '2024-01-01' AND '2024-12-31'

SELECT (1) AS "a" FROM "customers" WHERE "customers"."id" = 1 LIMIT 1

SELECT customers_1.id AS customers_1_id, anon_1.count_1 FROM customers AS customers_1 LEFT OUTER JOIN (SELECT orders.customer_id AS customer_id, count(orders.id) AS count_1 FROM orders GROUP BY orders.customer_id) AS anon_1 ON customers_1.id = anon_1.customer_id

SELECT "public"."orders"."id", "public"."orders"."status"::text FROM "public"."orders" WHERE ("public"."orders"."id" = 1 AND 1=1) LIMIT 1 OFFSET 0

SELECT "j"."id" FROM "public"."customers" AS "j" WHERE ("j"."id") IN (SELECT "t0"."customer_id" FROM "public"."orders" AS "t0" WHERE ("t0"."id" > 5 AND "t0"."customer_id" IS NOT NULL))

select order0_.id as id1_0_, order0_.note as note2_0_ from orders order0_ where order0_.note like 'order%' order by order0_.id asc limit 10

SELECT "products".* FROM "products" WHERE "products"."sku" = 'KB-1' LIMIT 1

SELECT 1 AS one FROM "customers" WHERE "customers"."email" = 'nobody@example.org' LIMIT 1

SELECT DISTINCT "orders"."status" FROM "orders" WHERE NOT ("orders"."note" IS NULL)

SELECT "c".*, ROW_NUMBER() OVER (ORDER BY "c"."id" ASC) AS "__row" FROM "customers" AS "c" OFFSET 1 FETCH NEXT 2 ROWS ONLY

-- Tables with code of their own that a read leaves alone, and values with an order of their own

SELECT id FROM rows_only WHERE side = 3

SELECT id, number FROM releases ORDER BY number

SELECT DISTINCT number FROM releases

SELECT number, count(*) FROM releases GROUP BY number

SELECT greatest(number, (2, 0)::version) AS newest FROM releases WHERE number <<< (1, 5)::version

SELECT id, rank() OVER (PARTITION BY id ORDER BY number) FROM releases

SELECT number FROM releases UNION SELECT (3, 1)::version

SELECT array_agg(id ORDER BY number) FROM releases

-- Names that mean something else than they seem to

WITH orders AS (SELECT id, name AS note FROM customers) SELECT note FROM orders

WITH customers AS (SELECT id, status FROM orders) SELECT c.status FROM customers c JOIN public.customers p ON p.id = c.id

WITH RECURSIVE b AS (SELECT n FROM c), c AS (SELECT id AS n FROM orders) SELECT n FROM b

SELECT o.status FROM orders AS o(status, id, note) WHERE o.status = 1

SELECT count(*) AS status FROM orders GROUP BY status

SELECT id AS status FROM orders ORDER BY status || 'x'

SELECT k.b FROM (orders o JOIN customers c ON c.id = o.customer_id) AS k(a, b) LIMIT 2

SELECT j.id FROM customers JOIN german_customers USING (id, name) AS j

SELECT (SELECT (SELECT o.note)) FROM orders o

SELECT x.x FROM (SELECT note AS x FROM orders) x

SELECT unnest(enum_range('new', NULL::order_status)) AS label
