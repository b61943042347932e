"""The SQL that the gateway itself runs against a PostgreSQL server's catalog. Text only; run by `postgres_catalog`.

Each query gives one value, a text that is JSON where there is more to tell, so that it reads the same with any
codecs. They run with an empty search_path, so that nobody can put a name in front of one of the server's own.
"""
# ruff: noqa: S608 - every part is a constant of this module

from __future__ import annotations

FIRST_USER_OID = 16384
"""Objects below are the server's own: fixed when the cluster was made (`FirstNormalObjectId`)."""

BEGIN_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''"
"""With an empty path every name in a definition comes out qualified."""

# What changes when a relation means something else. Values stand for pg_class, because its rows are also rewritten
# by TRUNCATE and the refresh of a materialized view; elsewhere the inserting transaction does.
RELATION_VERSION = """
    concat_ws('/', c.relnamespace, c.relname, c.relkind,
      (SELECT string_agg(a.attnum || ':' || a.xmin, ',' ORDER BY a.attnum)
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
      (SELECT string_agg(r.oid || ':' || r.xmin, ',' ORDER BY r.oid)
         FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid),
      (SELECT string_agg(t.oid || ':' || t.xmin, ',' ORDER BY t.oid)
         FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
      (SELECT string_agg(d.adnum || ':' || d.xmin, ',' ORDER BY d.adnum)
         FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid),
      c.relrowsecurity,
      (SELECT string_agg(y.oid || ':' || y.xmin, ',' ORDER BY y.oid)
         FROM pg_catalog.pg_policy y WHERE y.polrelid = c.oid),
      (SELECT string_agg(k.oid || ':' || k.xmin, ',' ORDER BY k.oid)
         FROM pg_catalog.pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype = 'c'),
      (SELECT string_agg(k.oid || ':' || k.xmin, ',' ORDER BY t.oid)
         FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_constraint k ON k.oid = t.tgconstraint
        WHERE t.tgrelid = c.oid AND t.tgisinternal AND k.contype = 'f' AND k.confrelid = c.oid),
      (SELECT string_agg(x.indexrelid::text, ',' ORDER BY x.indexrelid)
         FROM pg_catalog.pg_index x
        WHERE x.indrelid = c.oid
          AND (x.indexprs IS NOT NULL OR x.indpred IS NOT NULL OR (x.indisunique OR x.indisexclusion) AND x.indnkeyatts > 1)),
      (SELECT string_agg(e.oid || ':' || e.xmin, ',' ORDER BY e.oid)
         FROM pg_catalog.pg_statistic_ext e WHERE e.stxrelid = c.oid AND e.stxexprs IS NOT NULL),
      (SELECT string_agg(i.inhrelid::text, ',' ORDER BY i.inhrelid)
         FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid),
      (SELECT string_agg(i.inhparent::text, ',' ORDER BY i.inhseqno)
         FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid))
"""
FUNCTION_VERSION = """
    concat_ws('/', p.pronamespace, p.proname, p.xmin,
      (SELECT g.xmin::text FROM pg_catalog.pg_aggregate g WHERE p.prokind = 'a' AND g.aggfnoid = p.oid::regproc))
"""
KEY_COLUMNS = """(SELECT jsonb_agg((SELECT a.attname FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = k.{relation} AND a.attnum = n.number) ORDER BY n.place)
             FROM pg_catalog.unnest(k.{numbers}) WITH ORDINALITY n(number, place))"""
BEFORE_OR_INSTEAD = 2 | 64
"""Of a trigger, in `pg_trigger.tgtype`."""
TRIGGER_EVENTS = "(4, 'insert'), (8, 'delete'), (16, 'update')"
"""Likewise."""
ON_DELETE = 8
"""Of a trigger, in `pg_trigger.tgtype`. Every foreign key has one of these at the relation that it refers to."""
RELATION_KINDS = "'r', 'p', 'v', 'm', 'f', 'S', 'c', 't'"

SERVER = "SELECT current_setting('server_version_num')"

