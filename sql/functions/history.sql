-- The versions of a key, and which of them were written without seeing each other.

CREATE OR REPLACE FUNCTION rowseal._places(at bigint[], children bigint[], parents bigint[])
RETURNS TABLE (version bigint, depth integer, latest bigint) LANGUAGE plpython3u IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
plpy.execute("SELECT rowseal._load()")
return GD["rowseal"]("causal").places(*(numbers or [] for numbers in args))
$$;
COMMENT ON FUNCTION rowseal._places(bigint[], bigint[], bigint[]) IS
  'Where versions stand in causal order, by their numbers from 1: at, their timestamps; children[i] names parents[i]. '
  'In Python: a recursive query would follow every way that leads to a version';

CREATE OR REPLACE FUNCTION rowseal.history(relation regclass, key jsonb, seen bytea[] DEFAULT '{}')
RETURNS TABLE (depth integer, sign bytea, parent bytea, owner_timestamp bigint, deleted boolean, tip boolean,
  gap boolean, "row" jsonb, merged bytea[], writer bytea)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  d rowseal.declarations := rowseal._pinned(history.relation);
BEGIN
  RETURN QUERY EXECUTE pg_catalog.format($q$
    WITH RECURSIVE version AS MATERIALIZED (
      SELECT v.*, pg_catalog.row_number() OVER (ORDER BY v.owner_timestamp DESC, v.deleted DESC, v.sign DESC) AS n
        FROM (%s) v
    ), named AS MATERIALIZED (
      SELECT version.n, p.parent FROM version, pg_catalog.unnest(version.parent || version.merged) p(parent)
       WHERE p.parent IS NOT NULL
    ), edge AS MATERIALIZED (
      SELECT named.n AS child, here.n AS parent FROM named JOIN version here ON here.sign = named.parent
    ), place AS (
      SELECT p.* FROM (SELECT pg_catalog.array_agg(owner_timestamp ORDER BY n) AS at FROM version) v,
                      (SELECT pg_catalog.array_agg(child) AS children, pg_catalog.array_agg(parent) AS parents
                         FROM edge) e,
                      rowseal._places(v.at, e.children, e.parents) p
    ), known AS (
      SELECT version.n FROM version WHERE version.sign = ANY ($2)
      UNION
      SELECT edge.parent FROM known JOIN edge ON edge.child = known.n
    ), gap AS (
      SELECT named.n FROM named WHERE NOT EXISTS (SELECT FROM version here WHERE here.sign = named.parent)
    )
    SELECT place.depth, version.sign, version.parent, version.owner_timestamp, version.deleted, version.n = 1,
           version.n IN (SELECT n FROM gap),
           CASE WHEN version.payload LIKE '{%%' THEN version.payload::pg_catalog.jsonb -> 'row' END,
           version.merged, version.writer
      FROM version JOIN place ON place.version = version.n
     WHERE version.n NOT IN (SELECT n FROM known)
     -- No version comes before its parents: what counts is the highest timestamp on the way to it, which is its own
     -- where clocks are right.
     ORDER BY place.latest, place.depth, version.owner_timestamp, version.deleted, version.sign $q$,
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
  WITH h AS MATERIALIZED (SELECT * FROM rowseal.history(relation, key)), named AS (
    SELECT p.sign FROM h, pg_catalog.unnest(h.parent || h.merged) p(sign)
  )
  SELECT h.sign, h.parent, h.owner_timestamp, h.deleted, h.tip, h."row"
    FROM h WHERE NOT EXISTS (SELECT FROM named WHERE named.sign = h.sign)
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
    (rowseal._pinned(conflicts.relation)).queries ->> 'graph');
END
$$;
COMMENT ON FUNCTION rowseal.conflicts(regclass) IS
  'Keys with more than one head, and their signatures: concurrent versions that no version merges (by naming both, in '
  'parent_sign_b64 and merged_sign_b64). Reads the whole table';
