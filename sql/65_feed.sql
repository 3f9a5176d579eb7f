-- The feed: accepted versions in an append-only table, published insert-only, followed by servers or by a cursor.

-- BEFORE INSERT, ENABLE ALWAYS.  What the tables' own triggers append passes; whatever else arrives, by subscription or by
-- hand, is a claim: it goes through receive, whose result, if it was news, enters the feed by those triggers.
--
-- receive guards each table with a subtransaction, which costs a transaction id.  A worker does without: a row that raises
-- an error ends it, and the next worker begins with the same transaction.  So the first transaction of a worker is taken with care,
-- and for ten minutes after a row that raised, all are: rows made to raise delay a link once, not again and again.
CREATE FUNCTION rowseal._arrive() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- What the tables' own triggers append.  Depth: from 16 on a worker takes on the role of the table's owner, and that is
  -- rowseal_internal, too.  (As a WHEN condition this would cost three times as much: its text is parsed for each statement.)
  IF current_user OPERATOR(pg_catalog.=) 'rowseal_internal' AND pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.>) 1 THEN
    RETURN NEW;
  END IF;
  IF rowseal._receive_one(NEW.envelope) THEN  -- as a condition it needs no executor
    RETURN NULL;
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._arrive() IS 'Hands an envelope that arrives in the feed to its table; without a search path of its own, as the guards';

CREATE FUNCTION rowseal._receive_one(envelope jsonb) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  careful text;
  declared integer;
  outcome text;
BEGIN
  IF pg_catalog.current_setting('session_replication_role') = 'replica' THEN
    careful := coalesce(pg_catalog.current_setting('rowseal.careful', true), '');
    IF careful = '' THEN
      careful := pg_catalog.set_config('rowseal.careful', pg_catalog.pg_current_xact_id()::text, false);
    END IF;
    IF careful <> pg_catalog.pg_current_xact_id()::text
       AND pg_catalog.date_part('epoch', pg_catalog.now()) > coalesce(nullif(pg_catalog.current_setting('rowseal.careful_until', true), ''), '0')::float8 THEN
      SELECT d.id INTO declared FROM rowseal.declarations d JOIN pg_catalog.pg_class c ON c.oid = d.relation
       WHERE d.tag = envelope ->> 'table' AND rowseal._trusted_owner(c.relowner);
      IF FOUND THEN
        EXECUTE pg_catalog.format('SELECT rowseal._take_%s($1)', declared) INTO outcome USING envelope;
        IF rowseal._settled(outcome) THEN
          RETURN true;
        END IF;
      END IF;
    END IF;
  END IF;
  FOR outcome IN SELECT r.reason FROM rowseal.receive(pg_catalog.jsonb_build_array(envelope)) r WHERE r.reason !~ '^RS' LOOP
    PERFORM pg_catalog.set_config('rowseal.careful_until', (pg_catalog.date_part('epoch', pg_catalog.now()) + 600)::text, false);
  END LOOP;
  RETURN true;
END
$$;
COMMENT ON FUNCTION rowseal._receive_one(jsonb) IS 'receive of one envelope, true; in a worker without its subtransaction, as far as that may be';
CREATE TRIGGER arrive BEFORE INSERT ON rowseal.feed FOR EACH ROW EXECUTE FUNCTION rowseal._arrive();
ALTER TABLE rowseal.feed ENABLE ALWAYS TRIGGER arrive;

CREATE FUNCTION rowseal._keep_feed() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_LEVEL = 'ROW' AND pg_catalog.current_setting('session_replication_role') = 'replica' THEN
    RETURN NULL;  -- a publisher that sends UPDATE or DELETE
  ELSIF TG_OP = 'DELETE' AND current_user = 'rowseal_internal' THEN
    RETURN OLD;  -- prune_feed
  ELSIF TG_OP = 'UPDATE' AND current_user = 'rowseal_internal' THEN
    RETURN NEW;  -- _forget
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'RS004', MESSAGE = pg_catalog.format('%s is refused: the feed is append-only', TG_OP),
    HINT = 'rowseal.prune_feed(interval) drops its oldest part.';
