-- Writers other than the owner (docs/writers.md): what they may write, and the locks under which that is decided.
-- _derive, _outside, _grant and _ungrant are for rowseal_internal alone, called by definer functions that have seen the
-- row.

CREATE OR REPLACE FUNCTION rowseal._only("row" jsonb, fields text[]) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(pg_catalog.jsonb_object_agg(f, "row" -> f), '{}') FROM pg_catalog.unnest(fields) f WHERE "row" ? f
$$;
COMMENT ON FUNCTION rowseal._only(jsonb, text[]) IS 'Some fields of a canonical row';

CREATE OR REPLACE FUNCTION rowseal._matches(scope jsonb, key jsonb) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN  -- not in SQL: that is planned anew for each row
  RETURN pg_catalog.jsonb_typeof(scope) = 'object' AND NOT EXISTS (
    SELECT FROM pg_catalog.jsonb_each(CASE WHEN pg_catalog.jsonb_typeof(scope) = 'object' THEN scope ELSE '{}' END) e
     WHERE (CASE WHEN pg_catalog.jsonb_typeof(e.value) = 'object'
                 THEN pg_catalog.jsonb_typeof(e.value -> 'prefix') = 'string' AND e.value - 'prefix' = '{}'
                      AND pg_catalog.jsonb_typeof(_matches.key -> e.key) = 'string'
                      AND pg_catalog.starts_with(_matches.key ->> e.key, e.value ->> 'prefix')
                 ELSE _matches.key -> e.key = e.value END) IS NOT TRUE);
END
$$;
COMMENT ON FUNCTION rowseal._matches(jsonb, jsonb) IS
  'Whether the primary key (canonical values by field) lies in the keys of a grant; what is no scope matches nothing';

CREATE OR REPLACE FUNCTION rowseal._outside(chain bigint[], tag text, key jsonb) RETURNS SETOF bigint
LANGUAGE sql STABLE AS $$
  SELECT g.id FROM rowseal._grants g
   WHERE g.id OPERATOR(pg_catalog.=) ANY (chain)
     AND ((g.tables IS NULL OR tag OPERATOR(pg_catalog.=) ANY (g.tables))
          AND (g.keys IS NULL OR rowseal._matches(g.keys, key))) IS NOT TRUE
$$;
COMMENT ON FUNCTION rowseal._outside(bigint[], text, jsonb) IS
  'The grants of a chain whose tables or keys a row lies outside of. Without a search path, so that it is inlined';

CREATE OR REPLACE FUNCTION rowseal._flat(elements anyarray) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN CASE WHEN coalesce(pg_catalog.array_ndims(elements), 1) > 1 THEN false
              ELSE pg_catalog.array_position(elements, NULL) IS NULL END;
END
$$;
COMMENT ON FUNCTION rowseal._flat(anyarray) IS
  'Whether an array has one dimension, and no NULL in it. NULL itself passes';

CREATE OR REPLACE FUNCTION rowseal._are_links(links bytea[]) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN rowseal._flat(links) AND 32 = ALL (SELECT pg_catalog.octet_length(l) FROM pg_catalog.unnest(links) l);
END
$$;
COMMENT ON FUNCTION rowseal._are_links(bytea[]) IS
  'Whether all of these may be links, which have 32 bytes. NULL itself passes';

CREATE OR REPLACE FUNCTION rowseal._reads_all(relation regclass) RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN  -- row_security_active asks for the current user, whom a SECURITY DEFINER function does not see
  RETURN pg_catalog.has_table_privilege(session_user, relation, 'SELECT') AND EXISTS (
    SELECT FROM pg_catalog.pg_class c, pg_catalog.pg_roles s
     WHERE c.oid = relation AND s.rolname = session_user
       AND (NOT c.relrowsecurity OR s.rolsuper OR s.rolbypassrls
            OR NOT c.relforcerowsecurity AND pg_catalog.pg_has_role(s.oid, c.relowner, 'USAGE')));
END
$$;
COMMENT ON FUNCTION rowseal._reads_all(regclass) IS
  'Whether the session''s user may read a table, and row security hides nothing of it';

