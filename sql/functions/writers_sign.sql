-- For those who sign grants and revocations, and for those who look at writers.

CREATE OR REPLACE FUNCTION rowseal._readable(grants integer, owner text) RETURNS integer LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  PERFORM rowseal._in_person();
  RETURN (SELECT x.id FROM rowseal._authority x JOIN rowseal.declarations d ON d.id = x.grants
           WHERE x.grants = grants AND x.owner = owner
             AND rowseal._reads_all(d.relation));
END
$$;
COMMENT ON FUNCTION rowseal._readable(integer, text) IS
  'The number of an owner, where the session''s user may read the whole grants table';

CREATE OR REPLACE FUNCTION rowseal._whole(authority integer, writer bytea) RETURNS SETOF bytea LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  -- upwards, so that each row is met once, however many branches there are above it
  RETURN QUERY
    WITH RECURSIVE up(seq, link) AS (
      SELECT r.seq, r.link FROM rowseal._writer_rows r
       WHERE r.authority = authority AND r.writer = writer AND r.seq = 1
      UNION ALL
      SELECT r.seq, r.link
        FROM up u, LATERAL (SELECT * FROM rowseal._writer_rows r
                             WHERE r.authority = authority AND r.writer = writer AND r.seq = u.seq + 1
                               AND r.prev = u.link OFFSET 0) r  -- as in _before
    ) SELECT u.link FROM up u;
END
$$;
COMMENT ON FUNCTION rowseal._whole(integer, bytea) IS
  'Links of the rows of a writer from which his chain can be walked to number 1';

-- SECURITY DEFINER, owner rowseal_internal: numbers and links of a writer are for whoever may read the grants table.
CREATE OR REPLACE FUNCTION rowseal._heads_of(grants integer, owner text, writer bytea, alive boolean)
RETURNS TABLE (seq bigint, link bytea, whole boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  authority integer := rowseal._readable(grants, owner);
BEGIN
  RETURN QUERY
    WITH chain AS (
      SELECT r.seq, r.link, r.prev FROM rowseal._writer_rows r
       WHERE r.authority = authority AND r.writer = writer
         AND NOT (alive AND rowseal._dead(authority, writer, r.link))
    ), heads AS (
      SELECT c.seq, c.link FROM chain c EXCEPT SELECT c.seq - 1, c.prev FROM chain c
    ) SELECT h.seq, h.link, h.link IN (SELECT rowseal._whole(authority, writer)) FROM heads h ORDER BY h.seq, h.link;
END
$$;
COMMENT ON FUNCTION rowseal._heads_of(integer, text, bytea, boolean) IS
  'The ends of a writer''s chain, and whether each can be walked to number 1. alive: of what may count some day, '
  'without rows that never do';

-- SECURITY DEFINER, owner rowseal_internal: as _heads_of.
CREATE OR REPLACE FUNCTION rowseal._below(
  grants integer, owner text, writer bytea, upto bytea[], OUT broken bytea, OUT standing bytea[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  authority integer := rowseal._readable(grants, owner);
BEGIN
  WITH RECURSIVE down(seq, link, prev) AS (
    SELECT r.seq, r.link, r.prev FROM rowseal._writer_rows r
     WHERE r.authority = authority AND r.writer = writer AND r.link IN (SELECT pg_catalog.unnest(upto))
    UNION  -- branches meet
    SELECT r.seq, r.link, r.prev FROM down d, rowseal._before(authority, writer, d.seq, d.prev) r
  ) SELECT (SELECT l FROM pg_catalog.unnest(upto) l WHERE l NOT IN (SELECT rowseal._whole(authority, writer)) LIMIT 1),
           ARRAY(SELECT DISTINCT g.grantee FROM rowseal._grants g JOIN down d ON d.link = g.link
                  WHERE g.authority = authority AND g.writer = writer AND g.upto IS NULL)
      INTO broken, standing;
END
$$;
COMMENT ON FUNCTION rowseal._below(integer, text, bytea, bytea[]) IS
  'Which link cannot be walked to number 1, and whom the writer let in below these links';

CREATE OR REPLACE FUNCTION rowseal._place(d rowseal.declarations, owner jsonb, writer bytea)
RETURNS jsonb LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  last record;
BEGIN
  IF writer IS NULL THEN
    RETURN '{}';
  END IF;
  SELECT * INTO last
    FROM rowseal._heads_of(d.id, rowseal._owner_text(d.spec, rowseal.payload(d.relation, owner)::json), writer, false) h
   ORDER BY h.seq DESC, h.link LIMIT 1;
  RETURN pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'writer_pkey', writer, 'writer_seq', coalesce(last.seq, 0) + 1, 'writer_prev', last.link));
END
$$;
COMMENT ON FUNCTION rowseal._place(rowseal.declarations, jsonb, bytea) IS
  'The writer''s columns of his next row, as far as this server knows his chain';

CREATE OR REPLACE FUNCTION rowseal._grants_table(relation regclass) RETURNS rowseal.declarations LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations := rowseal._declaration(relation);
BEGIN
  IF NOT d.grants THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007', MESSAGE = pg_catalog.format('table %s is no grants table', relation),
      HINT = 'rowseal.declare(…, grants => true) makes one; rowseal.declarations shows which there are.';
  END IF;
  RETURN d;
END
$$;
COMMENT ON FUNCTION rowseal._grants_table(regclass) IS 'The declaration of a grants table; RS007 when it is none';

CREATE OR REPLACE FUNCTION rowseal.allow(
  relation regclass, owner jsonb, grantee bytea, until bigint, at bigint, tables text[] DEFAULT NULL,
  keys jsonb DEFAULT NULL, tombstones boolean DEFAULT false, may_grant smallint DEFAULT 0, writer bytea DEFAULT NULL)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET bytea_output = hex AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations := rowseal._grants_table(relation);
BEGIN
  RETURN rowseal.payload(relation, owner || rowseal._place(d, owner, writer)
    || pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
         'grantee_pkey', grantee, 'until', until, 'tables', tables, 'tombstones', tombstones, 'may_grant', may_grant,
         d.fields ->> d.timestamp_column, at, d.fields ->> d.deleted_column, false))
    || CASE WHEN keys IS NULL THEN '{}' ELSE pg_catalog.jsonb_build_object('keys', keys) END);