END
$$;
COMMENT ON FUNCTION rowseal._keep_feed() IS 'Keeps the feed append-only, for sessions and for peers';
CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON rowseal.feed FOR EACH ROW EXECUTE FUNCTION rowseal._keep_feed();
ALTER TABLE rowseal.feed ENABLE ALWAYS TRIGGER keep;
CREATE TRIGGER keep_all BEFORE TRUNCATE ON rowseal.feed EXECUTE FUNCTION rowseal._keep_feed();
ALTER TABLE rowseal.feed ENABLE ALWAYS TRIGGER keep_all;

-- AFTER INSERT, so after row security has decided whose table it is.  SECURITY DEFINER, owner rowseal_internal: nobody
-- else changes the feed.  What it takes out, it takes out of entries of that very table and key.
CREATE FUNCTION rowseal._forget() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE rowseal.feed f SET envelope = CASE WHEN (f.envelope -> 'content') - NEW.fields = '{}' THEN f.envelope - 'content'
           ELSE pg_catalog.jsonb_set(f.envelope, '{content}', (f.envelope -> 'content') - NEW.fields) END
   WHERE f.tag = NEW.tag AND (f.envelope -> 'row') @> NEW.key AND (f.envelope -> 'content') ?| NEW.fields;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._forget() IS 'Takes erased content out of the feed';
CREATE TRIGGER forget AFTER INSERT ON rowseal.erasures FOR EACH ROW EXECUTE FUNCTION rowseal._forget();

CREATE FUNCTION rowseal.changes(after text DEFAULT NULL, at_most integer DEFAULT 1000)
RETURNS TABLE (cursor text, tag text, owner text, envelope jsonb, role text, subscription text, accepted timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  state rowseal.feed_state;
  from_xid xid8;
  from_position bigint := 0;
BEGIN
  SELECT * INTO state FROM rowseal.feed_state;
  IF changes.after IS NULL THEN
    from_xid := state.pruned_xid; from_position := state.pruned_position;
  ELSE
    IF changes.after !~ '^[0-9a-f-]{36}:[0-9]{1,19}:[0-9]{1,18}$' THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = pg_catalog.format('%L is no cursor of rowseal.changes', changes.after),
        HINT = 'Give the cursor of the last row, or NULL to begin.';
    END IF;
    from_xid := pg_catalog.split_part(changes.after, ':', 2)::xid8;
    from_position := pg_catalog.split_part(changes.after, ':', 3)::bigint;
    IF pg_catalog.split_part(changes.after, ':', 1) <> state.id::text
       OR (from_xid, from_position) < (state.pruned_xid, state.pruned_position) THEN
      RAISE EXCEPTION USING ERRCODE = 'RS016', MESSAGE = 'the cursor is older than what the feed keeps, or of another server',
        HINT = 'Take the tables'' state with rowseal.export, then follow the feed from its present end: rowseal.changes_end().';
    END IF;
  END IF;
  -- Transactions commit in another order than they began.  Only what was written by transactions older than every open
  -- one is shown: nothing can appear before it any more, so a cursor never skips a row.
  RETURN QUERY
    SELECT pg_catalog.format('%s:%s:%s', state.id, f.xid, f.position), f.tag, f.owner, f.envelope, f.role, f.subscription, f.accepted
      FROM rowseal.feed f
     WHERE (f.xid, f.position) > (from_xid, from_position)
       AND f.xid < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())
     ORDER BY f.xid, f.position LIMIT at_most;
END
$$;
COMMENT ON FUNCTION rowseal.changes(text, integer) IS
$$What was accepted after a cursor (NULL: from the beginning of what is kept), in an order in which nothing can appear later before it;
at most so many rows. Give the last row's cursor the next time. A long transaction anywhere in the cluster holds back
what came after it began. Errors: RS016 the cursor is older than what is kept. Needs SELECT on rowseal.feed (role rowseal_admin).$$;

CREATE FUNCTION rowseal.changes_end() RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.format('%s:%s:0', s.id, pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())) FROM rowseal.feed_state s
$$;
COMMENT ON FUNCTION rowseal.changes_end() IS 'A cursor for rowseal.changes at the present end: take it first, then the tables'' state';

-- SECURITY DEFINER, owner rowseal_internal: administrators prune the feed, nobody deletes from it by hand.
CREATE FUNCTION rowseal.prune_feed(keep interval) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  gone bigint;
  young record;
  last record;