RELATIONS = f"""
SELECT coalesce(json_agg(x ORDER BY oid), '[]')::text FROM (
  SELECT c.oid::int8 AS oid, n.nspname AS schema, c.relname AS name, c.relkind AS kind,
    CASE WHEN c.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(c.oid) END AS definition,
    (SELECT json_agg(pn.nspname || '.' || pc.relname ORDER BY i.inhseqno)
       FROM pg_catalog.pg_inherits i
       JOIN pg_catalog.pg_class pc ON pc.oid = i.inhparent
       JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
      WHERE i.inhrelid = c.oid) AS parents,
    EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
      OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN')
      AS has_triggers,
    (SELECT json_agg(DISTINCT v.event)
       FROM pg_catalog.pg_trigger t JOIN (VALUES {TRIGGER_EVENTS}) v(bit, event) ON t.tgtype & v.bit > 0
      WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & {BEFORE_OR_INSTEAD} > 0) AS reshaped_on,
    (SELECT json_agg(json_build_array(r.ev_type, pg_catalog.pg_get_ruledef(r.oid)) ORDER BY r.rulename)
       FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN') AS rules,
    CASE WHEN c.relrowsecurity THEN
      (SELECT json_agg(pg_catalog.pg_get_expr(v.said, y.polrelid) ORDER BY y.oid)
         FROM pg_catalog.pg_policy y CROSS JOIN LATERAL (VALUES (y.polqual), (y.polwithcheck)) v(said)
        WHERE y.polrelid = c.oid AND v.said IS NOT NULL) END AS policies,
    CASE WHEN c.oid >= {FIRST_USER_OID} THEN (SELECT json_agg(pg_catalog.pg_get_expr(coalesce(d.adbin, t.typdefaultbin), a.attrelid) ORDER BY a.attnum)
       FROM pg_catalog.pg_attribute a
       JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
       LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        AND coalesce(d.adbin, t.typdefaultbin) IS NOT NULL) END AS defaults,
    CASE WHEN c.oid >= {FIRST_USER_OID} THEN (SELECT json_agg(said) FROM (
       SELECT pg_catalog.pg_get_expr(k.conbin, k.conrelid) FROM pg_catalog.pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype = 'c'
       UNION ALL
       SELECT pg_catalog.pg_get_expr(v.said, x.indrelid)
         FROM pg_catalog.pg_index x CROSS JOIN LATERAL (VALUES (x.indexprs), (x.indpred)) v(said)
        WHERE x.indrelid = c.oid AND v.said IS NOT NULL
       UNION ALL
       SELECT pg_catalog.pg_get_expr(q.partexprs, q.partrelid) FROM pg_catalog.pg_partitioned_table q
        WHERE q.partrelid = c.oid AND q.partexprs IS NOT NULL) code(said)) END AS checks,
    CASE WHEN c.oid >= {FIRST_USER_OID} THEN (SELECT json_agg(v.said)
       FROM pg_catalog.pg_statistic_ext e
       CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_get_statisticsobjdef_expressions(e.oid)) v(said)
      WHERE e.stxrelid = c.oid) END AS measured,
    CASE WHEN c.oid >= {FIRST_USER_OID} THEN (SELECT json_agg(concat_ws(', ',
         (SELECT string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
           WHERE a.attrelid = x.indrelid AND a.attnum > 0 AND a.attnum = ANY ((x.indkey::int2[])[0:x.indnkeyatts - 1])),
         pg_catalog.pg_get_expr(x.indexprs, x.indrelid), pg_catalog.pg_get_expr(x.indpred, x.indrelid)) ORDER BY x.indexrelid)
       FROM pg_catalog.pg_index x
      WHERE x.indrelid = c.oid AND (x.indisunique OR x.indisexclusion)
        AND (x.indnkeyatts > 1 OR x.indpred IS NOT NULL)) END AS unique_by,
    CASE WHEN c.relkind = 'p' THEN (SELECT json_agg(key.said)
       FROM pg_catalog.pg_partitioned_table q CROSS JOIN LATERAL (
         SELECT pg_catalog.quote_ident(a.attname) FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = q.partrelid AND a.attnum = ANY (q.partattrs::int2[]) AND a.attnum > 0
         UNION ALL
         SELECT pg_catalog.pg_get_expr(q.partexprs, q.partrelid) WHERE q.partexprs IS NOT NULL) key(said)
      WHERE q.partrelid = c.oid) END AS partitioned_by,
    CASE WHEN c.oid >= {FIRST_USER_OID} THEN (SELECT json_agg(DISTINCT jsonb_build_array(kn.nspname || '.' || kc.relname,
           {KEY_COLUMNS.format(relation="conrelid", numbers="conkey")},
           {KEY_COLUMNS.format(relation="confrelid", numbers="confkey")}, k.confdeltype, k.confupdtype))
       FROM pg_catalog.pg_trigger t
       JOIN pg_catalog.pg_constraint k ON k.oid = t.tgconstraint
       JOIN pg_catalog.pg_class kc ON kc.oid = k.conrelid
       JOIN pg_catalog.pg_namespace kn ON kn.oid = kc.relnamespace
      WHERE t.tgrelid = c.oid AND t.tgisinternal AND t.tgtype & {ON_DELETE} > 0
        AND k.confrelid = c.oid AND k.contype = 'f') END AS dependents,
    CASE WHEN c.oid >= {FIRST_USER_OID} THEN {RELATION_VERSION} END AS version,
    (SELECT json_agg(json_build_array(a.attnum, a.attname, a.atttypid::int8, a.attnotnull,
              CASE WHEN a.attgenerated <> '' THEN
                (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid)
                   FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END)
              ORDER BY a.attnum)
       FROM pg_catalog.pg_attribute a
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ({RELATION_KINDS}) AND c.relpersistence <> 't'
) x
"""