CREATE OR REPLACE FUNCTION rowseal._may_ask(grants integer) RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  relation regclass;
BEGIN
  PERFORM rowseal._in_person();
  SELECT g.relation INTO relation FROM rowseal.declarations g WHERE g.id = grants;
  IF NOT FOUND OR pg_catalog.has_table_privilege(session_user, relation, 'SELECT') THEN
    RETURN;
  END IF;
  -- The current user is hidden from a SECURITY DEFINER function; he is one of those that the session may become.
  PERFORM FROM pg_catalog.pg_roles r, rowseal.declarations d
    WHERE (d.id = grants OR d.writers = relation) AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')
      AND (pg_catalog.has_table_privilege(r.oid, relation, 'SELECT')
           OR pg_catalog.has_table_privilege(r.oid, d.relation, 'INSERT'));
  IF NOT FOUND THEN
    RAISE insufficient_privilege USING
      MESSAGE = pg_catalog.format('no right to ask about the writers of %s', relation),
      HINT = pg_catalog.format('GRANT SELECT ON %s TO %I;', relation, session_user);
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._may_ask(integer) IS
  'Who was let in or revoked is told to whoever may read the grants table, or write a table that names it: that one '
  'learns it from what becomes of his rows; else 42501';

CREATE OR REPLACE FUNCTION rowseal._make_locks(grants integer) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO rowseal._writer_locks
    SELECT grants, b, s, '0' FROM pg_catalog.generate_series(0, 63) b, pg_catalog.generate_series(0, 15) s
    ON CONFLICT DO NOTHING
$$;
COMMENT ON FUNCTION rowseal._make_locks(integer) IS 'The locks of the owners of a grants table';

CREATE OR REPLACE FUNCTION rowseal._may_lock(grants integer, owner text) RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  g record;
BEGIN
  PERFORM rowseal._in_person();
  SELECT d.relation, c.relowner INTO g
    FROM rowseal.declarations d JOIN pg_catalog.pg_class c ON c.oid = d.relation WHERE d.id = grants AND d.grants;
  IF owner IS NULL THEN
    PERFORM WHERE pg_catalog.pg_has_role(session_user, g.relowner, 'MEMBER');
  ELSIF pg_catalog.has_table_privilege(session_user, g.relation, 'INSERT, UPDATE') THEN
    RETURN;
  ELSE  -- the roles that the session may become: see _may_ask
    PERFORM FROM pg_catalog.pg_roles r, rowseal.declarations d
      WHERE (d.id = grants OR d.writers = g.relation) AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')
        AND pg_catalog.has_table_privilege(r.oid, d.relation, 'INSERT, UPDATE');
  END IF;
  IF NOT FOUND THEN
    RAISE insufficient_privilege USING MESSAGE = 'no right to these locks',
      HINT = 'Who writes rows takes the lock of their owner; only the owner of the grants table those of all.';
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._may_lock(integer, text) IS
  'Whether the session may keep others from writing rows of an owner (NULL: of all), as who writes some does; else '
  '42501';

-- SECURITY DEFINER, owner rowseal_internal: whoever may write a row may take its lock, nobody may write the table.
CREATE OR REPLACE FUNCTION rowseal._lock_writers(grants integer, owner text, exclusive boolean)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  here CONSTANT xid8 := pg_catalog.pg_current_xact_id_if_assigned();
  bucket CONSTANT integer := pg_catalog.hashtext(owner) & 63;  -- NULL: all
  stripe CONSTANT integer := CASE WHEN NOT exclusive THEN pg_catalog.pg_backend_pid() & 15 END;  -- NULL: all
  held boolean;
BEGIN
  SELECT pg_catalog.bool_and(l.xid = here) INTO held FROM rowseal._writer_locks l
   WHERE l.grants = grants AND l.bucket BETWEEN coalesce(bucket, 0) AND coalesce(bucket, 63)
     AND l.stripe BETWEEN coalesce(stripe, 0) AND coalesce(stripe, 15);
  IF held THEN
    RETURN false;
  END IF;
  PERFORM rowseal._may_lock(grants, owner);
  -- An UPDATE, not a share lock: a REPEATABLE READ transaction on either side meets it, too, and fails with 40001
  -- instead of deciding on a state that is gone.
  IF exclusive THEN  -- several rows: in the same order everywhere
    PERFORM FROM rowseal._writer_locks l
      WHERE l.grants = grants AND l.bucket BETWEEN coalesce(bucket, 0) AND coalesce(bucket, 63)
      ORDER BY l.bucket, l.stripe FOR NO KEY UPDATE;
  END IF;
  UPDATE rowseal._writer_locks l SET xid = pg_catalog.pg_current_xact_id()
   WHERE l.grants = grants AND l.bucket BETWEEN coalesce(bucket, 0) AND coalesce(bucket, 63)
     AND l.stripe BETWEEN coalesce(stripe, 0) AND coalesce(stripe, 15);
  IF NOT FOUND THEN  -- of a grants table that was restored without triggers
    PERFORM rowseal._make_locks(grants);
    RETURN rowseal._lock_writers(grants, owner, exclusive);
  END IF;
  RETURN true;