BEGIN
  -- up to the oldest row that is young, or not yet settled, so that what remains has no holes
  SELECT f.xid, f.position INTO young FROM rowseal.feed f
   WHERE f.accepted >= pg_catalog.clock_timestamp() - keep OR f.xid >= pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())
   ORDER BY f.xid, f.position LIMIT 1;
  SELECT f.xid, f.position INTO last FROM rowseal.feed f
   WHERE young.xid IS NULL OR (f.xid, f.position) < (young.xid, young.position) ORDER BY f.xid DESC, f.position DESC LIMIT 1;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  DELETE FROM rowseal.feed f WHERE (f.xid, f.position) <= (last.xid, last.position);
  GET DIAGNOSTICS gone = ROW_COUNT;
  UPDATE rowseal.feed_state SET pruned_xid = last.xid, pruned_position = last.position;
  RETURN gone;
END
$$;
COMMENT ON FUNCTION rowseal.prune_feed(interval) IS
  'Drops what entered the feed longer ago than this; the tables keep everything. Local: nothing of it is replicated. Returns how many rows';

CREATE FUNCTION rowseal._dblink() RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  schema_ text;
BEGIN
  SELECT pg_catalog.quote_ident(n.nspname) INTO schema_
    FROM pg_catalog.pg_extension x JOIN pg_catalog.pg_namespace n ON n.oid = x.extnamespace WHERE x.extname = 'dblink';
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '0A000', MESSAGE = 'this needs the extension dblink', HINT = 'CREATE EXTENSION dblink;';
  END IF;
  RETURN schema_;
END
$$;
COMMENT ON FUNCTION rowseal._dblink() IS 'Schema of the extension dblink, quoted; 0A000 when it is not there';