FUNCTIONS = f"""
SELECT coalesce(json_agg(x ORDER BY oid), '[]')::text FROM (
  SELECT p.oid::int8 AS oid, n.nspname AS schema, p.proname AS name, p.prokind AS kind, l.lanname AS language,
    p.provolatile AS volatility, p.proretset AS returns_set, p.prosecdef AS security_definer,
    (SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
      WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
        AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e' LIMIT 1) AS extension,
    p.prorettype::int8 AS result_type, p.pronargs AS inputs, p.proargnames AS names, p.proargmodes AS modes,
    coalesce(p.proallargtypes, p.proargtypes::oid[])::int8[] AS types,
    CASE WHEN l.lanname = 'sql' AND p.prokind <> 'a'
         THEN coalesce(pg_catalog.pg_get_function_sqlbody(p.oid),
                       CASE WHEN p.proconfig IS NULL THEN p.prosrc END) END AS body,
    coalesce(pg_catalog.pg_get_expr(p.proargdefaults, 0), '') AS defaults,
    (SELECT json_agg(fn.nspname || '.' || f.proname)
       FROM pg_catalog.pg_aggregate g
       CROSS JOIN LATERAL (VALUES (g.aggtransfn), (g.aggfinalfn), (g.aggcombinefn), (g.aggserialfn),
         (g.aggdeserialfn), (g.aggmtransfn), (g.aggminvtransfn), (g.aggmfinalfn)) v(used)
       JOIN pg_catalog.pg_proc f ON f.oid = v.used
       JOIN pg_catalog.pg_namespace fn ON fn.oid = f.pronamespace
      WHERE g.aggfnoid = p.oid) AS transitions,
    CASE WHEN p.oid >= {FIRST_USER_OID} THEN {FUNCTION_VERSION} END AS version
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
) x
"""

OPERATORS = f"""
SELECT coalesce(json_agg(json_build_array(o.oprname, n.nspname || '.' || p.proname) ORDER BY o.oid, used.place), '[]')::text
FROM pg_catalog.pg_operator o
CROSS JOIN LATERAL (VALUES (1, o.oid), (2, o.oprnegate), (3, o.oprcom)) AS used (place, oid)
JOIN pg_catalog.pg_operator u ON u.oid = used.oid AND (used.place = 1 OR u.oprcode <> 0)
LEFT JOIN pg_catalog.pg_proc p ON p.oid = u.oprcode
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE o.oid >= {FIRST_USER_OID}
"""
"""To the planner `NOT (a === b)` is the negator of `===`, and what stands the other way round its commutator."""

