-- The quarantine: which refused rows enter it, what they wait for, and how they are tried again.

CREATE OR REPLACE FUNCTION rowseal._subscription() RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known text := pg_catalog.current_setting('rowseal.subscription', true);
BEGIN
  IF pg_catalog.current_setting('session_replication_role') <> 'replica' THEN
    RETURN NULL;  -- everybody can set rowseal.subscription, but only a superuser this one
  ELSIF coalesce(known, '') = '' THEN
    known := pg_catalog.set_config('rowseal.subscription', (
      SELECT s.subname FROM pg_catalog.pg_stat_get_subscription(NULL) g
        JOIN pg_catalog.pg_stat_subscription s ON s.subid = g.subid AND s.pid = g.pid
       WHERE g.pid = pg_catalog.pg_backend_pid()), false);
  END IF;
  RETURN nullif(known, '');
END
$$;
COMMENT ON FUNCTION rowseal._subscription() IS 'The subscription whose worker this backend is, else NULL';

CREATE OR REPLACE FUNCTION rowseal._curable(verdict rowseal.verdict)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- class 42: names and rights; but a syntax error is one of a value (tsvector, jsonpath)
  RETURN verdict.sqlstate IN ('RS002', 'RS007', 'RS010', 'RS011', 'RS012', 'RS014', 'RS015', 'RS017')
      OR (verdict.sqlstate LIKE '42%' AND verdict.sqlstate <> '42601');
END
$$;
COMMENT ON FUNCTION rowseal._curable(rowseal.verdict) IS
  'Whether something other than the row stood in its way: an owner, a grant, a table, a column, a library, a right';

CREATE OR REPLACE FUNCTION rowseal._waits_for(
  d rowseal.declarations, verdict rowseal.verdict, format text, element jsonb)
RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF verdict.sqlstate NOT IN ('RS002', 'RS010', 'RS011', 'RS012') THEN
    RETURN NULL;
  END IF;
  IF format <> 'canonical' THEN
    element := rowseal.payload(d.relation, element);
  END IF;
  IF verdict.sqlstate <> 'RS002' THEN
    RETURN (SELECT rowseal._writer_text(g.id, rowseal._owner_text(d.spec, element),
                                        pg_catalog.decode(element #>> '{row,writer_pkey}', 'base64'))
              FROM rowseal.declarations g WHERE g.relation = CASE WHEN d.grants THEN d.relation ELSE d.writers END);
  END IF;
  RETURN (SELECT i.tag || ' ' || rowseal._owner_text(d.spec, element)
            FROM rowseal.declarations i WHERE i.relation = d.identity);
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;  -- a row without canonical form
END
$$;
COMMENT ON FUNCTION rowseal._waits_for(rowseal.declarations, rowseal.verdict, text, jsonb) IS
  'Which owner a row waits for, or grants of which writer';

CREATE OR REPLACE FUNCTION rowseal._explained(
  d rowseal.declarations, verdict rowseal.verdict, element jsonb, format text)
RETURNS rowseal.verdict LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  unknown text;
BEGIN
  -- Why a signature does not fit: the row belongs elsewhere, or has columns that are not there yet.
  IF pg_catalog.jsonb_typeof(element) IS DISTINCT FROM 'object' THEN
    RETURN ROW('22023', 'not a JSON object')::rowseal.verdict;
  ELSIF verdict.sqlstate NOT IN ('RS001', 'RS006') THEN
    RETURN verdict;
  ELSIF format <> 'canonical' THEN
    SELECT pg_catalog.min(e.key) INTO unknown FROM pg_catalog.jsonb_each(element) e
     WHERE e.value <> 'null' AND NOT EXISTS (
       SELECT FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = d.relation AND a.attname = e.key AND NOT a.attisdropped);
  ELSIF pg_catalog.jsonb_typeof(element -> 'row') IS DISTINCT FROM 'object' THEN
    RETURN ROW('RS001', 'not an envelope: it has no object "row"')::rowseal.verdict;
  ELSIF element ->> 'rowseal' IS DISTINCT FROM '1' THEN
    RETURN ROW('RS001', 'not an envelope of form rowseal/1')::rowseal.verdict;
  ELSIF element ->> 'table' IS DISTINCT FROM d.tag THEN
    RETURN ROW('RS001', pg_catalog.format('the envelope is for table %L, not %L', element ->> 'table', d.tag)
              )::rowseal.verdict;
  ELSE
    SELECT pg_catalog.min(k) INTO unknown FROM pg_catalog.jsonb_object_keys(element -> 'row') k
     WHERE NOT (d.spec -> 'fields') ? k;
  END IF;
  RETURN CASE WHEN unknown IS NULL THEN verdict
              ELSE ROW('RS015', pg_catalog.format('no column for field %L yet', unknown))::rowseal.verdict END;
END
$$;
COMMENT ON FUNCTION rowseal._explained(rowseal.declarations, rowseal.verdict, jsonb, text) IS
  'A more telling refusal where the envelope shows why';

CREATE OR REPLACE FUNCTION rowseal._lock_owner(waits_for text, exclusive boolean) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- 'rows' in ASCII; 1024 locks at most, whatever a batch holds
  IF exclusive THEN
    PERFORM pg_catalog.pg_advisory_xact_lock(1919907699, pg_catalog.hashtext(waits_for) & 1023);
  ELSE
    PERFORM pg_catalog.pg_advisory_xact_lock_shared(1919907699, pg_catalog.hashtext(waits_for) & 1023);
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._lock_owner(text, boolean) IS
  'Orders those who defer rows of an unknown owner and the one who brings him';

CREATE OR REPLACE FUNCTION rowseal._count_dropped(source text, rows bigint, bytes numeric) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  INSERT INTO rowseal.quarantine_dropped AS d (role, subscription, rows, bytes, last)
    VALUES (session_user, coalesce(source, ''), rows, bytes, pg_catalog.clock_timestamp())
    ON CONFLICT (role, subscription) DO UPDATE
      SET rows = d.rows + EXCLUDED.rows, bytes = d.bytes + EXCLUDED.bytes, last = EXCLUDED.last;
END
$$;
COMMENT ON FUNCTION rowseal._count_dropped(text, bigint, numeric) IS 'Counts what the quarantine does not keep';

CREATE OR REPLACE FUNCTION rowseal._make_room(source text, most rowseal.quarantine_limits) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  surplus record;
BEGIN
  WITH entries AS (
    SELECT q.id, pg_catalog.row_number() OVER best AS rows, pg_catalog.sum(q.bytes) OVER best AS bytes
      FROM rowseal.quarantine q
     WHERE q.role = session_user AND q.subscription IS NOT DISTINCT FROM source AND NOT q.kept
    WINDOW best AS (ORDER BY q.curable DESC, q.id DESC)
  ), gone AS (
    DELETE FROM rowseal.quarantine q USING entries e
     WHERE q.id = e.id AND (e.rows > most.rows OR e.bytes > most.bytes) RETURNING q.bytes
  ) SELECT count(*) AS rows, pg_catalog.sum(gone.bytes) AS bytes INTO surplus FROM gone;
  IF surplus.rows > 0 THEN
    PERFORM rowseal._count_dropped(source, surplus.rows, surplus.bytes);
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._make_room(text, rowseal.quarantine_limits) IS
  'Drops what a source has in the quarantine beyond the limits: the oldest incurable rows first, then the oldest';

-- SECURITY DEFINER, owner rowseal_internal: rows are refused with the rights of whoever brought them, and nobody else
-- may write the quarantine, or see of it what is not his.
CREATE OR REPLACE FUNCTION rowseal._quarantine(
  tag text, verdict rowseal.verdict, format text, row_ jsonb, waits_for text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  entry record;
  most rowseal.quarantine_limits;
  source text := rowseal._subscription();
  size bigint := 0;
  admin boolean := pg_catalog.pg_has_role(session_user, 'rowseal_admin', 'USAGE');
BEGIN
  SELECT * INTO most FROM rowseal.quarantine_limits;
  size := pg_catalog.octet_length(row_::text);
  IF size > most.bytes THEN
    RAISE program_limit_exceeded;
  END IF;
  INSERT INTO rowseal.quarantine AS q (tag, sqlstate, reason, curable, waits_for, role, subscription,
                                       application_name, format, row, bytes, hash)
    VALUES (tag, verdict.sqlstate, verdict.reason, rowseal._curable(verdict), waits_for,
            session_user, source, pg_catalog.current_setting('application_name'), format, row_, size,
            pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.jsonb_build_array(tag, format, row_)::text, 'UTF8')))
    ON CONFLICT (hash) DO UPDATE SET attempts = q.attempts + 1, last_seen = pg_catalog.clock_timestamp(),
      -- everybody can call this: only who entered a row, or an administrator, changes what is said of it
      sqlstate = CASE WHEN q.role = session_user OR admin THEN EXCLUDED.sqlstate ELSE q.sqlstate END,
      reason = CASE WHEN q.role = session_user OR admin THEN EXCLUDED.reason ELSE q.reason END,
      curable = CASE WHEN q.role = session_user OR admin THEN EXCLUDED.curable ELSE q.curable END,
      waits_for = CASE WHEN q.role = session_user OR admin THEN EXCLUDED.waits_for ELSE q.waits_for END
    RETURNING q.id, q.bytes INTO entry;
  IF rowseal._may_be_held(verdict) AND format = 'canonical' THEN
    PERFORM rowseal._held(entry.id, tag, row_, verdict);
  END IF;
  -- Counting costs, so it is done now and then, and for large rows; at random, so that nobody can evade it.
  IF pg_catalog.random() * greatest(1, most.rows / 100) < 1 OR entry.bytes >= most.bytes / 100 THEN
    PERFORM rowseal._make_room(source, most);
  END IF;
EXCEPTION WHEN program_limit_exceeded THEN  -- too large to keep, or even to print: counted, at least
  PERFORM rowseal._count_dropped(source, 1, size);
END
$$;
COMMENT ON FUNCTION rowseal._quarantine(text, rowseal.verdict, text, jsonb, text) IS
  'Keeps a refused row with reason and source; when its source has too many, the oldest incurable ones go first, and '
  'are counted';

-- Tries quarantined rows again, as far as the caller sees them (row security), with the caller's rights.
CREATE OR REPLACE FUNCTION rowseal._retry(waits_for text, tag text DEFAULT NULL, ids bigint[] DEFAULT NULL)
RETURNS TABLE (id bigint, outcome text, reason text) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  waiting record;
  outer_outcome text := pg_catalog.current_setting('rowseal.outcome', true);
BEGIN
  IF waits_for IS NOT NULL THEN
    PERFORM rowseal._lock_owner(waits_for, true);
  END IF;
  FOR waiting IN
    SELECT d.relation, q.format, pg_catalog.array_agg(q.id ORDER BY q.id) AS ids,
           pg_catalog.jsonb_agg(q.row ORDER BY q.id) AS rows
      FROM rowseal.quarantine q JOIN rowseal.declarations d ON d.tag = q.tag
     WHERE CASE WHEN ids IS NOT NULL THEN q.id = ANY (ids)
                ELSE q.curable AND (waits_for IS NULL OR q.waits_for = waits_for) AND (tag IS NULL OR q.tag = tag) END
       AND q.format <> 'raw' AND rowseal._trusted(d.relation)
     -- owners before what they own, in batches
     GROUP BY d.relation, d.identity IS NULL, q.format, q.id / 1000
     ORDER BY d.identity IS NULL DESC, pg_catalog.min(q.id)
  LOOP
    BEGIN
      FOR id, outcome, reason IN
        SELECT waiting.ids[a.ordinal], a.outcome, a.reason
          FROM rowseal.apply(waiting.relation, waiting.rows, waiting.format) a
      LOOP
        IF outcome NOT IN ('deferred', 'rejected') THEN
          DELETE FROM rowseal.quarantine q WHERE q.id = id;
        END IF;
        RETURN NEXT;
      END LOOP;
    EXCEPTION
      WHEN transaction_rollback OR insufficient_resources OR operator_intervention OR system_error
           OR internal_error THEN
        RAISE;
      WHEN OTHERS THEN  -- a missing right, say: the rows stay, and who brought the cure gets no error
        RETURN QUERY SELECT i, 'deferred', SQLSTATE || ': ' || SQLERRM FROM pg_catalog.unnest(waiting.ids) i;
    END;
  END LOOP;
  PERFORM pg_catalog.set_config('rowseal.outcome', coalesce(outer_outcome, ''), true);
END
$$;
COMMENT ON FUNCTION rowseal._retry(text, text, bigint[]) IS
  'Applies quarantined rows again: those that wait for an owner, those of a tag, or those with given ids';

CREATE OR REPLACE FUNCTION rowseal.retry(ids bigint[] DEFAULT NULL)
RETURNS TABLE (id bigint, outcome text, reason text) LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$ SELECT * FROM rowseal._retry(NULL, NULL, ids) $$;
COMMENT ON FUNCTION rowseal.retry(bigint[]) IS
  'Applies quarantined rows again, all curable ones or those with these ids; what is accepted leaves the quarantine. '
  'Administrators see all rows, others those of tables that they may write. Tables of owners who are not trusted (see '
  'rowseal.receive) are left to their owners';

CREATE OR REPLACE FUNCTION rowseal.discard(ids bigint[]) RETURNS bigint LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
  WITH gone AS (DELETE FROM rowseal.quarantine q WHERE q.id = ANY (ids) RETURNING 1) SELECT count(*) FROM gone
$$;
COMMENT ON FUNCTION rowseal.discard(bigint[]) IS
  'Drops quarantined rows for good; for administrators and the table''s owner. Returns how many';

CREATE OR REPLACE FUNCTION rowseal.export_quarantine(ids bigint[] DEFAULT NULL)
RETURNS TABLE (tag text, format text, "row" jsonb) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT q.tag, q.format, q."row" FROM rowseal.quarantine q WHERE ids IS NULL OR q.id = ANY (ids) ORDER BY q.id
$$;
COMMENT ON FUNCTION rowseal.export_quarantine(bigint[]) IS
  'Quarantined rows as they came, all or those with these ids; the same rows can be given to rowseal.apply elsewhere';
