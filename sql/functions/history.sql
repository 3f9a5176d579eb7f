-- The versions of a key, and which of them were written without seeing each other.

CREATE OR REPLACE FUNCTION rowseal.history(relation regclass, key jsonb, seen bytea[] DEFAULT '{}')
RETURNS TABLE (depth integer, sign bytea, parent bytea, owner_timestamp bigint, deleted boolean, tip boolean,
  gap boolean, "row" jsonb, merged bytea[], writer bytea)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  d rowseal.declarations := rowseal._declaration(history.relation);
BEGIN
  -- UNION, not UNION ALL: a circle of parents cannot be signed, but a text column may hold anything
  RETURN QUERY EXECUTE pg_catalog.format($q$
    WITH RECURSIVE version AS MATERIALIZED (%s), edge AS MATERIALIZED (
      SELECT child.sign, child.owner_timestamp AS at, parent.sign AS parent
        FROM version child JOIN version parent ON parent.sign = child.parent OR parent.sign = ANY (child.merged)
    ), walk AS (
      SELECT 0 AS depth, root.sign, root.owner_timestamp AS at
        FROM version root WHERE NOT EXISTS (SELECT FROM edge WHERE edge.sign = root.sign)
      UNION
      SELECT walk.depth + 1, edge.sign, greatest(walk.at, edge.at) FROM walk JOIN edge ON edge.parent = walk.sign
    ), known AS (
      SELECT s AS sign FROM pg_catalog.unnest($2) s
      UNION
      SELECT edge.parent FROM known JOIN edge ON edge.sign = known.sign
    ), longest AS (
      SELECT walk.sign, pg_catalog.max(walk.depth) AS depth, pg_catalog.max(walk.at) AS at FROM walk GROUP BY walk.sign
    )
    SELECT longest.depth, version.sign, version.parent, version.owner_timestamp, version.deleted,
           NOT EXISTS (SELECT FROM version later WHERE (later.owner_timestamp, later.deleted, later.sign)
                                                     > (version.owner_timestamp, version.deleted, version.sign)),
           EXISTS (SELECT FROM pg_catalog.unnest(version.parent || version.merged) named
                    WHERE named IS NOT NULL AND NOT EXISTS (SELECT FROM version here WHERE here.sign = named)),
           CASE WHEN version.payload LIKE '{%%' THEN version.payload::pg_catalog.jsonb -> 'row' END,
           version.merged, version.writer
      FROM longest JOIN version ON version.sign = longest.sign
     WHERE NOT EXISTS (SELECT FROM known WHERE known.sign = version.sign)
     -- No version comes before its parents: what counts is the highest timestamp on the way to it, which is its own
     -- where clocks are right.
     ORDER BY longest.at, longest.depth, version.owner_timestamp, version.deleted, version.sign $q$,
    d.queries ->> 'versions') USING history.key, history.seen;
END
$$;
COMMENT ON FUNCTION rowseal.history(regclass, jsonb, bytea[]) IS
$$All versions of a key in causal order, oldest first. depth: steps from the first version known, on the longest way;
tip: the current one; gap: a parent is not here; row: its signed fields; merged: further parents (column
merged_sign_b64); writer: the key that signed, NULL for the owner's. seen: leave out these versions and what they rest
on; the heads of the last reading, to go on from there.$$;

CREATE OR REPLACE FUNCTION rowseal.heads(relation regclass, key jsonb)
RETURNS TABLE (sign bytea, parent bytea, owner_timestamp bigint, deleted boolean, tip boolean, "row" jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH h AS MATERIALIZED (SELECT * FROM rowseal.history(relation, key))
  SELECT h.sign, h.parent, h.owner_timestamp, h.deleted, h.tip, h."row" FROM h
   WHERE NOT EXISTS (SELECT FROM h c WHERE c.parent = h.sign OR h.sign = ANY (c.merged))
   ORDER BY h.owner_timestamp DESC, h.deleted DESC, h.sign DESC
$$;
COMMENT ON FUNCTION rowseal.heads(regclass, jsonb) IS
  'The versions of a key that no other version names as a parent; more than one: devices wrote without seeing each '
  'other';

CREATE OR REPLACE FUNCTION rowseal.conflicts(relation regclass)
RETURNS TABLE (key jsonb, heads bytea[]) LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY EXECUTE pg_catalog.format($q$
    WITH version AS MATERIALIZED (SELECT DISTINCT * FROM (%s) x), named AS (
      SELECT v.key, v.parent AS name FROM version v WHERE v.parent IS NOT NULL
      UNION
      SELECT v.key, m FROM version v, pg_catalog.unnest(v.merged) m
    ) SELECT v.key, pg_catalog.array_agg(v.sign ORDER BY v.sign)
        FROM version v LEFT JOIN named n ON n.key = v.key AND n.name = v.name
       WHERE n.name IS NULL GROUP BY v.key HAVING count(*) > 1 $q$,
    (rowseal._declaration(conflicts.relation)).queries ->> 'graph');
END
$$;
COMMENT ON FUNCTION rowseal.conflicts(regclass) IS
  'Keys with more than one head, and their signatures: concurrent versions that no version merges (by naming both, in '
  'parent_sign_b64 and merged_sign_b64). Reads the whole table';