CASTS = f"""
SELECT coalesce(json_agg(json_build_array(k.casttarget::int8, n.nspname || '.' || p.proname,
    k.castcontext <> 'e' OR k.casttarget = 'pg_catalog.json'::regtype, k.castsource::int8) ORDER BY k.oid), '[]')::text
FROM pg_catalog.pg_cast k
JOIN pg_catalog.pg_proc p ON p.oid = k.castfunc
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE k.oid >= {FIRST_USER_OID}
"""

COMPARING = f"""
SELECT coalesce(json_agg(DISTINCT jsonb_build_array(n.nspname || '.' || p.proname, v.compared::int8)), '[]')::text
FROM (
  SELECT s.amproc::oid, s.amprocfamily, s.amproclefttype, s.amprocrighttype
    FROM pg_catalog.pg_amproc s WHERE s.oid >= {FIRST_USER_OID}
  UNION ALL
  SELECT o.oprcode::oid, m.amopfamily, m.amoplefttype, m.amoprighttype FROM pg_catalog.pg_amop m
  JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr WHERE m.oid >= {FIRST_USER_OID}
) used (oid, family, one, other)
CROSS JOIN LATERAL (VALUES (used.one), (used.other)) v(compared)
JOIN pg_catalog.pg_opfamily f ON f.oid = used.family
JOIN pg_catalog.pg_am a ON a.oid = f.opfmethod
JOIN pg_catalog.pg_proc p ON p.oid = used.oid
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.oid >= {FIRST_USER_OID} AND a.amname IN ('btree', 'hash')
"""
"""Indexes of other methods are searched by operators that a statement names, and all that they call is in C."""

TYPES = """
SELECT json_agg(json_build_array(t.oid::int8, n.nspname, t.typname, t.typtype, t.typbasetype::int8,
    CASE WHEN t.typcategory = 'A' AND t.typlen = -1 THEN t.typelem::int8 ELSE 0 END,
    CASE WHEN t.typtype = 'd' THEN (SELECT json_agg(pg_catalog.pg_get_expr(k.conbin, 0) ORDER BY k.oid)
      FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c') END,
    coalesce(g.rngsubtype, m.rngtypid, 0)::int8,
    (SELECT json_agg(fn.nspname || '.' || f.proname ORDER BY f.oid)
       FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_namespace fn ON fn.oid = f.pronamespace
      WHERE f.oid IN (g.rngcanonical, g.rngsubdiff))) ORDER BY t.oid)::text
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_range g ON g.rngtypid = t.oid
LEFT JOIN pg_catalog.pg_range m ON m.rngmultitypid = t.oid
"""