CREATE FUNCTION rowseal.publish(publication name DEFAULT 'rowseal', tags text[] DEFAULT NULL, owners text[] DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  filter text := pg_catalog.concat_ws(' AND ',
    (SELECT '(' || pg_catalog.string_agg(pg_catalog.format('tag = %L', t), ' OR ') || ')' FROM pg_catalog.unnest(tags) t),
    (SELECT '(' || pg_catalog.string_agg(pg_catalog.format('owner = %L', o), ' OR ') || ')' FROM pg_catalog.unnest(owners) o));
BEGIN
  IF pg_catalog.current_setting('wal_level') <> 'logical' THEN
    RAISE WARNING USING MESSAGE = 'rowseal: wal_level is not logical', HINT = 'ALTER SYSTEM SET wal_level = logical; restart the server.';
  END IF;
  EXECUTE pg_catalog.format('CREATE PUBLICATION %I FOR TABLE rowseal.feed (tag, owner, envelope)%s WITH (publish = ''insert'')',
    publication, CASE WHEN filter <> '' THEN ' WHERE (' || filter || ')' END);
END
$$;
COMMENT ON FUNCTION rowseal.publish(name, text[], text[]) IS
$$Publishes the feed to other servers: all of it, or the given tags and owners only (owners as in rowseal.feed.owner). For a
superuser. The other side calls rowseal.subscribe. DROP PUBLICATION takes it back. PostgreSQL 15 or later.$$;

CREATE FUNCTION rowseal.subscribe(subscription name, conninfo text, publication name DEFAULT 'rowseal', batch integer DEFAULT 1000)
RETURNS TABLE (tag text, outcome text, rows bigint) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  link text := 'rowseal_' || pg_catalog.gen_random_uuid();
  dblink text := rowseal._dblink();
  there record;
  envelopes jsonb;
  made boolean := false;
  horizon xid8;
  reached xid8;
  stranger text;
BEGIN
  BEGIN
    EXECUTE pg_catalog.format('SELECT %s.dblink_connect($1, $2)', dblink) USING link, conninfo;
  EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection THEN
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'cannot connect to the other server', DETAIL = SQLERRM,
      HINT = 'conninfo is a libpq connection string: host=… port=… user=… dbname=….';
  END;
  BEGIN
    -- The slot first: every transaction that commits from here on is streamed.  Then the state as it is: what both have
    -- arrives twice, and is known the second time.
    EXECUTE pg_catalog.format('SELECT FROM %s.dblink($1, $2) AS x(lsn text)', dblink)
      USING link, pg_catalog.format('SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot(%L, ''pgoutput'')', subscription);
    made := true;
    -- a commit that waits for a standby is in the WAL before the slot, and not yet in any snapshot: let all be over
    EXECUTE pg_catalog.format('SELECT * FROM %s.dblink($1, $2) AS x(xid xid8)', dblink) INTO horizon
      USING link, 'SELECT pg_catalog.pg_current_xact_id()';
    LOOP
      EXECUTE pg_catalog.format('SELECT * FROM %s.dblink($1, $2) AS x(xmin xid8)', dblink) INTO reached
        USING link, 'SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())';
      EXIT WHEN reached >= horizon;
      PERFORM pg_catalog.pg_sleep(0.02);
    END LOOP;
    DROP TABLE IF EXISTS pg_temp.rowseal_outcomes;
    CREATE TEMPORARY TABLE rowseal_outcomes (tag text, outcome text) ON COMMIT DROP;
    FOR there IN EXECUTE pg_catalog.format('SELECT * FROM %s.dblink($1, $2) AS x(tag text)', dblink) USING link, pg_catalog.format($q$
        SELECT d.tag FROM rowseal.declarations d WHERE d.feed ORDER BY d.identity IS NULL DESC, d.id $q$)
    LOOP
      EXECUTE pg_catalog.format('SELECT %s.dblink_open($1, ''state'', $2)', dblink)
        USING link, pg_catalog.format('SELECT * FROM rowseal._state(%L, %L)', publication, there.tag);
      LOOP
        EXECUTE pg_catalog.format('SELECT pg_catalog.jsonb_agg(envelope) FROM %s.dblink_fetch($1, ''state'', $2) AS x(envelope jsonb)', dblink)
          INTO envelopes USING link, batch;
        EXIT WHEN envelopes IS NULL;
        INSERT INTO pg_temp.rowseal_outcomes SELECT there.tag, r.outcome FROM rowseal.receive(envelopes) r;
      END LOOP;
      EXECUTE pg_catalog.format('SELECT %s.dblink_close($1, ''state'')', dblink) USING link;
    END LOOP;
    EXECUTE pg_catalog.format('CREATE SUBSCRIPTION %I CONNECTION %L PUBLICATION %I WITH (create_slot = false, slot_name = %L, copy_data = false%s)',
      subscription, conninfo, publication, subscription,
      CASE WHEN pg_catalog.current_setting('server_version_num')::integer >= 160000 THEN ', run_as_owner = true' END);
    -- the other side decides what a publication lists: nothing but the feed may be written
    SELECT r.srrelid::pg_catalog.regclass::text INTO stranger
      FROM pg_catalog.pg_subscription p JOIN pg_catalog.pg_subscription_rel r ON r.srsubid = p.oid
     WHERE p.subname = subscription AND r.srrelid <> 'rowseal.feed'::pg_catalog.regclass LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'RS018', MESSAGE = pg_catalog.format('publication %s lists %s besides the feed', publication, stranger),
        HINT = 'Its rows would be written here unchecked. The other side has to take that table out of the publication.';
    END IF;
  EXCEPTION WHEN OTHERS OR query_canceled THEN
    -- a slot that nobody reads would keep the other side's WAL for ever
    IF made THEN
      EXECUTE pg_catalog.format('SELECT FROM %s.dblink_exec($1, ''ROLLBACK'', false)', dblink) USING link;  -- of dblink_open
      EXECUTE pg_catalog.format('SELECT FROM %s.dblink($1, $2, false) AS x(done text)', dblink)
        USING link, pg_catalog.format('SELECT pg_catalog.pg_drop_replication_slot(%L)::text', subscription);
    END IF;
    EXECUTE pg_catalog.format('SELECT %s.dblink_disconnect($1)', dblink) USING link;
    RAISE;
  END;
  EXECUTE pg_catalog.format('SELECT %s.dblink_disconnect($1)', dblink) USING link;
  RETURN QUERY SELECT o.tag, o.outcome, count(*) FROM pg_temp.rowseal_outcomes o GROUP BY 1, 2 ORDER BY 1, 2;
END
$$;
COMMENT ON FUNCTION rowseal.subscribe(name, text, name, integer) IS
$$Links this server to another one that has called rowseal.publish: makes a slot there, takes over the tables' present state, then follows
the feed. Returns outcomes per table. For a superuser; conninfo as for CREATE SUBSCRIPTION, its role there must be superuser or a
replication role that is member of rowseal_admin and may read the tables. To start again after the slot was lost: rowseal.unsubscribe, then this.$$;

CREATE FUNCTION rowseal._state(publication name, tag text) RETURNS SETOF jsonb LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
  filter text;
BEGIN
  SELECT * INTO d FROM rowseal.declarations x WHERE x.tag = tag;
  -- the same rows that the publication's filter lets through
  SELECT p.rowfilter INTO filter FROM pg_catalog.pg_publication_tables p
   WHERE p.pubname = publication AND p.schemaname = 'rowseal' AND p.tablename = 'feed';
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = pg_catalog.format('publication %L does not publish the feed', publication),
      HINT = 'SELECT rowseal.publish(…) on that server first.';
  END IF;
  RETURN QUERY EXECUTE pg_catalog.format('SELECT envelope FROM (SELECT %L::text AS tag, rowseal._owner_text($1, envelope) AS owner, envelope FROM (%s) y) x WHERE %s',
    tag, d.queries ->> 'envelopes', coalesce(filter, 'true')) USING d.spec;
END
$$;
COMMENT ON FUNCTION rowseal._state(name, text) IS 'The present versions of a table that a publication lets through, as envelopes; for rowseal.subscribe on the other side';

CREATE FUNCTION rowseal.unsubscribe(subscription name) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  dblink text := rowseal._dblink();
  sub pg_catalog.pg_subscription;
BEGIN
  SELECT * INTO sub FROM pg_catalog.pg_subscription s
   WHERE s.subname = subscription AND s.subdbid = (SELECT b.oid FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database());
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = pg_catalog.format('there is no subscription %L', subscription),
      HINT = 'rowseal.links shows the links of this server.';
  END IF;
  EXECUTE pg_catalog.format('ALTER SUBSCRIPTION %I DISABLE', subscription);
  EXECUTE pg_catalog.format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', subscription);
  EXECUTE pg_catalog.format('DROP SUBSCRIPTION %I', subscription);
  BEGIN
    EXECUTE pg_catalog.format('SELECT FROM %s.dblink($1, $2) AS x(done text)', dblink) USING sub.subconninfo, pg_catalog.format($q$
      SELECT pg_catalog.pg_terminate_backend(s.active_pid, 5000)::text FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = %L AND s.active
      UNION ALL SELECT pg_catalog.pg_drop_replication_slot(s.slot_name)::text FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = %1$L $q$, sub.subslotname);
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING USING MESSAGE = pg_catalog.format('rowseal: the slot %s remains on the other server: %s', sub.subslotname, SQLERRM),
      HINT = 'There: SELECT pg_drop_replication_slot(…), or it keeps WAL for ever.';
  END;
END
$$;
COMMENT ON FUNCTION rowseal.unsubscribe(name) IS 'Takes a link down, with its slot on the other server; for a superuser';

CREATE VIEW rowseal.links AS
  SELECT 'from here'::text AS direction, s.slot_name::text AS name, s.active,
         pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.confirmed_flush_lsn) AS lag_bytes, r.replay_lag AS lag_time,
         CASE WHEN s.wal_status = 'lost' THEN 'lost: the subscriber was away for longer than WAL is kept; there: rowseal.unsubscribe, rowseal.subscribe'
              WHEN s.wal_status = 'unreserved' THEN 'about to be lost: WAL beyond max_slot_wal_keep_size'
              WHEN NOT s.active THEN 'nobody is connected' ELSE 'following' END AS state,
         NULL::bigint AS errors, NULL::bigint AS quarantined
    FROM pg_catalog.pg_replication_slots s LEFT JOIN pg_catalog.pg_stat_replication r ON r.pid = s.active_pid
   WHERE s.plugin = 'pgoutput' AND s.database = pg_catalog.current_database()
  UNION ALL
  SELECT 'to here', s.subname::text, g.pid IS NOT NULL,
         pg_catalog.pg_wal_lsn_diff(g.latest_end_lsn, g.received_lsn), pg_catalog.clock_timestamp() - g.last_msg_receipt_time,
         CASE WHEN NOT p.subenabled THEN 'disabled' WHEN g.pid IS NULL THEN 'not connected: see the server log' ELSE 'following' END,
         e.apply_error_count + e.sync_error_count,
         (SELECT count(*) FROM rowseal.quarantine q WHERE q.subscription = s.subname)
    FROM pg_catalog.pg_stat_subscription s
    JOIN pg_catalog.pg_subscription p ON p.oid = s.subid
    LEFT JOIN pg_catalog.pg_stat_subscription g ON g.subid = s.subid AND g.relid IS NULL AND g.pid IS NOT NULL
    LEFT JOIN pg_catalog.pg_stat_subscription_stats e ON e.subid = s.subid
   WHERE s.relid IS NULL AND p.subdbid = (SELECT b.oid FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database());
