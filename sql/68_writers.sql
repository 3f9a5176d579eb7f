-- Writers other than the owner: grants, revocations, and what stands under them (docs/writers.md).
--
-- All tables here are derived from signed rows.  They are written by AFTER ROW triggers of the declared tables, which see
-- rows that a guard has let in, and by _quarantine, which verifies what it is given; never by a call of an ordinary user.

CREATE TABLE rowseal._authority (
  id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  grants integer NOT NULL,
  owner  text NOT NULL,
  revocations boolean NOT NULL DEFAULT false,
  UNIQUE (grants, owner)
);
COMMENT ON TABLE rowseal._authority IS 'Owners with writers: declarations.id of the grants table, and the owner in canonical form';
COMMENT ON COLUMN rowseal._authority.revocations IS 'Whether there ever was one: without, a row of a writer neither moves nor meets a walk';

CREATE TABLE rowseal._writer_rows (
  authority integer NOT NULL,
  writer    bytea NOT NULL,
  seq       bigint NOT NULL,
  link      bytea NOT NULL,
  prev      bytea,
  held      bigint,
  PRIMARY KEY (authority, writer, seq, link)
);
CREATE INDEX ON rowseal._writer_rows (held) WHERE held IS NOT NULL;
COMMENT ON TABLE rowseal._writer_rows IS 'The ledger: every authentic row of a writer, of all tables, superseded and held ones too';
COMMENT ON COLUMN rowseal._writer_rows.held IS 'Its entry in the quarantine while it does not count; NULL: it is in its table';

CREATE TABLE rowseal._grants (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  authority  integer NOT NULL,
  sign       bytea NOT NULL,
  at         bigint NOT NULL,
  writer     bytea,
  link       bytea,
  grantee    bytea NOT NULL,
  tables     text[],
  keys       jsonb,
  tombstones boolean NOT NULL,
  until      bigint,
  may_grant  smallint NOT NULL,
  upto       bytea[],
  UNIQUE (authority, sign)
);
COMMENT ON TABLE rowseal._grants IS 'The stored rows of grants tables, of all owners and tables in one shape; writer and link are NULL for the owner''s';

CREATE TABLE rowseal._licences (
  authority  integer NOT NULL,
  writer     bytea NOT NULL,
  until      bigint NOT NULL,
  tables     text[],
  keys       jsonb,
  tombstones boolean NOT NULL,
  may_grant  integer NOT NULL,
  frontiers  bigint[] NOT NULL
);
CREATE INDEX ON rowseal._licences (authority, writer);
COMMENT ON TABLE rowseal._licences IS 'What a writer may write: one row per standing chain of grants, folded into the conjunction of its scopes';
COMMENT ON COLUMN rowseal._licences.keys IS 'Array of the keys of all grants of the chain, all must match; NULL: any key';
COMMENT ON COLUMN rowseal._licences.may_grant IS 'How many further links may follow; -1: no rows of the grants table';
COMMENT ON COLUMN rowseal._licences.frontiers IS 'Revocations (_grants.id) that bind the writer in this chain';

CREATE TABLE rowseal._stands (
  revocation bigint,
  link       bytea,
  PRIMARY KEY (revocation, link)
);
COMMENT ON TABLE rowseal._stands IS 'How far each revocation has been walked: links that stand under it';

CREATE TABLE rowseal._wanted (
  revocation bigint NOT NULL,
  authority  integer NOT NULL,
  writer     bytea NOT NULL,
  seq        bigint,
  link       bytea NOT NULL
);
CREATE INDEX ON rowseal._wanted (authority, writer, link);
CREATE INDEX ON rowseal._wanted (revocation);
COMMENT ON TABLE rowseal._wanted IS 'Rows that a walk waits for, by number and link; the number is NULL for those that the revocation itself names';

CREATE TABLE rowseal._writer_locks (
  bucket integer,
  stripe integer,
  xid    xid8 NOT NULL,
  PRIMARY KEY (bucket, stripe)
) WITH (fillfactor = 50);
INSERT INTO rowseal._writer_locks SELECT b, s, '0' FROM pg_catalog.generate_series(0, 63) b, pg_catalog.generate_series(0, 15) s;
COMMENT ON TABLE rowseal._writer_locks IS 'Locks of owners (buckets by hash): a writing session updates one stripe once per transaction, who changes grants all 16';

DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['_authority', '_writer_rows', '_grants', '_licences', '_stands', '_wanted', '_writer_locks'] LOOP
    EXECUTE pg_catalog.format('ALTER TABLE rowseal.%I OWNER TO rowseal_internal', t);
  END LOOP;
  -- derived, but in a dump nothing derives it anew: rows are restored before triggers
  FOREACH t IN ARRAY ARRAY['_authority', '_authority_id_seq', '_writer_rows', '_grants', '_grants_id_seq', '_licences', '_stands', '_wanted'] LOOP
    PERFORM pg_catalog.pg_extension_config_dump(('rowseal.' || t)::pg_catalog.regclass, '');
  END LOOP;
END
$$;

-- ---------------------------------------------------------------------------------------------------- pure functions
CREATE FUNCTION rowseal.link(writer_seq bigint, writer_prev bytea, signature bytea) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.sha256(pg_catalog.int8send(writer_seq) || coalesce(writer_prev, '') || signature)
$$;
COMMENT ON FUNCTION rowseal.link(bigint, bytea, bytea) IS 'The link of a writer''s row (32 bytes): what its next row names as writer_prev, and a revocation in upto';

CREATE FUNCTION rowseal._only("row" jsonb, fields text[]) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(pg_catalog.jsonb_object_agg(f, "row" -> f), '{}') FROM pg_catalog.unnest(fields) f WHERE "row" ? f
$$;
COMMENT ON FUNCTION rowseal._only(jsonb, text[]) IS 'Some fields of a canonical row';