END
$$;
COMMENT ON FUNCTION rowseal.allow(regclass, jsonb, bytea, bigint, bigint, text[], jsonb, boolean, smallint, bytea) IS
$$The canonical text of a grant, to be signed: relation, the grants table; owner: {"user_hash": …}; grantee: the
public key that is let in; until: the highest owner_timestamp covered; at: the grant's own; tables: tags (NULL: all
with writers); keys: {"column of the primary key": value or {"prefix": …}}; tombstones: may delete; may_grant: how
many further links may follow; writer: the key that will sign, NULL for the owner's. Signed, it is stored as a row of
that table. Errors: RS007 no grants table, RS006 no canonical form.$$;

CREATE OR REPLACE FUNCTION rowseal.revoke(
  relation regclass, owner jsonb, grantee bytea, at bigint, INOUT upto bytea[] DEFAULT NULL, writer bytea DEFAULT NULL,
  OUT payload text, OUT standing bytea[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET bytea_output = hex AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations := rowseal._grants_table(relation);
  owner_ text := rowseal._owner_text(d.spec, rowseal.payload(relation, owner)::json);
  frontier record;
BEGIN
  -- not through what never counts: its bodies may be gone, and do not reach a server that takes its state from this one
  upto := coalesce(upto, ARRAY(SELECT h.link FROM rowseal._heads_of(d.id, owner_, grantee, true) h WHERE h.whole));
  SELECT * INTO frontier FROM rowseal._below(d.id, owner_, grantee, upto);
  IF frontier.broken IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'RS012',
      MESSAGE = pg_catalog.format('the chain below link %s cannot be walked to number 1', frontier.broken),
      HINT = 'Rows are missing here: what stands below them would wait for them. '
          || 'Fetch them first, or name a lower link.';
  END IF;
  standing := frontier.standing;
  payload := rowseal.payload(relation, owner || rowseal._place(d, owner, writer) || pg_catalog.jsonb_build_object(
    'grantee_pkey', grantee, 'upto', upto, d.fields ->> d.timestamp_column, at, d.fields ->> d.deleted_column, false));
END
$$;
COMMENT ON FUNCTION rowseal.revoke(regclass, jsonb, bytea, bigint, bytea[], bytea) IS
$$The canonical text of a revocation, to be signed: the rows of grantee stand up to the links in upto (NULL: all that
this server knows, can walk, and no revocation has ended; {}: nothing), whatever else it signs never counts. standing:
keys that grantee let in below this frontier, and that go on writing until they are revoked, too. Other arguments as in
rowseal.allow. Errors: RS012 a link cannot be walked to number 1 here, RS007 no grants table.$$;

CREATE OR REPLACE VIEW rowseal.writers WITH (security_barrier = true) AS
  SELECT d.relation, a.owner, w.writer, coalesce(l.licences, '[]') AS licences, coalesce(l.revoked, false) AS revoked,
         coalesce(r.rows, 0) AS rows, coalesce(r.held, 0) AS held, r.last, coalesce(r.last - r.numbers, 0) AS missing
    FROM rowseal._authority a JOIN rowseal.declarations d ON d.id = a.grants
    JOIN LATERAL (SELECT x.writer FROM rowseal._licences x WHERE x.authority = a.id
                  UNION SELECT x.writer FROM rowseal._writer_rows x WHERE x.authority = a.id
                  UNION SELECT x.grantee FROM rowseal._grants x WHERE x.authority = a.id) w ON true
    LEFT JOIN LATERAL (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                'until', x.until, 'tables', s.tables, 'keys', s.keys, 'tombstones', x.tombstones,
                                'may_grant', x.may_grant)) AS licences,
                              EXISTS (SELECT FROM rowseal._grants g
                                       WHERE g.authority = a.id AND g.grantee = w.writer
                                         AND g.upto IS NOT NULL) AS revoked
                         FROM rowseal._licences x, LATERAL (
                           SELECT pg_catalog.jsonb_agg(DISTINCT g.keys) FILTER (WHERE g.keys IS NOT NULL) AS keys,
                                  CASE WHEN count(g.tables) > 0 THEN ARRAY(
                                    SELECT DISTINCT t.tag FROM rowseal._grants h, pg_catalog.unnest(h.tables) t(tag)
                                     WHERE h.id = ANY (x.chain) AND NOT EXISTS (
                                       SELECT FROM rowseal._grants o
                                        WHERE o.id = ANY (x.chain) AND t.tag <> ALL (o.tables))) END AS tables
                             FROM rowseal._grants g WHERE g.id = ANY (x.chain)) s
                        WHERE x.authority = a.id AND x.writer = w.writer) l ON true
    LEFT JOIN LATERAL (SELECT count(*) AS rows, count(x.held) AS held, pg_catalog.max(x.seq) AS last,
                              count(DISTINCT x.seq) AS numbers
                         FROM rowseal._writer_rows x WHERE x.authority = a.id AND x.writer = w.writer) r ON true
   WHERE pg_catalog.has_table_privilege(d.relation, 'SELECT') AND NOT pg_catalog.row_security_active(d.relation);
COMMENT ON VIEW rowseal.writers IS
  'Writers besides the owners, per grants table: what each may write (one licence per standing chain of grants), '
  'whether a revocation speaks of it, how many rows are known, held, missing';
COMMENT ON COLUMN rowseal.writers.last IS 'Highest number seen';
COMMENT ON COLUMN rowseal.writers.missing IS 'Numbers up to the last that never arrived here';

CREATE OR REPLACE VIEW rowseal.equivocations WITH (security_barrier = true) AS
  SELECT d.relation, a.owner, r.writer, r.seq AS writer_seq, pg_catalog.array_agg(r.link ORDER BY r.link) AS links
    FROM rowseal._writer_rows r
    JOIN rowseal._authority a ON a.id = r.authority
    JOIN rowseal.declarations d ON d.id = a.grants
   WHERE pg_catalog.has_table_privilege(d.relation, 'SELECT') AND NOT pg_catalog.row_security_active(d.relation)
   GROUP BY d.relation, a.owner, r.writer, r.seq HAVING count(*) > 1;
COMMENT ON VIEW rowseal.equivocations IS
  'Numbers that a writer used for more than one row: a copied key, or a device restored from a backup. The rows are '
  'the proof; all of them count until a revocation picks a branch';