END
$$;
COMMENT ON FUNCTION rowseal._lock_writers(integer, text, boolean) IS
  'Until the transaction ends: rows of this owner are being written (shared between sessions), or his grants change '
  '(exclusive); owner NULL: of all owners. True when it was not held before';

CREATE OR REPLACE FUNCTION rowseal._lock_walk(grants integer, owner text, writer bytea)
RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  revoked boolean := rowseal._revoked(grants, owner, writer);
  news boolean := rowseal._lock_writers(grants, owner, revoked);
BEGIN
  IF NOT revoked AND rowseal._revoked(grants, owner, writer) THEN  -- while we waited
    RETURN rowseal._lock_writers(grants, owner, true) OR news;
  END IF;
  RETURN news;
END
$$;
COMMENT ON FUNCTION rowseal._lock_walk(integer, text, bytea) IS
  'The lock under which a writer''s row enters the ledger: rows of one who was revoked enter it one after the other, '
  'so that a walk meets each. As _lock_writers, true when it was not held before';

-- SECURITY DEFINER, owner rowseal_internal: guards run with the rights of who writes, and ask this.  It answers and
-- changes nothing.
CREATE OR REPLACE FUNCTION rowseal._licensed(
  grants integer, owner text, writer bytea, seq bigint, link bytea, tag text, at bigint, deleted boolean, key jsonb)
RETURNS rowseal.verdict LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  l record;
  beyond boolean := false;
  outside boolean := false;
BEGIN
  PERFORM rowseal._may_ask(grants);
  FOR l IN
    SELECT x.authority, x.frontiers,
           at <= x.until AND CASE
             WHEN key IS NULL THEN x.may_grant >= 0
             ELSE (x.tombstones OR NOT deleted) AND NOT EXISTS (SELECT FROM rowseal._outside(x.chain, tag, key))
           END AS covers
      FROM rowseal._authority a JOIN rowseal._licences x ON x.authority = a.id
     WHERE a.grants = grants AND a.owner = owner AND x.writer = writer
  LOOP
    IF l.frontiers <> '{}' AND EXISTS (  -- what a walk waits for stands as soon as it is here
         SELECT FROM (SELECT pg_catalog.unnest(l.frontiers)
                      EXCEPT SELECT s.revocation FROM rowseal._stands s WHERE s.link = link) f(revocation)
          WHERE NOT EXISTS (SELECT FROM rowseal._wanted w
                             WHERE w.authority = l.authority AND w.writer = writer AND w.link = link
                               AND w.revocation = f.revocation AND (w.seq IS NULL OR w.seq = seq))) THEN
      beyond := true;
    ELSIF l.covers THEN
      RETURN NULL;
    ELSE
      outside := true;
    END IF;
  END LOOP;
  RETURN CASE WHEN outside THEN ROW('RS011', 'outside the scope of the writer''s grants')::rowseal.verdict
              WHEN beyond THEN ROW('RS012', 'beyond the frontier of a revocation')::rowseal.verdict
              ELSE ROW('RS010', 'no grant for this writer')::rowseal.verdict END;
END
$$;
COMMENT ON FUNCTION rowseal._licensed(integer, text, bytea, bigint, bytea, text, bigint, boolean, jsonb) IS
  'NULL when the row stands under some chain of grants, else why not. key: canonical primary key; NULL for a row of '
  'the grants table';

-- SECURITY DEFINER, owner rowseal_internal: as _lock_writers and _licensed, in one.
CREATE OR REPLACE FUNCTION rowseal._admit(
  grants integer, owner text, writer bytea, seq bigint, link bytea, tag text, at bigint, deleted boolean, key jsonb)
RETURNS rowseal.verdict LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  bucket CONSTANT integer := pg_catalog.hashtext(owner) & 63;  -- as in _lock_writers
  stripe CONSTANT integer := pg_catalog.pg_backend_pid() & 15;
  l record;
  news boolean;
  verdict rowseal.verdict;
