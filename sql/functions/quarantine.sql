-- The quarantine: which refused rows enter it, what they wait for, and how they are tried again.
--
-- The way of a row there: in a session none, its guard raises (_refuse); from apply, receive and links by _set_aside,
-- which tries it once more under a lock; from a direct publication by _set_apart to the same.  Then _hold: the row of
-- a writer by way of rowseal._refused, whose triggers do what follows for others, all rows by _quarantine and _entry.
-- And back: _cure, an ALTER TABLE, declare or rowseal.retry call _retry, this _retry_batch and _take_out.

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
  -- class 42: names and rights; but these are said of values (tsvector, jsonpath, ltree)
  RETURN verdict.sqlstate IN ('RS002', 'RS007', 'RS010', 'RS011', 'RS012', 'RS014', 'RS015', 'RS017', 'RS019')
      OR (verdict.sqlstate LIKE '42%' AND verdict.sqlstate NOT IN ('42601', '42602', '42622'));
END
$$;
COMMENT ON FUNCTION rowseal._curable(rowseal.verdict) IS
  'Whether something other than the row stood in its way: an owner, a grant, a table, a column, a library, a right';

CREATE OR REPLACE FUNCTION rowseal._read(query text, element json, format text) RETURNS record
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r record;
BEGIN
  EXECUTE query INTO r USING element, format;
  RETURN r;
END
$$;
COMMENT ON FUNCTION rowseal._read(text, json, text) IS
  'The columns of an element, read by a query of its table. What that needs, ten times the size of a large one, is '
  'free again afterwards';

CREATE OR REPLACE FUNCTION rowseal._decoded(d rowseal.declarations, format text, element json) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  envelope json;
BEGIN
  EXECUTE d.queries ->> 'decoded' INTO envelope USING element, format;
  RETURN envelope;
EXCEPTION WHEN OTHERS OR assert_failure THEN
  IF rowseal._passing(SQLSTATE) THEN
    RAISE;
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._decoded(rowseal.declarations, text, json) IS
  'A row as the table''s guard reads it, as an envelope; NULL when it has no canonical form. So all spellings of a row '
  'are one entry, and wait for the same owner';

