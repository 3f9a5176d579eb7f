-- Links between servers: publish, subscribe.

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
  publication name DEFAULT 'rowseal', tags text[] DEFAULT NULL, owners text[] DEFAULT NULL, parts integer DEFAULT 1)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  of_tags text := (SELECT pg_catalog.string_agg(pg_catalog.format('tag = %L', t), ' OR ')
                     FROM pg_catalog.unnest(tags) t);
  of_owners text := (SELECT pg_catalog.string_agg(pg_catalog.format('owner = %L', o), ' OR ')
                       FROM pg_catalog.unnest(owners) o);
  filter text;
BEGIN
  IF 0 IN (pg_catalog.cardinality(tags), pg_catalog.cardinality(owners))
     OR pg_catalog.array_position(tags || owners, NULL) IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'an empty list of tags or owners, or NULL in one',
      HINT = 'NULL in place of a list, the default, publishes all of them.';
  ELSIF (parts BETWEEN 1 AND 64) IS NOT TRUE THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'parts must be 1 to 64',
      HINT = 'Each is a publication of its own, for a worker of its own.';
  END IF;
  IF pg_catalog.current_setting('wal_level') <> 'logical' THEN
    RAISE WARNING USING MESSAGE = 'rowseal: wal_level is not logical',
      HINT = 'ALTER SYSTEM SET wal_level = logical; restart the server.';
  END IF;
  FOR part IN 1 .. parts LOOP
    -- all rows of an owner in one part: what a row waits for is his
    filter := pg_catalog.concat_ws(' AND ', '(' || of_tags || ')', '(' || of_owners || ')', CASE WHEN parts > 1
      THEN pg_catalog.format('pg_catalog.hashtextextended(owner, 0) & 63 BETWEEN %s AND %s',
                             64 * (part - 1) / parts, 64 * part / parts - 1) END);
    EXECUTE pg_catalog.format('CREATE PUBLICATION %I FOR TABLE rowseal.feed (tag, owner, envelope)%s'
        ' WITH (publish = ''insert'')', rowseal._part(publication, part, parts),
        CASE WHEN filter <> '' THEN ' WHERE (' || filter || ')' END);
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal.publish(name, text[], text[], integer) IS
$$Publishes the feed to other servers: all of it, or the given tags and owners only (owners as in rowseal.feed.owner).
parts: as so many publications NAME_1of4, NAME_2of4, … (1 to 64), each with the rows of some owners. For a superuser.
The other side calls rowseal.subscribe. DROP PUBLICATION takes it back. PostgreSQL 15 or later. Errors: 22023 an empty
list, a wrong number of parts.$$;

CREATE OR REPLACE FUNCTION rowseal._part(name name, part integer, parts integer) RETURNS name LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  whole CONSTANT text := CASE WHEN parts = 1 THEN name ELSE pg_catalog.concat(name, '_', part, 'of', parts) END;
BEGIN
  IF pg_catalog.octet_length(whole) > 63 THEN
    RAISE EXCEPTION USING ERRCODE = '42622', MESSAGE = pg_catalog.format('%L is too long for a name', whole),
      HINT = 'With the number of its part a name has 63 bytes at most.';
  END IF;
  RETURN whole;
END
$$;
COMMENT ON FUNCTION rowseal._part(name, integer, integer) IS
  'The name of a part of a publication, or of a link: NAME_1of4; the whole where there is one alone. Who follows in '
  'another number of parts than are published finds none';

CREATE OR REPLACE FUNCTION rowseal._links_of(name name) RETURNS name[] LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT ARRAY(SELECT s.subname FROM pg_catalog.pg_subscription s  -- of all databases
                WHERE s.subdbid = (SELECT b.oid FROM pg_catalog.pg_database b
                                    WHERE b.datname = pg_catalog.current_database())
                  AND (s.subname = $1 OR pg_catalog.starts_with(s.subname, $1 || '_')
                       AND pg_catalog.substr(s.subname, pg_catalog.length($1) + 1) ~ '^_[0-9]+of[0-9]+$'
                       AND EXISTS (SELECT FROM pg_catalog.pg_subscription_rel r
                                    WHERE r.srsubid = s.oid AND r.srrelid = 'rowseal.feed'::regclass)) ORDER BY 1)