COMMENT ON VIEW rowseal.links IS 'Links between servers as seen from here: state, lag, errors, rows in quarantine';
GRANT SELECT ON rowseal.links TO rowseal_admin;

CREATE FUNCTION rowseal.compare(relation regclass, conninfo text, owner jsonb DEFAULT NULL)
RETURNS TABLE (key jsonb, sign bytea, here boolean, there boolean) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  d rowseal.declarations := rowseal._declaration(compare.relation);
  dblink text := rowseal._dblink();
  -- the table's name may be another one there, its tag is not
  remote text := pg_catalog.format('(SELECT x.relation FROM rowseal.declarations x WHERE x.tag = %L)', d.tag);
  whole bytea;
  buckets integer;
  chosen integer[];
BEGIN
  EXECUTE pg_catalog.format('SELECT digest FROM %s.dblink($1, $2) AS x(digest bytea)', dblink) INTO whole
    USING compare.conninfo, pg_catalog.format('SELECT rowseal.digest(%s, %L)', remote, compare.owner);
  IF whole = rowseal.digest(compare.relation, compare.owner) THEN
    RETURN;
  END IF;
  SELECT greatest(256, least(65536, (count(*) / 64)::integer)) INTO buckets FROM rowseal.export(compare.relation, compare.owner);
  EXECUTE pg_catalog.format('SELECT pg_catalog.array_agg(bucket) FROM rowseal.digests($1, $2, $3) l FULL JOIN'
      ' (SELECT * FROM %s.dblink($4, $5) AS x(bucket integer, rows bigint, digest bytea)) r USING (bucket)'
      ' WHERE l.digest IS DISTINCT FROM r.digest', dblink) INTO chosen
    USING compare.relation, buckets, compare.owner, compare.conninfo,
          pg_catalog.format('SELECT * FROM rowseal.digests(%s, %s, %L)', remote, buckets, compare.owner);
  RETURN QUERY EXECUTE pg_catalog.format('SELECT key, sign, l.mine IS NOT NULL, r.theirs IS NOT NULL FROM'
      ' (SELECT *, true AS mine FROM rowseal._signatures($1, $2, $3, $4)) l FULL JOIN'
      ' (SELECT *, true AS theirs FROM %s.dblink($5, $6) AS x(key jsonb, sign bytea)) r USING (key, sign)'
      ' WHERE l.mine IS NULL OR r.theirs IS NULL', dblink)
    USING compare.relation, buckets, chosen, compare.owner, compare.conninfo,
          pg_catalog.format('SELECT * FROM rowseal._signatures(%s, %s, %L, %L)', remote, buckets, chosen, compare.owner);