CREATE OR REPLACE FUNCTION rowseal._waits_for(d rowseal.declarations, verdict rowseal.verdict, envelope json)
RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  owner text := rowseal._owner_text(d.spec, envelope);
BEGIN
  IF verdict.sqlstate = 'RS002' THEN
    RETURN (SELECT i.tag FROM rowseal.declarations i WHERE i.relation = d.identity) || ' ' || owner;
  END IF;
  RETURN rowseal._writer_text(rowseal._grants_id(d.grants, d.id, d.writers), owner,
                              pg_catalog.decode(envelope #>> '{row,writer_pkey}', 'base64'));
END
$$;
COMMENT ON FUNCTION rowseal._waits_for(rowseal.declarations, rowseal.verdict, json) IS
  'Which owner a decoded row waits for (RS002), or grants of which writer (RS010, RS011, RS012)';

CREATE OR REPLACE FUNCTION rowseal._unknown_field(d rowseal.declarations, element json, format text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF format = 'canonical' THEN
    RETURN (SELECT pg_catalog.min(k) FROM pg_catalog.json_object_keys(element -> 'row') k
             WHERE NOT (d.spec -> 'fields') ? k);
  END IF;
  RETURN (SELECT pg_catalog.min(e.key) FROM pg_catalog.json_each(element) e
           WHERE pg_catalog.json_typeof(e.value) <> 'null' AND NOT EXISTS (
             SELECT FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = d.relation AND a.attname = e.key AND NOT a.attisdropped));
END
$$;
COMMENT ON FUNCTION rowseal._unknown_field(rowseal.declarations, json, text) IS
  'The first field of an element that its table has no column for; NULL when there is none';

CREATE OR REPLACE FUNCTION rowseal._differing(d rowseal.declarations, element json) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    -- as text: a number of a few bytes can have 131,072 digits
    SELECT pg_catalog.format('field %s: signed %s, would be stored as %s%s', s.key, s.shown, t.shown,
                             (SELECT pg_catalog.format(' (%s)', pg_catalog.format_type(a.atttypid, a.atttypmod))
                                FROM pg_catalog.jsonb_each_text(d.fields) f
                                JOIN pg_catalog.pg_attribute a ON a.attrelid = d.relation AND a.attname = f.key
                               WHERE f.value = s.key))
      FROM (SELECT x.key, x.value #>> '{}' AS value, rowseal._shortened(x.value::text, 80) AS shown,
                   pg_catalog.json_typeof(x.value) NOT IN ('object', 'array') AS scalar  -- these have many spellings
              FROM pg_catalog.json_each(element -> 'row') x) s
      JOIN (SELECT x.key, x.value #>> '{}' AS value, rowseal._shortened(x.value::text, 80) AS shown,
                   pg_catalog.json_typeof(x.value) NOT IN ('object', 'array') AS scalar
              FROM pg_catalog.json_each(rowseal._decoded(d, 'canonical', element) -> 'row') x) t USING (key)
     WHERE s.value <> t.value AND s.scalar AND t.scalar
     ORDER BY s.key LIMIT 1);
EXCEPTION WHEN data_exception OR statement_too_complex THEN
  RETURN NULL;  -- JSON that can be no text: see _member
END
$$;
COMMENT ON FUNCTION rowseal._differing(rowseal.declarations, json) IS
  'Of an envelope: the first field that its column would store otherwise than it is spelled there, which is why a '
  'signature does not fit; NULL: none';

CREATE OR REPLACE FUNCTION rowseal._explained(
  d rowseal.declarations, verdict rowseal.verdict, element json, format text)
RETURNS rowseal.verdict LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  unknown text;
BEGIN
  -- Why a signature does not fit: the row belongs elsewhere, or has columns that are not there yet.
  IF pg_catalog.json_typeof(element) IS DISTINCT FROM 'object' THEN
    RETURN ROW('22023', 'not a JSON object')::rowseal.verdict;
  ELSIF verdict.sqlstate NOT IN ('RS001', 'RS006') THEN
    RETURN verdict;
  ELSIF rowseal._excess(element, format) IS NOT NULL THEN
    RETURN ROW('RS006', rowseal._excess(element, format))::rowseal.verdict;
  ELSIF format = 'canonical' AND pg_catalog.json_typeof(element -> 'row') IS DISTINCT FROM 'object' THEN
    RETURN ROW('RS001', 'not an envelope: it has no object "row"')::rowseal.verdict;
  ELSIF format = 'canonical' AND element ->> 'rowseal' IS DISTINCT FROM '1' THEN
    RETURN ROW('RS001', 'not an envelope of form rowseal/1')::rowseal.verdict;
  ELSIF format = 'canonical' AND element ->> 'table' IS DISTINCT FROM d.tag THEN
    RETURN ROW('RS001', pg_catalog.format('the envelope is for table %L, not %L',
                                          pg_catalog."left"(element ->> 'table', 100), d.tag))::rowseal.verdict;
  END IF;
  unknown := rowseal._unknown_field(d, element, format);
  IF unknown IS NOT NULL THEN
    RETURN ROW('RS015', pg_catalog.format('no column for field %L yet', pg_catalog."left"(unknown, 100))
              )::rowseal.verdict;
  ELSIF format = 'canonical' AND verdict.sqlstate = 'RS001' AND pg_catalog.octet_length(element::text) <= 8192 THEN
    verdict.reason := pg_catalog.concat_ws('; ', verdict.reason, rowseal._differing(d, element));
  END IF;
  RETURN verdict;
END
$$;
COMMENT ON FUNCTION rowseal._explained(rowseal.declarations, rowseal.verdict, json, text) IS
  'A more telling refusal where the envelope shows why';

CREATE OR REPLACE FUNCTION rowseal._waited(in_vain boolean DEFAULT false) RETURNS boolean LANGUAGE plpython3u
SET search_path = pg_catalog, pg_temp AS $$
# not a setting: what is rolled back would be forgotten, and waited for again
import time
if in_vain:
    GD["rowseal_waited"] = time.monotonic()
return "rowseal_waited" in GD and time.monotonic() - GD["rowseal_waited"] < 60
$$;
COMMENT ON FUNCTION rowseal._waited(boolean) IS
  'Whether this session has waited for a lock in vain within a minute; in_vain: it has just now';

-- SECURITY DEFINER, owner rowseal_internal: nobody else can lock these rows.  Everybody can call it, though, and keep
-- his transaction open: so this waits for two seconds at most, and having done so in vain no more for a minute.
CREATE OR REPLACE FUNCTION rowseal._lock_arrival(what text, exclusive boolean) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  wanted CONSTANT integer := pg_catalog.hashtext(what) & 1023;
BEGIN
  IF exclusive THEN
    PERFORM FROM rowseal._arrival_locks l WHERE l.bucket = wanted FOR UPDATE SKIP LOCKED;
  ELSE
    PERFORM FROM rowseal._arrival_locks l WHERE l.bucket = wanted FOR SHARE SKIP LOCKED;
  END IF;
  IF FOUND OR rowseal._waited() THEN
    RETURN;
  END IF;
  BEGIN
    IF exclusive THEN
      PERFORM FROM rowseal._arrival_locks l WHERE l.bucket = wanted FOR UPDATE;
    ELSE
      PERFORM FROM rowseal._arrival_locks l WHERE l.bucket = wanted FOR SHARE;
    END IF;
  EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    PERFORM rowseal._waited(in_vain => true);
  END;
END
$$;
COMMENT ON FUNCTION rowseal._lock_arrival(text, boolean) IS
  'Orders those who defer rows for want of something (an owner, a table) and the one who brings it (exclusive), unless '
  'somebody holds the lock for more than two seconds: then rows may go on waiting although it is there, until '
  'rowseal.retry()';

CREATE OR REPLACE FUNCTION rowseal._count_dropped(carrier text, source text, rows bigint, bytes numeric) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  INSERT INTO rowseal.quarantine_dropped AS d (role, subscription, rows, bytes, last)
    VALUES (carrier, coalesce(source, ''), rows, bytes, pg_catalog.clock_timestamp())
    ON CONFLICT (role, subscription) DO UPDATE
      SET rows = d.rows + EXCLUDED.rows, bytes = d.bytes + EXCLUDED.bytes, last = EXCLUDED.last;
END
$$;
COMMENT ON FUNCTION rowseal._count_dropped(text, text, bigint, numeric) IS 'Counts what the quarantine does not keep';

-- PL/pgSQL, which keeps the plan: it takes a quarter of the time.
CREATE OR REPLACE FUNCTION rowseal._said_owner(tag text, format text, row_ json) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    SELECT pg_catalog."left"(pg_catalog.string_agg(
             CASE WHEN format = 'canonical' THEN rowseal._member(row_, 'row', d.fields ->> o)
                  ELSE rowseal._member(row_, o) END, E'\n' ORDER BY n), 1000)
      FROM rowseal.declarations d, pg_catalog.unnest(d.owner) WITH ORDINALITY x(o, n) WHERE d.tag = _said_owner.tag);
END
$$;
COMMENT ON FUNCTION rowseal._said_owner(text, text, json) IS
  'The owner that a row names, however it is spelled, cut off at 1000 characters; NULL when no table has the tag';

CREATE OR REPLACE FUNCTION rowseal._make_room(carrier text, source text, size bigint) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  most rowseal.quarantine_limits;
  surplus record;
BEGIN
  SELECT * INTO most FROM rowseal.quarantine_limits;
  -- Counting costs, so it is done once in a hundredth of what may be there, in rows and in bytes; at random, so that
  -- nobody can evade it, and not by random(), whose seed anybody can set.
  IF (pg_catalog.uuid_hash(pg_catalog.gen_random_uuid()) & 16777215) / 16777216.0
     >= greatest(100.0 / most.rows, 100.0 * size / most.bytes) THEN
    RETURN;
  END IF;
  IF (SELECT count(*) <= most.rows AND coalesce(pg_catalog.sum(q.bytes), 0) <= most.bytes FROM rowseal.quarantine q
       WHERE q.role = carrier AND q.subscription IS NOT DISTINCT FROM source AND NOT q.kept) THEN
    RETURN;
  END IF;
  WITH shares AS (  -- of each entry: how much it and newer, or older, ones of the same owner take, in what a row may
    SELECT q.id, q.curable, q.bytes,
           q.curable AND q.sqlstate <> 'RS007' AND q.first_seen > pg_catalog.now() - interval '1 day' AS young,
           pg_catalog.ceil(pg_catalog.sum(q.bytes) OVER newer * most.rows / most.bytes)
             + pg_catalog.row_number() OVER newer AS share,
           pg_catalog.ceil(pg_catalog.sum(q.bytes) OVER older * most.rows / most.bytes)
             + pg_catalog.row_number() OVER older AS early
      FROM rowseal.quarantine q
     WHERE q.role = carrier AND q.subscription IS NOT DISTINCT FROM source AND NOT q.kept
    -- of a writer's row the key is proven: a flood in the owner's name is another's
    WINDOW owner AS (PARTITION BY q.curable, q.tag, q.owner, CASE WHEN q.link IS NOT NULL THEN q.waits_for END),
           newer AS (owner ORDER BY q.id DESC), older AS (owner ORDER BY q.id)
  ), elders AS (  -- owners cost nothing: half of the room is for who came first of a day, a twentieth for each
    SELECT e.id FROM (
      SELECT s.id, pg_catalog.row_number() OVER first AS rows, pg_catalog.sum(s.bytes) OVER first AS bytes
        FROM shares s WHERE s.young AND s.early <= most.rows / 20 + 1 WINDOW first AS (ORDER BY s.id)) e
     WHERE e.rows <= most.rows / 2 AND e.bytes <= most.bytes / 2
  ), placed AS (  -- of equal share the first and the last: a flood cannot push out those who waited before
    SELECT s.*, least(pg_catalog.row_number() OVER (PARTITION BY s.curable, s.share ORDER BY s.id),
                      pg_catalog.row_number() OVER (PARTITION BY s.curable, s.share ORDER BY s.id DESC)) AS place
      FROM shares s
  ), entries AS (
    SELECT p.id, pg_catalog.row_number() OVER best AS rows, pg_catalog.sum(p.bytes) OVER best AS bytes
      FROM placed p LEFT JOIN elders e USING (id)
    WINDOW best AS (ORDER BY e.id IS NULL, p.curable DESC, p.share, p.place, p.id DESC)
  ), chosen AS (  -- a little more than must be, so that it need not be done again at once
    SELECT q.id, q.link FROM rowseal.quarantine q JOIN entries e ON e.id = q.id
     WHERE e.rows > most.rows - most.rows / 20 OR e.bytes > most.bytes - most.bytes / 20
       FOR UPDATE OF q SKIP LOCKED  -- whoever takes one out just now may stay open
  ), gone AS (
    DELETE FROM rowseal.quarantine q USING chosen c
     WHERE q.id = c.id AND (c.link IS NULL OR rowseal._may_forget(c.link)) RETURNING q.bytes
  ) SELECT count(*) AS rows, pg_catalog.sum(gone.bytes) AS bytes INTO surplus FROM gone;
  IF surplus.rows > 0 THEN
    PERFORM rowseal._count_dropped(carrier, source, surplus.rows, surplus.bytes);
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._make_room(text, text, bigint) IS
  'Now and then, and after a large row: drops what a source has in the quarantine beyond the limits: incurable rows '
  'first, then those of whoever (owner, and of authentic rows writer) has most there, of each the oldest; among those '
  'who have as much, neither those who came first nor those who came last. Half of the room is for who came first';

CREATE OR REPLACE FUNCTION rowseal._cost_of_stranger(outcome text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN CASE WHEN pg_catalog.starts_with(outcome, '(RS002,') THEN 1
              WHEN pg_catalog.starts_with(outcome, '(RS010,') THEN 4 ELSE 0 END;
END
$$;
COMMENT ON FUNCTION rowseal._cost_of_stranger(text) IS
  'What it costs to keep a row of an owner or a writer whom nobody here knows, in rows of such owners; of others 0';

-- SECURITY DEFINER, owner rowseal_internal: it counts.  Everybody can call it, for his own part of the quarantine.
CREATE OR REPLACE FUNCTION rowseal._flooded(cost bigint, rows bigint, bytes bigint) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  minute CONSTANT text := (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) / 60)::bigint::text;
  seen text[] := pg_catalog.string_to_array(pg_catalog.current_setting('rowseal.unknown', true), ' ');
BEGIN
  IF pg_catalog.current_setting('session_replication_role') <> 'replica' THEN
    RETURN false;
  ELSIF seen[1] = minute AND seen[2]::bigint >= (SELECT l.rows FROM rowseal.quarantine_limits l) AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_stat_get_subscription(NULL) g  -- its initial copy is no flood
       WHERE g.pid = pg_catalog.pg_backend_pid() AND g.relid IS NOT NULL) THEN
    PERFORM rowseal._count_dropped(session_user, rowseal._subscription(), rows, bytes);
    RETURN true;
  END IF;
  cost := cost + CASE WHEN seen[1] = minute THEN seen[2]::bigint ELSE 0 END;
  PERFORM pg_catalog.set_config('rowseal.unknown', pg_catalog.concat_ws(' ', minute, cost), false);
  RETURN false;
