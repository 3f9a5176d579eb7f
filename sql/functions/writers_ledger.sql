-- The ledger: every authentic row of a writer, whether it counts or is held in the quarantine (docs/writers.md).
-- What changes it is for rowseal_internal alone, called by definer functions that have seen the row.
--
-- Entries of the quarantine come and go in transactions that do not see each other, and a row of the ledger must name
-- one that stays.  So one rule, for both sides: first the entry, then the row.  Who enters a row has locked its entry
-- (_held; one that somebody takes out just now counts as gone), and writes the row.  Who takes an entry out writes the
-- row, too, whichever entry it names, and looks then which others there are (_forget_held).  So whoever comes second
-- sees what the first has done.

CREATE OR REPLACE FUNCTION rowseal.link(writer_seq bigint, writer_prev bytea, signature bytea)
RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.sha256(pg_catalog.int8send(writer_seq) || coalesce(writer_prev, '') || signature)
$$;
COMMENT ON FUNCTION rowseal.link(bigint, bytea, bytea) IS
  'The link of a writer''s row (32 bytes): what its next row names as writer_prev, and a revocation in upto';

CREATE OR REPLACE FUNCTION rowseal._grants_id(grants boolean, id integer, writers regclass) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  RETURN CASE WHEN grants THEN id ELSE (SELECT x.id FROM rowseal.declarations x WHERE x.relation = writers) END;
END
$$;
COMMENT ON FUNCTION rowseal._grants_id(boolean, integer, regclass) IS
  'The number of the grants table that says who may write a table, given what its declaration says: itself, or the one '
  'that it names';

CREATE OR REPLACE FUNCTION rowseal._offered(d rowseal.declarations, format text, element json)
RETURNS rowseal._authentic LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1 AS $$
#variable_conflict use_variable
DECLARE
  query text;
  r record;
BEGIN
  FOREACH query IN ARRAY '{offered,offered_bare}'::text[] LOOP
    CONTINUE WHEN d.queries ->> query = '' OR rowseal._moved(d.names);
    BEGIN
      EXECUTE d.queries ->> query INTO r USING element, format;
      IF r.verdict IS NULL AND r.writer IS NOT NULL THEN
        RETURN ROW(r.owner, r.writer, r.seq, r.prev, r.link, r.at, r.deleted, r.key, r.envelope)::rowseal._authentic;
      END IF;
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      IF rowseal._passing(SQLSTATE) THEN
        RAISE;
      END IF;  -- else it has no canonical form
    END;
  END LOOP;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._offered(rowseal.declarations, text, json) IS
  'An authentic row of a writer; NULL when it is none';

CREATE OR REPLACE FUNCTION rowseal._may_be_held(d rowseal.declarations, verdict rowseal.verdict) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (d.grants OR d.writers IS NOT NULL)
     AND (verdict.sqlstate IN ('RS010', 'RS011', 'RS012') OR verdict.sqlstate NOT LIKE 'RS%'
          -- a column may have rounded what was signed
          OR (verdict.sqlstate = 'RS001' AND d.queries ->> 'offered_bare' <> ''));
END
$$;
COMMENT ON FUNCTION rowseal._may_be_held(rowseal.declarations, rowseal.verdict) IS
  'Whether a refusal leaves open that the row is authentic: grants stood in its way, or its table';