$$;
COMMENT ON FUNCTION rowseal._links_of(name) IS 'The subscriptions of this name here, or with it the parts of one';

-- subscribe: a procedure, so that what it takes over is committed batch by batch.  A procedure that commits can neither
-- have a search path of its own nor handle errors: each of its steps is a function, and one that fails disconnects.
-- The slot is a temporary one until the link stands: it ends with the connection, whatever ends that.

CREATE OR REPLACE FUNCTION rowseal._connect(conninfo text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  dblink text := rowseal._dblink();
BEGIN
  PERFORM rowseal._disconnect();  -- what was cancelled between two steps has left its connection
  EXECUTE pg_catalog.format('SELECT %s.dblink_connect(''rowseal_subscribe'', $1)', dblink) USING conninfo;
  -- its transactions wait for what is done here
  PERFORM rowseal._ask('SET idle_in_transaction_session_timeout = 0');
  PERFORM rowseal._ask('SET statement_timeout = 0');
EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection THEN
  RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'cannot connect to the other server', DETAIL = SQLERRM,
    HINT = 'conninfo is a libpq connection string: host=… port=… user=… dbname=….';
END
$$;
COMMENT ON FUNCTION rowseal._connect(text) IS 'Connects subscribe to the other server';

CREATE OR REPLACE FUNCTION rowseal._disconnect(connection text DEFAULT 'rowseal_subscribe') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  dblink text := rowseal._dblink();
BEGIN
  EXECUTE pg_catalog.format('SELECT %1$s.dblink_disconnect(c) FROM pg_catalog.unnest(%1$s.dblink_get_connections()) c '
                            'WHERE c = $1', dblink) USING connection;
END
$$;
COMMENT ON FUNCTION rowseal._disconnect(text) IS
  'Ends a connection of this session by its name, if there is one: that of subscribe, and with it the temporary slot, '
  'or that of compare';

CREATE OR REPLACE FUNCTION rowseal._ask(question text) RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  answer text;
BEGIN
  EXECUTE pg_catalog.format('SELECT answer FROM %s.dblink(''rowseal_subscribe'', $1) AS x(answer text)',
                            rowseal._dblink()) INTO answer USING question;
  RETURN answer;
EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
  PERFORM rowseal._disconnect();
  RAISE;
END
$$;
COMMENT ON FUNCTION rowseal._ask(text) IS 'Runs a statement at the other server that subscribe is connected to';

CREATE OR REPLACE FUNCTION rowseal._await_commits() RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  horizon xid8 := rowseal._ask('SELECT pg_catalog.pg_current_xact_id()::text');
BEGIN
  WHILE rowseal._ask('SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text')::xid8 < horizon LOOP
    PERFORM pg_catalog.pg_sleep(0.02);
  END LOOP;
EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
  PERFORM rowseal._disconnect();
  RAISE;
END
$$;
COMMENT ON FUNCTION rowseal._await_commits() IS
  'Waits until every transaction of the other server that runs now is over, so that its rows can be seen';

CREATE OR REPLACE FUNCTION rowseal._follow(subscription name, conninfo text, publication name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  listed regclass[];
  stranger regclass;
BEGIN
  IF EXISTS (SELECT FROM rowseal.links l WHERE l.direction = 'to here' AND l.name = subscription) THEN
    RAISE EXCEPTION USING ERRCODE = '42710', MESSAGE = pg_catalog.format('there is a subscription %L', subscription),
      HINT = 'To start again: rowseal.unsubscribe, then this.';
  END IF;
  EXECUTE pg_catalog.format('CREATE SUBSCRIPTION %I CONNECTION %L PUBLICATION %I'
      ' WITH (create_slot = false, slot_name = %L, copy_data = false%s)',
    subscription, conninfo, publication, subscription,
    CASE WHEN pg_catalog.current_setting('server_version_num')::integer >= 160000 THEN ', run_as_owner = true' END);
  SELECT coalesce(pg_catalog.array_agg(r.srrelid::regclass), '{}') INTO listed
    FROM pg_catalog.pg_subscription p JOIN pg_catalog.pg_subscription_rel r ON r.srsubid = p.oid
   WHERE p.subname = subscription;
  IF 'rowseal.feed'::regclass <> ALL (listed) THEN
    RAISE EXCEPTION USING ERRCODE = '42704',
      MESSAGE = pg_catalog.format('publication %L does not publish the feed', publication),
      HINT = 'SELECT rowseal.publish(…) on the other server first.';
  END IF;
  -- the other side decides what a publication lists: nothing but the feed may be written
  SELECT t INTO stranger FROM pg_catalog.unnest(listed) t WHERE t <> 'rowseal.feed'::regclass LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'RS018',
      MESSAGE = pg_catalog.format('publication %s lists %s besides the feed', publication, stranger),
      HINT = 'Its rows would be written here unchecked. '
          || 'The other side has to take that table out of the publication.';
  END IF;
EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
  PERFORM rowseal._disconnect();
  RAISE;
END
$$;
COMMENT ON FUNCTION rowseal._follow(name, text, name) IS
  'Makes a subscription to the feed of another server, and refuses what it must not follow';

CREATE OR REPLACE FUNCTION rowseal._counted(outcomes jsonb, more text[]) RETURNS jsonb LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.jsonb_object_agg(x.outcome, x.rows) FROM (
    SELECT o.outcome, pg_catalog.sum(o.rows) AS rows FROM (
      SELECT m, 1 FROM pg_catalog.unnest(more) m
      UNION ALL
      SELECT e.key, e.value::bigint FROM pg_catalog.jsonb_each_text(outcomes) e) o(outcome, rows)
     GROUP BY 1) x
$$;
COMMENT ON FUNCTION rowseal._counted(jsonb, text[]) IS
  'Adds outcomes to how many there were of each ({"outcome": rows})';

CREATE OR REPLACE FUNCTION rowseal._take_over(outcomes jsonb, tag text, envelopes json) RETURNS jsonb LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  elements json[] := rowseal._elements(envelopes);
BEGIN
  RETURN outcomes || pg_catalog.jsonb_build_object(tag, rowseal._counted(outcomes -> tag, ARRAY(
    SELECT r.outcome FROM rowseal._results(rowseal._receive(ARRAY(
      SELECT e FROM pg_catalog.unnest(elements) e WHERE pg_catalog.json_typeof(e) <> 'null'))) r
    UNION ALL
    SELECT 'without form' FROM pg_catalog.unnest(elements) e WHERE pg_catalog.json_typeof(e) = 'null')));
EXCEPTION
  WHEN transaction_rollback THEN
    RETURN NULL;
  WHEN OTHERS OR assert_failure OR query_canceled THEN
    PERFORM rowseal._disconnect();
    RAISE;
END
$$;
COMMENT ON FUNCTION rowseal._take_over(jsonb, text, json) IS
  'Merges a batch and counts its outcomes ({"tag": {"outcome": rows}}), and nulls, which stand for rows without '
  'canonical form; NULL: in conflict with others, to be tried again';

CREATE OR REPLACE FUNCTION rowseal._left_out(outcomes jsonb, tag text, reason text) RETURNS jsonb LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF outcomes -> tag ? 'without form' THEN
    RAISE WARNING USING
      MESSAGE = pg_catalog.format('rowseal: rows of %L that were not taken over, for they have no canonical form: %s',
                                  tag, outcomes -> tag ->> 'without form'),
      HINT = 'There: rowseal.verify lists them.';
  END IF;
  IF reason IS NULL THEN
    RETURN outcomes;
  END IF;
  RAISE WARNING USING
    MESSAGE = pg_catalog.format('rowseal: the present state of %L was not taken over%s: %s', tag,
                                CASE WHEN outcomes ? tag THEN ' to its end' END, reason),
    HINT = 'Its feed is followed. When that is mended there: rowseal.repair.';
  RETURN outcomes || pg_catalog.jsonb_build_object(
    tag, coalesce(outcomes -> tag, '{}') || pg_catalog.jsonb_build_object('left out', reason));
END
$$;
COMMENT ON FUNCTION rowseal._left_out(jsonb, text, text) IS
  'Warns of what subscribe has not taken over of a table, and adds the reason to the outcomes; reason: NULL when '
  'nothing stopped it';

CREATE OR REPLACE FUNCTION rowseal._drop_slot(conninfo text, slot name, followed boolean) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  dblink text := rowseal._dblink();
BEGIN
  EXECUTE pg_catalog.format('SELECT FROM %s.dblink($1, $2) AS x(done text)', dblink)
    USING conninfo, pg_catalog.format($q$
      SELECT pg_catalog.pg_terminate_backend(s.active_pid, 5000)::text
        FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = %L AND s.active AND %L
      UNION ALL
      SELECT pg_catalog.pg_drop_replication_slot(s.slot_name)::text
        FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = %1$L $q$, slot, followed);
EXCEPTION WHEN OTHERS OR assert_failure THEN
  RAISE WARNING USING
    MESSAGE = pg_catalog.format('rowseal: the slot %s remains on the other server: %s', slot, SQLERRM),
    HINT = 'There: SELECT pg_drop_replication_slot(…), or it keeps WAL for ever.';
END
$$;
COMMENT ON FUNCTION rowseal._drop_slot(text, name, boolean) IS
  'Drops a slot of another server; followed: and takes it away from whoever reads it';

CREATE OR REPLACE FUNCTION rowseal._keep_or_drop_slot(subscription name, conninfo text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM rowseal._ask(pg_catalog.format('SELECT rowseal._keep_slot(%L)', subscription));
EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
  PERFORM rowseal._drop_slot(conninfo, subscription, false);  -- it may be there, and lasts
  RAISE;
END
$$;
COMMENT ON FUNCTION rowseal._keep_or_drop_slot(name, text) IS
  'Makes the slot of subscribe one that lasts, or leaves none';

CREATE OR REPLACE PROCEDURE rowseal._end_transaction(INOUT ended boolean DEFAULT NULL) LANGUAGE plpython3u AS $$
try:
    plpy.commit()
except plpy.SPIError:
    return (False,)
return (True,)
$$;
COMMENT ON PROCEDURE rowseal._end_transaction(boolean) IS
  'COMMIT; false where that cannot be, in a transaction block or a function. PL/pgSQL cannot ask: it commits or fails';

CREATE OR REPLACE PROCEDURE rowseal._subscribe(
  subscription name, conninfo text, publication name, batch integer, replace_slot boolean, INOUT outcomes jsonb)
LANGUAGE plpgsql AS $$
DECLARE
  tags pg_catalog.text[];
  tag pg_catalog.text;
  envelopes pg_catalog.json;
  taken pg_catalog.jsonb;
  reason pg_catalog.text;
BEGIN
  PERFORM rowseal._connect(conninfo);
  PERFORM rowseal._follow(subscription, conninfo, publication);  -- a rehearsal: what is wrong shows before the work
  ROLLBACK;
  -- The slot first: every transaction that commits from here on is streamed.  Then the state as it is: what both
  -- have arrives twice, and is known the second time.  A commit that waits for a standby is in the WAL before the
  -- slot, but in no snapshot yet; so the transactions of now have to be over before the state is read.
  PERFORM rowseal._ask(pg_catalog.format('SELECT rowseal._offer_slot(%L, %L)', subscription, replace_slot));
  PERFORM rowseal._await_commits();
  tags := rowseal._ask(pg_catalog.format('SELECT rowseal._feed_tags(%L)', publication));
  FOREACH tag IN ARRAY tags LOOP
    PERFORM rowseal._ask('BEGIN');
    reason := rowseal._ask(pg_catalog.format('SELECT rowseal._open_state(%L, %L)', publication, tag));
    WHILE reason IS NULL LOOP
      envelopes := rowseal._ask(pg_catalog.format('SELECT rowseal._give_state(%L)', batch))::pg_catalog.json;
      EXIT WHEN envelopes IS NULL;
      reason := CASE WHEN pg_catalog.json_typeof(envelopes) OPERATOR(pg_catalog.=) 'string'
                  THEN envelopes OPERATOR(pg_catalog.#>>) '{}' END;
      EXIT WHEN reason IS NOT NULL;
      LOOP
        taken := rowseal._take_over(outcomes, tag, envelopes);
        EXIT WHEN taken IS NOT NULL;
        ROLLBACK;
      END LOOP;
      outcomes := taken;
      COMMIT;
    END LOOP;
    PERFORM rowseal._ask('COMMIT');
    outcomes := rowseal._left_out(outcomes, tag, reason);
  END LOOP;
  PERFORM rowseal._follow(subscription, conninfo, publication);
  PERFORM rowseal._keep_or_drop_slot(subscription, conninfo);
  COMMIT;
  PERFORM rowseal._disconnect();
END
$$;
COMMENT ON PROCEDURE rowseal._subscribe(name, text, name, integer, boolean, jsonb) IS
  'Makes one link, and adds to the outcomes';

CREATE OR REPLACE PROCEDURE rowseal.subscribe(
  subscription name, conninfo text, publication name DEFAULT 'rowseal', batch integer DEFAULT 1000,
  replace_slot boolean DEFAULT false, parallel integer DEFAULT 1, INOUT outcomes jsonb DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
  ended pg_catalog.bool;
  there pg_catalog.name[];
BEGIN
  CALL rowseal._end_transaction(ended);
  IF NOT ended THEN
    RAISE EXCEPTION USING ERRCODE = '25001', MESSAGE = 'rowseal.subscribe cannot run inside a transaction block',
      HINT = 'It commits batch by batch. Call it by itself: no BEGIN, no function around it, autocommit on.';
  END IF;
  IF (batch OPERATOR(pg_catalog.>=) 1) IS NOT TRUE THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'batch must be at least 1',
      HINT = 'How many rows are committed together: 1000 unless said otherwise.';
  ELSIF (parallel OPERATOR(pg_catalog.>=) 1) IS NOT TRUE THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'parallel must be at least 1',
      HINT = 'As many as the other server has published parts.';
  END IF;
  outcomes := '{}';
  there := rowseal._links_of(subscription);
  FOR part IN 1 .. parallel LOOP
    IF parallel OPERATOR(pg_catalog.=) 1 OR pg_catalog.cardinality(there) OPERATOR(pg_catalog.>=) parallel
       OR rowseal._part(subscription, part, parallel) OPERATOR(pg_catalog.<>) ALL (there) THEN
      CALL rowseal._subscribe(rowseal._part(subscription, part, parallel), conninfo,
                              rowseal._part(publication, part, parallel), batch, replace_slot, outcomes);
    END IF;
  END LOOP;
END
$$;
COMMENT ON PROCEDURE rowseal.subscribe(name, text, name, integer, boolean, integer, jsonb) IS
$$Links this server to another one that has called rowseal.publish: makes a slot there, takes over the tables' present
state, then follows the feed. The state is committed in batches of at most so many rows and some 4 MB. Whatever
interrupts it, what was taken over stays, and the same call again finishes the work. Gives {"tag": {"outcome": rows}},
and warns of what is not taken over: "without form": rows that have no canonical form; "left out": why there is no
state, or not all, of a table (it is no longer as it was declared, the role may not read it, or would run code of
somebody whom it does not trust there). For a superuser; conninfo as for CREATE SUBSCRIPTION, its role there must be
superuser or a replication role that is member of rowseal_admin and may read the tables, without row security.
replace_slot: drop a slot of that name there which nobody uses, left by a link from before this server was restored.
parallel: as so many subscriptions NAME_1of4, …, each with a worker of its own, to the parts of a publication (publish
there has parts). To start again after the slot was lost: rowseal.unsubscribe, then this. Errors: 25001 in a transaction
block, 22023 batch or parallel below 1, 42710 there is such a subscription here or slot there, 55006 the slot is in use,
53400 too few slots there, 42704 no such publication, RS018 it lists more than the feed.$$;

-- What subscribe asks for on the other side.

CREATE OR REPLACE FUNCTION rowseal._offer_slot(subscription name, replace_slot boolean) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  slot record;
BEGIN
  SELECT s.active, s.database, s.plugin INTO slot
    FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = subscription;
  IF slot.active THEN
    RAISE EXCEPTION USING ERRCODE = '55006',
      MESSAGE = pg_catalog.format('the slot %s of the other server is in use', subscription),
      DETAIL = 'A link of that name follows it, from here or from another server.',
      HINT = 'Take another name: it must differ for all the followers of one server.';
  ELSIF FOUND AND replace_slot THEN
    PERFORM pg_catalog.pg_drop_replication_slot(subscription);
  ELSIF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42710',
      MESSAGE = pg_catalog.format('the other server has a slot %s already', subscription),
      DETAIL = pg_catalog.format('Nobody uses it now (database %s, plugin %s). It may be left from a link that this '
          'server had before it was restored, or belong to another follower that is away.', slot.database, slot.plugin),
      HINT = pg_catalog.format('If it is left over: CALL rowseal.subscribe(%L, …, replace_slot => true), or there: '
          'SELECT pg_drop_replication_slot(%1$L). Else take another name.', subscription);
  END IF;
  IF (SELECT count(*) FROM pg_catalog.pg_replication_slots) + 2
     > pg_catalog.current_setting('max_replication_slots')::integer THEN
    RAISE EXCEPTION USING ERRCODE = '53400', MESSAGE = 'the other server has too few replication slots',
      DETAIL = 'A link needs one, and one more while it is made.', HINT = 'There: raise max_replication_slots.';
  END IF;
  -- The handler is there for its subtransaction: when others' DDL commits meanwhile, PostgreSQL leaves the resource
  -- owner of the (sub)transaction in place of the query's, which fails ("snapshot reference … is not owned by …").
  BEGIN
    PERFORM pg_catalog.pg_create_logical_replication_slot(
      'rowseal_' || pg_catalog.replace(pg_catalog.gen_random_uuid()::text, '-', '_'), 'pgoutput', true);
  EXCEPTION WHEN assert_failure THEN
    RAISE;
  END;
END
$$;
COMMENT ON FUNCTION rowseal._offer_slot(name, boolean) IS
  'Makes a temporary slot, if one of this name can be made of it later';

CREATE OR REPLACE FUNCTION rowseal._keep_slot(subscription name) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  slot name := (SELECT s.slot_name FROM pg_catalog.pg_replication_slots s
                 WHERE s.temporary AND s.active_pid = pg_catalog.pg_backend_pid());
BEGIN
  PERFORM pg_catalog.pg_copy_logical_replication_slot(slot, subscription, false);
  PERFORM pg_catalog.pg_drop_replication_slot(slot);
END
$$;
COMMENT ON FUNCTION rowseal._keep_slot(name) IS 'Makes a slot that lasts of the temporary one of this session';

CREATE OR REPLACE FUNCTION rowseal._row_filter(publication name) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce((SELECT coalesce(p.rowfilter, 'true') FROM pg_catalog.pg_publication_tables p
                    WHERE p.pubname = publication AND p.schemaname = 'rowseal' AND p.tablename = 'feed'), 'false')
$$;
COMMENT ON FUNCTION rowseal._row_filter(name) IS 'The condition on rows of the feed that a publication lets through';

CREATE OR REPLACE FUNCTION rowseal._feed_tags(publication name) RETURNS text[] LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tags text[];
BEGIN
  EXECUTE pg_catalog.format($q$
    SELECT ARRAY(SELECT x.tag FROM (
        SELECT d.tag, NULL::text AS owner, NULL::json AS envelope, d.identity, d.id
          FROM rowseal.declarations d WHERE d.feed) x
       WHERE (%s) IS NOT FALSE ORDER BY x.identity IS NULL DESC, x.id) $q$, rowseal._row_filter(publication)) INTO tags;
  RETURN tags;
END
$$;
COMMENT ON FUNCTION rowseal._feed_tags(name) IS
  'Tags of the tables with feed of which a publication lets rows through, owners before what they own';

CREATE OR REPLACE FUNCTION rowseal._unreadable(d rowseal.declarations) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN CASE
    WHEN d.relation IS NULL THEN 'it is not declared any more'
    WHEN d.queries = '{}' THEN 'it is no longer as it was declared'
    WHEN pg_catalog.row_security_active(d.relation) OR pg_catalog.row_security_active(d.versions)
      THEN pg_catalog.format('row security applies to %s', current_user)
    WHEN NOT rowseal._trusted(d.relation)
      THEN pg_catalog.format('it runs code of %s, whom %s does not trust',
                             rowseal._distrusted(d.relation), current_user)
  END;
END
$$;
COMMENT ON FUNCTION rowseal._unreadable(rowseal.declarations) IS
  'Why the current user does not read a table whose name he was given by its tag; else NULL';

CREATE OR REPLACE FUNCTION rowseal._open_state(publication name, tag text) RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
  later rowseal.declarations;
  reason text;
BEGIN
  SELECT * INTO d FROM rowseal.declarations x WHERE x.tag = tag;
  reason := rowseal._unreadable(d);
  IF reason IS NULL THEN
    d := rowseal._pinned(d.relation);
    -- the same rows that the publication's filter lets through
    EXECUTE pg_catalog.format($q$
        DECLARE rowseal_state NO SCROLL CURSOR FOR SELECT envelope
          FROM (SELECT %1$L::text AS tag, rowseal._owner_text(%2$L, envelope) AS owner, envelope FROM (
            %3$s UNION ALL SELECT rowseal._held_envelopes(%1$L) OFFSET 0) y(envelope)) x
         WHERE envelope IS NULL OR (%4$s) $q$,
      tag, d.spec, d.queries ->> 'envelopes', rowseal._row_filter(publication));
    -- its tables are locked now, and stay as they are; until then somebody may have changed them
    SELECT * INTO later FROM rowseal.declarations x WHERE x.tag = tag;
    reason := CASE WHEN later.queries = d.queries THEN rowseal._unreadable(later) ELSE 'it has just been changed' END;
  END IF;
  RETURN reason;
EXCEPTION WHEN OTHERS OR assert_failure THEN
  RETURN pg_catalog.format('%s: %s', SQLSTATE, SQLERRM);
END
$$;
COMMENT ON FUNCTION rowseal._open_state(name, text) IS
  'Opens a cursor, for _next_state in this transaction, over the present versions of a table that a publication lets '
  'through, and what is held of known writers; NULL in place of a row without canonical form. Returns why not, or NULL';

CREATE OR REPLACE FUNCTION rowseal._next_state(most integer) RETURNS json LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  state refcursor := 'rowseal_state';
  envelope json;
  envelopes json[] := '{}';
  bytes bigint := 0;
BEGIN
  WHILE pg_catalog.cardinality(envelopes) < most AND bytes < 4 * 1024 * 1024 LOOP
    FETCH state INTO envelope;
    EXIT WHEN NOT FOUND;
    envelopes := pg_catalog.array_append(envelopes, envelope);
    bytes := bytes + coalesce(pg_catalog.octet_length(envelope::text), 4);
  END LOOP;
  RETURN CASE WHEN bytes > 0 THEN pg_catalog.array_to_json(envelopes) END;
END
$$;
COMMENT ON FUNCTION rowseal._next_state(integer) IS
  'The next envelopes of the cursor rowseal_state, at most so many and, but for the last, 4 MB; NULL when there are no '
  'more';

CREATE OR REPLACE FUNCTION rowseal._give_state(most integer) RETURNS json LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN rowseal._next_state(most);
EXCEPTION WHEN OTHERS OR assert_failure THEN
  RETURN pg_catalog.to_json(pg_catalog.format('%s: %s', SQLSTATE, SQLERRM));
END
$$;
COMMENT ON FUNCTION rowseal._give_state(integer) IS
  'As _next_state, for another server; a string in place of the array: why there are no more';

CREATE OR REPLACE FUNCTION rowseal._unfollow(subscription name, OUT conninfo text, OUT slot name, OUT followed boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  sub pg_catalog.pg_subscription;
BEGIN
  PERFORM rowseal._dblink();
  SELECT * INTO sub FROM pg_catalog.pg_subscription s
   WHERE s.subname = subscription
     AND s.subdbid = (SELECT b.oid FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database());
  conninfo := sub.subconninfo; slot := sub.subslotname;
  -- by this server: else whoever is connected to the slot is another one, a copy of this, say
  followed := EXISTS (SELECT FROM pg_catalog.pg_stat_subscription s WHERE s.subid = sub.oid AND s.pid IS NOT NULL);
  EXECUTE pg_catalog.format('ALTER SUBSCRIPTION %I DISABLE', subscription);
  EXECUTE pg_catalog.format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', subscription);
  EXECUTE pg_catalog.format('DROP SUBSCRIPTION %I', subscription);
END
$$;
COMMENT ON FUNCTION rowseal._unfollow(name) IS 'Drops a subscription without its slot, and says where that is';

CREATE OR REPLACE PROCEDURE rowseal.unsubscribe(subscription name) LANGUAGE plpgsql AS $$
DECLARE
  ended pg_catalog.bool;
  links pg_catalog.name[];
  link pg_catalog.name;
  conninfo pg_catalog.text;
  slot pg_catalog.name;
  followed pg_catalog.bool;
BEGIN
  CALL rowseal._end_transaction(ended);
  IF NOT ended THEN  -- what is rolled back here would have no slot there
    RAISE EXCEPTION USING ERRCODE = '25001', MESSAGE = 'rowseal.unsubscribe cannot run inside a transaction block',
      HINT = 'Call it by itself: no BEGIN, no function around it, autocommit on.';
  END IF;
  links := rowseal._links_of(subscription);
  IF links OPERATOR(pg_catalog.=) '{}' THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = pg_catalog.format('there is no subscription %L', subscription),
      HINT = 'rowseal.links shows the links of this server.';
  END IF;
  FOREACH link IN ARRAY links LOOP
    SELECT u.conninfo, u.slot, u.followed INTO conninfo, slot, followed FROM rowseal._unfollow(link) u;
    COMMIT;
    PERFORM rowseal._drop_slot(conninfo, slot, followed);
    COMMIT;
  END LOOP;
END
$$;
COMMENT ON PROCEDURE rowseal.unsubscribe(name) IS
  'Takes a link down, or all its parts, with its slot on the other server; for a superuser. Errors: 25001 in a '
  'transaction block, 42704 no such subscription';

CREATE OR REPLACE VIEW rowseal.links WITH (security_barrier = true) AS
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