END
$$;
COMMENT ON FUNCTION rowseal._flooded(bigint, bigint, bigint) IS
  'Whether rows of strangers have cost this worker more in a minute (see _cost_of_stranger) than the quarantine keeps '
  'of a source: then further ones, so many of so many bytes, are counted and no more';

CREATE OR REPLACE FUNCTION rowseal._may_write(relation regclass) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT pg_catalog.has_table_privilege(relation, 'SELECT') AND pg_catalog.has_table_privilege(relation, 'INSERT')
     AND pg_catalog.has_table_privilege(relation, 'UPDATE')
$$;
COMMENT ON FUNCTION rowseal._may_write(regclass) IS
  'Whether the current user may merge rows into a table. Without a search path, so that it is inlined';

CREATE OR REPLACE FUNCTION rowseal._could_store(role text, relation regclass) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class c, pg_catalog.to_regrole(pg_catalog.quote_ident(role)) r(oid)
     WHERE c.oid = relation AND (
       pg_catalog.has_table_privilege(r.oid, c.oid, 'INSERT') OR pg_catalog.pg_has_role(r.oid, c.relowner, 'MEMBER')
       OR EXISTS (SELECT FROM pg_catalog.aclexplode(c.relacl) a
                   WHERE a.privilege_type = 'INSERT' AND a.grantee <> 0
                     AND pg_catalog.pg_has_role(r.oid, a.grantee, 'MEMBER'))))
