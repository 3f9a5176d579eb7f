-- The tables follow the ledger: rows that count no longer are taken out, held ones that count now are let in.

-- SECURITY DEFINER, owner rowseal_internal: answers about the state, for _settle, which runs with the rights of who
-- writes.
CREATE OR REPLACE FUNCTION rowseal._affected(
  grants integer, owner text, writer bytea, seq bigint, link bytea, grantee bytea,
  OUT writers bytea[], OUT held bigint[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  authority integer;
  run bytea[];
BEGIN
  SELECT x.id INTO authority FROM rowseal._authority x WHERE x.grants = grants AND x.owner = owner;
  -- If the row stands below a frontier, what is held below it may have waited for it.
  IF seq IS NOT NULL AND EXISTS (
       SELECT FROM rowseal._grants g JOIN rowseal._stands s ON s.revocation = g.id AND s.link = link
        WHERE g.authority = authority AND g.grantee = writer AND g.upto IS NOT NULL) THEN
    WITH RECURSIVE down(seq, prev, link, held) AS (
      SELECT r.seq, r.prev, r.link, r.held FROM rowseal._writer_rows r
       WHERE r.authority = authority AND r.writer = writer AND r.seq = seq AND r.link = link
      UNION ALL
      SELECT r.seq, r.prev, r.link, r.held FROM down d JOIN rowseal._writer_rows r
          ON r.authority = authority AND r.writer = writer AND r.seq = d.seq - 1 AND r.link = d.prev
    ) SELECT pg_catalog.array_agg(d.held ORDER BY d.seq) FILTER (WHERE d.held IS NOT NULL AND d.seq < seq),
             pg_catalog.array_agg(d.link) FILTER (WHERE EXISTS (SELECT FROM rowseal._grants g WHERE g.link = d.link))
        INTO held, run FROM down d;
  END IF;
  -- Also concerned is everybody whose chain of grants leads through a writer of whom the row speaks.
  WITH RECURSIVE below(key) AS (
    SELECT grantee WHERE grantee IS NOT NULL
    UNION
    SELECT g.grantee FROM rowseal._grants g WHERE g.authority = authority AND g.link = ANY (run)
    UNION
    SELECT g.grantee FROM below b JOIN rowseal._grants g ON g.authority = authority AND g.writer = b.key
  ) SELECT coalesce(pg_catalog.array_agg(b.key), '{}') INTO writers FROM below b;
  held := coalesce(held, '{}') || ARRAY(
    SELECT r.held FROM rowseal._writer_rows r JOIN rowseal.quarantine q ON q.id = r.held AND q.curable
     WHERE r.authority = authority AND r.writer = ANY (writers) ORDER BY r.seq);
END
$$;
COMMENT ON FUNCTION rowseal._affected(integer, text, bytea, bigint, bytea, bytea) IS
  'Whom a stored row concerns: writers whose licences may have changed by it, and entries of the quarantine that may '
  'count now';

CREATE OR REPLACE FUNCTION rowseal._settle(
  grants integer, owner text, writer bytea, seq bigint, link bytea, grantee bytea, retracts boolean)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET rowseal.mode = '' SET rowseal.outcome = '' SET rowseal.settling = 'on' AS $$
#variable_conflict use_variable
DECLARE
  affected record := rowseal._affected(grants, owner, writer, seq, link, grantee);
  d rowseal.declarations;
BEGIN
  IF retracts AND affected.writers <> '{}' THEN
    FOR d IN SELECT x.* FROM rowseal.declarations x
              WHERE x.id = grants OR x.writers = (SELECT g.relation FROM rowseal.declarations g WHERE g.id = grants)
              ORDER BY x.id LOOP
      PERFORM rowseal._retract(d, owner, affected.writers);
    END LOOP;
  END IF;
  IF affected.held <> '{}' THEN
    PERFORM rowseal._retry(NULL, NULL, affected.held);
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._settle(integer, text, bytea, bigint, bytea, bytea, boolean) IS
  'Makes the tables what the rules say after a row of the grants table, or one below a frontier, has been stored; '
  'with the rights of who brought it';

CREATE OR REPLACE FUNCTION rowseal._hold(
  d rowseal.declarations, verdict rowseal.verdict, format text, element jsonb, waits_for text)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  grants integer;
  o record;
BEGIN
  SELECT x.* INTO o FROM rowseal._offered(d, format, element) x
   WHERE (d.grants OR d.writers IS NOT NULL) AND rowseal._may_be_held(verdict);
  IF o.writer IS NULL THEN
    PERFORM rowseal._quarantine(d.tag, verdict, format, element, waits_for);
    RETURN;
  END IF;
  grants := CASE WHEN d.grants THEN d.id
                 ELSE (SELECT x.id FROM rowseal.declarations x WHERE x.relation = d.writers) END;
  PERFORM rowseal._quarantine(d.tag, verdict, 'canonical', o.envelope,
                              rowseal._writer_text(grants, o.owner, o.writer));
  -- held itself, it may be the link that others wait for
  IF pg_catalog.current_setting('rowseal.settling', true) IS DISTINCT FROM 'on'
     AND rowseal._revoked(grants, o.owner, o.writer) THEN
    PERFORM rowseal._settle(grants, o.owner, o.writer, o.seq, o.link, NULL, true);
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._hold(rowseal.declarations, rowseal.verdict, text, jsonb, text) IS
  'Keeps a refused row in the quarantine: of a writer, as what was signed, and with what follows for others';

CREATE OR REPLACE FUNCTION rowseal._retracted(
  grants integer, owner text, writer bytea, seq bigint, link bytea, tag text, waits_for text, verdict rowseal.verdict,
  envelope jsonb)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  authority integer;
  dead boolean;
  entry bigint;
BEGIN
  SELECT x.id INTO authority FROM rowseal._authority x WHERE x.grants = grants AND x.owner = owner;
  dead := rowseal._dead(authority, writer, link);
  INSERT INTO rowseal.quarantine AS q (tag, sqlstate, reason, curable, kept, waits_for, role, subscription,
                                       application_name, format, row, bytes, hash)
    VALUES (tag, verdict.sqlstate, verdict.reason, NOT dead, NOT dead, waits_for, session_user, rowseal._subscription(),
            pg_catalog.current_setting('application_name'), 'canonical', envelope,
            pg_catalog.octet_length(envelope::text),
            pg_catalog.sha256(
              pg_catalog.convert_to(pg_catalog.jsonb_build_array(tag, 'canonical', envelope)::text, 'UTF8')))
    ON CONFLICT (hash) DO UPDATE SET sqlstate = EXCLUDED.sqlstate, reason = EXCLUDED.reason, curable = EXCLUDED.curable,
      kept = EXCLUDED.kept, waits_for = EXCLUDED.waits_for
    RETURNING q.id INTO entry;
  UPDATE rowseal._writer_rows r SET held = entry
   WHERE r.authority = authority AND r.writer = writer AND r.seq = seq AND r.link = link;
END
$$;
COMMENT ON FUNCTION rowseal._retracted(integer, text, bytea, bigint, bytea, text, text, rowseal.verdict, jsonb) IS
  'A stored row counts no longer: it is held in the quarantine';

CREATE OR REPLACE FUNCTION rowseal._enter_rows(d rowseal.declarations, relation regclass, archived boolean)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET rowseal.revoked = 'on' AS $$
DECLARE
  writer text := (SELECT CASE WHEN archived THEN d.version_columns ->> w.key ELSE w.key END
                    FROM pg_catalog.jsonb_each_text(d.fields) w WHERE w.value = 'writer_pkey');
BEGIN
  -- an UPDATE that changes nothing: its trigger enters the row
  EXECUTE pg_catalog.format('UPDATE %s SET %I = %2$I%s', relation, writer,
    CASE WHEN NOT d.grants THEN pg_catalog.format(' WHERE %I IS NOT NULL', writer) END);
END
$$;
COMMENT ON FUNCTION rowseal._enter_rows(rowseal.declarations, regclass, boolean) IS
  'Enters the stored rows of a table, its versions table or a partition into the ledger';

CREATE OR REPLACE FUNCTION rowseal._enter_stored(d rowseal.declarations) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  part record;
BEGIN
  PERFORM rowseal._lock_writers(NULL, NULL, true);  -- a revocation either sees these rows, or is seen here
  FOR part IN
    SELECT t.relation, t.archived,
           pg_catalog.quote_ident(CASE WHEN t.archived THEN d.version_columns ->> w.key ELSE w.key END) AS writer,
           (SELECT pg_catalog.string_agg(
                     pg_catalog.quote_ident(CASE WHEN t.archived THEN d.version_columns ->> o ELSE o END), ', ')
              FROM pg_catalog.unnest(d.owner) o) AS owner
      FROM (VALUES (d.relation, false), (d.versions, true)) t(relation, archived),
           pg_catalog.jsonb_each_text(d.fields) w
     WHERE t.relation IS NOT NULL AND w.value = 'writer_pkey'
  LOOP
    -- for whoever has to take a writer's rows back
    EXECUTE pg_catalog.format('CREATE INDEX ON %s (%s, %s) WHERE %2$s IS NOT NULL',
      part.relation, part.writer, part.owner);
    PERFORM rowseal._enter_rows(d, part.relation, part.archived);
  END LOOP;
  -- who was revoked in the meantime
  PERFORM rowseal._settle(g.id, w.owner, NULL, NULL, NULL, w.writer, true)
     FROM rowseal.writers w JOIN rowseal.declarations g ON g.relation = w.relation
    WHERE w.relation = d.writers AND w.revoked;
END
$$;
COMMENT ON FUNCTION rowseal._enter_stored(rowseal.declarations) IS
  'Enters the rows that are in a table when it is declared; indexes them by writer; takes out what has been revoked';

CREATE OR REPLACE FUNCTION rowseal._forget_writers(grants integer) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
  WITH gone AS (DELETE FROM rowseal._authority a WHERE a.grants = _forget_writers.grants RETURNING a.id),
    rows AS (DELETE FROM rowseal._writer_rows r USING gone WHERE r.authority = gone.id),
    licences AS (DELETE FROM rowseal._licences l USING gone WHERE l.authority = gone.id),
    wanted AS (DELETE FROM rowseal._wanted w USING gone WHERE w.authority = gone.id),
    granted AS (DELETE FROM rowseal._grants g USING gone WHERE g.authority = gone.id RETURNING g.id)
  DELETE FROM rowseal._stands s USING granted WHERE s.revocation = granted.id
$$;
COMMENT ON FUNCTION rowseal._forget_writers(integer) IS
  'The grants table is no longer declared: what was derived from it goes';