CREATE FUNCTION rowseal._matches(keys jsonb, key jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT NOT EXISTS (
    SELECT FROM pg_catalog.jsonb_array_elements(keys) k
     WHERE pg_catalog.jsonb_typeof(k) <> 'object' OR EXISTS (
       SELECT FROM pg_catalog.jsonb_each(CASE WHEN pg_catalog.jsonb_typeof(k) = 'object' THEN k ELSE '{}' END) e
        WHERE (CASE WHEN pg_catalog.jsonb_typeof(e.value) = 'object'
                    THEN pg_catalog.jsonb_typeof(e.value -> 'prefix') = 'string' AND e.value - 'prefix' = '{}'
                         AND pg_catalog.jsonb_typeof(_matches.key -> e.key) = 'string' AND pg_catalog.starts_with(_matches.key ->> e.key, e.value ->> 'prefix')
                    ELSE _matches.key -> e.key = e.value END) IS NOT TRUE))
$$;
COMMENT ON FUNCTION rowseal._matches(jsonb, jsonb) IS 'Whether the primary key (canonical values by field) lies in all of these scopes; what is no scope matches nothing';

CREATE FUNCTION rowseal._chains(grants jsonb, stands jsonb) RETURNS jsonb LANGUAGE plpython3u IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
plpy.execute("SELECT rowseal._load()")
return GD["rowseal"]("server").licences(grants, stands)
$$;
COMMENT ON FUNCTION rowseal._chains(jsonb, jsonb) IS 'The licences that follow from one owner''s grants and revocations; see plpython/rowseal/writers.py';

CREATE FUNCTION rowseal._authentic(envelope jsonb) RETURNS boolean LANGUAGE plpython3u STABLE
SET search_path = pg_catalog, pg_temp AS $$
plpy.execute("SELECT rowseal._load()")
return GD["rowseal"]("server").authentic(plpy, envelope)
$$;
COMMENT ON FUNCTION rowseal._authentic(jsonb) IS 'Whether an envelope names a writer, a number and a link that fit each other, and was signed by that writer';

-- ------------------------------------------------------------------------------------------------------------ locks
CREATE FUNCTION rowseal._bucket(grants integer, owner text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT pg_catalog.hashtext(owner) OPERATOR(pg_catalog.#) grants OPERATOR(pg_catalog.&) 63
$$;
COMMENT ON FUNCTION rowseal._bucket(integer, text) IS 'Which lock an owner has, of 64; without a search path, so that it is inlined';

-- SECURITY DEFINER, owner rowseal_internal: whoever may write a row may take its lock, nobody may write the table.
CREATE FUNCTION rowseal._lock_writers(grants integer, owner text, exclusive boolean) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  b integer := rowseal._bucket(grants, owner);  -- NULL: all
BEGIN
  -- An UPDATE, not a share lock: a REPEATABLE READ transaction on either side meets it, too, and fails with 40001
  -- instead of deciding on a state that is gone.
  IF exclusive THEN
    PERFORM FROM rowseal._writer_locks l WHERE b IS NULL OR l.bucket = b ORDER BY l.bucket, l.stripe FOR NO KEY UPDATE;
    UPDATE rowseal._writer_locks l SET xid = pg_catalog.pg_current_xact_id() WHERE (b IS NULL OR l.bucket = b) AND l.xid <> pg_catalog.pg_current_xact_id();
  ELSE
    UPDATE rowseal._writer_locks l SET xid = pg_catalog.pg_current_xact_id()
     WHERE l.bucket = b AND l.stripe = pg_catalog.pg_backend_pid() & 15 AND l.xid <> pg_catalog.pg_current_xact_id();
  END IF;
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION rowseal._lock_writers(integer, text, boolean) IS
  'Until the transaction ends: rows of this owner are being written (shared between sessions), or his grants change (exclusive); owner NULL: of all owners. True when it was not held before';

-- ---------------------------------------------------------------------------------------------------------- verdicts
-- SECURITY DEFINER, owner rowseal_internal: guards run with the rights of who writes, and ask this.  It answers and changes nothing.
CREATE FUNCTION rowseal._licensed(grants integer, owner text, writer bytea, seq bigint, link bytea, tag text, at bigint, deleted boolean, key jsonb)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  verdict text := 'RS010 no grant for this writer';
  l rowseal._licences;
BEGIN
  FOR l IN
    SELECT x.* FROM rowseal._authority a JOIN rowseal._licences x ON x.authority = a.id WHERE a.grants = grants AND a.owner = owner AND x.writer = writer
  LOOP
    IF l.frontiers <> '{}' AND EXISTS (  -- what a walk waits for stands as soon as it is here
         SELECT FROM pg_catalog.unnest(l.frontiers) f
          WHERE NOT EXISTS (SELECT FROM rowseal._stands s WHERE s.revocation = f AND s.link = link)
            AND NOT EXISTS (SELECT FROM rowseal._wanted w WHERE w.authority = l.authority AND w.writer = writer AND w.link = link
                               AND w.revocation = f AND (w.seq IS NULL OR w.seq = seq))) THEN
      verdict := CASE WHEN verdict LIKE 'RS011%' THEN verdict ELSE 'RS012 beyond the frontier of a revocation' END;
    ELSIF at <= l.until AND ((key IS NULL AND l.may_grant >= 0)
          OR (key IS NOT NULL AND (l.tables IS NULL OR tag = ANY (l.tables)) AND (l.tombstones OR NOT deleted)
              AND (l.keys IS NULL OR rowseal._matches(l.keys, key)))) THEN
      RETURN NULL;
    ELSE
      verdict := 'RS011 outside the scope of the writer''s grants';
    END IF;
  END LOOP;
  RETURN verdict;
END
$$;
COMMENT ON FUNCTION rowseal._licensed(integer, text, bytea, bigint, bytea, text, bigint, boolean, jsonb) IS
  'NULL when the row stands under some chain of grants, else why not. key: canonical primary key; NULL for a row of the grants table';

-- SECURITY DEFINER, owner rowseal_internal: as _lock_writers and _licensed, in one.
CREATE FUNCTION rowseal._admit(grants integer, owner text, writer bytea, seq bigint, link bytea, tag text, at bigint, deleted boolean, key jsonb)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  bucket integer := rowseal._bucket(grants, owner);
  stripe integer := pg_catalog.pg_backend_pid() & 15;
  l record;
  news boolean;
  verdict text;
BEGIN
  -- Most often the lock is held, and the first licence covers the row.  Conditions stand outside of the query: to prepare
  -- them there, for every row, costs more than its look-ups.
  SELECT k.xid, a.revocations, x.until, x.tables, x.keys, x.tombstones INTO l
    FROM rowseal._writer_locks k, rowseal._authority a, rowseal._licences x
   WHERE k.bucket = bucket AND k.stripe = stripe AND a.grants = grants AND a.owner = owner AND x.authority = a.id AND x.writer = writer LIMIT 1;
  IF l.xid = pg_catalog.pg_current_xact_id_if_assigned() AND NOT l.revocations AND at <= l.until
     AND (l.tables IS NULL OR tag = ANY (l.tables)) AND (l.tombstones OR NOT deleted) AND (l.keys IS NULL OR rowseal._matches(l.keys, key)) THEN
    RETURN NULL;
  END IF;
  news := rowseal._lock_writers(grants, owner, false);
  verdict := rowseal._licensed(grants, owner, writer, seq, link, tag, at, deleted, key);
  IF rowseal._revoked(grants, owner, writer) THEN
    PERFORM pg_catalog.set_config('rowseal.revoked', 'on', true);  -- for the trigger that settles
  END IF;
  RETURN CASE WHEN verdict IS NULL AND news THEN 'news' ELSE verdict END;
END
$$;
COMMENT ON FUNCTION rowseal._admit(integer, text, bytea, bigint, bytea, text, bigint, boolean, jsonb) IS
  'Takes the shared lock of the owner; then as _licensed, for a row of a data table. news: it stands, but the lock was not held before';

-- ------------------------------------------------------------------------------------------- the derived state changes
-- From here on: for rowseal_internal alone, called by definer functions that have seen the row.
CREATE FUNCTION rowseal._derive(authority integer) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  DELETE FROM rowseal._licences l WHERE l.authority = authority;
  INSERT INTO rowseal._licences
    SELECT authority, pg_catalog.decode(x.writer, 'hex'), x.until, x.tables, x.keys, x.tombstones, x.may_grant, x.frontiers
      FROM pg_catalog.jsonb_to_recordset(rowseal._chains(
             (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(g) || pg_catalog.jsonb_build_object(
                       'writer', pg_catalog.encode(g.writer, 'hex'), 'grantee', pg_catalog.encode(g.grantee, 'hex'))), '[]')
                FROM rowseal._grants g WHERE g.authority = authority),
             (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(s.revocation, g.id)), '[]')
                FROM rowseal._grants g JOIN rowseal._stands s ON s.link = g.link WHERE g.authority = authority)))
           AS x(writer text, until bigint, tables text[], keys jsonb, tombstones boolean, may_grant integer, frontiers bigint[]);