$$;
COMMENT ON FUNCTION rowseal._could_store(text, regclass) IS
  'Whether a role, or one that it can become, may INSERT into a table: what others leave for it in the quarantine is '
  'tried at nobody''s cost but of who calls rowseal.retry, beyond 32 KiB';

CREATE OR REPLACE FUNCTION rowseal._was_sent(sqlstate text, waits_for text) RETURNS boolean LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$ SELECT sqlstate <> 'RS007' OR waits_for IS NOT NULL $$;
COMMENT ON FUNCTION rowseal._was_sent(text, text) IS
  'Of an entry of the quarantine: whether a table had its tag when it came, and has not gone since; else see _may_have';

CREATE OR REPLACE FUNCTION rowseal._may_discard(who name, tag text, sent boolean, carrier text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  RETURN pg_catalog.pg_has_role(who, 'rowseal_admin', 'USAGE') OR EXISTS (
    SELECT FROM rowseal.declarations d JOIN pg_catalog.pg_class c ON c.oid = d.relation
     WHERE d.tag = tag AND pg_catalog.pg_has_role(who, c.relowner, 'USAGE')
       AND (sent OR rowseal._may_have(carrier, c.relowner)));
END
$$;
COMMENT ON FUNCTION rowseal._may_discard(name, text, boolean, text) IS
  'Whether a role may take an entry out of the quarantine: administrators, and the owner of the table that it is for';

-- SECURITY DEFINER, owner rowseal_internal: to lock an entry takes more than the right to take it out.
CREATE OR REPLACE FUNCTION rowseal._unlocked(ids bigint[]) RETURNS SETOF bigint LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
  SELECT rowseal._in_person();
  SELECT q.id FROM rowseal.quarantine q
   WHERE q.id = ANY (ids)
     AND rowseal._may_discard(session_user, q.tag, rowseal._was_sent(q.sqlstate, q.waits_for), q.role)
   ORDER BY q.id FOR UPDATE SKIP LOCKED
$$;
COMMENT ON FUNCTION rowseal._unlocked(bigint[]) IS
  'Those of these entries that the session may take out, and that nobody else takes out just now; locked. An entry '
  'that is locked counts as gone: whoever locked it may stay open';

CREATE OR REPLACE FUNCTION rowseal._cut(verdict rowseal.verdict) RETURNS rowseal.verdict LANGUAGE plpgsql IMMUTABLE
STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN ROW(pg_catalog."left"(verdict.sqlstate, 5), pg_catalog."left"(verdict.reason, 1000))::rowseal.verdict;
END
$$;
COMMENT ON FUNCTION rowseal._cut(rowseal.verdict) IS
  'A verdict as the quarantine keeps it: a reason, somebody''s error message perhaps, of at most 1000 characters';

CREATE OR REPLACE FUNCTION rowseal._cut_waits_for(waits_for text) RETURNS text LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- no owner whose card can be stored has so long a name
  RETURN CASE WHEN pg_catalog.octet_length(waits_for) <= 8192 THEN waits_for
              ELSE pg_catalog."left"(waits_for, 1000) END;
END
$$;
COMMENT ON FUNCTION rowseal._cut_waits_for(text) IS 'What an entry waits for, as the quarantine keeps it: at most 8 kB';

CREATE OR REPLACE FUNCTION rowseal._leaving(hash bytea, carrier text, source text) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  PERFORM FROM rowseal.quarantine q
    WHERE q.hash = hash AND q.role = carrier AND q.subscription IS NOT DISTINCT FROM source
      FOR NO KEY UPDATE SKIP LOCKED;
  RETURN NOT FOUND AND EXISTS (
    SELECT FROM rowseal.quarantine q
     WHERE q.hash = hash AND q.role = carrier AND q.subscription IS NOT DISTINCT FROM source);
END
$$;
COMMENT ON FUNCTION rowseal._leaving(bytea, text, text) IS
  'Whether an entry of a source is there, but somebody takes it out just now; else it is locked, if it is there';

CREATE OR REPLACE FUNCTION rowseal._entry(
  tag text, verdict rowseal.verdict, format text, row_ json, waits_for text, owner text)
RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  hash_ CONSTANT bytea := rowseal._entry_hash(tag, format, row_);
  source CONSTANT text := rowseal._subscription();
  entry bigint;
BEGIN
  -- A row that comes again and again in one transaction is not written again and again: all versions would stay
  -- until the end, to be stepped over each time.  And a link may have to go with a revocation: it is locked by those
  -- alone who may lock its owner's rows anyway.
  SELECT q.id INTO entry FROM rowseal.quarantine q
   WHERE q.hash = hash_ AND q.role = session_user AND q.subscription IS NOT DISTINCT FROM source
     AND CASE WHEN q.link IS NULL
              THEN q.last_seen >= pg_catalog.now()
                   AND (q.sqlstate, q.reason, q.waits_for)
                       IS NOT DISTINCT FROM (verdict.sqlstate, verdict.reason, waits_for)
              ELSE q.last_seen >= pg_catalog.now() OR NOT rowseal._may_follow(tag) END;
  IF FOUND THEN
    RETURN entry;
  ELSIF rowseal._leaving(hash_, session_user, source) THEN
    RETURN NULL;
  END IF;
  INSERT INTO rowseal.quarantine AS q (tag, sqlstate, reason, curable, waits_for, owner, role, subscription,
                                       application_name, format, row, hash)
    VALUES (tag, verdict.sqlstate, verdict.reason, rowseal._curable(verdict), waits_for,
            coalesce(rowseal._said_owner(tag, format, row_), pg_catalog."left"(owner, 1000)), session_user,
            source, pg_catalog.current_setting('application_name'), format, row_, hash_)
    ON CONFLICT (hash, role, subscription)
    DO UPDATE SET attempts = q.attempts + 1, last_seen = pg_catalog.clock_timestamp()
    RETURNING q.id INTO entry;
  UPDATE rowseal.quarantine q
     SET sqlstate = verdict.sqlstate, reason = verdict.reason, curable = rowseal._curable(verdict),
         waits_for = waits_for, owner = coalesce(rowseal._said_owner(tag, format, row_), pg_catalog."left"(owner, 1000))
   -- of a row of the ledger the ledger says why it is held, not whoever brings it again
   WHERE q.id = entry AND q.link IS NULL
     AND (q.sqlstate, q.reason, q.waits_for) IS DISTINCT FROM (verdict.sqlstate, verdict.reason, waits_for);
  RETURN entry;
END
$$;
COMMENT ON FUNCTION rowseal._entry(text, rowseal.verdict, text, json, text, text) IS
  'Enters a refused row into the quarantine, and counts its coming, once in a transaction; returns its entry, NULL '
  'when somebody takes that out just now';

CREATE OR REPLACE FUNCTION rowseal._rewritten(
  entry bigint, verdict rowseal.verdict, format text, row_ json, waits_for text)
RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  -- Its hash stays that of what came: with another one it would stand in the way of whoever brings that, for as long as
  -- this transaction is open.
  UPDATE rowseal.quarantine q
     SET sqlstate = verdict.sqlstate, reason = verdict.reason, curable = rowseal._curable(verdict),
         waits_for = waits_for, format = format, row = row_,
         owner = coalesce(rowseal._said_owner(q.tag, format, row_), q.owner)
   WHERE q.id = entry;
  RETURN entry;
END
$$;
COMMENT ON FUNCTION rowseal._rewritten(bigint, rowseal.verdict, text, json, text) IS
  'An entry waits for something else now, or is spelled otherwise; whose it is stays, and by what it is told apart. '
  'Returns it';

-- SECURITY DEFINER, owner rowseal_internal: rows are refused with the rights of whoever brought them, and nobody else
-- may write the quarantine, or see of it what is not his.  Everybody can call it, and so fill his own part of it with
-- what he likes: no other source's entries change by that, nor what the ledger says, and an entry is believed nothing.
CREATE OR REPLACE FUNCTION rowseal._quarantine(
  tag text, verdict rowseal.verdict, format text, row_ json, waits_for text DEFAULT NULL, again bigint DEFAULT NULL,
  sent_as text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  size CONSTANT bigint := pg_catalog.octet_length(row_::text);
  entry bigint;
BEGIN
  PERFORM rowseal._in_person();
  verdict := rowseal._cut(verdict); waits_for := rowseal._cut_waits_for(waits_for);
  IF pg_catalog.octet_length(tag) > 1000 THEN
    tag := NULL;  -- no table can have it, as in _received
  END IF;
  IF again IS NOT NULL THEN
    -- what somebody says that it decodes to is not much larger
    PERFORM rowseal._rewritten(q.id, verdict, CASE WHEN f.fits THEN format ELSE q.format END,
                               CASE WHEN f.fits THEN row_ ELSE q.row END, waits_for)
       FROM rowseal.quarantine q, LATERAL (
              SELECT size <= 4 * pg_catalog.octet_length(q.row::text) + 1024 AS fits) f
      -- by id: of what a function returns a join expects a thousand rows, and reads the whole table for them
      WHERE q.id = ANY (ARRAY(SELECT rowseal._unlocked(ARRAY[again]))) AND q.link IS NULL;
  ELSIF size > (SELECT l.bytes FROM rowseal.quarantine_limits l) THEN  -- too large to keep: counted, at least
    PERFORM rowseal._count_dropped(session_user, rowseal._subscription(), 1, size);
  ELSE
    entry := rowseal._entry(tag, verdict, format, row_, waits_for, sent_as);
    PERFORM rowseal._make_room(session_user, rowseal._subscription(), q.bytes)
       FROM rowseal.quarantine q WHERE q.id = entry;
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._quarantine(text, rowseal.verdict, text, json, text, bigint, text) IS
  'Keeps a refused row with reason and source; when its source has too many, some go, and are counted. again: the '
  'entry that it has been until now, whose source it keeps; sent_as: whose row whoever sent it says it is. What may be '
  'a row of a writer is inserted into rowseal._refused instead';

CREATE OR REPLACE FUNCTION rowseal._entry_hash(tag text, format text, row_ json) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws(E'\n', tag, format, row_::text), 'UTF8'));
END
$$;
COMMENT ON FUNCTION rowseal._entry_hash(text, text, json) IS 'What tells entries of one source in the quarantine apart';

