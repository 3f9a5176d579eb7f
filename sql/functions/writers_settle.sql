-- The tables follow the ledger: rows that count no longer are taken out, held ones that count now are let in.

CREATE OR REPLACE FUNCTION rowseal._licensed_entry(
  grants integer, owner text, d rowseal.declarations, entry rowseal.quarantine, ledger rowseal._writer_rows)
RETURNS rowseal.verdict LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  row_ CONSTANT json := entry.row -> 'row';
BEGIN
  RETURN rowseal._licensed(
    grants, owner, ledger.writer, ledger.seq, ledger.link, entry.tag,
    (row_ ->> (d.fields ->> d.timestamp_column))::bigint, (row_ ->> (d.fields ->> d.deleted_column))::boolean,
    CASE WHEN NOT d.grants
         THEN (SELECT pg_catalog.jsonb_object_agg(d.fields ->> k, (row_ -> (d.fields ->> k))::jsonb)
                 FROM pg_catalog.unnest(d.key) k) END);
END
$$;
COMMENT ON FUNCTION rowseal._licensed_entry(
  integer, text, rowseal.declarations, rowseal.quarantine, rowseal._writer_rows) IS
  'As _licensed, of a row that the ledger knows as held: it has been verified, and is kept in canonical form';

-- Called by _affected, so with its rights.
CREATE OR REPLACE FUNCTION rowseal._walked_below(authority integer, writer bytea, seq bigint, link bytea)
RETURNS bigint[] LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  revocations CONSTANT bigint[] := ARRAY(
    SELECT g.id FROM rowseal._grants g
     WHERE g.authority = authority AND g.grantee = writer AND g.upto IS NOT NULL);
BEGIN
  RETURN coalesce((
    WITH RECURSIVE down(seq, prev, link, held) AS (
      SELECT r.seq, r.prev, r.link, r.held FROM rowseal._writer_rows r
       WHERE r.authority = authority AND r.writer = writer AND r.seq = seq AND r.link = link
      UNION ALL
      SELECT r.seq, r.prev, r.link, r.held FROM down d, rowseal._before(authority, writer, d.seq, d.prev) r
       WHERE EXISTS (SELECT FROM rowseal._stands s
                      WHERE s.revocation = ANY (revocations) AND s.link = r.link AND s.arrival = link)
    ) SELECT pg_catalog.array_agg(d.held ORDER BY d.seq) FROM down d WHERE d.held > 0 AND d.seq < seq), '{}');
END
$$;
COMMENT ON FUNCTION rowseal._walked_below(integer, bytea, bigint, bytea) IS
  'Entries of what is held below a row along the walk that went on with it';