BEGIN
  -- Most often the lock is held, and the first licence covers the row.  Conditions stand outside of the query: to
  -- prepare them there, for every row, costs more than its look-ups.
  SELECT k.xid, a.revocations, x.until, x.tombstones, g.relation,
         EXISTS (SELECT FROM rowseal._outside(x.chain, tag, key)) AS outside INTO l
    FROM rowseal._writer_locks k, rowseal._authority a, rowseal._licences x, rowseal.declarations g
   WHERE k.grants = grants AND k.bucket = bucket AND k.stripe = stripe AND a.grants = grants AND a.owner = owner
     AND x.authority = a.id AND x.writer = writer AND g.id = grants LIMIT 1;
  IF l.xid = pg_catalog.pg_current_xact_id_if_assigned() AND NOT l.revocations AND at <= l.until
     AND pg_catalog.has_table_privilege(session_user, l.relation, 'SELECT')
     AND (l.tombstones OR NOT deleted) AND NOT l.outside THEN
    RETURN NULL;
  END IF;
  news := rowseal._lock_walk(grants, owner, writer);
  verdict := rowseal._licensed(grants, owner, writer, seq, link, tag, at, deleted, key);
  RETURN CASE WHEN verdict IS NULL AND news THEN ROW('00000', 'news')::rowseal.verdict ELSE verdict END;
END
$$;
COMMENT ON FUNCTION rowseal._admit(integer, text, bytea, bigint, bytea, text, bigint, boolean, jsonb) IS
  'Takes the shared lock of the owner; then as _licensed, for a row of a data table. 00000 news: it stands, but look '
  'again, the lock was not held before';

-- SECURITY DEFINER, owner rowseal_internal: answers about the state, for _settle, which runs with the rights of who
-- writes.
CREATE OR REPLACE FUNCTION rowseal._revoked(grants integer, owner text, writer bytea)
RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  PERFORM rowseal._may_ask(grants);
  RETURN EXISTS (SELECT FROM rowseal._authority a JOIN rowseal._grants g ON g.authority = a.id
                  WHERE a.grants = grants AND a.owner = owner AND g.grantee = writer AND g.upto IS NOT NULL);
END
$$;
COMMENT ON FUNCTION rowseal._revoked(integer, text, bytea) IS 'Whether a revocation names the writer';