CREATE OR REPLACE FUNCTION rowseal._is_for(q rowseal.quarantine) RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN rowseal._was_sent(q.sqlstate, q.waits_for) OR q.role = session_user OR EXISTS (
    SELECT FROM rowseal.declarations d JOIN pg_catalog.pg_class c ON c.oid = d.relation
     WHERE d.tag = q.tag AND rowseal._may_have(q.role, c.relowner));
END
$$;
COMMENT ON FUNCTION rowseal._is_for(rowseal.quarantine) IS
  'Whether an entry is for the table that has its tag by now, or for the session that brought it: see _may_have';

-- SECURITY DEFINER, owner rowseal_internal, as _quarantine.
CREATE OR REPLACE FUNCTION rowseal._enter_refused() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  q rowseal.quarantine;
  o rowseal._authentic;
  entry bigint := NEW.again;
  moved boolean := false;
  storable boolean := false;
BEGIN
  IF TG_RELID <> 'rowseal._refused'::pg_catalog.regclass OR TG_WHEN <> 'BEFORE' THEN
    RAISE EXCEPTION USING ERRCODE = 'RS009', MESSAGE = 'what was refused enters by its own table, and nowhere else';
  END IF;
  PERFORM rowseal._in_person();
  IF NEW.again IS NOT NULL THEN  -- whoever tries it again is not asked what it is
    SELECT * INTO q FROM rowseal.quarantine x WHERE x.id = NEW.again AND rowseal._is_for(x);
    IF NOT FOUND THEN
      RETURN NULL;
    END IF;
    NEW.verdict := coalesce(CASE WHEN NEW.changed THEN NEW.verdict END, ROW(q.sqlstate, q.reason)::rowseal.verdict);
    o := rowseal._claimed(q.tag, NEW.verdict, q.format, q.row);
  ELSE
    o := rowseal._claimed(NEW.tag, NEW.verdict, NEW.format, NEW.row);
  END IF;
  NEW.verdict := rowseal._cut(NEW.verdict);
  IF o.writer IS NULL THEN
    IF NEW.changed THEN
      PERFORM rowseal._quarantine(NEW.tag, NEW.verdict, NEW.format, NEW.row, NEW.waits_for, NEW.again);
    END IF;
    RETURN NULL;
  END IF;
  NEW.tag := coalesce(q.tag, NEW.tag);
  IF entry IS NULL THEN
    entry := rowseal._authentic_entry(NEW.tag, NEW.verdict, o);
  ELSIF q.format <> 'canonical' OR q.row::text <> o.envelope::text THEN  -- kept before its table could tell
    PERFORM FROM rowseal.quarantine x WHERE x.id = entry FOR UPDATE SKIP LOCKED;
    entry := CASE WHEN FOUND THEN rowseal._rewritten(entry, ROW(q.sqlstate, q.reason)::rowseal.verdict, 'canonical',
                                                     o.envelope, q.waits_for) END;
  END IF;
  IF entry IS NOT NULL THEN
    moved := rowseal._held(entry, NEW.tag, o, NEW.verdict);
    -- It counts, somebody says, and its table cannot store it.
    storable := (NEW.again IS NULL OR NEW.changed) AND (NEW.verdict).sqlstate NOT LIKE 'RS01_'
                AND EXISTS (SELECT FROM rowseal.quarantine x
                             WHERE x.id = entry AND x.sqlstate = (NEW.verdict).sqlstate);
    PERFORM rowseal._make_room(session_user, rowseal._subscription(), x.bytes)
       FROM rowseal.quarantine x WHERE x.id = entry;
  END IF;
  NEW.authentic := o;
  NEW.again := CASE WHEN storable THEN entry END;
  RETURN CASE WHEN moved OR storable THEN NEW END;