END
$$;
COMMENT ON FUNCTION rowseal._derive(integer) IS 'Derives the licences of an owner''s writers anew';

CREATE FUNCTION rowseal._walk(authority integer, writer bytea, seq bigint, link bytea) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  rho bigint;
BEGIN
  FOR rho IN
    SELECT DISTINCT w.revocation FROM rowseal._wanted w
     WHERE w.authority = authority AND w.writer = writer AND w.link = link AND (w.seq IS NULL OR w.seq = seq)
  LOOP
    WITH RECURSIVE down(seq, link, prev) AS (
      SELECT r.seq, r.link, r.prev FROM rowseal._writer_rows r
       WHERE r.authority = authority AND r.writer = writer AND r.seq = seq AND r.link = link
      UNION ALL
      SELECT r.seq, r.link, r.prev FROM down d JOIN rowseal._writer_rows r
          ON r.authority = authority AND r.writer = writer AND r.seq = d.seq - 1 AND r.link = d.prev
       WHERE NOT EXISTS (SELECT FROM rowseal._stands s WHERE s.revocation = rho AND s.link = r.link)
    ), stand AS (
      INSERT INTO rowseal._stands SELECT rho, d.link FROM down d ON CONFLICT DO NOTHING
    ), gone AS (
      DELETE FROM rowseal._wanted w WHERE w.revocation = rho AND w.link = link AND (w.seq IS NULL OR w.seq = seq)
    )
    -- the end of the walk waits for its predecessor, unless another branch has been there
    INSERT INTO rowseal._wanted SELECT rho, authority, writer, d.seq - 1, d.prev FROM down d
     WHERE d.seq > 1 AND NOT EXISTS (SELECT FROM down p WHERE p.seq = d.seq - 1 AND p.link = d.prev)
       AND NOT EXISTS (SELECT FROM rowseal._stands s JOIN rowseal._writer_rows r ON r.authority = authority AND r.writer = writer
                          AND r.seq = d.seq - 1 AND r.link = d.prev WHERE s.revocation = rho AND s.link = d.prev);
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._walk(integer, bytea, bigint, bytea) IS 'A row that revocations name or want has arrived: it stands, and its predecessors as far as they are here';

CREATE FUNCTION rowseal._authority_of(grants integer, owner text) RETURNS integer LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  a integer;
BEGIN
  LOOP
    SELECT x.id INTO a FROM rowseal._authority x WHERE x.grants = grants AND x.owner = owner;
    EXIT WHEN FOUND;
    INSERT INTO rowseal._authority (grants, owner) VALUES (grants, owner) ON CONFLICT DO NOTHING;
  END LOOP;
  RETURN a;
END
$$;
COMMENT ON FUNCTION rowseal._authority_of(integer, text) IS 'The number of an owner, made when he has none yet';

CREATE FUNCTION rowseal._enter(grants integer, owner text, writer bytea, seq bigint, prev bytea, link bytea, held bigint) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  a integer;
BEGIN
  SELECT x.id INTO a FROM rowseal._authority x WHERE x.grants = grants AND x.owner = owner;
  IF NOT FOUND THEN
    a := rowseal._authority_of(grants, owner);
  END IF;
  INSERT INTO rowseal._writer_rows AS r VALUES (a, writer, seq, link, prev, held)
    ON CONFLICT ON CONSTRAINT _writer_rows_pkey DO UPDATE SET held = EXCLUDED.held WHERE r.held IS DISTINCT FROM EXCLUDED.held;
  IF EXISTS (SELECT FROM rowseal._wanted w WHERE w.authority = a AND w.writer = writer AND w.link = link AND (w.seq IS NULL OR w.seq = seq)) THEN
    IF pg_catalog.current_setting('rowseal.settling', true) = 'on' THEN  -- what _settle lets in has been walked before: somebody pretends
      RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'rowseal.settling is not yours to set';
    END IF;
    PERFORM rowseal._walk(a, writer, seq, link);
    IF EXISTS (SELECT FROM rowseal._grants g WHERE g.authority = a AND g.writer = writer) THEN
      PERFORM rowseal._derive(a);
    END IF;
    RETURN true;
  END IF;
  RETURN false;
