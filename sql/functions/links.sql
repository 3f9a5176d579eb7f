-- Links between servers: publish, subscribe, compare, repair.

CREATE OR REPLACE FUNCTION rowseal._dblink() RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  schema_ text;
BEGIN
  SELECT pg_catalog.quote_ident(n.nspname) INTO schema_
    FROM pg_catalog.pg_extension x JOIN pg_catalog.pg_namespace n ON n.oid = x.extnamespace WHERE x.extname = 'dblink';
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '0A000', MESSAGE = 'this needs the extension dblink',
      HINT = 'CREATE EXTENSION dblink;';
  END IF;
  RETURN schema_;
END
$$;
COMMENT ON FUNCTION rowseal._dblink() IS 'Schema of the extension dblink, quoted; 0A000 when it is not there';

CREATE OR REPLACE FUNCTION rowseal.publish(
  publication name DEFAULT 'rowseal', tags text[] DEFAULT NULL, owners text[] DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  of_tags text := (SELECT pg_catalog.string_agg(pg_catalog.format('tag = %L', t), ' OR ')
                     FROM pg_catalog.unnest(tags) t);
  of_owners text := (SELECT pg_catalog.string_agg(pg_catalog.format('owner = %L', o), ' OR ')
                       FROM pg_catalog.unnest(owners) o);
  filter text := pg_catalog.concat_ws(' AND ', '(' || of_tags || ')', '(' || of_owners || ')');
BEGIN
  IF pg_catalog.current_setting('wal_level') <> 'logical' THEN
    RAISE WARNING USING MESSAGE = 'rowseal: wal_level is not logical',
      HINT = 'ALTER SYSTEM SET wal_level = logical; restart the server.';
  END IF;
  EXECUTE pg_catalog.format('CREATE PUBLICATION %I FOR TABLE rowseal.feed (tag, owner, envelope)%s'
      ' WITH (publish = ''insert'')', publication, CASE WHEN filter <> '' THEN ' WHERE (' || filter || ')' END);
END
$$;
COMMENT ON FUNCTION rowseal.publish(name, text[], text[]) IS
$$Publishes the feed to other servers: all of it, or the given tags and owners only (owners as in rowseal.feed.owner).
For a superuser. The other side calls rowseal.subscribe. DROP PUBLICATION takes it back. PostgreSQL 15 or later.$$;

CREATE OR REPLACE FUNCTION rowseal._connect(conninfo text) RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  link text := 'rowseal_' || pg_catalog.gen_random_uuid();
  dblink text := rowseal._dblink();
BEGIN
  EXECUTE pg_catalog.format('SELECT %s.dblink_connect($1, $2)', dblink) USING link, conninfo;
  RETURN link;
EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection THEN
  RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'cannot connect to the other server', DETAIL = SQLERRM,
    HINT = 'conninfo is a libpq connection string: host=… port=… user=… dbname=….';
END
$$;
COMMENT ON FUNCTION rowseal._connect(text) IS 'Connects to another server; returns the name of the dblink connection';

CREATE OR REPLACE FUNCTION rowseal._await_commits(link text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  dblink text := rowseal._dblink();
  horizon xid8;
  reached xid8;
BEGIN
  EXECUTE pg_catalog.format('SELECT * FROM %s.dblink($1, $2) AS x(xid xid8)', dblink) INTO horizon
    USING link, 'SELECT pg_catalog.pg_current_xact_id()';
  LOOP
    EXECUTE pg_catalog.format('SELECT * FROM %s.dblink($1, $2) AS x(xmin xid8)', dblink) INTO reached
      USING link, 'SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())';
    EXIT WHEN reached >= horizon;
    PERFORM pg_catalog.pg_sleep(0.02);
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._await_commits(text) IS
  'Waits until every transaction of the other server that runs now is over, so that its rows can be seen';

CREATE OR REPLACE FUNCTION rowseal._take_state(link text, publication name, batch integer)
RETURNS TABLE (tag text, outcome text) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  dblink text := rowseal._dblink();
  next_batch text := pg_catalog.format(
    'SELECT pg_catalog.json_agg(envelope) FROM %s.dblink_fetch($1, ''state'', $2) AS x(envelope json)', dblink);
  there record;
  envelopes json;
BEGIN
  FOR there IN
    EXECUTE pg_catalog.format('SELECT * FROM %s.dblink($1, $2) AS x(tag text)', dblink)
      USING link, 'SELECT d.tag FROM rowseal.declarations d WHERE d.feed ORDER BY d.identity IS NULL DESC, d.id'
  LOOP
    EXECUTE pg_catalog.format('SELECT %s.dblink_open($1, ''state'', $2)', dblink)
      USING link, pg_catalog.format('SELECT * FROM rowseal._state(%L, %L)', publication, there.tag);
    LOOP
      EXECUTE next_batch INTO envelopes USING link, batch;
      EXIT WHEN envelopes IS NULL;
      RETURN QUERY SELECT there.tag, r.outcome FROM rowseal.receive(envelopes) r;
    END LOOP;
    EXECUTE pg_catalog.format('SELECT %s.dblink_close($1, ''state'')', dblink) USING link;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._take_state(text, name, integer) IS
  'Takes over what the tables of the other server hold, as far as a publication lets it through; one outcome per row';

CREATE OR REPLACE FUNCTION rowseal.subscribe(
  subscription name, conninfo text, publication name DEFAULT 'rowseal', batch integer DEFAULT 1000)
RETURNS TABLE (tag text, outcome text, rows bigint) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  dblink text := rowseal._dblink();
  link text := rowseal._connect(conninfo);
  made boolean := false;
  stranger text;
BEGIN
  BEGIN
    -- The slot first: every transaction that commits from here on is streamed.  Then the state as it is: what both
    -- have arrives twice, and is known the second time.  A commit that waits for a standby is in the WAL before the
    -- slot, but in no snapshot yet; so the transactions of now have to be over before the state is read.
    EXECUTE pg_catalog.format('SELECT FROM %s.dblink($1, $2) AS x(lsn text)', dblink)
      USING link, pg_catalog.format(
        'SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot(%L, ''pgoutput'')', subscription);
    made := true;
    PERFORM rowseal._await_commits(link);
    RETURN QUERY
      SELECT s.tag, s.outcome, count(*)
        FROM rowseal._take_state(link, publication, batch) s GROUP BY 1, 2 ORDER BY 1, 2;
    EXECUTE pg_catalog.format('CREATE SUBSCRIPTION %I CONNECTION %L PUBLICATION %I'
        ' WITH (create_slot = false, slot_name = %L, copy_data = false%s)',
      subscription, conninfo, publication, subscription,
      CASE WHEN pg_catalog.current_setting('server_version_num')::integer >= 160000 THEN ', run_as_owner = true' END);
    -- the other side decides what a publication lists: nothing but the feed may be written
    SELECT r.srrelid::pg_catalog.regclass::text INTO stranger
      FROM pg_catalog.pg_subscription p JOIN pg_catalog.pg_subscription_rel r ON r.srsubid = p.oid
     WHERE p.subname = subscription AND r.srrelid <> 'rowseal.feed'::pg_catalog.regclass LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'RS018',
        MESSAGE = pg_catalog.format('publication %s lists %s besides the feed', publication, stranger),
        HINT = 'Its rows would be written here unchecked. '
            || 'The other side has to take that table out of the publication.';
    END IF;
  EXCEPTION WHEN OTHERS OR query_canceled THEN
    -- a slot that nobody reads would keep the other side's WAL for ever
    IF made THEN  -- dblink_open has begun a transaction there
      EXECUTE pg_catalog.format('SELECT FROM %s.dblink_exec($1, ''ROLLBACK'', false)', dblink) USING link;
      EXECUTE pg_catalog.format('SELECT FROM %s.dblink($1, $2, false) AS x(done text)', dblink)
        USING link, pg_catalog.format('SELECT pg_catalog.pg_drop_replication_slot(%L)::text', subscription);
    END IF;
    EXECUTE pg_catalog.format('SELECT %s.dblink_disconnect($1)', dblink) USING link;
    RAISE;
  END;
  EXECUTE pg_catalog.format('SELECT %s.dblink_disconnect($1)', dblink) USING link;
END
$$;
COMMENT ON FUNCTION rowseal.subscribe(name, text, name, integer) IS
$$Links this server to another one that has called rowseal.publish: makes a slot there, takes over the tables' present
state, then follows the feed. Returns outcomes per table. For a superuser; conninfo as for CREATE SUBSCRIPTION, its
role there must be superuser or a replication role that is member of rowseal_admin and may read the tables. To start
again after the slot was lost: rowseal.unsubscribe, then this.$$;

CREATE OR REPLACE FUNCTION rowseal._state(publication name, tag text) RETURNS SETOF json LANGUAGE plpgsql STABLE
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
    RAISE EXCEPTION USING ERRCODE = '42704',
      MESSAGE = pg_catalog.format('publication %L does not publish the feed', publication),
      HINT = 'SELECT rowseal.publish(…) on that server first.';
  END IF;
  RETURN QUERY EXECUTE pg_catalog.format($q$
      SELECT envelope
        FROM (SELECT %L::text AS tag, rowseal._owner_text($1, envelope) AS owner, envelope FROM (
          %s UNION ALL SELECT rowseal._held_envelopes($2)) y(envelope)) x WHERE %s $q$,
    tag, d.queries ->> 'envelopes', coalesce(filter, 'true')) USING d.spec, tag;
END
$$;
COMMENT ON FUNCTION rowseal._state(name, text) IS
  'The present versions of a table that a publication lets through, and what is held of known writers, as envelopes; '
  'for rowseal.subscribe on the other side';

CREATE OR REPLACE FUNCTION rowseal.unsubscribe(subscription name) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  dblink text := rowseal._dblink();
  sub pg_catalog.pg_subscription;
BEGIN
  SELECT * INTO sub FROM pg_catalog.pg_subscription s
   WHERE s.subname = subscription
     AND s.subdbid = (SELECT b.oid FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database());
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = pg_catalog.format('there is no subscription %L', subscription),
      HINT = 'rowseal.links shows the links of this server.';
  END IF;
  EXECUTE pg_catalog.format('ALTER SUBSCRIPTION %I DISABLE', subscription);
  EXECUTE pg_catalog.format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', subscription);
  EXECUTE pg_catalog.format('DROP SUBSCRIPTION %I', subscription);
  BEGIN
    EXECUTE pg_catalog.format('SELECT FROM %s.dblink($1, $2) AS x(done text)', dblink)
      USING sub.subconninfo, pg_catalog.format($q$
        SELECT pg_catalog.pg_terminate_backend(s.active_pid, 5000)::text
          FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = %L AND s.active
        UNION ALL
        SELECT pg_catalog.pg_drop_replication_slot(s.slot_name)::text
          FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = %1$L $q$, sub.subslotname);
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING USING
      MESSAGE = pg_catalog.format('rowseal: the slot %s remains on the other server: %s', sub.subslotname, SQLERRM),
      HINT = 'There: SELECT pg_drop_replication_slot(…), or it keeps WAL for ever.';
  END;
END
$$;
COMMENT ON FUNCTION rowseal.unsubscribe(name) IS
  'Takes a link down, with its slot on the other server; for a superuser';

CREATE OR REPLACE VIEW rowseal.links AS
  SELECT 'from here'::text AS direction, s.slot_name::text AS name, s.active,
         pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.confirmed_flush_lsn) AS lag_bytes,
         r.replay_lag AS lag_time,
         CASE WHEN s.wal_status = 'lost' THEN 'lost: the subscriber was away for longer than WAL is kept; there: '
                                              'rowseal.unsubscribe, rowseal.subscribe'
              WHEN s.wal_status = 'unreserved' THEN 'about to be lost: WAL beyond max_slot_wal_keep_size'
              WHEN NOT s.active THEN 'nobody is connected' ELSE 'following' END AS state,
         NULL::bigint AS errors, NULL::bigint AS quarantined
    FROM pg_catalog.pg_replication_slots s LEFT JOIN pg_catalog.pg_stat_replication r ON r.pid = s.active_pid
   WHERE s.plugin = 'pgoutput' AND s.database = pg_catalog.current_database()
  UNION ALL
  SELECT 'to here', s.subname::text, g.pid IS NOT NULL,
         pg_catalog.pg_wal_lsn_diff(g.latest_end_lsn, g.received_lsn),
         pg_catalog.clock_timestamp() - g.last_msg_receipt_time,
         CASE WHEN NOT p.subenabled THEN 'disabled'
              WHEN g.pid IS NULL THEN 'not connected: see the server log' ELSE 'following' END,
         e.apply_error_count + e.sync_error_count,
         (SELECT count(*) FROM rowseal.quarantine q WHERE q.subscription = s.subname)
    FROM pg_catalog.pg_stat_subscription s
    JOIN pg_catalog.pg_subscription p ON p.oid = s.subid
    LEFT JOIN pg_catalog.pg_stat_subscription g ON g.subid = s.subid AND g.relid IS NULL AND g.pid IS NOT NULL
    LEFT JOIN pg_catalog.pg_stat_subscription_stats e ON e.subid = s.subid
   WHERE s.relid IS NULL
     AND p.subdbid = (SELECT b.oid FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database());
COMMENT ON VIEW rowseal.links IS 'Links between servers as seen from here: state, lag, errors, rows in quarantine';

CREATE OR REPLACE FUNCTION rowseal.compare(relation regclass, conninfo text, owner jsonb DEFAULT NULL)
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
  SELECT greatest(256, least(65536, (count(*) / 64)::integer)) INTO buckets
    FROM rowseal.export(compare.relation, compare.owner);
  EXECUTE pg_catalog.format($q$
      SELECT pg_catalog.array_agg(bucket) FROM rowseal.digests($1, $2, $3) l FULL JOIN
        (SELECT * FROM %s.dblink($4, $5) AS x(bucket integer, rows bigint, digest bytea)) r USING (bucket)
       WHERE l.digest IS DISTINCT FROM r.digest $q$, dblink) INTO chosen
    USING compare.relation, buckets, compare.owner, compare.conninfo,
          pg_catalog.format('SELECT * FROM rowseal.digests(%s, %s, %L)', remote, buckets, compare.owner);
  RETURN QUERY EXECUTE pg_catalog.format($q$
      SELECT key, sign, l.mine IS NOT NULL, r.theirs IS NOT NULL FROM
        (SELECT *, true AS mine FROM rowseal._signatures($1, $2, $3, $4)) l FULL JOIN
        (SELECT *, true AS theirs FROM %s.dblink($5, $6) AS x(key jsonb, sign bytea)) r USING (key, sign)
       WHERE l.mine IS NULL OR r.theirs IS NULL $q$, dblink)
    USING compare.relation, buckets, chosen, compare.owner, compare.conninfo,
          pg_catalog.format('SELECT * FROM rowseal._signatures(%s, %s, %L, %L)',
            remote, buckets, chosen, compare.owner);
END
$$;
COMMENT ON FUNCTION rowseal.compare(regclass, text, jsonb) IS
  'The versions that only one of two servers holds, found by digests of the whole, then of buckets, then of the '
  'buckets that differ. conninfo: the other server; needs dblink. owner: {"user_hash": …} for one owner''s';

CREATE OR REPLACE FUNCTION rowseal.repair(relation regclass, conninfo text, owner jsonb DEFAULT NULL)
RETURNS TABLE (outcome text, rows bigint) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  d rowseal.declarations := rowseal._declaration(repair.relation);
  missing jsonb;
BEGIN
  SELECT pg_catalog.jsonb_agg(DISTINCT c.key) INTO missing
    FROM rowseal.compare(repair.relation, repair.conninfo, repair.owner) c WHERE NOT c.here;
  IF missing IS NULL AND NOT d.grants AND d.writers IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY EXECUTE pg_catalog.format($q$
      SELECT a.outcome, count(*)
        FROM (SELECT pg_catalog.json_agg(envelope) AS rows FROM %s.dblink($1, $2) AS x(envelope json)) e,
             rowseal.apply($3, e.rows) a
       GROUP BY 1 ORDER BY 1 $q$, rowseal._dblink())
    USING repair.conninfo, pg_catalog.format($q$
      SELECT * FROM rowseal._versions_of((SELECT x.relation FROM rowseal.declarations x WHERE x.tag = %L), %L)
      UNION ALL
      SELECT * FROM rowseal._held_envelopes(%1$L) $q$, d.tag, coalesce(missing, '[]')),
          repair.relation;
END
$$;
COMMENT ON FUNCTION rowseal.repair(regclass, text, jsonb) IS
  'Fetches the versions that another server holds and this one does not, through rowseal.apply, and what it holds of '
  'known writers: links that a walk may need. Returns outcomes; '
  'call it there for the other direction';