END
$$;
COMMENT ON FUNCTION rowseal._enter_refused() IS
  'BEFORE INSERT on rowseal._refused: keeps the row in the quarantine, and enters it into the ledger when it is an '
  'authentic one of a writer. What goes on is a row by which a walk has moved, or one that counts (again: its entry)';

CREATE OR REPLACE FUNCTION rowseal._authentic_entry(tag text, verdict rowseal.verdict, o rowseal._authentic)
RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  size CONSTANT bigint := pg_catalog.octet_length(o.envelope::text);
  entry bigint;
BEGIN
  -- safe from the bounds: whoever brings it again, in whatever spelling, brings nothing new
  SELECT q.id INTO entry FROM rowseal.quarantine q
   WHERE q.link = o.link AND q.kept AND q.tag = tag AND rowseal._is_for(q);
  IF FOUND THEN
    RETURN entry;
  ELSIF size > (SELECT l.bytes FROM rowseal.quarantine_limits l) AND NOT rowseal._named((
       SELECT rowseal._grants_id(d.grants, d.id, d.writers) FROM rowseal.declarations d WHERE d.tag = tag),
       o.owner, o.writer) THEN
    PERFORM rowseal._count_dropped(session_user, rowseal._subscription(), 1, size);
    RETURN NULL;
  END IF;
  RETURN rowseal._entry(tag, verdict, 'canonical', o.envelope, NULL, NULL);
END
$$;
COMMENT ON FUNCTION rowseal._authentic_entry(text, rowseal.verdict, rowseal._authentic) IS
  'The entry of an authentic row of a writer, as it was signed; NULL when it is too large of a writer of whom no grant '
  'speaks';

CREATE OR REPLACE FUNCTION rowseal._settle_refused() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET rowseal.mode = 'apply' SET rowseal.outcome = '' AS $$
DECLARE
  o CONSTANT rowseal._authentic := NEW.authentic;
BEGIN
  IF NEW.again IS NOT NULL AND rowseal._settled((
       SELECT rowseal._merged(d.id, ARRAY[o.envelope], 'canonical')
         FROM rowseal.declarations d WHERE d.tag = NEW.tag)[1]) THEN
    PERFORM rowseal._take_out(ARRAY(SELECT rowseal._unlocked(ARRAY[NEW.again])));
    RETURN NULL;
  END IF;
  PERFORM rowseal._settle(rowseal._grants_id(d.grants, d.id, d.writers), o.owner, o.writer, o.seq, o.link, NULL)
     FROM rowseal.declarations d WHERE d.tag = NEW.tag;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._settle_refused() IS
  'BEFORE INSERT on rowseal._refused: held itself, it is the link that others have waited for. With the rights of who '
  'brings it, and in the statement by which the walk has moved: so nobody moves one and leaves the tables behind. Of '
  'one that counts nobody is believed that its table cannot store it: that is tried';

-- SECURITY DEFINER, owner rowseal_internal: incurable entries show to administrators alone.
CREATE OR REPLACE FUNCTION rowseal._entries_of(tag text) RETURNS SETOF bigint LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  RETURN QUERY SELECT q.id FROM rowseal.quarantine q
                WHERE q.tag = tag AND rowseal._may_follow(tag) AND rowseal._is_for(q) ORDER BY q.id;
END
$$;
COMMENT ON FUNCTION rowseal._entries_of(text) IS
  'Numbers of all entries that are for a table, for those who may write it';

