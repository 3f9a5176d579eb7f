-- The versions of a key, and which of them were written without seeing each other.

CREATE OR REPLACE FUNCTION rowseal.history(relation regclass, key jsonb, seen bytea[] DEFAULT '{}')
RETURNS TABLE (depth integer, sign bytea, parent bytea, owner_timestamp bigint, deleted boolean, tip boolean, gap boolean, "row" jsonb,
  merged bytea[], writer bytea)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  d rowseal.declarations := rowseal._declaration(history.relation);
BEGIN
  -- UNION, not UNION ALL: a circle of parents cannot be signed, but a text column may hold anything
  RETURN QUERY EXECUTE pg_catalog.format($q$
    WITH RECURSIVE v AS MATERIALIZED (%s), e AS MATERIALIZED (
      SELECT v.sign, v.owner_timestamp AS at, p.sign AS parent FROM v JOIN v p ON p.sign = v.parent OR p.sign = ANY (v.merged)
    ), walk AS (
      SELECT 0 AS depth, v.sign, v.owner_timestamp AS at FROM v WHERE NOT EXISTS (SELECT FROM e WHERE e.sign = v.sign)
      UNION
      SELECT w.depth + 1, e.sign, greatest(w.at, e.at) FROM walk w JOIN e ON e.parent = w.sign
    ), known AS (
      SELECT s FROM pg_catalog.unnest($2) s
      UNION
      SELECT e.parent FROM known k JOIN e ON e.sign = k.s
    )
    -- no version before its parents: by the highest timestamp on the way to it, which is its own where clocks are right
    SELECT w.depth, v.sign, v.parent, v.owner_timestamp, v.deleted,
           NOT EXISTS (SELECT FROM v o WHERE (o.owner_timestamp, o.deleted, o.sign) > (v.owner_timestamp, v.deleted, v.sign)),
           EXISTS (SELECT FROM pg_catalog.unnest(v.parent || v.merged) n WHERE n IS NOT NULL AND NOT EXISTS (SELECT FROM v p WHERE p.sign = n)),
           CASE WHEN v.payload LIKE '{%%' THEN v.payload::pg_catalog.jsonb -> 'row' END, v.merged, v.writer
      FROM (SELECT x.sign, pg_catalog.max(x.depth) AS depth, pg_catalog.max(x.at) AS at FROM walk x GROUP BY x.sign) w JOIN v ON v.sign = w.sign
     WHERE NOT EXISTS (SELECT FROM known k WHERE k.s = v.sign)
     ORDER BY w.at, w.depth, v.owner_timestamp, v.deleted, v.sign $q$, d.queries ->> 'versions') USING history.key, history.seen;
END
$$;
COMMENT ON FUNCTION rowseal.history(regclass, jsonb, bytea[]) IS
$$All versions of a key in causal order, oldest first. depth: steps from the first version known, on the longest way; tip: the current one; gap: a
parent is not here; row: its signed fields; merged: further parents (column merged_sign_b64); writer: the key that signed, NULL for the owner's.
seen: leave out these versions and what they rest on; the heads of the last reading, to go on from there.$$;

CREATE OR REPLACE FUNCTION rowseal.heads(relation regclass, key jsonb)
RETURNS TABLE (sign bytea, parent bytea, owner_timestamp bigint, deleted boolean, tip boolean, "row" jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH h AS MATERIALIZED (SELECT * FROM rowseal.history(relation, key))
  SELECT h.sign, h.parent, h.owner_timestamp, h.deleted, h.tip, h."row" FROM h
   WHERE NOT EXISTS (SELECT FROM h c WHERE c.parent = h.sign OR h.sign = ANY (c.merged))
   ORDER BY h.owner_timestamp DESC, h.deleted DESC, h.sign DESC
$$;
COMMENT ON FUNCTION rowseal.heads(regclass, jsonb) IS
  'The versions of a key that no other version names as a parent; more than one: devices wrote without seeing each other';

CREATE OR REPLACE FUNCTION rowseal.conflicts(relation regclass) RETURNS TABLE (key jsonb, heads bytea[]) LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY EXECUTE pg_catalog.format($q$
    WITH g AS MATERIALIZED (SELECT DISTINCT * FROM (%s) x), named AS (
      SELECT g.key, g.parent AS sign FROM g WHERE g.parent IS NOT NULL
      UNION
      SELECT g.key, m FROM g, pg_catalog.unnest(g.merged) m
    ) SELECT g.key, pg_catalog.array_agg(g.sign ORDER BY g.sign) FROM g LEFT JOIN named n ON n.key = g.key AND n.sign = g.name
       WHERE n.sign IS NULL GROUP BY g.key HAVING count(*) > 1 $q$, (rowseal._declaration(conflicts.relation)).queries ->> 'graph');
END
$$;
COMMENT ON FUNCTION rowseal.conflicts(regclass) IS
  'Keys with more than one head, and their signatures: concurrent versions that no version merges (by naming both, in parent_sign_b64 and merged_sign_b64). Reads the whole table';