STAMP = f"""
WITH relation AS (
  SELECT c.oid, c.relnamespace, c.relname, c.relkind, c.relrowsecurity FROM pg_catalog.pg_class c
  WHERE c.oid >= {FIRST_USER_OID} AND c.relkind IN ({RELATION_KINDS}) AND c.relpersistence <> 't'
), part(kind, hash) AS (
  SELECT 'c', hash_record_extended((oid, relnamespace, relname, relkind, relrowsecurity), 0) FROM relation
  UNION ALL SELECT 'a', hash_record_extended((a.attrelid, a.attnum, a.xmin), 0)
    FROM pg_catalog.pg_attribute a JOIN relation ON relation.oid = a.attrelid WHERE a.attnum > 0
  UNION ALL SELECT 'r', hash_record_extended((oid, xmin), 0) FROM pg_catalog.pg_rewrite WHERE oid >= {FIRST_USER_OID}
  UNION ALL SELECT 't', hash_record_extended((oid, xmin), 0) FROM pg_catalog.pg_trigger WHERE NOT tgisinternal
  UNION ALL SELECT 'd', hash_record_extended((d.oid, d.xmin), 0)
    FROM pg_catalog.pg_attrdef d JOIN relation ON relation.oid = d.adrelid
  UNION ALL SELECT 'i', hash_record_extended((inhrelid, inhparent), 0) FROM pg_catalog.pg_inherits
  UNION ALL SELECT 'p', hash_record_extended((oid, xmin), 0) FROM pg_catalog.pg_proc WHERE oid >= {FIRST_USER_OID}
  UNION ALL SELECT 'g', hash_record_extended((aggfnoid::oid, xmin), 0) FROM pg_catalog.pg_aggregate
    WHERE aggfnoid::oid >= {FIRST_USER_OID}
  UNION ALL SELECT 'o', hash_record_extended((oid, xmin), 0) FROM pg_catalog.pg_operator WHERE oid >= {FIRST_USER_OID}
  UNION ALL SELECT 'b', hash_record_extended((oid, xmin), 0) FROM pg_catalog.pg_amop WHERE oid >= {FIRST_USER_OID}
  UNION ALL SELECT 'h', hash_record_extended((oid, xmin), 0) FROM pg_catalog.pg_amproc WHERE oid >= {FIRST_USER_OID}
  UNION ALL SELECT 'e', hash_record_extended((oid, xmin), 0) FROM pg_catalog.pg_statistic_ext WHERE stxexprs IS NOT NULL
  UNION ALL SELECT 'k', hash_record_extended((oid, xmin), 0) FROM pg_catalog.pg_cast WHERE oid >= {FIRST_USER_OID}
  UNION ALL SELECT 'y', hash_record_extended((oid, xmin), 0) FROM pg_catalog.pg_type
    WHERE typtype IN ('d', 'r', 'm') AND oid >= {FIRST_USER_OID}
  UNION ALL SELECT 'x', hash_record_extended((oid, xmin), 0) FROM pg_catalog.pg_constraint
    WHERE contypid > 0 OR (contype IN ('c', 'f') AND oid >= {FIRST_USER_OID})
  UNION ALL SELECT 'l', hash_record_extended((oid, xmin), 0) FROM pg_catalog.pg_policy
  UNION ALL SELECT 'j', hash_record_extended((indexrelid, indrelid), 0) FROM pg_catalog.pg_index
    WHERE indexrelid >= {FIRST_USER_OID} AND (indexprs IS NOT NULL OR indpred IS NOT NULL)
  UNION ALL SELECT 'n', hash_record_extended((oid, nspname), 0) FROM pg_catalog.pg_namespace
    WHERE nspname !~ '^pg_(toast_)?temp_'
)
SELECT string_agg(kind || n || ':' || h, ' ' ORDER BY kind) FROM (
  SELECT kind, count(*) AS n, sum(hash) AS h FROM part GROUP BY kind) counted
"""


def _named(relation: str, column: str, parameter: str) -> str:
    """The objects of these names in any schema, name by name through the index: every call asks this.

    Of a whole array the planner expects so many that it would read all of the catalog instead.
    """
    return f"""
      SELECT named.oid FROM unnest({parameter}::text::name[]) AS wanted (name),
        LATERAL (SELECT oid FROM pg_catalog.{relation} WHERE {column} = wanted.name OFFSET 0) AS named"""


VERSIONS = f"""
SELECT coalesce(json_agg(json_build_array(kind, oid::int8, version)), '[]')::text FROM (
  SELECT 'r' AS kind, c.oid, {RELATION_VERSION} AS version FROM pg_catalog.pg_class c
  WHERE c.oid = ANY (ARRAY({_named("pg_class", "relname", "$1")}) || $2::text::oid[])
    AND c.oid >= {FIRST_USER_OID} AND c.relkind IN ({RELATION_KINDS}) AND c.relpersistence <> 't'
  UNION ALL
  SELECT 'f', p.oid, {FUNCTION_VERSION} FROM pg_catalog.pg_proc p
  WHERE p.oid = ANY (ARRAY({_named("pg_proc", "proname", "$3")}) || $4::text::oid[])
    AND p.oid >= {FIRST_USER_OID}
) found
"""