END
$$;
COMMENT ON FUNCTION rowseal._enter(integer, text, bytea, bigint, bytea, bytea, bigint) IS 'Enters an authentic row into the ledger; whether a walk has moved by it';

CREATE FUNCTION rowseal._grant(g rowseal._grants, grants integer, owner text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  named record;
BEGIN
  g.authority := rowseal._authority_of(grants, owner);
  INSERT INTO rowseal._grants (authority, sign, at, writer, link, grantee, tables, keys, tombstones, until, may_grant, upto)
    VALUES (g.authority, g.sign, g.at, g.writer, g.link, g.grantee, g.tables, g.keys, coalesce(g.tombstones, false), g.until,
            coalesce(g.may_grant, 0), g.upto) ON CONFLICT DO NOTHING RETURNING id INTO g.id;
  IF g.id IS NULL THEN
    RETURN;
  END IF;
  IF g.upto IS NOT NULL THEN
    UPDATE rowseal._authority a SET revocations = true WHERE a.id = g.authority AND NOT a.revocations;
    INSERT INTO rowseal._wanted SELECT g.id, g.authority, g.grantee, NULL, l FROM (SELECT DISTINCT pg_catalog.unnest(g.upto)) x(l) WHERE l IS NOT NULL;
    FOR named IN SELECT r.seq, r.link FROM rowseal._writer_rows r
                  WHERE r.authority = g.authority AND r.writer = g.grantee AND r.link = ANY (g.upto) LOOP
      PERFORM rowseal._walk(g.authority, g.grantee, named.seq, named.link);
    END LOOP;
  END IF;
  PERFORM rowseal._derive(g.authority);
END
$$;
COMMENT ON FUNCTION rowseal._grant(rowseal._grants, integer, text) IS 'A row of a grants table has been stored: its walk begins, licences are derived anew';

CREATE FUNCTION rowseal._ungrant(grants integer, owner text, sign bytea) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
  -- only a row under which nothing stands can go, so licences stay as they are
  WITH gone AS (
    DELETE FROM rowseal._grants g WHERE g.sign = _ungrant.sign
       AND g.authority = (SELECT a.id FROM rowseal._authority a WHERE a.grants = _ungrant.grants AND a.owner = _ungrant.owner) RETURNING g.id
  ), unwanted AS (
    DELETE FROM rowseal._wanted w USING gone WHERE w.revocation = gone.id
  ) DELETE FROM rowseal._stands s USING gone WHERE s.revocation = gone.id
$$;
COMMENT ON FUNCTION rowseal._ungrant(integer, text, bytea) IS 'A row of a grants table has been retracted';

CREATE FUNCTION rowseal._dead(authority integer, writer bytea, link bytea) RETURNS boolean LANGUAGE plpgsql STABLE
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
COMMENT ON FUNCTION rowseal._dead(integer, bytea, bytea) IS 'Whether a row never counts again: outside the past of an owner''s revocation that has been walked to number 1';

CREATE FUNCTION rowseal._retracted(grants integer, owner text, writer bytea, seq bigint, link bytea, tag text, waits_for text, verdict text, envelope jsonb)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  a integer;
  dead boolean;
  entry bigint;
BEGIN
  SELECT x.id INTO a FROM rowseal._authority x WHERE x.grants = grants AND x.owner = owner;
  dead := rowseal._dead(a, writer, link);
  INSERT INTO rowseal.quarantine AS q (tag, sqlstate, reason, curable, kept, waits_for, role, subscription, application_name, format, row, bytes, hash)
    VALUES (tag, pg_catalog.left(verdict, 5), pg_catalog.substr(verdict, 7), NOT dead, NOT dead, waits_for,
            session_user, CASE WHEN pg_catalog.current_setting('session_replication_role') = 'replica' THEN rowseal._subscription() END, pg_catalog.current_setting('application_name'), 'canonical', envelope,
            pg_catalog.octet_length(envelope::text),
            pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.jsonb_build_array(tag, 'canonical', envelope)::text, 'UTF8')))
    ON CONFLICT (hash) DO UPDATE SET sqlstate = EXCLUDED.sqlstate, reason = EXCLUDED.reason, curable = EXCLUDED.curable,
      kept = EXCLUDED.kept, waits_for = EXCLUDED.waits_for
    RETURNING q.id INTO entry;
  UPDATE rowseal._writer_rows r SET held = entry WHERE r.authority = a AND r.writer = writer AND r.seq = seq AND r.link = link;
END
$$;
COMMENT ON FUNCTION rowseal._retracted(integer, text, bytea, bigint, bytea, text, text, text, jsonb) IS 'A stored row counts no longer: it is held in the quarantine';

CREATE FUNCTION rowseal._writer_text(grants integer, owner text, writer bytea) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  RETURN (SELECT d.tag FROM rowseal.declarations d WHERE d.id = grants) || ' ' || owner || ' '
      || pg_catalog.replace(pg_catalog.encode(writer, 'base64'), E'\n', '');
END
$$;
COMMENT ON FUNCTION rowseal._writer_text(integer, text, bytea) IS 'What a held row waits for: grants of this writer';

CREATE FUNCTION rowseal._held(entry bigint, tag text, envelope jsonb) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
  grants integer;
  owner text;
  writer bytea;
  seq bigint;
  link bytea;
  r jsonb := envelope -> 'row';
  verdict text;
  a integer;
  dead boolean;