CREATE OR REPLACE FUNCTION rowseal._may_follow(tag text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  PERFORM rowseal._in_person();
  RETURN EXISTS (
    SELECT FROM pg_catalog.pg_roles r
     WHERE pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')  -- as in _may_ask
       AND NOT EXISTS (
         SELECT FROM rowseal.declarations d, pg_catalog.unnest(ARRAY[d.relation, d.versions]) t(oid)
           JOIN pg_catalog.pg_class c ON c.oid = t.oid
          WHERE d.tag = tag
            AND NOT (pg_catalog.has_table_privilege(r.oid, c.oid, 'SELECT')
                     AND pg_catalog.has_table_privilege(r.oid, c.oid, 'INSERT')
                     AND pg_catalog.has_table_privilege(r.oid, c.oid, 'UPDATE'))));
END
$$;
COMMENT ON FUNCTION rowseal._may_follow(text) IS 'Whether the session could write a table';

CREATE OR REPLACE FUNCTION rowseal._claimed(tag text, refused rowseal.verdict, format text, element json)
RETURNS rowseal._authentic LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
BEGIN
  SELECT * INTO d FROM rowseal.declarations x WHERE x.tag = tag;
  RETURN CASE WHEN format IN ('canonical', 'pgtext') AND rowseal._may_be_held(d, refused)
                   AND rowseal._may_follow(tag)
              THEN rowseal._offered(d, format, element) END;
END
$$;
COMMENT ON FUNCTION rowseal._claimed(text, rowseal.verdict, text, json) IS
  'The authentic row of a writer that an entry of the quarantine claims to be; NULL when it is none, or when the '
  'session may not write its table: the ledger is for those alone who could have stored the row';

CREATE OR REPLACE FUNCTION rowseal._authority_of(grants integer, owner text) RETURNS integer LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  authority integer;
BEGIN
  LOOP
    SELECT x.id INTO authority FROM rowseal._authority x WHERE x.grants = grants AND x.owner = owner;
    EXIT WHEN FOUND;
    INSERT INTO rowseal._authority (grants, owner) VALUES (grants, owner) ON CONFLICT DO NOTHING;
  END LOOP;
  RETURN authority;
END
$$;
COMMENT ON FUNCTION rowseal._authority_of(integer, text) IS 'The number of an owner, made when he has none yet';

CREATE OR REPLACE FUNCTION rowseal._enter(
  grants integer, owner text, writer bytea, seq bigint, prev bytea, link bytea, held bigint)
RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  authority integer;
  grantees bytea[];
BEGIN
  SELECT x.id INTO authority FROM rowseal._authority x WHERE x.grants = grants AND x.owner = owner;
  IF NOT FOUND THEN
    authority := rowseal._authority_of(grants, owner);
  END IF;
  INSERT INTO rowseal._writer_rows AS r VALUES (authority, writer, seq, link, prev, held, held IS NULL)
    ON CONFLICT ON CONSTRAINT _writer_rows_pkey
    DO UPDATE SET held = CASE WHEN r.held > 0 AND EXCLUDED.held IS NOT NULL THEN r.held ELSE EXCLUDED.held END,
                  fed = r.fed OR EXCLUDED.fed, sign = NULL
      -- what is in its table is not held, whoever says so; and of what is held one entry is enough.  It is written all
      -- the same, not locked alone: as in _lock_writers.
      WHERE r.held IS NOT NULL AND r.held IS DISTINCT FROM EXCLUDED.held;
  IF EXISTS (SELECT FROM rowseal._wanted w
              WHERE w.authority = authority AND w.writer = writer AND w.link = link
                AND (w.seq IS NULL OR w.seq = seq)) THEN
    PERFORM rowseal._walk(authority, writer, seq, link);
    grantees := ARRAY(
      SELECT g.grantee FROM rowseal._grants g
       WHERE g.authority = authority AND g.writer = writer AND EXISTS (
         SELECT FROM rowseal._grants v JOIN rowseal._stands s ON s.revocation = v.id
          WHERE v.authority = authority AND v.grantee = writer AND v.upto IS NOT NULL
            AND s.link = g.link AND s.arrival = link));
    IF grantees <> '{}' THEN
      PERFORM rowseal._derive(authority, grantees, link);
    END IF;
    RETURN true;
  END IF;
  RETURN false;
END
$$;
COMMENT ON FUNCTION rowseal._enter(integer, text, bytea, bigint, bytea, bytea, bigint) IS
  'Enters an authentic row into the ledger; whether a walk has moved by it. Then the tables have to follow, with the '
  'rights of who writes: the next trigger sees to that (_settle_N, _settle_row, _settle_refused)';

CREATE OR REPLACE FUNCTION rowseal._stored(
  grants integer, owner text, writer bytea, seq bigint, prev bytea, link bytea)
RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  IF EXISTS (
    SELECT FROM rowseal._authority a JOIN rowseal._writer_rows r ON r.authority = a.id
      JOIN rowseal.quarantine q ON q.id = r.held
      JOIN rowseal.declarations d ON d.tag = q.tag AND d.queries <> '{}'
                                 AND rowseal._grants_id(d.grants, d.id, d.writers) = grants
      CROSS JOIN LATERAL rowseal._licensed_entry(grants, owner, d, q, r) v
     WHERE a.grants = grants AND a.owner = owner AND r.writer = writer AND r.seq = seq AND r.link = link
       AND v.sqlstate IS NOT NULL) THEN
    RETURN false;
  END IF;
  PERFORM rowseal._enter(grants, owner, writer, seq, prev, link, NULL);
  RETURN true;
END
$$;
COMMENT ON FUNCTION rowseal._stored(integer, text, bytea, bigint, bytea, bytea) IS
  'Enters a row that was stored into the ledger; false when it is held by now, and does not count: what ended it came '
  'in the same statement, before this trigger, and has taken it out again';

-- SECURITY DEFINER, owner rowseal_internal: it answers the trigger that follows, which runs with the rights of who
-- writes.
CREATE OR REPLACE FUNCTION rowseal._has_moved(grants integer, link bytea) RETURNS boolean LANGUAGE plpgsql STABLE
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  IF NOT EXISTS (SELECT FROM rowseal._stands s WHERE s.link = link AND s.arrival = link) THEN
    RETURN false;  -- nearly always, and no secret: who asks has the row
  END IF;
  PERFORM rowseal._may_ask(grants);
  RETURN true;
END
$$;
COMMENT ON FUNCTION rowseal._has_moved(integer, bytea) IS
  'Whether a walk has moved by a row of a writer, when it came or before';

CREATE OR REPLACE FUNCTION rowseal._before(authority integer, writer bytea, seq bigint, prev bytea)
RETURNS SETOF rowseal._writer_rows LANGUAGE sql STABLE AS $$
  SELECT * FROM rowseal._writer_rows r
   WHERE r.authority OPERATOR(pg_catalog.=) $1 AND r.writer OPERATOR(pg_catalog.=) $2
     AND r.seq OPERATOR(pg_catalog.=) ($3 OPERATOR(pg_catalog.-) 1) AND r.link OPERATOR(pg_catalog.=) $4 LIMIT 1
$$;
COMMENT ON FUNCTION rowseal._before(integer, bytea, bigint, bytea) IS
  'The row of a writer before one with this number and previous link. A look-up for each step: as a join, PostgreSQL '
  'may read the whole chain for it. Without a search path, so that it is inlined';

CREATE OR REPLACE FUNCTION rowseal._walk(authority integer, writer bytea, seq bigint, link bytea)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  revocation bigint;
BEGIN
  FOR revocation IN
    SELECT DISTINCT w.revocation FROM rowseal._wanted w
     WHERE w.authority = authority AND w.writer = writer AND w.link = link AND (w.seq IS NULL OR w.seq = seq)
  LOOP
    WITH RECURSIVE down(seq, link, prev) AS (
      SELECT r.seq, r.link, r.prev FROM rowseal._writer_rows r
       WHERE r.authority = authority AND r.writer = writer AND r.seq = seq AND r.link = link
      UNION ALL
      SELECT r.seq, r.link, r.prev FROM down d, rowseal._before(authority, writer, d.seq, d.prev) r
       WHERE NOT EXISTS (SELECT FROM rowseal._stands s WHERE s.revocation = revocation AND s.link = r.link)
    ), stand AS (
      INSERT INTO rowseal._stands SELECT revocation, d.link, link FROM down d ON CONFLICT DO NOTHING
    ), gone AS (
      DELETE FROM rowseal._wanted w WHERE w.revocation = revocation AND w.link = link AND (w.seq IS NULL OR w.seq = seq)
    )
    -- the end of the walk waits for its predecessor, unless another branch has been there
    INSERT INTO rowseal._wanted
      SELECT revocation, authority, writer, d.seq - 1, d.prev FROM (SELECT * FROM down ORDER BY seq LIMIT 1) d
       WHERE d.seq > 1 AND NOT EXISTS (SELECT FROM rowseal._before(authority, writer, d.seq, d.prev));
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._walk(integer, bytea, bigint, bytea) IS
  'A row that revocations name or want has arrived: it stands, and its predecessors as far as they are here';

CREATE OR REPLACE FUNCTION rowseal._dead(authority integer, writer bytea, link bytea)
RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  RETURN EXISTS (
    SELECT FROM rowseal._grants g
     WHERE g.authority = authority AND g.grantee = writer AND g.writer IS NULL AND g.upto IS NOT NULL
       AND NOT EXISTS (SELECT FROM rowseal._wanted w WHERE w.revocation = g.id)
       AND NOT EXISTS (SELECT FROM rowseal._stands s WHERE s.revocation = g.id AND s.link = link));
END
$$;
COMMENT ON FUNCTION rowseal._dead(integer, bytea, bytea) IS
  'Whether a row never counts again: outside the past of an owner''s revocation that has been walked to number 1';

CREATE OR REPLACE FUNCTION rowseal._writer_text(grants integer, owner text, writer bytea)
RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  -- the key's hash: one of ML-DSA does not fit into the index
  RETURN (SELECT d.tag FROM rowseal.declarations d WHERE d.id = grants) || ' ' || owner || ' '
      || pg_catalog.encode(pg_catalog.sha256(writer), 'hex');
END
$$;
COMMENT ON FUNCTION rowseal._writer_text(integer, text, bytea) IS 'What a held row waits for: grants of this writer';

CREATE OR REPLACE FUNCTION rowseal._named(grants integer, owner text, writer bytea) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  RETURN EXISTS (SELECT FROM rowseal._authority a JOIN rowseal._licences l ON l.authority = a.id
                  WHERE a.grants = grants AND a.owner = owner AND l.writer = writer);
END
$$;
COMMENT ON FUNCTION rowseal._named(integer, text, bytea) IS 'Whether a standing grant of an owner names this key';

CREATE OR REPLACE FUNCTION rowseal._held(entry bigint, tag text, o rowseal._authentic, refused rowseal.verdict)
RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  grants integer := (
    SELECT rowseal._grants_id(d.grants, d.id, d.writers) FROM rowseal.declarations d WHERE d.tag = tag);
  verdict rowseal.verdict;
  authority integer;
  holds bigint;
  dead boolean;
  known boolean;
  moved boolean;
BEGIN
  PERFORM rowseal._lock_walk(grants, o.owner, o.writer);  -- the guard's is gone when storing raised an error
  verdict := rowseal._licensed(grants, o.owner, o.writer, o.seq, o.link, tag, o.at, o.deleted, o.key);
  IF verdict IS NULL AND refused.sqlstate LIKE 'RS01_' THEN
    RETURN false;
  END IF;
  PERFORM FROM rowseal.quarantine q WHERE q.id = entry FOR KEY SHARE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN false;  -- as if it had come just before it was taken out
  END IF;
  moved := rowseal._enter(grants, o.owner, o.writer, o.seq, o.prev, o.link, entry);
  authority := rowseal._authority_of(grants, o.owner);
  SELECT r.held INTO holds FROM rowseal._writer_rows r
   WHERE r.authority = authority AND r.writer = o.writer AND r.seq = o.seq AND r.link = o.link;
  IF holds IS NULL THEN
    IF verdict IS NULL THEN  -- it is in its table
      RETURN moved;
    END IF;
    -- else it has been there once: the table has lost it (made anew, pruned)
    holds := entry;
    UPDATE rowseal._writer_rows r SET held = entry
     WHERE r.authority = authority AND r.writer = o.writer AND r.seq = o.seq AND r.link = o.link;
  END IF;
  dead := rowseal._dead(authority, o.writer, o.link);
  known := rowseal._named(grants, o.owner, o.writer);
  verdict := coalesce(verdict, refused);  -- a row that counts, and that its table cannot store
  -- what says so already is not touched: whoever asks keeps nobody waiting by it
  UPDATE rowseal.quarantine q
     SET sqlstate = n.sqlstate, reason = n.reason, curable = n.curable, waits_for = n.waits_for, kept = n.kept,
         link = o.link
    FROM (SELECT x.id, verdict.sqlstate, verdict.reason, NOT dead AS curable,  -- whatever somebody says is in its way
                 rowseal._writer_text(grants, o.owner, o.writer) AS waits_for,
                 -- once kept (it was stored, perhaps) it is so whatever grants say now
                 (known OR x.kept) AND NOT dead AND holds = entry AS kept
            FROM rowseal.quarantine x WHERE x.id = entry) n
   WHERE q.id = n.id AND (q.sqlstate, q.reason, q.curable, q.waits_for, q.kept, q.link)
                         IS DISTINCT FROM (n.sqlstate, n.reason, n.curable, n.waits_for, n.kept, o.link);
  -- dead or not: another revocation may be walked through it, here and elsewhere
  UPDATE rowseal._writer_rows r SET fed = true
   WHERE r.authority = authority AND r.writer = o.writer AND r.seq = o.seq AND r.link = o.link AND known AND NOT r.fed;
  RETURN moved;
END
$$;
COMMENT ON FUNCTION rowseal._held(bigint, text, rowseal._authentic, rowseal.verdict) IS
  'Enters an authentic row that is not in its table into the ledger, which says why it is held; whether a walk has '
  'moved by it';

-- What is held and known travels: others may need it as a link (see poisoned_link in the tests).
-- SECURITY DEFINER, owner rowseal_internal: nobody else may write the feed.
CREATE OR REPLACE FUNCTION rowseal._feed_held() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_RELID <> 'rowseal._writer_rows'::pg_catalog.regclass OR TG_WHEN <> 'AFTER' THEN
    RAISE EXCEPTION USING ERRCODE = 'RS009', MESSAGE = 'the feed takes what its tables have accepted, and nothing else';
  END IF;
  INSERT INTO rowseal.feed (tag, owner, envelope, role, subscription)
    SELECT q.tag, rowseal._owner_text(d.spec, q.row), q.row, session_user, rowseal._subscription()
      FROM rowseal.quarantine q JOIN rowseal._authority a ON a.id = NEW.authority
      JOIN rowseal.declarations d ON d.tag = q.tag AND d.feed
                                 AND rowseal._grants_id(d.grants, d.id, d.writers) = a.grants
     WHERE q.id = NEW.held;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._feed_held() IS 'Passes a held row of a known writer on, once';

-- SECURITY DEFINER, owner rowseal_internal: _settle runs with the rights of who writes.
CREATE OR REPLACE FUNCTION rowseal._pass_on(grants integer, owner text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  authority integer;
  q rowseal.quarantine;
  r rowseal._writer_rows;
BEGIN
  PERFORM rowseal._may_ask(grants);
  IF owner IS NULL THEN
    PERFORM rowseal._pass_on(grants, a.owner) FROM rowseal._authority a WHERE a.grants = grants;
    RETURN;
  END IF;
  SELECT x.id INTO authority FROM rowseal._authority x WHERE x.grants = grants AND x.owner = owner;
  FOR r IN SELECT * FROM rowseal._writer_rows x
            WHERE x.authority = authority AND NOT x.fed
              AND EXISTS (SELECT FROM rowseal._licences l WHERE l.authority = authority AND l.writer = x.writer)
            ORDER BY x.held LOOP
    -- whoever takes it out just now may stay open
    SELECT * INTO q FROM rowseal.quarantine x WHERE x.id = r.held FOR NO KEY UPDATE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND OR NOT EXISTS (  -- else it is passed on when its table is declared
      SELECT FROM rowseal.declarations d
       WHERE d.tag = q.tag AND rowseal._grants_id(d.grants, d.id, d.writers) = grants);
    IF NOT q.kept AND NOT rowseal._dead(authority, r.writer, r.link) THEN
      UPDATE rowseal.quarantine x SET kept = true WHERE x.id = r.held;
    END IF;
    UPDATE rowseal._writer_rows x SET fed = true WHERE x.held = r.held;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._pass_on(integer, text) IS
  'What is held of keys that grants of an owner (NULL: of all) name by now is kept, and passed on, also what never '
  'counts again: others may need it as a link';

CREATE OR REPLACE FUNCTION rowseal._may_forget(link bytea) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  entries CONSTANT bigint[] := ARRAY(SELECT q.id FROM rowseal.quarantine q WHERE q.link = link);
  free integer;
BEGIN
  PERFORM FROM rowseal._writer_rows r WHERE r.held = ANY (entries) FOR NO KEY UPDATE SKIP LOCKED;
  GET DIAGNOSTICS free = ROW_COUNT;
  RETURN free = (SELECT count(*) FROM rowseal._writer_rows r WHERE r.held = ANY (entries));
END
$$;
COMMENT ON FUNCTION rowseal._may_forget(bytea) IS
  'Whether nobody else is about to change what the ledger says of a link, so that an entry of it can be taken out '
  'without waiting: whoever does may stay open. Locks what it says';

-- SECURITY DEFINER, owner rowseal_internal: the ledger forgets a row whose body is gone, whoever discards it.
CREATE OR REPLACE FUNCTION rowseal._forget_held() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  another bigint;
BEGIN
  IF TG_RELID <> 'rowseal.quarantine'::pg_catalog.regclass OR TG_WHEN <> 'AFTER' THEN
    RAISE EXCEPTION USING ERRCODE = 'RS009', MESSAGE = 'the ledger follows the quarantine, and nothing else';
  END IF;
  -- Found by all its entries: by those, too, that others take out just now, who find it by this one.
  UPDATE rowseal._writer_rows r SET held = r.held
   WHERE r.held = ANY (ARRAY(SELECT q.id FROM rowseal.quarantine q WHERE q.link = OLD.link) || OLD.id);
  -- another source may have brought it, too; but what waits as if no table had had its tag is not for this one
  SELECT pg_catalog.min(q.id) INTO another FROM rowseal.quarantine q
   WHERE q.link = OLD.link AND (q.sqlstate = 'RS007') = (OLD.sqlstate = 'RS007');
  IF another IS NOT NULL THEN
    UPDATE rowseal._writer_rows r SET held = another WHERE r.held = OLD.id;
    IF FOUND AND OLD.kept THEN  -- whoever takes that one out just now may stay open
      UPDATE rowseal.quarantine q SET kept = true
       WHERE q.id = ANY (ARRAY(SELECT x.id FROM rowseal.quarantine x
                                WHERE x.id = another AND NOT x.kept FOR NO KEY UPDATE SKIP LOCKED));
    END IF;
    RETURN NULL;
  END IF;
  UPDATE rowseal._writer_rows r SET held = 0, sign = pg_catalog.decode(OLD.row ->> 'sign_b64', 'base64')
   WHERE r.held = OLD.id
     AND (rowseal._dead(r.authority, r.writer, r.link) OR EXISTS (SELECT FROM rowseal._stands s WHERE s.link = r.link));
  -- the owner's number stays: a session that we do not see may be using it
  DELETE FROM rowseal._writer_rows r WHERE r.held = OLD.id;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._forget_held() IS
  'Takes a held row out of the ledger when it leaves the quarantine otherwise than into its table. Of one that never '
  'counts again, or stands under a revocation, the link stays: walks lead through it';

-- SECURITY DEFINER, owner rowseal_internal: the ledger and the quarantine are not everybody's.
CREATE OR REPLACE FUNCTION rowseal._held_envelopes(tag text) RETURNS SETOF json
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  PERFORM rowseal._in_person();
  RETURN QUERY
    SELECT q.row FROM rowseal.declarations d
      JOIN rowseal.quarantine q ON q.tag = d.tag
      JOIN rowseal._writer_rows r ON r.held = q.id AND r.fed
      -- not of a table that had the tag before
      JOIN rowseal._authority a ON a.id = r.authority AND a.grants = rowseal._grants_id(d.grants, d.id, d.writers)
     WHERE d.tag = tag AND rowseal._reads_all(d.relation) AND rowseal._reads_all(coalesce(d.writers, d.relation));
END
$$;
COMMENT ON FUNCTION rowseal._held_envelopes(text) IS
  'Rows of a table that are held although a grant names their writers: with the stored ones, all that a new server '
  'needs to walk what this one has walked. None for those who may not read the table and its grants';

-- SECURITY DEFINER, owner rowseal_internal: health is for everybody, the ledger is not.
CREATE OR REPLACE FUNCTION rowseal._gaps(grants integer)
RETURNS TABLE (writer bytea, last bigint, numbers bigint) LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  PERFORM rowseal._may_read(grants);
  RETURN QUERY SELECT r.writer, pg_catalog.max(r.seq),
                      -- a body that was dropped is missing if it may count
                      count(DISTINCT r.seq) FILTER (WHERE CASE
                        WHEN r.held = 0 THEN rowseal._dead(r.authority, r.writer, r.link) ELSE true END)
                 FROM rowseal._authority a JOIN rowseal._writer_rows r ON r.authority = a.id
                WHERE a.grants = grants AND EXISTS (
                  SELECT FROM rowseal._licences l WHERE l.authority = r.authority AND l.writer = r.writer)
                GROUP BY r.authority, r.writer;
END
$$;
COMMENT ON FUNCTION rowseal._gaps(integer) IS
  'Highest number and how many different ones, for each writer of each owner that a standing grant names: what others '
  'sign is no loss';

-- SECURITY DEFINER, owner rowseal_internal: as _gaps.
CREATE OR REPLACE FUNCTION rowseal._waiting(grants integer) RETURNS TABLE (writer bytea, links bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  PERFORM rowseal._may_read(grants);
  RETURN QUERY SELECT w.writer, count(DISTINCT w.link)
                 FROM rowseal._authority a JOIN rowseal._wanted w ON w.authority = a.id
                WHERE a.grants = grants AND EXISTS (
                  SELECT FROM rowseal._licences l WHERE l.authority = w.authority AND l.writer = w.writer)
                GROUP BY w.authority, w.writer;
END
$$;
COMMENT ON FUNCTION rowseal._waiting(integer) IS
  'How many links revocations wait for that this server does not have, for each writer of each owner as in _gaps: '
  'until one comes, what it leads to does not count here';
