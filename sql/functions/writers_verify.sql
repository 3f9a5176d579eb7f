-- verify trusts nothing that is derived: grants, walks, licences and the ledger are made anew from signed rows, and
-- compared with what is kept.  Guards believe what is kept, and a superuser or an edited dump can put anything there.

CREATE OR REPLACE FUNCTION rowseal._grant_hash(g rowseal._grants) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp SET bytea_output = hex AS $$
  SELECT pg_catalog.sha256(pg_catalog.convert_to((
           (pg_catalog.to_jsonb(g) - '{id,authority}'::text[]) || pg_catalog.jsonb_build_object(
             'tombstones', coalesce(g.tombstones, false), 'may_grant', coalesce(g.may_grant, 0)))::text, 'UTF8'))
$$;
COMMENT ON FUNCTION rowseal._grant_hash(rowseal._grants) IS 'A hash of what a row of a grants table says';

-- SECURITY DEFINER, owner rowseal_internal: what is kept is for whoever may read the grants table.
CREATE OR REPLACE FUNCTION rowseal._kept_grants(grants integer) RETURNS TABLE (owner text, hash bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  PERFORM rowseal._may_read(grants);
  RETURN QUERY SELECT a.owner, rowseal._grant_hash(g)
                 FROM rowseal._authority a JOIN rowseal._grants g ON g.authority = a.id WHERE a.grants = grants;
END
$$;
COMMENT ON FUNCTION rowseal._kept_grants(integer) IS 'What is kept of the rows of a grants table';

-- SECURITY DEFINER, owner rowseal_internal: as _kept_grants.
CREATE OR REPLACE FUNCTION rowseal._kept_ledger(grants integer)
RETURNS TABLE (owner text, writer bytea, seq bigint, prev bytea, link bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  PERFORM rowseal._may_read(grants);
  RETURN QUERY SELECT a.owner, r.writer, r.seq, r.prev, r.link
                 FROM rowseal._authority a JOIN rowseal._writer_rows r ON r.authority = a.id
                WHERE a.grants = grants AND r.held IS NULL;
END
$$;
COMMENT ON FUNCTION rowseal._kept_ledger(integer) IS 'What the ledger says of rows that are in their tables';

CREATE OR REPLACE FUNCTION rowseal._may_read(grants integer) RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  grants_table regclass := (SELECT d.relation FROM rowseal.declarations d WHERE d.id = grants);
BEGIN
  PERFORM rowseal._in_person();
  IF NOT rowseal._reads_all(grants_table) THEN
    RAISE insufficient_privilege USING
      MESSAGE = pg_catalog.format('no right to read what follows from %s', grants_table),
      HINT = pg_catalog.format('GRANT SELECT ON %s TO %I;', grants_table, session_user);
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._may_read(integer) IS
  'Whether the session''s user may read the whole grants table; else 42501';

CREATE OR REPLACE FUNCTION rowseal._walk_differs(g rowseal._grants) RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN EXISTS (
    WITH RECURSIVE down(seq, link, prev) AS (
      SELECT r.seq, r.link, r.prev FROM rowseal._writer_rows r
       WHERE r.authority = g.authority AND r.writer = g.grantee AND r.link = ANY (g.upto)
      UNION
      SELECT r.seq, r.link, r.prev FROM down d, rowseal._before(g.authority, g.grantee, d.seq, d.prev) r
    ), wanted(seq, link) AS (
      SELECT NULL::bigint, l FROM pg_catalog.unnest(g.upto) l WHERE NOT EXISTS (SELECT FROM down d WHERE d.link = l)
      UNION
      SELECT d.seq - 1, d.prev FROM down d
       WHERE d.seq > 1 AND NOT EXISTS (SELECT FROM down p WHERE p.seq = d.seq - 1 AND p.link = d.prev)
    ), should AS (
      SELECT 0::bigint AS seq, link, true AS here FROM down UNION SELECT seq, link, false FROM wanted
    ), have AS (
      SELECT 0::bigint AS seq, s.link, true AS here FROM rowseal._stands s WHERE s.revocation = g.id
      UNION SELECT w.seq, w.link, false FROM rowseal._wanted w
             WHERE w.revocation = g.id AND w.authority = g.authority AND w.writer = g.grantee
    )
    (SELECT * FROM should EXCEPT SELECT * FROM have) UNION ALL (SELECT * FROM have EXCEPT SELECT * FROM should));
END
$$;
COMMENT ON FUNCTION rowseal._walk_differs(rowseal._grants) IS
  'Whether the walk of a revocation is kept otherwise than it follows from the ledger';

-- SECURITY DEFINER, owner rowseal_internal: as _kept_grants.
CREATE OR REPLACE FUNCTION rowseal._inconsistent(grants integer) RETURNS TABLE (owner text, problem text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  PERFORM rowseal._may_read(grants);
  RETURN QUERY
    SELECT a.owner, 'licences do not follow from the grants' FROM rowseal._authority a
     WHERE a.grants = grants AND EXISTS (
       WITH should AS MATERIALIZED (SELECT * FROM rowseal._derived(a.id)),
            have AS (SELECT * FROM rowseal._licences l WHERE l.authority = a.id)
       (SELECT * FROM should EXCEPT SELECT * FROM have) UNION ALL (SELECT * FROM have EXCEPT SELECT * FROM should))
    UNION ALL
    SELECT a.owner, 'the walk of a revocation does not follow from the rows'
      FROM rowseal._authority a JOIN rowseal._grants g ON g.authority = a.id
     WHERE a.grants = grants AND g.upto IS NOT NULL AND rowseal._walk_differs(g)
    UNION ALL
    SELECT a.owner, 'a revocation is kept as if there were none' FROM rowseal._authority a
     WHERE a.grants = grants AND NOT a.revocations
       AND EXISTS (SELECT FROM rowseal._grants g WHERE g.authority = a.id AND g.upto IS NOT NULL)
    UNION ALL
    SELECT a.owner, 'the ledger has a held row that nobody signed'
      FROM rowseal._authority a JOIN rowseal._writer_rows r ON r.authority = a.id AND r.held IS NOT NULL
      LEFT JOIN rowseal.quarantine q ON q.id = r.held
      LEFT JOIN rowseal.declarations d ON d.tag = q.tag AND d.queries <> '{}'
                                      AND rowseal._grants_id(d.grants, d.id, d.writers) = grants
      LEFT JOIN LATERAL rowseal._offered(d, q.format, q.row) o ON d.id IS NOT NULL
     WHERE a.grants = grants AND CASE
       WHEN r.held = 0 THEN rowseal.link(r.seq, r.prev, r.sign) IS DISTINCT FROM r.link
       WHEN d.id IS NULL  -- who signed it nobody can tell before its table is declared again
       THEN rowseal.link(r.seq, r.prev, rowseal._unbase64(q.row ->> 'sign_b64')) IS DISTINCT FROM r.link
       ELSE ROW(o.owner, o.writer, o.seq, o.prev, o.link)
            IS DISTINCT FROM ROW(a.owner, r.writer, r.seq, r.prev, r.link) END
    UNION ALL
    SELECT o.owner, 'a held row is not in the ledger'
      FROM (SELECT d, q FROM rowseal.declarations d
              -- what is for nobody yet is in no ledger: see _disown
              JOIN rowseal.quarantine q ON q.tag = d.tag AND q.link IS NOT NULL AND q.sqlstate <> 'RS007'
             WHERE d.queries <> '{}' AND rowseal._grants_id(d.grants, d.id, d.writers) = grants
               -- first what costs little: most are named there
               AND NOT EXISTS (SELECT FROM rowseal._writer_rows r JOIN rowseal._authority a ON a.id = r.authority
                                WHERE r.held = q.id AND a.grants = grants) OFFSET 0) e
      CROSS JOIN LATERAL rowseal._offered(e.d, (e.q).format, (e.q).row) o
     WHERE o.writer IS NOT NULL AND NOT EXISTS (
             SELECT FROM rowseal._authority a JOIN rowseal._writer_rows r ON r.authority = a.id
              WHERE a.grants = grants AND a.owner = o.owner AND r.writer = o.writer AND r.seq = o.seq
                AND r.link = o.link);
END
$$;
COMMENT ON FUNCTION rowseal._inconsistent(integer) IS
  'Owners of whom something is kept that does not follow from the grants and rows that are kept';

CREATE OR REPLACE FUNCTION rowseal._underived(d rowseal.declarations, rows boolean)
RETURNS TABLE (owner text, problem text) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  relation regclass;
  entered text[] := '{}';
BEGIN
  RETURN QUERY SELECT * FROM rowseal._inconsistent(d.id);
  d := rowseal._pinned(d.relation);
  RETURN QUERY EXECUTE pg_catalog.format($q$
      SELECT DISTINCT y.owner, 'grants are kept that are not those in the table' FROM (
        (SELECT * FROM (%1$s) x EXCEPT SELECT * FROM rowseal._kept_grants($1))
        UNION ALL
        (SELECT * FROM rowseal._kept_grants($1) EXCEPT SELECT * FROM (%1$s) x)) y $q$, d.queries ->> 'granted')
    USING d.id;
  IF NOT rows THEN
    RETURN;
  END IF;
  FOR relation IN SELECT x.relation FROM rowseal.declarations x
                   WHERE (x.id = d.id OR x.writers = d.relation) AND x.queries <> '{}' LOOP
    BEGIN
      entered := entered || pg_catalog.format('SELECT e.owner, e.writer, e.seq, e.prev, e.link FROM (%s) e',
                                              (rowseal._pinned(relation)).queries ->> 'entered');
    EXCEPTION WHEN SQLSTATE 'RS007' THEN
      NULL;  -- it is not as its ledger knows it: see health
    END;
  END LOOP;
  -- not the other way round: rows are pruned, and tables undeclared
  RETURN QUERY EXECUTE pg_catalog.format($q$
      SELECT DISTINCT y.owner, 'a stored row is not in the ledger'
        FROM (SELECT * FROM (%s) x EXCEPT SELECT * FROM rowseal._kept_ledger($1)) y $q$,
      pg_catalog.array_to_string(entered, ' UNION ALL '))
    USING d.id;
END
$$;
COMMENT ON FUNCTION rowseal._underived(rowseal.declarations, boolean) IS
  'What is kept for the owners of a grants table and does not follow from signed rows; rows: the ledger, too, which '
  'takes reading all tables that name it';