-- SECURITY DEFINER, owner rowseal_internal: answers about the state, for _settle, which runs with the rights of who
-- writes.
CREATE OR REPLACE FUNCTION rowseal._affected(
  grants integer, owner text, writer bytea, seq bigint, link bytea, revoked bytea,
  OUT writers bytea[], OUT revocations bigint[], OUT held bigint[], OUT counts boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  authority integer;
  changed bytea[];
  candidates bigint[];
  candidate bigint;
  q rowseal.quarantine;
  d rowseal.declarations;
  r rowseal._writer_rows;
  v rowseal.verdict;
BEGIN
  PERFORM rowseal._may_ask(grants);
  SELECT x.id INTO authority FROM rowseal._authority x WHERE x.grants = grants AND x.owner = owner;
  -- If a walk went on with the row, what is held below it may have waited for it.
  held := CASE WHEN seq IS NULL THEN '{}' ELSE rowseal._walked_below(authority, writer, seq, link) END;
  -- Also concerned is everybody whose licences have changed by it.
  SELECT coalesce(pg_catalog.array_agg(c.writer) FILTER (WHERE c.lost), '{}'), pg_catalog.array_agg(c.writer)
    INTO writers, changed
    FROM (SELECT c.writer, c.lost FROM rowseal._changed c
           WHERE c.authority = authority AND c.xid = pg_catalog.pg_current_xact_id_if_assigned() AND c.arrival = link
          UNION ALL
          SELECT c.writer, c.lost FROM rowseal._changed c
           WHERE c.authority = authority AND c.xid = pg_catalog.pg_current_xact_id_if_assigned() AND link IS NULL
          UNION ALL
          SELECT revoked, true WHERE revoked IS NOT NULL) c;
  held := held || ARRAY(
    SELECT x.held FROM rowseal._writer_rows x
     WHERE x.authority = authority AND x.writer = ANY (changed) AND x.held > 0 ORDER BY x.seq);
  -- Only what is judged otherwise now is verified again: else every grant would cost as much as all that is held.
  candidates := held;
  revocations := '{}';
  held := '{}';
  counts := false;
  -- One by one, by their keys: a join would follow statistics, which may be of the time when little was held.
  FOREACH candidate IN ARRAY candidates LOOP
    SELECT * INTO q FROM rowseal.quarantine x WHERE x.id = candidate AND x.curable AND rowseal._is_for(x);
    CONTINUE WHEN NOT FOUND;
    SELECT * INTO d FROM rowseal.declarations x
     WHERE x.tag = q.tag AND x.queries <> '{}' AND rowseal._grants_id(x.grants, x.id, x.writers) = grants;
    CONTINUE WHEN NOT FOUND;  -- it follows later: _follow_grants; or another table has the tag by now
    SELECT * INTO r FROM rowseal._writer_rows x WHERE x.held = candidate AND x.authority = authority;
    CONTINUE WHEN NOT FOUND;
    v := rowseal._licensed_entry(grants, owner, d, q, r);
    IF v.sqlstate IS NULL AND d.grants AND pg_catalog.json_typeof(q.row #> '{row,upto}') = 'array'
       AND rowseal._curable(ROW(q.sqlstate, q.reason)::rowseal.verdict) THEN
      revocations := revocations || candidate;
    ELSIF rowseal._dead(authority, r.writer, r.link) OR (
       CASE WHEN v.sqlstate IS NULL THEN rowseal._curable(ROW(q.sqlstate, q.reason)::rowseal.verdict)
            ELSE v.sqlstate <> q.sqlstate END) THEN
      held := held || candidate;
      counts := counts OR v.sqlstate IS NULL;
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._affected(integer, text, bytea, bigint, bytea, bytea) IS
  'Whom a stored row concerns (link NULL: whom all of this transaction do): writers who have lost licences by it, or '
  'were revoked, and entries of the quarantine that are judged otherwise now: revocations that count, and others '
  '(held; counts: some of them count). link: of an owner''s row its signature''s hash';

-- SECURITY DEFINER, owner rowseal_internal: as _affected.
CREATE OR REPLACE FUNCTION rowseal._counting(grants integer)
RETURNS TABLE (owner text, entry bigint, sqlstate text) LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  PERFORM rowseal._may_read(grants);
  RETURN QUERY
    SELECT a.owner, q.id, q.sqlstate
      FROM rowseal._authority a JOIN rowseal._writer_rows r ON r.authority = a.id
      JOIN rowseal.quarantine q ON q.id = r.held AND rowseal._curable(ROW(q.sqlstate, q.reason)::rowseal.verdict)
      JOIN rowseal.declarations d ON d.tag = q.tag AND d.queries <> '{}'
                                 AND rowseal._grants_id(d.grants, d.id, d.writers) = grants
      CROSS JOIN LATERAL rowseal._licensed_entry(grants, a.owner, d, q, r) v
     WHERE a.grants = grants AND v.sqlstate IS NULL
     ORDER BY r.authority, r.writer, r.seq;
END
$$;
COMMENT ON FUNCTION rowseal._counting(integer) IS
  'What is held and counts, as far as its table could store it: owner, entry of the quarantine, what that waited for';

-- SECURITY DEFINER, owner rowseal_internal: as _affected.
CREATE OR REPLACE FUNCTION rowseal._losers(grants integer) RETURNS SETOF text LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  PERFORM rowseal._may_ask(grants);
  RETURN QUERY SELECT DISTINCT a.owner FROM rowseal._changed c JOIN rowseal._authority a ON a.id = c.authority
                WHERE a.grants = grants AND c.xid = pg_catalog.pg_current_xact_id_if_assigned() AND c.lost;
END
$$;
COMMENT ON FUNCTION rowseal._losers(integer) IS 'Owners whose writers have lost licences in this transaction';

CREATE OR REPLACE FUNCTION rowseal._may_retract(d rowseal.declarations) RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  target regclass;
BEGIN
  FOREACH target IN ARRAY pg_catalog.array_remove(ARRAY[d.relation, d.versions], NULL) LOOP
    IF NOT (pg_catalog.has_table_privilege(target, 'SELECT') AND pg_catalog.has_table_privilege(target, 'INSERT')
            AND pg_catalog.has_table_privilege(target, 'DELETE')) THEN
      RAISE insufficient_privilege USING
        MESSAGE = pg_catalog.format('no right to take rows of revoked writers out of %s', target),
        HINT = 'Whoever stores grants or revocations needs SELECT, INSERT and DELETE on the tables that name the '
            || 'grants table.';
    ELSIF pg_catalog.row_security_active(target) THEN
      RAISE insufficient_privilege USING
        MESSAGE = pg_catalog.format('row security hides rows of %s that a revocation may take back', target),
        HINT = 'Whoever stores grants or revocations needs BYPASSRLS, or to own the table.';
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._may_retract(rowseal.declarations) IS
  'Whether the current user may take rows out of a table and its versions table; else 42501';

CREATE OR REPLACE FUNCTION rowseal._retract(d rowseal.declarations, owner text, writers bytea[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  fields text[] := ARRAY(SELECT pg_catalog.jsonb_array_elements_text(d.spec -> 'owner'));
  owner_object jsonb := rowseal._owner_object(fields, owner);
  query text;
  counts_not CONSTANT text := 'SELECT ARRAY(%s)';
  signs bytea[];
  sign bytea;
  stuck bigint := 0;
  why text;
BEGIN
  PERFORM rowseal._may_retract(d);
  -- As it is now that nothing changes it any more: without its triggers nothing would keep what is taken out.
  EXECUTE pg_catalog.format('LOCK TABLE %s IN ROW EXCLUSIVE MODE', pg_catalog.concat_ws(', ', d.relation, d.versions));
  SELECT * INTO d FROM rowseal.declarations x WHERE x.id = d.id;
  IF NOT FOUND OR d.queries = '{}'
     OR pg_catalog.to_regprocedure(pg_catalog.format('rowseal._guard_%s()', d.id)) IS NULL THEN
    RETURN;  -- it follows when it is declared, or opens
  END IF;
  PERFORM rowseal._declaration(d.relation);  -- or RS007
  FOREACH query IN ARRAY '{retract_versions,retract}'::text[] LOOP
    CONTINUE WHEN d.queries ->> query = '';
    EXECUTE pg_catalog.format(counts_not, rowseal._query(d, query || '_rows'))
       INTO signs USING owner_object, writers, NULL::bytea[];
    CONTINUE WHEN signs = '{}';
    BEGIN
      EXECUTE rowseal._query(d, query) USING owner_object, writers, signs;
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      IF rowseal._passing(SQLSTATE) THEN
        RAISE;
      END IF;
      FOREACH sign IN ARRAY signs LOOP  -- something stands in the way of some row: the others do not stay for it
        BEGIN
          EXECUTE rowseal._query(d, query) USING owner_object, writers, ARRAY[sign];
        EXCEPTION WHEN OTHERS OR assert_failure THEN
          IF rowseal._passing(SQLSTATE) THEN
            RAISE;
          END IF;
          why := coalesce(why, SQLERRM);
        END;
      END LOOP;
    END;
    -- no error says that all are gone: a trigger may have skipped some
    EXECUTE pg_catalog.format(counts_not, rowseal._query(d, query || '_rows'))
       INTO signs USING owner_object, writers, signs;
    stuck := stuck + pg_catalog.cardinality(signs);
  END LOOP;
  IF stuck > 0 THEN
    RAISE WARNING USING
      MESSAGE = pg_catalog.format('rowseal: %s rows that count no longer are still in %s: %s',
        stuck, d.relation, coalesce(why, 'a trigger keeps them')),
      HINT = 'rowseal.verify lists them, rowseal.health may say what is in the way. Remove that, then undeclare and '
          || 'declare the table: it follows its grants.';
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._retract(rowseal.declarations, text, bytea[]) IS
  'Takes rows of an owner''s writers that count no longer out of a table; where a current one goes, the greatest '
  'that counts takes its place. What cannot go stays, and a warning says so';

CREATE OR REPLACE FUNCTION rowseal._in_the_way(d rowseal.declarations) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  WITH target AS (
    SELECT t.oid, t.oid = d.relation AS main FROM rowseal._tree(d.relation) t(oid)
    UNION ALL SELECT d.versions, false WHERE d.versions IS NOT NULL
  ), shape AS (  -- of each unique index, or exclusion constraint, its columns; and those of the primary key
    SELECT i.indexrelid, i.indrelid, i.indisprimary, t.main,
           ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
                  WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::pg_catalog.int2[])) AS columns
      FROM target t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid AND (i.indisunique OR i.indisexclusion)
  )
  SELECT pg_catalog.string_agg(x.what, ', ' ORDER BY x.what) FROM (
    SELECT 'unique index ' || s.indexrelid::pg_catalog.regclass::text AS what FROM shape s
     WHERE NOT s.indisprimary
       -- what contains the primary key, or tells versions apart, never stands in the way of another version
       AND NOT EXISTS (SELECT FROM shape k WHERE k.indrelid = s.indrelid AND k.indisprimary AND k.columns <@ s.columns)
       AND NOT s.columns && ARRAY[d.signature_column, d.version_columns ->> d.signature_column, d.version_key]
    UNION ALL
    SELECT 'foreign key ' || c.conname::text || ' of ' || c.conrelid::pg_catalog.regclass::text
      FROM target t JOIN pg_catalog.pg_constraint c ON c.confrelid = t.oid AND c.contype = 'f' AND c.conparentid = 0
    UNION ALL
    SELECT 'trigger ' || g.tgname::text || ' on ' || t.oid::pg_catalog.regclass::text
      FROM target t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal AND g.tgparentid = 0
     WHERE g.tgtype & 8 = 8  -- DELETE
       AND NOT EXISTS (SELECT FROM rowseal._wanted_triggers(d) w WHERE w.relation = t.oid AND w.name = g.tgname)) x
$$;
COMMENT ON FUNCTION rowseal._in_the_way(rowseal.declarations) IS
  'What could keep a row of a revoked writer in a table, or the version before it out: unique indexes, foreign keys '
  'to the table, DELETE triggers; NULL when nothing could';

-- A revocation waits for nobody: else whoever may create a trigger on one of the tables could stop it.
CREATE OR REPLACE FUNCTION rowseal._cannot_let_in(grants_table regclass, refused boolean) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  reason CONSTANT text := rowseal._distrust(grants_table);
BEGIN
  -- an error would stop the worker
  IF refused AND pg_catalog.current_setting('session_replication_role') <> 'replica' THEN
    RAISE EXCEPTION USING ERRCODE = 'RS017', HINT = rowseal._hint('RS017'),
      MESSAGE = pg_catalog.format('rows would count by this one, and cannot be let in: %s', reason);
  END IF;
  RAISE WARNING USING HINT = rowseal._hint('RS017'),
    MESSAGE = pg_catalog.format('rowseal: rows that count by now are held: %s', reason);
END
$$;
COMMENT ON FUNCTION rowseal._cannot_let_in(regclass, boolean) IS
  'Held rows count now, and to let them in would run code of others: refuses what they count by (a grant, a link), or '
  'warns where that has to be (a revocation, a replication worker, or it was here before)';

-- SECURITY DEFINER, owner rowseal_internal: as _affected.
CREATE OR REPLACE FUNCTION rowseal._still_held(grants integer, entries bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  PERFORM rowseal._may_ask(grants);
  RETURN QUERY SELECT q.id FROM rowseal.quarantine q WHERE q.id = ANY (entries);
END
$$;
COMMENT ON FUNCTION rowseal._still_held(integer, bigint[]) IS
  'Which of these entries the quarantine has, as the query sees it that asks';

CREATE OR REPLACE FUNCTION rowseal._must_be_his(grants integer, entries bigint[]) RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  -- row security hides what is not his to write; what has left meanwhile is hidden from nobody
  IF EXISTS (SELECT FROM rowseal._still_held(grants, entries) h
              WHERE NOT EXISTS (SELECT FROM rowseal.quarantine q LEFT JOIN rowseal.declarations d ON d.tag = q.tag
                                 WHERE q.id = h AND (d.versions IS NULL OR rowseal._may_write(d.versions)))) THEN
    RAISE insufficient_privilege USING MESSAGE = 'rows would count by this one that you may not write',
      HINT = 'Whoever stores grants, or a row that others wait for, needs SELECT, INSERT and UPDATE on the tables '
          || 'that name the grants table and their versions tables, and BYPASSRLS where they have row security.';
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._must_be_his(integer, bigint[]) IS
  'Raises 42501 where entries of the quarantine are held for tables that the current user may not write';

CREATE OR REPLACE FUNCTION rowseal._left_behind(reason text) RETURNS boolean LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
  -- not what the row says, or its table's constraints
  SELECT pg_catalog.left(reason, 2) IN ('42', '54', 'P0', 'XX')
      OR pg_catalog.left(reason, 5) IN ('RS007', 'RS017', 'RS019')
$$;
COMMENT ON FUNCTION rowseal._left_behind(text) IS
  'Of a row that counts: whether this reason why it is held yet is one of the session that tried it, or of the moment';

-- They let nothing in; but who cannot carry one out does not move a walk by which it counts: the writer whom it revokes
-- would go on.
CREATE OR REPLACE FUNCTION rowseal._carry_out(
  grants integer, grants_table regclass, entries bigint[], named boolean, excused boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  refused text;
BEGIN
  IF NOT named AND NOT rowseal._secured(grants_table) THEN
    PERFORM rowseal._cannot_let_in(grants_table, refused => NOT excused);
    RETURN;
  END IF;
  PERFORM rowseal._must_be_his(grants, entries) WHERE NOT excused;
  SELECT pg_catalog.min(r.reason) INTO refused
    FROM rowseal._retry_batch(grants_table, 'canonical', entries, named => true) r
   WHERE rowseal._left_behind(r.reason);
  IF refused IS NOT NULL AND excused THEN
    RAISE WARNING USING MESSAGE = pg_catalog.format('rowseal: a revocation that counts by now is held: %s', refused),
      HINT = 'Mend that, then SELECT rowseal.retry().';
  ELSIF refused IS NOT NULL THEN
    RAISE insufficient_privilege USING HINT = 'Let somebody bring it who may do that.',
      MESSAGE = pg_catalog.format('a revocation would count by this one, and: %s', refused);
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._carry_out(integer, regclass, bigint[], boolean, boolean) IS
  'Lets held revocations in, which count now; 42501 where the session cannot do what follows from one, unless that is '
  'excused. named: the grants table is what is being written, by its name';

CREATE OR REPLACE FUNCTION rowseal._settle(
  grants integer, owner text, writer bytea, seq bigint, link bytea, revoked bytea)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET rowseal.mode = '' SET rowseal.outcome = '' AS $$
#variable_conflict use_variable
DECLARE
  affected record := rowseal._affected(grants, owner, writer, seq, link, revoked);
  grants_table CONSTANT regclass := (SELECT g.relation FROM rowseal.declarations g WHERE g.id = grants);
  d rowseal.declarations;
  refused bigint[];
  reason text;
BEGIN
  PERFORM rowseal._room();
  IF affected.writers <> '{}' THEN
    FOR d IN SELECT x.* FROM rowseal.declarations x
              WHERE x.id = grants OR x.writers = grants_table
              ORDER BY x.id LOOP
      IF d.queries = '{}' THEN  -- nobody's broken table keeps others from theirs
        RAISE WARNING USING
          MESSAGE = pg_catalog.format('rowseal: rows that count no longer stay in %s, which is not as declared',
                                      d.relation),
          HINT = 'rowseal.health() shows what is wrong. Undeclare it and declare it anew.';
        CONTINUE;
      END IF;
      PERFORM rowseal._retract(d, owner, affected.writers);
    END LOOP;
  END IF;
  IF affected.revocations <> '{}' THEN
    PERFORM rowseal._carry_out(grants, grants_table, affected.revocations,
                               named => revoked IS NOT NULL AND link IS NOT NULL,
                               excused => link IS NULL OR revoked IS NOT NULL AND writer IS NULL);
  END IF;
  IF affected.counts AND NOT rowseal._secured(grants_table) THEN
    PERFORM rowseal._cannot_let_in(grants_table, refused => revoked IS NULL AND link IS NOT NULL);
  ELSIF affected.held <> '{}' THEN
    PERFORM rowseal._must_be_his(grants, affected.held) WHERE revoked IS NULL;
    SELECT pg_catalog.array_agg(r.id), pg_catalog.min(r.reason) INTO refused, reason
      FROM rowseal._retry(NULL, NULL, affected.held) r WHERE r.reason LIKE '42501:%';
    IF revoked IS NULL AND EXISTS (
         SELECT FROM rowseal.quarantine q WHERE q.id = ANY (refused)
            AND q.tag = (SELECT g.tag FROM rowseal.declarations g WHERE g.id = grants)) THEN
      RAISE insufficient_privilege USING HINT = 'Let somebody bring it who may do that.',
        MESSAGE = pg_catalog.format('grants would count by this one, and: %s', pg_catalog.substr(reason, 8));
    END IF;
  END IF;
  PERFORM rowseal._pass_on(grants, owner);
END
$$;
COMMENT ON FUNCTION rowseal._settle(integer, text, bytea, bigint, bytea, bytea) IS
  'Makes the tables what the rules say after a row of the grants table, or one below a frontier, has been stored; '
  'with the rights of who brought it';

CREATE OR REPLACE FUNCTION rowseal._retracted(
  grants integer, owner text, writer bytea, seq bigint, link bytea, tag text, waits_for text, verdict rowseal.verdict,
  envelope json)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  authority integer;
  dead boolean;
  entry bigint;
  hash_ bytea := rowseal._entry_hash(tag, 'canonical', envelope);
BEGIN
  authority := rowseal._authority_of(grants, owner);
  dead := rowseal._dead(authority, writer, link);
  UPDATE rowseal.quarantine q
     SET sqlstate = verdict.sqlstate, reason = verdict.reason, curable = NOT dead, kept = NOT dead,
         waits_for = waits_for
    FROM rowseal._writer_rows r
   WHERE r.authority = authority AND r.writer = writer AND r.seq = seq AND r.link = link AND q.id = r.held;
  IF FOUND THEN  -- it was taken for one that its table had lost
    RETURN;
  END IF;
  -- Not the entry from which it may have been let in a moment ago: _retry is about to delete that one.
  DELETE FROM rowseal.quarantine q
   WHERE q.hash = hash_ AND q.role = session_user AND q.subscription IS NOT DISTINCT FROM rowseal._subscription();
  INSERT INTO rowseal.quarantine AS q (tag, sqlstate, reason, curable, kept, waits_for, role, subscription,
                                       application_name, format, row, hash, link)
    VALUES (tag, verdict.sqlstate, verdict.reason, NOT dead, NOT dead, waits_for, session_user, rowseal._subscription(),
            pg_catalog.current_setting('application_name'), 'canonical', envelope, hash_, link)
    RETURNING q.id INTO entry;
  -- its own statement may be about to enter it: see _stored
  PERFORM rowseal._enter(grants, owner, writer, seq, pg_catalog.decode(envelope #>> '{row,writer_prev}', 'base64'),
                         link, entry);
  UPDATE rowseal._writer_rows r SET held = entry
   WHERE r.authority = authority AND r.writer = writer AND r.seq = seq AND r.link = link
     AND r.held IS DISTINCT FROM entry;
END
$$;
COMMENT ON FUNCTION rowseal._retracted(integer, text, bytea, bigint, bytea, text, text, rowseal.verdict, json) IS
  'A stored row counts no longer: it is held in the quarantine';

CREATE OR REPLACE FUNCTION rowseal._enter_rows(d rowseal.declarations, relation regclass, archived boolean)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
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
  obstacles text := rowseal._in_the_way(d);
BEGIN
  IF obstacles IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('revocations could not take rows out of %s: %s', d.relation, obstacles),
      HINT = 'A table with writers has no unique index beside its primary key, no foreign key to it, no DELETE '
          || 'trigger of others: a writer could use them to keep what he was not to keep.';
  END IF;
  -- a revocation either sees these rows, or is seen here
  PERFORM rowseal._lock_writers(rowseal._grants_id(d.grants, d.id, d.writers), NULL, true);
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
  PERFORM rowseal._enter_held(d.tag);
  PERFORM rowseal._follow_grants(d);
END
$$;
COMMENT ON FUNCTION rowseal._enter_stored(rowseal.declarations) IS
  'Enters the rows that are in a table when it is declared; indexes them by writer; then as _follow_grants';

CREATE OR REPLACE FUNCTION rowseal._follow_grants(d rowseal.declarations) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  part record;
  counting bigint[];
  grants integer := rowseal._grants_id(d.grants, d.id, d.writers);
BEGIN
  -- Who was revoked in the meantime, or crowded out: of a key with 64 chains others may have counted.  What a walk has
  -- not reached waits, for the rows between may lie in a table that is declared next.  So of owners who have such keys
  -- nothing that does not count is a reason to refuse.
  FOR part IN
    EXECUTE pg_catalog.format($q$
      SELECT l AS owner, NULL::bytea AS writer FROM rowseal._losers($2) l
      UNION
      SELECT w.owner, w.writer FROM rowseal.writers w WHERE w.relation = $1 AND w.revoked
      UNION
      SELECT x.owner, x.writer FROM (%s) x
       WHERE x.problem IS NOT NULL
         AND x.owner IN (SELECT w.owner FROM rowseal.writers w
                          WHERE w.relation = $1
                            AND (w.revoked OR pg_catalog.jsonb_array_length(w.licences) >= 64)) $q$,
      rowseal._query(d, 'entered')) USING coalesce(d.writers, d.relation), grants
  LOOP
    PERFORM rowseal._settle(grants, part.owner, NULL, NULL, NULL, part.writer);
  END LOOP;
  counting := ARRAY(SELECT c.entry FROM rowseal._counting(grants) c);
  IF counting <> '{}' AND NOT rowseal._secured(coalesce(d.writers, d.relation)) THEN
    PERFORM rowseal._cannot_let_in(coalesce(d.writers, d.relation), refused => false);
  ELSE
    PERFORM rowseal._retry(NULL, NULL, counting);
  END IF;
  PERFORM rowseal._pass_on(grants, NULL);
END
$$;
COMMENT ON FUNCTION rowseal._follow_grants(rowseal.declarations) IS
  'What did not follow row by row, for the table was not declared, or closed, or its rows came with a partition: takes '
  'out what counts no longer, lets in what is held and counts, in all tables of the grants table as far as can be';

CREATE OR REPLACE FUNCTION rowseal._follow_opened(d rowseal.declarations) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- This writes, so it is for whoever trusts the tables: the command that opened it may have been about another one.
  IF d.queries = '{}' OR NOT rowseal._owns(d.relation) OR NOT rowseal._secured(d.relation) THEN
    RETURN false;
  END IF;
  IF d.grants OR d.writers IS NOT NULL THEN
    PERFORM rowseal._lock_writers(rowseal._grants_id(d.grants, d.id, d.writers), NULL, true);
    PERFORM rowseal._follow_grants(d);
  END IF;
  INSERT INTO rowseal._removals (opened) VALUES (d.relation);
  RETURN true;
EXCEPTION WHEN OTHERS OR assert_failure THEN
  IF rowseal._passing(SQLSTATE) THEN
    RAISE;
  END IF;
  RAISE WARNING USING  -- it keeps no other table waiting
    MESSAGE = pg_catalog.format('rowseal: %s does not follow what came while it was closed: %s', d.relation, SQLERRM),
    HINT = 'Mend that, then SELECT rowseal.retry().';
  RETURN false;
END
$$;
COMMENT ON FUNCTION rowseal._follow_opened(rowseal.declarations) IS
  '_follow_grants for a table that was closed and has opened; false where it is left to whoever trusts its tables';

CREATE OR REPLACE FUNCTION rowseal._forget_writers(d rowseal.declarations) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
  WITH dead AS (  -- with a body or without: it may be dropped while the table is not declared
      INSERT INTO rowseal._dead_rows
        SELECT d.tag, a.owner, r.writer, r.seq, r.prev, s.sign
          FROM rowseal._authority a JOIN rowseal._writer_rows r ON r.authority = a.id
          LEFT JOIN rowseal.quarantine q ON q.id = r.held
          CROSS JOIN LATERAL (SELECT coalesce(r.sign, rowseal._unbase64(q.row ->> 'sign_b64'))) s(sign)
         WHERE a.grants = d.id AND (r.held = 0 OR r.held > 0 AND rowseal._dead(a.id, r.writer, r.link))
           AND s.sign IS NOT NULL),  -- else somebody has damaged it: that keeps no table from going
    gone AS (DELETE FROM rowseal._authority a WHERE a.grants = d.id RETURNING a.id),
    rows AS (DELETE FROM rowseal._writer_rows r USING gone WHERE r.authority = gone.id),
    licences AS (DELETE FROM rowseal._licences l USING gone WHERE l.authority = gone.id),
    changed AS (DELETE FROM rowseal._changed c USING gone WHERE c.authority = gone.id),
    wanted AS (DELETE FROM rowseal._wanted w USING gone WHERE w.authority = gone.id),
    locks AS (DELETE FROM rowseal._writer_locks l WHERE l.grants = d.id),
    granted AS (DELETE FROM rowseal._grants g USING gone WHERE g.authority = gone.id RETURNING g.id)
  DELETE FROM rowseal._stands s USING granted WHERE s.revocation = granted.id
$$;
COMMENT ON FUNCTION rowseal._forget_writers(rowseal.declarations) IS
  'A grants table is no longer declared: what can be derived again goes';

-- Called by _install alone, with its rights.
CREATE OR REPLACE FUNCTION rowseal._recall_dead(d rowseal.declarations) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
  WITH dead AS (DELETE FROM rowseal._dead_rows x WHERE x.tag = d.tag RETURNING x.*)
  INSERT INTO rowseal._writer_rows
    SELECT rowseal._authority_of(d.id, x.owner), x.writer, x.seq, rowseal.link(x.seq, x.prev, x.sign), x.prev, 0, true,
           x.sign
      FROM dead x
$$;
COMMENT ON FUNCTION rowseal._recall_dead(rowseal.declarations) IS
  'A grants table is declared again: links whose bodies are gone are in the ledger as before';