END
$$;
COMMENT ON FUNCTION rowseal.compare(regclass, text, jsonb) IS
  'The versions that only one of two servers holds, found by digests of the whole, then of buckets, then of the buckets that differ. conninfo: the other server; needs dblink. owner: {"user_hash": …} for one owner''s';

CREATE FUNCTION rowseal.repair(relation regclass, conninfo text, owner jsonb DEFAULT NULL)
RETURNS TABLE (outcome text, rows bigint) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  d rowseal.declarations := rowseal._declaration(repair.relation);
  missing jsonb;
BEGIN
  SELECT pg_catalog.jsonb_agg(DISTINCT c.key) INTO missing FROM rowseal.compare(repair.relation, repair.conninfo, repair.owner) c WHERE NOT c.here;
  IF missing IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY EXECUTE pg_catalog.format('SELECT a.outcome, count(*) FROM'
      ' (SELECT pg_catalog.jsonb_agg(envelope) AS rows FROM %s.dblink($1, $2) AS x(envelope jsonb)) e, rowseal.apply($3, e.rows) a'
      ' GROUP BY 1 ORDER BY 1', rowseal._dblink())
    USING repair.conninfo, pg_catalog.format('SELECT * FROM rowseal._versions_of((SELECT x.relation FROM rowseal.declarations x WHERE x.tag = %L), %L)', d.tag, missing),
          repair.relation;
END
$$;
COMMENT ON FUNCTION rowseal.repair(regclass, text, jsonb) IS
  'Fetches the versions that another server holds and this one does not, through rowseal.apply. Returns outcomes; call it there for the other direction';