CREATE OR REPLACE FUNCTION rowseal._enter_held(tag text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  entry bigint;
BEGIN
  FOR entry IN SELECT * FROM rowseal._entries_of(tag) LOOP
    BEGIN
      INSERT INTO rowseal._refused (again, changed) VALUES (entry, false);
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      IF rowseal._passing(SQLSTATE) THEN
        RAISE;
      END IF;  -- else it stays an entry alone, and keeps no table from being declared
    END;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._enter_held(text) IS
  'A table is declared, perhaps again: authentic rows that the quarantine holds for it enter the ledger';

CREATE OR REPLACE FUNCTION rowseal._hold(
  d rowseal.declarations, verdict rowseal.verdict, format text, element json, waits_for text DEFAULT NULL,
  again bigint DEFAULT NULL, changed boolean DEFAULT true)
RETURNS rowseal.verdict LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT rowseal._may_be_held(d, verdict) THEN
    IF changed THEN
      PERFORM rowseal._quarantine(d.tag, verdict, format, element, waits_for, again);
    END IF;
    RETURN verdict;
  END IF;
  BEGIN
    INSERT INTO rowseal._refused (tag, verdict, format, row, waits_for, again, changed)
      VALUES (d.tag, verdict, format, element, waits_for, again, changed);
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF rowseal._passing(SQLSTATE) THEN
      RAISE;
    ELSIF SQLSTATE IN ('42501', 'RS017') THEN
      verdict := ROW(SQLSTATE, SQLERRM)::rowseal.verdict;
      changed := true;
    END IF;
    IF changed THEN  -- what follows from it cannot be done by whoever brought it: so it is no link yet
      PERFORM rowseal._quarantine(d.tag, verdict, format, element, waits_for, again);
    END IF;
  END;
  RETURN verdict;
END
$$;
COMMENT ON FUNCTION rowseal._hold(rowseal.declarations, rowseal.verdict, text, json, text, bigint, boolean) IS
  'Keeps a refused row in the quarantine, and does what follows for others when a walk goes on with it; with which '
  'verdict. again: the entry that it has been until now, changed: whether it is refused for another reason than before';

-- With the caller's rights: as far as he sees them (row security).  Planned while few were there, it would go on to
-- read all of them.
CREATE OR REPLACE FUNCTION rowseal._waiting_entries(waits_for text, tag text) RETURNS bigint[] LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_variable
BEGIN
  IF waits_for IS NOT NULL THEN
    RETURN ARRAY(SELECT q.id FROM rowseal.quarantine q WHERE q.curable AND q.waits_for = waits_for);
  ELSIF tag IS NOT NULL THEN
    RETURN ARRAY(SELECT q.id FROM rowseal.quarantine q WHERE q.curable AND q.tag = tag);
  END IF;
  RETURN ARRAY(SELECT q.id FROM rowseal.quarantine q WHERE q.curable);
END
$$;
COMMENT ON FUNCTION rowseal._waiting_entries(text, text) IS
  'Curable entries of the quarantine: those that wait for an owner or a writer, those of a tag, or all';

-- Tries quarantined rows again, as far as the caller sees them (row security), with the caller's rights.
CREATE OR REPLACE FUNCTION rowseal._retry(waits_for text, tag text DEFAULT NULL, ids bigint[] DEFAULT NULL)
RETURNS TABLE (id bigint, outcome text, reason text) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  batch record;
  outer_outcome text := pg_catalog.current_setting('rowseal.outcome', true);
BEGIN
  IF ids IS NULL THEN
    IF coalesce(waits_for, tag) IS NOT NULL THEN
      PERFORM rowseal._lock_arrival(coalesce(waits_for, tag), true);
    END IF;
    ids := rowseal._waiting_entries(rowseal._cut_waits_for(waits_for), tag);
  END IF;
  IF ids = '{}' THEN
    RETURN;
  END IF;
  FOR batch IN
    SELECT w.relation, w.format, pg_catalog.array_agg(w.id ORDER BY w.id) AS ids FROM (
      SELECT q.id, q.format, d.relation, d.identity IS NULL AS owners, q.role,
             pg_catalog.sum(q.bytes) OVER (PARTITION BY q.role, q.subscription ORDER BY q.id) AS brought,
             pg_catalog.sum(q.bytes) OVER before / 16777216 AS megabytes,
             pg_catalog.row_number() OVER before / 1000 AS thousands
        FROM rowseal.quarantine q JOIN rowseal.declarations d ON d.tag = q.tag
       WHERE q.id = ANY (ids) AND q.format <> 'raw'
      WINDOW before AS (PARTITION BY d.relation, q.format ORDER BY q.id ROWS UNBOUNDED PRECEDING)) w
     WHERE waits_for IS NULL OR w.brought <= 32768 OR rowseal._could_store(w.role, w.relation)
     GROUP BY w.relation, w.owners, w.format, w.megabytes::integer, w.thousands
     ORDER BY w.owners DESC, pg_catalog.min(w.id)  -- owners before what they own
  LOOP
    RETURN QUERY SELECT * FROM rowseal._retry_batch(batch.relation, batch.format, batch.ids);
  END LOOP;
  PERFORM pg_catalog.set_config('rowseal.outcome', coalesce(outer_outcome, ''), true);
END
$$;
COMMENT ON FUNCTION rowseal._retry(text, text, bigint[]) IS
  'Applies quarantined rows again: those that wait for an owner, those of a tag, or those with given ids; in batches '
  'of a thousand rows or some 16 MB';

CREATE OR REPLACE FUNCTION rowseal._retry_batch(
  relation regclass, format text, ids bigint[], named boolean DEFAULT false)
RETURNS TABLE (id bigint, outcome text, reason text) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET rowseal.mode = 'apply' AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
  rows json[];
  before text[];
  outcomes text[];
  verdict rowseal.verdict;
  writers CONSTANT text[] := '{RS010,RS011,RS012}';
BEGIN
  IF NOT named AND NOT rowseal._secured(relation) THEN
    RETURN;
  END IF;
  -- some may have gone, by what was let in before
  SELECT pg_catalog.array_agg(q.id ORDER BY q.id), pg_catalog.array_agg(q.row ORDER BY q.id),
         pg_catalog.array_agg(q.sqlstate ORDER BY q.id)
    INTO ids, rows, before FROM rowseal.quarantine q WHERE q.id = ANY (ids);
  SELECT * INTO d FROM rowseal.declarations x WHERE x.relation = relation;
  IF ids IS NULL OR NOT FOUND THEN
    RETURN;
  END IF;
  outcomes := rowseal._merged(d.id, rows, format);
  FOR i IN 1 .. coalesce(pg_catalog.cardinality(ids), 0) LOOP
    CONTINUE WHEN rowseal._settled(outcomes[i]);
    BEGIN
      verdict := rowseal._explained(d, outcomes[i]::rowseal.verdict, rows[i], format);
      IF verdict.sqlstate = before[i] OR (verdict.sqlstate = ANY (writers) AND before[i] = ANY (writers)) THEN
        outcomes[i] := rowseal._hold(d, verdict, format, rows[i], again => ids[i], changed => false)::text;
      ELSE
        outcomes[i] := rowseal._set_aside(d, outcomes[i], format, rows[i], ids[i]);
      END IF;
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      IF rowseal._passing(SQLSTATE) THEN
        RAISE;
      END IF;
      outcomes[i] := ROW(SQLSTATE, SQLERRM)::rowseal.verdict::text;  -- it stays, and keeps no other from being let in
    END;
  END LOOP;
  PERFORM rowseal._take_out(ARRAY(
    SELECT rowseal._unlocked(pg_catalog.array_agg(o.id))
      FROM ROWS FROM (pg_catalog.unnest(ids), pg_catalog.unnest(outcomes)) o(id, outcome)
     WHERE rowseal._settled(o.outcome)));
  RETURN QUERY SELECT ids[r.ordinal], r.outcome, r.reason FROM rowseal._results(outcomes) r;
EXCEPTION WHEN OTHERS OR assert_failure THEN
  IF rowseal._passing(SQLSTATE) THEN
    RAISE;
  END IF;
  -- a missing right, say: the rows stay, and who brought the cure gets no error
  RETURN QUERY SELECT i, 'deferred', SQLSTATE || ': ' || SQLERRM FROM pg_catalog.unnest(ids) i;
END
$$;
COMMENT ON FUNCTION rowseal._retry_batch(regclass, text, bigint[], boolean) IS
  'Applies some quarantined rows of a table again; what is settled leaves the quarantine. named: it is being written '
  'anyway, whoever''s code that runs';

CREATE OR REPLACE FUNCTION rowseal._take_out(ids bigint[]) RETURNS bigint LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  entries bigint[] := ARRAY(
    SELECT q.id FROM rowseal.quarantine q
     WHERE q.id = ANY (ids)
       AND rowseal._may_discard(current_user, q.tag, rowseal._was_sent(q.sqlstate, q.waits_for), q.role));
BEGIN
  INSERT INTO rowseal._removals (entry) SELECT * FROM pg_catalog.unnest(entries);
  RETURN pg_catalog.cardinality(entries)
         - (SELECT count(*) FROM rowseal.quarantine q WHERE q.id = ANY (entries));
END
$$;
COMMENT ON FUNCTION rowseal._take_out(bigint[]) IS
  'Takes those of these entries out of the quarantine that the current user may take out, and that nobody else has '
  'locked; returns how many';

-- Of each source so much only: they are tried while the table is locked.
CREATE OR REPLACE FUNCTION rowseal._wait_for_table(tag text, opened boolean) RETURNS bigint[] LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT ARRAY(
    SELECT q.id FROM (
      SELECT x.id, x.role, d.relation,
             pg_catalog.sum(x.bytes) OVER (PARTITION BY x.role, x.subscription
                                           ORDER BY x.sqlstate = 'RS002', x.id) AS brought
        FROM rowseal.quarantine x JOIN rowseal.declarations d ON d.tag = x.tag
       WHERE x.curable AND x.tag = _wait_for_table.tag AND (
               x.sqlstate IN ('RS007', 'RS015', 'RS019')
               -- the owner, or trust, may have come while it was closed
               OR opened AND x.sqlstate IN ('RS002', 'RS017'))) q
     WHERE q.brought <= 32768 OR (q.brought <= 262144 AND rowseal._could_store(q.role, q.relation)))
$$;
COMMENT ON FUNCTION rowseal._wait_for_table(text, boolean) IS
  'Entries that wait for the table itself (for it to open, for a column, for its guards), and where it has just opened '
  'those that wait for their owners or for trust: the first 256 KiB of each source, 32 of those that may not write '
  'there. rowseal.retry() tries all';

CREATE OR REPLACE FUNCTION rowseal._retry_waiting(tag text, opened boolean DEFAULT false) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF rowseal._wait_for_table(tag, opened) <> '{}' THEN
    PERFORM rowseal._lock_arrival(tag, true);
    -- these alone: all that is held for the table would be tried under the lock of each ALTER TABLE
    PERFORM rowseal._retry(NULL, NULL, rowseal._wait_for_table(tag, opened));
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._retry_waiting(text, boolean) IS 'Tries again what waited for the table of this tag itself';

CREATE OR REPLACE FUNCTION rowseal.retry(ids bigint[] DEFAULT NULL)
RETURNS TABLE (id bigint, outcome text, reason text) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF ids IS NULL THEN
    PERFORM rowseal._follow_opened(d) FROM rowseal._opened o JOIN rowseal.declarations d USING (relation);
  END IF;
  RETURN QUERY SELECT * FROM rowseal._retry(NULL, NULL, ids);
END
$$;
COMMENT ON FUNCTION rowseal.retry(bigint[]) IS
  'Applies quarantined rows again, all curable ones or those with these ids; what is accepted leaves the quarantine. '
  'All: also follows what was granted and revoked while a table was closed. '
  'Administrators see all rows, others those of tables that they may write. Tables of owners who are not trusted (see '
  'rowseal.receive) are left to their owners';

CREATE OR REPLACE FUNCTION rowseal.discard(ids bigint[]) RETURNS bigint LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
  SELECT rowseal._take_out(ids)
$$;
COMMENT ON FUNCTION rowseal.discard(bigint[]) IS
  'Drops quarantined rows for good; for administrators and the table''s owner. Returns how many: what somebody brings '
  'again just now stays';

CREATE OR REPLACE FUNCTION rowseal.export_quarantine(ids bigint[] DEFAULT NULL)
RETURNS TABLE (tag text, format text, "row" json) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT q.tag, q.format, q."row" FROM rowseal.quarantine q WHERE ids IS NULL OR q.id = ANY (ids) ORDER BY q.id
$$;
COMMENT ON FUNCTION rowseal.export_quarantine(bigint[]) IS
  'Quarantined rows as they came, all or those with these ids; the same rows can be given to rowseal.apply elsewhere';