ABSENT = """
WITH asked AS (
  SELECT number, said ->> 0 AS kind, said ->> 1 AS schema, (said ->> 2)::name AS name
  FROM json_array_elements($1::text::json) WITH ORDINALITY AS one (said, number)
), place AS (
  SELECT asked.number, n.oid FROM asked JOIN pg_catalog.pg_namespace n
    ON n.nspname = ANY (CASE asked.schema WHEN '' THEN $2::text::name[] ELSE ARRAY[asked.schema::name] END)
)
SELECT coalesce(json_agg(number - 1 ORDER BY number), '[]')::text FROM asked
WHERE NOT EXISTS (SELECT FROM place WHERE place.number = asked.number
    AND NOT pg_catalog.has_schema_privilege(place.oid, 'USAGE'))
  AND CASE
    WHEN kind = 'relation' THEN NOT EXISTS (SELECT FROM place JOIN pg_catalog.pg_class c ON c.relnamespace = place.oid
      WHERE place.number = asked.number AND c.relname = asked.name)
    WHEN kind IN ('function', 'applied') THEN
      NOT EXISTS (SELECT FROM place JOIN pg_catalog.pg_proc p ON p.pronamespace = place.oid
        WHERE place.number = asked.number AND p.proname = asked.name)
      AND NOT EXISTS (SELECT FROM place JOIN pg_catalog.pg_type t ON t.typnamespace = place.oid
        WHERE place.number = asked.number AND t.typname = asked.name)
    ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_proc WHERE proname = asked.name)
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_type WHERE typname = asked.name)
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_get_keywords() WHERE word = asked.name::text)
    END
  AND (kind IN ('relation', 'function') OR NOT EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attname = asked.name)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc WHERE asked.name::text = ANY (proargnames)))
"""
"""Which of the names in $1, by their place there, nothing has. A name in a schema that the role may not use is none of them:
that would tell what is in it."""

DEPENDENCIES = f"""
SELECT coalesce(json_agg(DISTINCT jsonb_build_array(
    CASE WHEN d.classid = 'pg_catalog.pg_proc'::regclass THEN 'f' ELSE 'r' END,
    coalesce(w.ev_class, f.adrelid, k.conrelid, y.polrelid, g.tgrelid, x.indrelid, e.stxrelid, d.objid)::int8,
    CASE WHEN d.refclassid = 'pg_catalog.pg_class'::regclass THEN 'r' ELSE 'f' END, d.refobjid::int8)), '[]')::text
FROM pg_catalog.pg_depend d
LEFT JOIN pg_catalog.pg_rewrite w ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND w.oid = d.objid
LEFT JOIN pg_catalog.pg_attrdef f ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND f.oid = d.objid
LEFT JOIN pg_catalog.pg_constraint k ON d.classid = 'pg_catalog.pg_constraint'::regclass AND k.oid = d.objid
LEFT JOIN pg_catalog.pg_policy y ON d.classid = 'pg_catalog.pg_policy'::regclass AND y.oid = d.objid
LEFT JOIN pg_catalog.pg_trigger g ON d.classid = 'pg_catalog.pg_trigger'::regclass AND g.oid = d.objid
LEFT JOIN pg_catalog.pg_index x ON d.classid = 'pg_catalog.pg_class'::regclass AND x.indexrelid = d.objid
LEFT JOIN pg_catalog.pg_statistic_ext e ON d.classid = 'pg_catalog.pg_statistic_ext'::regclass AND e.oid = d.objid
LEFT JOIN pg_catalog.pg_partitioned_table q ON d.classid = 'pg_catalog.pg_class'::regclass AND q.partrelid = d.objid
WHERE (d.classid IN ('pg_catalog.pg_rewrite'::regclass, 'pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_attrdef'::regclass,
    'pg_catalog.pg_policy'::regclass, 'pg_catalog.pg_trigger'::regclass) OR (k.contype = 'c' AND k.conrelid <> 0)
    OR (d.refclassid = 'pg_catalog.pg_proc'::regclass AND coalesce(x.indexrelid, e.oid, q.partrelid) IS NOT NULL))
  AND d.refclassid IN ('pg_catalog.pg_class'::regclass, 'pg_catalog.pg_proc'::regclass)
  AND d.objid >= {FIRST_USER_OID} AND d.refobjid >= {FIRST_USER_OID}
"""