CREATE OR REPLACE FUNCTION rowseal._spoken(authority integer, keys bytea[])
RETURNS TABLE (
  id bigint, sign bytea, at bigint, writer bytea, grantee bytea, until bigint, tombstones boolean, may_grant smallint,
  upto bytea, under bigint[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  RETURN QUERY
    WITH RECURSIVE above(key) AS (  -- who is in chains to these keys
      SELECT * FROM pg_catalog.unnest(keys)
      UNION
      SELECT g.writer
        FROM above a, LATERAL (SELECT g.writer FROM rowseal._grants g
                                WHERE g.authority = authority AND g.grantee = a.key OFFSET 0) g  -- as in _before
       WHERE g.writer IS NOT NULL
    ), rows AS (
      SELECT g.* FROM rowseal._grants g WHERE g.authority = authority AND keys IS NULL
      UNION ALL
      SELECT g.*
        FROM above a, LATERAL (SELECT g.* FROM rowseal._grants g
                                WHERE g.authority = authority AND g.grantee = a.key OFFSET 0) g
    )
    SELECT g.id, g.sign, g.at, g.writer, g.grantee, coalesce(g.until, 0), g.tombstones, g.may_grant,
           CASE WHEN g.upto IS NOT NULL THEN pg_catalog.sha256(coalesce((
             SELECT pg_catalog.string_agg(DISTINCT u, ''::bytea ORDER BY u) FROM pg_catalog.unnest(g.upto) u), '')) END,
           ARRAY(SELECT s.revocation FROM rowseal._stands s WHERE s.link = g.link)
      FROM rows g;
END
$$;
COMMENT ON FUNCTION rowseal._spoken(integer, bytea[]) IS
  'Grants and revocations of an owner, all or those in chains to these keys, but for what chains do not depend on. '
  'upto: of a revocation, a hash of its frontier; under: the revocations in whose past the row lies';

CREATE OR REPLACE FUNCTION rowseal._derived(authority integer, keys bytea[] DEFAULT NULL)
RETURNS SETOF rowseal._licences LANGUAGE plpython3u STABLE
SET search_path = pg_catalog, pg_temp AS $$
# row by row: all in one value may be more than a value can hold
plpy.execute("SELECT rowseal._load()")
return GD["rowseal"]("server").licences(plpy, authority, keys)
$$;
COMMENT ON FUNCTION rowseal._derived(integer, bytea[]) IS
  'The licences of an owner''s writers, as they follow from his grants: of all, or of these keys; see '
  'plpython/rowseal/licences.py';

CREATE OR REPLACE FUNCTION rowseal._derive(authority integer, keys bytea[], arrival bytea) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  derived bytea[] := keys;
  changed bytea[];
BEGIN
  DELETE FROM rowseal._changed c WHERE c.authority = authority AND c.xid < pg_catalog.pg_current_xact_id();
  WHILE keys <> '{}' LOOP
    WITH after AS MATERIALIZED (
      SELECT * FROM rowseal._derived(authority, keys)
    ), before AS MATERIALIZED (
      SELECT * FROM rowseal._licences l WHERE l.authority = authority AND l.writer = ANY (keys)
    ), lost AS MATERIALIZED (
      SELECT * FROM before EXCEPT SELECT * FROM after
    ), gained AS MATERIALIZED (
      SELECT * FROM after EXCEPT SELECT * FROM before
    ), gone AS (
      DELETE FROM rowseal._licences l USING lost x
       WHERE l.authority = authority AND l.writer = x.writer AND l.chain = x.chain
    ), added AS (
      INSERT INTO rowseal._licences SELECT * FROM gained
    ), changes AS (
      INSERT INTO rowseal._changed AS c
        SELECT authority, pg_catalog.pg_current_xact_id(), arrival, x.writer, pg_catalog.bool_or(x.lost)
          FROM (SELECT l.writer, true FROM lost l UNION SELECT g.writer, false FROM gained g) x(writer, lost)
         GROUP BY x.writer
        ON CONFLICT ON CONSTRAINT _changed_pkey DO UPDATE SET lost = c.lost OR EXCLUDED.lost
        RETURNING c.writer
    ) SELECT pg_catalog.array_agg(c.writer) INTO changed FROM changes c;
    -- below whom nothing has changed, nothing changes: each key is derived at most once
    keys := ARRAY(
      SELECT g.grantee
        FROM pg_catalog.unnest(changed) c(key), LATERAL (
          SELECT g.grantee FROM rowseal._grants g WHERE g.authority = authority AND g.writer = c.key OFFSET 0) g
      EXCEPT SELECT * FROM pg_catalog.unnest(derived));
    derived := derived || keys;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._derive(integer, bytea[], bytea) IS
  'Derives anew what follows from a grant to these keys, or a revocation of them: their licences, and those of '
  'everybody below whose licences change by that. Whose have changed by this arrival is noted for _settle';

CREATE OR REPLACE FUNCTION rowseal._grant(g rowseal._grants, grants integer, owner text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  named record;
BEGIN
  g.authority := rowseal._authority_of(grants, owner);
  INSERT INTO rowseal._grants (authority, sign, at, writer, link, grantee, tables, keys, tombstones, until, may_grant,
                               upto)
    VALUES (g.authority, g.sign, g.at, g.writer, g.link, g.grantee, g.tables, g.keys, coalesce(g.tombstones, false),
            g.until, coalesce(g.may_grant, 0), g.upto)
    ON CONFLICT DO NOTHING RETURNING id INTO g.id;
  IF g.id IS NULL THEN
    RETURN;
  END IF;
  IF g.upto IS NOT NULL THEN
    UPDATE rowseal._authority a SET revocations = true WHERE a.id = g.authority AND NOT a.revocations;
    INSERT INTO rowseal._wanted
      SELECT g.id, g.authority, g.grantee, NULL, x.link FROM (SELECT DISTINCT pg_catalog.unnest(g.upto)) x(link)
       WHERE x.link IS NOT NULL;
    FOR named IN SELECT r.seq, r.link FROM rowseal._writer_rows r
                  WHERE r.authority = g.authority AND r.writer = g.grantee AND r.link = ANY (g.upto) LOOP
      PERFORM rowseal._walk(g.authority, g.grantee, named.seq, named.link);
    END LOOP;
  END IF;
  PERFORM rowseal._derive(g.authority, ARRAY[g.grantee], coalesce(g.link, pg_catalog.sha256(g.sign)));
END
$$;
COMMENT ON FUNCTION rowseal._grant(rowseal._grants, integer, text) IS
  'A row of a grants table has been stored: its walk begins, the licences that it concerns are derived anew';

CREATE OR REPLACE FUNCTION rowseal._ungrant(grants integer, owner text, sign bytea) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
  -- only a row under which nothing stands can go, so licences stay as they are
  WITH gone AS (
    DELETE FROM rowseal._grants g
     WHERE pg_catalog.sha256(g.sign) = pg_catalog.sha256(_ungrant.sign)
       AND g.authority = (SELECT a.id FROM rowseal._authority a
                           WHERE a.grants = _ungrant.grants AND a.owner = _ungrant.owner)
    RETURNING g.id
  ), unwanted AS (
    DELETE FROM rowseal._wanted w USING gone WHERE w.revocation = gone.id
  ) DELETE FROM rowseal._stands s USING gone WHERE s.revocation = gone.id
$$;
COMMENT ON FUNCTION rowseal._ungrant(integer, text, bytea) IS 'A row of a grants table has been retracted';