BEGIN
  SELECT * INTO d FROM rowseal.declarations x WHERE x.tag = tag;
  grants := CASE WHEN d.grants THEN d.id ELSE (SELECT x.id FROM rowseal.declarations x WHERE x.relation = d.writers) END;
  -- everybody can put a row into the quarantine: nothing is believed of it but its signature
  IF grants IS NULL OR rowseal._authentic(envelope) IS NOT TRUE OR envelope ->> 'table' <> tag THEN
    RETURN;
  END IF;
  owner := rowseal._owner_text(d.spec, envelope);
  writer := pg_catalog.decode(r ->> 'writer_pkey', 'base64');
  seq := r ->> 'writer_seq';
  link := rowseal.link(seq, pg_catalog.decode(r ->> 'writer_prev', 'base64'), pg_catalog.decode(envelope ->> 'sign_b64', 'base64'));
  verdict := rowseal._licensed(grants, owner, writer, seq, link, tag, (r ->> (d.fields ->> d.timestamp_column))::bigint,
    (r ->> (d.fields ->> d.deleted_column))::boolean,
    CASE WHEN NOT d.grants THEN rowseal._only(r, ARRAY(SELECT d.fields ->> k FROM pg_catalog.unnest(d.key) k)) END);
  IF owner IS NULL OR verdict IS NULL THEN
    RETURN;
  END IF;
  PERFORM rowseal._enter(grants, owner, writer, seq, pg_catalog.decode(r ->> 'writer_prev', 'base64'), link, entry);
  a := rowseal._authority_of(grants, owner);
  dead := rowseal._dead(a, writer, link);
  UPDATE rowseal.quarantine q
     SET sqlstate = pg_catalog.left(verdict, 5), reason = pg_catalog.substr(verdict, 7), curable = NOT dead,
         waits_for = rowseal._writer_text(grants, owner, writer),
         kept = NOT dead AND EXISTS (SELECT FROM rowseal._licences l WHERE l.authority = a AND l.writer = writer)
   WHERE q.id = entry;
EXCEPTION WHEN data_exception THEN
  NULL;  -- a number or a flag that is none: it cannot have come from the table's guard
END
$$;
COMMENT ON FUNCTION rowseal._held(bigint, text, jsonb) IS 'Enters an authentic row that does not count into the ledger, once its signature has been checked';

-- What is held and known travels: others may need it as a link (see poisoned_link in the tests).
-- SECURITY DEFINER, owner rowseal_internal: nobody else may write the feed.
CREATE FUNCTION rowseal._feed_held() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_RELID <> 'rowseal.quarantine'::pg_catalog.regclass OR TG_WHEN <> 'AFTER' THEN
    RAISE EXCEPTION USING ERRCODE = 'RS009', MESSAGE = 'the feed takes what its tables have accepted, and nothing else';
  END IF;
  INSERT INTO rowseal.feed (tag, owner, envelope, role, subscription)
    SELECT NEW.tag, rowseal._owner_text(d.spec, NEW.row), NEW.row,
           session_user, rowseal._subscription()
      FROM rowseal.declarations d WHERE d.tag = NEW.tag AND d.feed;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._feed_held() IS 'Passes a held row of a known writer on';
CREATE TRIGGER feed_held AFTER UPDATE ON rowseal.quarantine FOR EACH ROW
  WHEN (NEW.kept AND NOT OLD.kept) EXECUTE FUNCTION rowseal._feed_held();
ALTER TABLE rowseal.quarantine ENABLE ALWAYS TRIGGER feed_held;

-- SECURITY DEFINER, owner rowseal_internal: the ledger forgets a row whose body is gone, whoever discards it.
CREATE FUNCTION rowseal._forget_held() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  a integer;
BEGIN
  IF TG_RELID <> 'rowseal.quarantine'::pg_catalog.regclass OR TG_WHEN <> 'AFTER' THEN
    RAISE EXCEPTION USING ERRCODE = 'RS009', MESSAGE = 'the ledger follows the quarantine, and nothing else';
  END IF;
  DELETE FROM rowseal._writer_rows r WHERE r.held = OLD.id RETURNING r.authority INTO a;
  DELETE FROM rowseal._authority x WHERE x.id = a AND NOT EXISTS (SELECT FROM rowseal._writer_rows r WHERE r.authority = a)
     AND NOT EXISTS (SELECT FROM rowseal._grants g WHERE g.authority = a);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._forget_held() IS 'Takes a held row out of the ledger when it leaves the quarantine otherwise than into its table';
CREATE TRIGGER forget_held AFTER DELETE ON rowseal.quarantine FOR EACH ROW
  WHEN (OLD.sqlstate IN ('RS010', 'RS011', 'RS012')) EXECUTE FUNCTION rowseal._forget_held();
ALTER TABLE rowseal.quarantine ENABLE ALWAYS TRIGGER forget_held;

-- ------------------------------------------------------------------------------------------- the tables follow the state
-- SECURITY DEFINER, owner rowseal_internal: answers about the state, for _settle, which runs with the rights of who writes.
CREATE FUNCTION rowseal._revoked(grants integer, owner text, writer bytea) RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  RETURN EXISTS (SELECT FROM rowseal._authority a JOIN rowseal._grants g ON g.authority = a.id
                  WHERE a.grants = grants AND a.owner = owner AND g.grantee = writer AND g.upto IS NOT NULL);
END
$$;
COMMENT ON FUNCTION rowseal._revoked(integer, text, bytea) IS 'Whether a revocation names the writer';
CREATE INDEX ON rowseal._grants (authority, grantee) WHERE upto IS NOT NULL;