TYPE_COLUMNS = """
  t.oid::int8, pg_catalog.format_type(t.oid, NULL), t.typtype,
  CASE WHEN t.typcategory = 'A' AND t.typlen = -1 AND t.oid NOT IN (22, 30) THEN t.typelem::int8 ELSE 0 END,
  t.typdelim, t.typbasetype::int8,
  CASE WHEN t.typtype = 'c' THEN
    (SELECT json_agg(json_build_array(a.attname, a.atttypid::int8) ORDER BY a.attnum)
       FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) END
"""
"""int2vector and oidvector call themselves arrays and are written otherwise."""

BUILTIN_TYPES = f"""
SELECT json_agg(json_build_array({TYPE_COLUMNS}))::text FROM pg_catalog.pg_type t
WHERE t.oid < {FIRST_USER_OID} AND t.typtype <> 'c' AND t.typelem NOT IN (
  SELECT c.oid FROM pg_catalog.pg_type c WHERE c.typtype = 'c')
"""

TYPES_BEHIND = f"""
WITH RECURSIVE wanted(oid) AS (
  SELECT unnest($1::text::oid[])
  UNION
  SELECT behind.oid FROM wanted JOIN pg_catalog.pg_type t ON t.oid = wanted.oid
  CROSS JOIN LATERAL (
    SELECT t.typelem UNION ALL SELECT t.typbasetype UNION ALL
    SELECT a.atttypid FROM pg_catalog.pg_attribute a
    WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
  ) behind(oid)
  WHERE behind.oid <> 0
)
SELECT coalesce(json_agg(json_build_array({TYPE_COLUMNS})), '[]')::text
FROM wanted JOIN pg_catalog.pg_type t ON t.oid = wanted.oid
"""

OWN_PATH = "SELECT to_json(pg_catalog.current_schemas(false))::text"

GIVEN_SETTINGS = (
    "SELECT coalesce(pg_catalog.json_object_agg(name, setting), '{}'::pg_catalog.json)::pg_catalog.text "
    "FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'client'"
)
"""The settings that a session has from whoever opened it."""

RIGHTS = """
SELECT json_build_object(
  'version', current_setting('server_version'),
  'number', current_setting('server_version_num')::int,
  'tls', coalesce((SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()), false),
  'attributes', (SELECT json_build_object('SUPERUSER', rolsuper, 'CREATEROLE', rolcreaterole, 'CREATEDB', rolcreatedb,
     'REPLICATION', rolreplication, 'BYPASSRLS', rolbypassrls) FROM pg_catalog.pg_roles WHERE rolname = current_user),
  'roles', (SELECT coalesce(json_agg(rolname ORDER BY rolname), '[]') FROM pg_catalog.pg_roles
     WHERE rolname IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files',
       'pg_read_all_data', 'pg_write_all_data', 'pg_signal_backend', 'pg_checkpoint', 'pg_maintain',
       'pg_create_subscription')
     AND pg_catalog.pg_has_role(current_user, oid, 'MEMBER')),
  'writable', (SELECT json_build_array(count(*), min(c.oid::regclass::text)) FROM pg_catalog.pg_class c
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
       AND n.nspname !~ '^pg_(toast|temp)'
       AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
       AND pg_catalog.has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')),
  'creates', (SELECT coalesce(json_agg(n.nspname ORDER BY n.nspname), '[]') FROM pg_catalog.pg_namespace n
     WHERE n.nspname !~ '^pg_' AND pg_catalog.has_schema_privilege(n.oid, 'CREATE')))::text
"""