-- SECURITY DEFINER, owner rowseal_internal: as above.
CREATE FUNCTION rowseal._affected(grants integer, owner text, writer bytea, seq bigint, link bytea, grantee bytea, OUT writers bytea[], OUT held bigint[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  a integer;
  run bytea[];
BEGIN
  SELECT x.id INTO a FROM rowseal._authority x WHERE x.grants = grants AND x.owner = owner;
  -- a row that stands below a frontier: what was held below it has waited for it
  IF seq IS NOT NULL AND EXISTS (SELECT FROM rowseal._grants g JOIN rowseal._stands s ON s.revocation = g.id AND s.link = link
              WHERE g.authority = a AND g.grantee = writer AND g.upto IS NOT NULL) THEN
    WITH RECURSIVE down(seq, prev, link, held) AS (
      SELECT r.seq, r.prev, r.link, r.held FROM rowseal._writer_rows r
       WHERE r.authority = a AND r.writer = writer AND r.seq = seq AND r.link = link
      UNION ALL
      SELECT r.seq, r.prev, r.link, r.held FROM down d JOIN rowseal._writer_rows r
          ON r.authority = a AND r.writer = writer AND r.seq = d.seq - 1 AND r.link = d.prev
    ) SELECT pg_catalog.array_agg(d.held ORDER BY d.seq) FILTER (WHERE d.held IS NOT NULL AND d.seq < seq),
             pg_catalog.array_agg(d.link) FILTER (WHERE EXISTS (SELECT FROM rowseal._grants g WHERE g.link = d.link))
        INTO held, run FROM down d;
  END IF;
  -- and everybody below those of whom it speaks
  WITH RECURSIVE below(key) AS (
    SELECT grantee WHERE grantee IS NOT NULL
    UNION
    SELECT g.grantee FROM rowseal._grants g WHERE g.authority = a AND g.link = ANY (run)
    UNION
    SELECT g.grantee FROM below b JOIN rowseal._grants g ON g.authority = a AND g.writer = b.key
  ) SELECT coalesce(pg_catalog.array_agg(b.key), '{}') INTO writers FROM below b;
  held := coalesce(held, '{}') || ARRAY(
    SELECT r.held FROM rowseal._writer_rows r JOIN rowseal.quarantine q ON q.id = r.held AND q.curable
     WHERE r.authority = a AND r.writer = ANY (writers) ORDER BY r.seq);
END
$$;
COMMENT ON FUNCTION rowseal._affected(integer, text, bytea, bigint, bytea, bytea) IS
  'Whom a stored row concerns: writers whose licences may have changed by it, and entries of the quarantine that may count now';

CREATE FUNCTION rowseal._settle(grants integer, owner text, writer bytea, seq bigint, link bytea, grantee bytea, retracts boolean)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET rowseal.mode = '' SET rowseal.outcome = '' SET rowseal.settling = 'on' AS $$
#variable_conflict use_variable
DECLARE
  affected record := rowseal._affected(grants, owner, writer, seq, link, grantee);
  n integer;
BEGIN
  IF retracts AND affected.writers <> '{}' THEN
    FOR n IN SELECT d.id FROM rowseal.declarations d
              WHERE d.id = grants OR d.writers = (SELECT g.relation FROM rowseal.declarations g WHERE g.id = grants) ORDER BY d.id LOOP
      EXECUTE pg_catalog.format('SELECT rowseal._retract_%s($1, $2)', n) USING owner, affected.writers;
    END LOOP;
  END IF;
  IF affected.held <> '{}' THEN
    PERFORM rowseal._retry(NULL, NULL, affected.held);
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._settle(integer, text, bytea, bigint, bytea, bytea, boolean) IS
  'Makes the tables what the rules say after a row of the grants table, or one below a frontier, has been stored; with the rights of who brought it';

CREATE FUNCTION rowseal._hold(d rowseal.declarations, verdict text, envelope jsonb, waits_for text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  grants integer := CASE WHEN d.grants THEN d.id ELSE (SELECT x.id FROM rowseal.declarations x WHERE x.relation = d.writers) END;
  owner text := rowseal._owner_text(d.spec, envelope);
  writer bytea := pg_catalog.decode(envelope #>> '{row,writer_pkey}', 'base64');
  seq bigint := envelope #>> '{row,writer_seq}';
BEGIN
  PERFORM rowseal._quarantine(d.tag, verdict, 'canonical', envelope, waits_for);
  IF pg_catalog.current_setting('rowseal.settling', true) IS DISTINCT FROM 'on' AND rowseal._revoked(grants, owner, writer) THEN  -- held itself, it may be the link that others wait for
    PERFORM rowseal._settle(grants, owner, writer, seq,
      rowseal.link(seq, pg_catalog.decode(envelope #>> '{row,writer_prev}', 'base64'), pg_catalog.decode(envelope ->> 'sign_b64', 'base64')), NULL, true);
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._hold(rowseal.declarations, text, jsonb, text) IS 'Holds an authentic row that does not count';

CREATE FUNCTION rowseal._owner_object(fields text[], owner text) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN pg_catalog.cardinality(fields) = 1 THEN pg_catalog.jsonb_build_object(fields[1], owner)
              ELSE (SELECT pg_catalog.jsonb_object_agg(f, owner::jsonb -> (n::integer - 1)) FROM pg_catalog.unnest(fields) WITH ORDINALITY x(f, n)) END
$$;
COMMENT ON FUNCTION rowseal._owner_object(text[], text) IS 'The inverse of _owner_text: {"field": value}';

-- ------------------------------------------------------------------------------------------------ declare, undeclare
CREATE FUNCTION rowseal._enter_rows(d rowseal.declarations, relation regclass, archived boolean) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET rowseal.revoked = 'on' AS $$
DECLARE
  writer text := (SELECT CASE WHEN archived THEN d.version_columns ->> w.key ELSE w.key END
                    FROM pg_catalog.jsonb_each_text(d.fields) w WHERE w.value = 'writer_pkey');
BEGIN
  -- an UPDATE that changes nothing: its trigger enters the row
  EXECUTE pg_catalog.format('UPDATE %s SET %I = %2$I%s', relation, writer, CASE WHEN NOT d.grants THEN pg_catalog.format(' WHERE %I IS NOT NULL', writer) END);
END
$$;
COMMENT ON FUNCTION rowseal._enter_rows(rowseal.declarations, regclass, boolean) IS 'Enters the stored rows of a table, its versions table or a partition into the ledger';

CREATE FUNCTION rowseal._enter_stored(d rowseal.declarations) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  part record;
BEGIN
  PERFORM rowseal._lock_writers(NULL, NULL, true);  -- a revocation either sees these rows, or is seen here
  FOR part IN
    SELECT t.relation, t.archived, pg_catalog.format('%I', CASE WHEN t.archived THEN d.version_columns ->> w.key ELSE w.key END) AS writer, (
             SELECT pg_catalog.string_agg(pg_catalog.quote_ident(CASE WHEN t.archived THEN d.version_columns ->> o ELSE o END), ', ')
               FROM pg_catalog.unnest(d.owner) o) AS owner
      FROM (VALUES (d.relation, false), (d.versions, true)) t(relation, archived), pg_catalog.jsonb_each_text(d.fields) w
     WHERE t.relation IS NOT NULL AND w.value = 'writer_pkey'
  LOOP
    -- for whoever has to take a writer's rows back
    EXECUTE pg_catalog.format('CREATE INDEX ON %s (%s, %s) WHERE %2$s IS NOT NULL', part.relation, part.writer, part.owner);
    PERFORM rowseal._enter_rows(d, part.relation, part.archived);
  END LOOP;
  -- who was revoked in the meantime
  PERFORM rowseal._settle(g.id, w.owner, NULL, NULL, NULL, w.writer, true)
     FROM rowseal.writers w JOIN rowseal.declarations g ON g.relation = w.relation WHERE w.relation = d.writers AND w.revoked;
END
$$;
COMMENT ON FUNCTION rowseal._enter_stored(rowseal.declarations) IS 'Enters the rows that are in a table when it is declared; indexes them by writer; takes out what has been revoked';

CREATE FUNCTION rowseal._forget_writers(grants integer) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
  WITH gone AS (DELETE FROM rowseal._authority a WHERE a.grants = _forget_writers.grants RETURNING a.id),
    rows AS (DELETE FROM rowseal._writer_rows r USING gone WHERE r.authority = gone.id),
    licences AS (DELETE FROM rowseal._licences l USING gone WHERE l.authority = gone.id),
    wanted AS (DELETE FROM rowseal._wanted w USING gone WHERE w.authority = gone.id),
    granted AS (DELETE FROM rowseal._grants g USING gone WHERE g.authority = gone.id RETURNING g.id)
  DELETE FROM rowseal._stands s USING granted WHERE s.revocation = granted.id
$$;
COMMENT ON FUNCTION rowseal._forget_writers(integer) IS 'The grants table is no longer declared: what was derived from it goes';

DO $$
DECLARE
  f text;
BEGIN
  FOREACH f IN ARRAY ARRAY['_lock_writers', '_licensed', '_admit', '_feed_held', '_forget_held', '_revoked', '_affected'] LOOP
    EXECUTE pg_catalog.format('ALTER FUNCTION rowseal.%I OWNER TO rowseal_internal', f);
  END LOOP;
END
$$;

-- -------------------------------------------------------------------------------------------------- for those who sign
CREATE FUNCTION rowseal._readable(grants integer, owner text) RETURNS integer LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  RETURN (SELECT x.id FROM rowseal._authority x JOIN rowseal.declarations d ON d.id = x.grants
           WHERE x.grants = grants AND x.owner = owner AND pg_catalog.has_table_privilege(session_user, d.relation, 'SELECT'));
END
$$;
COMMENT ON FUNCTION rowseal._readable(integer, text) IS 'The number of an owner, where the session''s user may read the grants table';

-- SECURITY DEFINER, owner rowseal_internal: numbers and links of a writer are for whoever may read the grants table.
CREATE FUNCTION rowseal._heads_of(grants integer, owner text, writer bytea) RETURNS TABLE (seq bigint, link bytea, whole boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  a integer := rowseal._readable(grants, owner);
BEGIN
  RETURN QUERY
    WITH RECURSIVE heads AS (
      SELECT r.seq, r.link, r.prev FROM rowseal._writer_rows r
       WHERE r.authority = a AND r.writer = writer AND NOT EXISTS (
         SELECT FROM rowseal._writer_rows n WHERE n.authority = a AND n.writer = writer AND n.seq = r.seq + 1 AND n.prev = r.link)
    ), down(head, seq, prev) AS (
      SELECT h.link, h.seq, h.prev FROM heads h
      UNION ALL
      SELECT d.head, r.seq, r.prev FROM down d JOIN rowseal._writer_rows r
          ON r.authority = a AND r.writer = writer AND r.seq = d.seq - 1 AND r.link = d.prev
    ) SELECT h.seq, h.link, EXISTS (SELECT FROM down d WHERE d.head = h.link AND d.seq = 1) FROM heads h ORDER BY h.seq, h.link;
END
$$;
COMMENT ON FUNCTION rowseal._heads_of(integer, text, bytea) IS 'The ends of a writer''s chain, and whether each can be walked to number 1';

CREATE FUNCTION rowseal._place(d rowseal.declarations, owner jsonb, writer bytea) RETURNS jsonb LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  last record;
BEGIN
  IF writer IS NULL THEN
    RETURN '{}';
  END IF;
  SELECT * INTO last FROM rowseal._heads_of(d.id, rowseal._owner_text(d.spec,
    rowseal.payload(d.relation, owner)::jsonb), writer) h ORDER BY h.seq DESC, h.link LIMIT 1;
  RETURN pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('writer_pkey', writer, 'writer_seq', coalesce(last.seq, 0) + 1, 'writer_prev', last.link));
END
$$;
COMMENT ON FUNCTION rowseal._place(rowseal.declarations, jsonb, bytea) IS 'The writer''s columns of his next row, as far as this server knows his chain';

CREATE FUNCTION rowseal._grants_table(relation regclass) RETURNS rowseal.declarations LANGUAGE plpgsql STABLE
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

CREATE FUNCTION rowseal.allow(relation regclass, owner jsonb, grantee bytea, until bigint, at bigint, tables text[] DEFAULT NULL,
  keys jsonb DEFAULT NULL, tombstones boolean DEFAULT false, may_grant smallint DEFAULT 0, writer bytea DEFAULT NULL)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET bytea_output = hex AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations := rowseal._grants_table(relation);
BEGIN
  RETURN rowseal.payload(relation, owner || rowseal._place(d, owner, writer) || pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'grantee_pkey', grantee, 'until', until, 'tables', tables, 'tombstones', tombstones, 'may_grant', may_grant,
    d.fields ->> d.timestamp_column, at, d.fields ->> d.deleted_column, false)) || CASE WHEN keys IS NULL THEN '{}' ELSE pg_catalog.jsonb_build_object('keys', keys) END);
END
$$;
COMMENT ON FUNCTION rowseal.allow(regclass, jsonb, bytea, bigint, bigint, text[], jsonb, boolean, smallint, bytea) IS
$$The canonical text of a grant, to be signed: relation, the grants table; owner: {"user_hash": …}; grantee: the public key that is let in; until:
the highest owner_timestamp covered; at: the grant's own; tables: tags (NULL: all with writers); keys: {"column of the primary key": value or
{"prefix": …}}; tombstones: may delete; may_grant: how many further links may follow; writer: the key that will sign, NULL for the owner's.
Signed, it is stored as a row of that table. Errors: RS007 no grants table, RS006 no canonical form.$$;

CREATE FUNCTION rowseal.revoke(relation regclass, owner jsonb, grantee bytea, at bigint, INOUT upto bytea[] DEFAULT NULL, writer bytea DEFAULT NULL,
  OUT payload text, OUT standing bytea[]) LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET bytea_output = hex AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations := rowseal._grants_table(relation);
  owner_ text := rowseal._owner_text(d.spec, rowseal.payload(relation, owner)::jsonb);
  frontier record;
BEGIN
  upto := coalesce(upto, ARRAY(SELECT h.link FROM rowseal._heads_of(d.id, owner_, grantee) h WHERE h.whole));
  SELECT * INTO frontier FROM rowseal._below(d.id, owner_, grantee, upto);
  IF frontier.broken IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'RS012', MESSAGE = pg_catalog.format('the chain below link %s cannot be walked to number 1', frontier.broken),
      HINT = 'Rows are missing here: what stands below them would wait for them. Fetch them first, or name a lower link.';
  END IF;
  standing := frontier.standing;
  payload := rowseal.payload(relation, owner || rowseal._place(d, owner, writer) || pg_catalog.jsonb_build_object(
    'grantee_pkey', grantee, 'upto', upto, d.fields ->> d.timestamp_column, at, d.fields ->> d.deleted_column, false));
END
$$;
COMMENT ON FUNCTION rowseal.revoke(regclass, jsonb, bytea, bigint, bytea[], bytea) IS
$$The canonical text of a revocation, to be signed: the rows of grantee stand up to the links in upto (NULL: all that this server knows and can
walk; {}: nothing), whatever else it signs never counts. standing: keys that grantee let in below this frontier, and that go on writing until they
are revoked, too. Other arguments as in rowseal.allow. Errors: RS012 a link cannot be walked to number 1 here, RS007 no grants table.$$;

-- SECURITY DEFINER, owner rowseal_internal: as _heads_of.
CREATE FUNCTION rowseal._below(grants integer, owner text, writer bytea, upto bytea[], OUT broken bytea, OUT standing bytea[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  a integer := rowseal._readable(grants, owner);
BEGIN
  WITH RECURSIVE down(named, seq, link, prev) AS (
    SELECT r.link, r.seq, r.link, r.prev FROM rowseal._writer_rows r WHERE r.authority = a AND r.writer = writer AND r.link = ANY (upto)
    UNION ALL
    SELECT d.named, r.seq, r.link, r.prev FROM down d JOIN rowseal._writer_rows r
        ON r.authority = a AND r.writer = writer AND r.seq = d.seq - 1 AND r.link = d.prev
  ) SELECT (SELECT l FROM pg_catalog.unnest(upto) l WHERE NOT EXISTS (SELECT FROM down d WHERE d.named = l AND d.seq = 1) LIMIT 1),
           ARRAY(SELECT DISTINCT g.grantee FROM rowseal._grants g JOIN down d ON d.link = g.link WHERE g.authority = a AND g.writer = writer AND g.upto IS NULL)
      INTO broken, standing;
END
$$;
COMMENT ON FUNCTION rowseal._below(integer, text, bytea, bytea[]) IS 'Which link cannot be walked to number 1, and whom the writer let in below these links';

-- SECURITY DEFINER, owner rowseal_internal: health is for everybody, the ledger is not.
CREATE FUNCTION rowseal._gaps(grants integer) RETURNS TABLE (writer bytea, last bigint, numbers bigint) LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.writer, pg_catalog.max(r.seq), count(DISTINCT r.seq) FROM rowseal._authority a JOIN rowseal._writer_rows r ON r.authority = a.id
   WHERE a.grants = _gaps.grants GROUP BY r.authority, r.writer
$$;
COMMENT ON FUNCTION rowseal._gaps(integer) IS 'Highest number and how many different ones, for each writer of each owner';

-- ------------------------------------------------------------------------------------------------------------- views
CREATE VIEW rowseal.writers AS
  SELECT d.relation, a.owner, w.writer, coalesce(l.licences, '[]') AS licences, coalesce(l.revoked, false) AS revoked,
         coalesce(r.rows, 0) AS rows, coalesce(r.held, 0) AS held, r.last, coalesce(r.last - r.numbers, 0) AS missing
    FROM rowseal._authority a JOIN rowseal.declarations d ON d.id = a.grants
    JOIN LATERAL (SELECT x.writer FROM rowseal._licences x WHERE x.authority = a.id
                  UNION SELECT x.writer FROM rowseal._writer_rows x WHERE x.authority = a.id
                  UNION SELECT x.grantee FROM rowseal._grants x WHERE x.authority = a.id) w ON true
    LEFT JOIN LATERAL (SELECT pg_catalog.jsonb_agg(pg_catalog.to_jsonb(x) - 'authority' - 'writer' - 'frontiers') AS licences,
                              EXISTS (SELECT FROM rowseal._grants g WHERE g.authority = a.id AND g.grantee = w.writer AND g.upto IS NOT NULL) AS revoked
                         FROM rowseal._licences x WHERE x.authority = a.id AND x.writer = w.writer) l ON true
    LEFT JOIN LATERAL (SELECT count(*) AS rows, count(x.held) AS held, pg_catalog.max(x.seq) AS last, count(DISTINCT x.seq) AS numbers
                         FROM rowseal._writer_rows x WHERE x.authority = a.id AND x.writer = w.writer) r ON true
   WHERE pg_catalog.has_table_privilege(d.relation, 'SELECT');
COMMENT ON VIEW rowseal.writers IS
  'Writers besides the owners, per grants table: what each may write (one licence per standing chain of grants), whether a revocation speaks of it, how many rows are known, held, missing';
COMMENT ON COLUMN rowseal.writers.last IS 'Highest number seen';
COMMENT ON COLUMN rowseal.writers.missing IS 'Numbers up to the last that never arrived here';

CREATE VIEW rowseal.equivocations AS
  SELECT d.relation, a.owner, r.writer, r.seq AS writer_seq, pg_catalog.array_agg(r.link ORDER BY r.link) AS links
    FROM rowseal._writer_rows r JOIN rowseal._authority a ON a.id = r.authority JOIN rowseal.declarations d ON d.id = a.grants
   WHERE pg_catalog.has_table_privilege(d.relation, 'SELECT')
   GROUP BY d.relation, a.owner, r.writer, r.seq HAVING count(*) > 1;
COMMENT ON VIEW rowseal.equivocations IS 'Numbers that a writer used for more than one row: a copied key, or a device restored from a backup. The rows are the proof; all of them count until a revocation picks a branch';
GRANT SELECT ON rowseal.writers, rowseal.equivocations TO PUBLIC;
ALTER FUNCTION rowseal._gaps(integer) OWNER TO rowseal_internal;
ALTER FUNCTION rowseal._heads_of(integer, text, bytea) OWNER TO rowseal_internal;
ALTER FUNCTION rowseal._below(integer, text, bytea, bytea[]) OWNER TO rowseal_internal;
