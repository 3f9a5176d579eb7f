-- The feed: accepted versions in an append-only table, published insert-only, followed by servers or by a cursor.

-- BEFORE INSERT, ENABLE ALWAYS.  What the tables' own triggers append passes; whatever else arrives, by subscription
-- or by hand, is a claim: it goes through receive, whose result, if it was news, enters the feed by those triggers.
--
-- What the tables hold is a function of the set of rows, whatever their order.  So a worker collects what a
-- transaction brings, and merges it together: some hundred rows at a time, and the rest at its commit.  A large one is
-- not collected, but merged at once, with what came before it: its owner, say.
CREATE OR REPLACE FUNCTION rowseal._arrive() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  transaction pg_catalog.text;
  collected pg_catalog.text;
  envelopes pg_catalog.json[];
  owners pg_catalog.text[];
  outcomes pg_catalog.text[];
BEGIN
  -- What the tables' own triggers append.  Depth: from 16 on a worker takes on the role of the table's owner, and
  -- that is rowseal_internal, too.  (As a WHEN condition this would cost three times as much: its text is parsed for
  -- each statement.)
  IF current_user OPERATOR(pg_catalog.=) 'rowseal_internal'
     AND pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.>) 1 THEN
    RETURN NEW;
  END IF;
  transaction := pg_catalog.pg_current_xact_id()::pg_catalog.text;
  IF NEW.envelope IS NULL THEN  -- whether that may be is asked later
    NEW.envelope := 'null';
  END IF;
  NEW.owner := pg_catalog."left"(NEW.owner, 1000);
  IF pg_catalog.pg_column_size(NEW.envelope) OPERATOR(pg_catalog.>) 67108868 THEN
    NEW.envelope := rowseal._head(NEW.envelope);
    PERFORM rowseal._quarantine(NULL, ROW('RS006', 'a row of more than 64 MiB')::rowseal.verdict, 'raw', NEW.envelope,
                                sent_as => NEW.owner);
    RETURN NULL;
  ELSIF pg_catalog.pg_column_size(NEW.envelope) OPERATOR(pg_catalog.<) 1048576 THEN
    collected := rowseal._collect(transaction, NEW.envelope, NEW.owner);
  END IF;
  IF collected OPERATOR(pg_catalog.=) 'first' THEN
    PERFORM rowseal._at_commit();
  ELSIF coalesce(collected, '') OPERATOR(pg_catalog.<>) 'more' THEN  -- full; or not kept, being large, or no worker's
    SELECT c.envelopes, c.owners INTO envelopes, owners FROM rowseal._collected(transaction) c;
    IF collected IS NULL THEN
      envelopes := pg_catalog.array_append(envelopes, NEW.envelope);
      owners := pg_catalog.array_append(owners, NEW.owner);
    END IF;
    outcomes := rowseal._receive(envelopes, owners);
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._arrive() IS
  'Hands an envelope that arrives in the feed to its table; without a search path of its own, as the guards';

CREATE OR REPLACE FUNCTION rowseal._head(envelope json) RETURNS json LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  head text := pg_catalog."left"(envelope::text, 1000);
BEGIN
  RETURN pg_catalog.json_build_object('bytes', pg_catalog.pg_column_size(envelope) - 4, 'head', head);
END
$$;
COMMENT ON FUNCTION rowseal._head(json) IS
  'What is kept of an envelope that is too long to be one: how long it is, and how it begins';

CREATE OR REPLACE FUNCTION rowseal._collect(transaction text, envelope json, owner text) RETURNS text
LANGUAGE plpython3u
SET search_path = pg_catalog, pg_temp AS $$
if "add" not in SD:
    plpy.execute("SELECT rowseal._load()")
    SD["add"] = GD["rowseal"]("server").arrivals(plpy).add
return SD["add"](*args)
$$;
COMMENT ON FUNCTION rowseal._collect(text, json, text) IS
  'Keeps an envelope until its transaction commits. first: nothing else is kept, full: enough to be merged, else more; '
  'NULL, and it is not kept, where this is no worker that applies whole transactions';

CREATE OR REPLACE FUNCTION rowseal._collected(transaction text, OUT envelopes json[], OUT owners text[])
LANGUAGE plpython3u SET search_path = pg_catalog, pg_temp AS $$
plpy.execute("SELECT rowseal._load()")
return GD["rowseal"]("server").arrivals(plpy).take(transaction)
$$;
COMMENT ON FUNCTION rowseal._collected(text) IS 'What _collect has kept of this transaction; it keeps none then';

-- SECURITY DEFINER, owner rowseal_internal: a transaction meets a deferred trigger by a row.  It is gone at once.
CREATE OR REPLACE FUNCTION rowseal._at_commit() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  here tid;
BEGIN
  INSERT INTO rowseal._commits AS c DEFAULT VALUES RETURNING c.ctid INTO here;
  DELETE FROM rowseal._commits c WHERE c.ctid = here;
END
$$;
COMMENT ON FUNCTION rowseal._at_commit() IS 'Has _merge_collected called when this transaction commits';

CREATE OR REPLACE FUNCTION rowseal._merge_collected() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM rowseal._receive(c.envelopes, c.owners)
     FROM rowseal._collected(pg_catalog.pg_current_xact_id()::text) c;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._merge_collected() IS 'Merges what a worker has collected; deferred to the commit';

CREATE OR REPLACE FUNCTION rowseal._feed_rows(d rowseal.declarations, partition regclass) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- an UPDATE that changes nothing: its trigger appends the row
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid = partition) THEN
    EXECUTE pg_catalog.format('UPDATE %s SET %I = %2$I', partition, d.signature_column);
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._feed_rows(rowseal.declarations, regclass) IS
  'The rows of a new partition enter the feed, with the rights of who brings it';

CREATE OR REPLACE FUNCTION rowseal._keep_feed() RETURNS trigger LANGUAGE plpgsql
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

CREATE OR REPLACE FUNCTION rowseal._without(envelope json, fields text[]) RETURNS json LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.json_object_agg(e.key, coalesce(c.kept, e.value))
    FROM pg_catalog.json_each(envelope) e
    LEFT JOIN LATERAL (
      SELECT pg_catalog.json_object_agg(x.key, x.value) AS kept
        FROM pg_catalog.json_each(CASE WHEN e.key = 'content' THEN e.value ELSE '{}' END) x
       WHERE x.key <> ALL (fields)) c ON true
   WHERE e.key <> 'content' OR c.kept IS NOT NULL
$$;
COMMENT ON FUNCTION rowseal._without(json, text[]) IS 'An envelope without the content of some fields';

-- AFTER INSERT, so after row security has decided whose table it is.  SECURITY DEFINER, owner rowseal_internal: nobody
-- else changes the feed.  What it takes out, it takes out of entries of that very table and key.
CREATE OR REPLACE FUNCTION rowseal._forget() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE rowseal.feed f SET envelope = rowseal._without(f.envelope, NEW.fields)
   WHERE f.tag = NEW.tag
     AND NOT EXISTS (SELECT FROM pg_catalog.jsonb_each(NEW.key) k
                      WHERE (f.envelope -> 'row' -> k.key)::jsonb IS DISTINCT FROM k.value)
     AND EXISTS (SELECT FROM pg_catalog.json_object_keys(f.envelope -> 'content') c WHERE c = ANY (NEW.fields));
  IF NOT FOUND THEN  -- nothing was erased anywhere
    DELETE FROM rowseal.erasures e WHERE e.id = NEW.id AND e.versions = 0;
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._forget() IS 'Takes erased content out of the feed';

CREATE OR REPLACE FUNCTION rowseal.changes(after text DEFAULT NULL, at_most integer DEFAULT 1000)
RETURNS TABLE (cursor text, tag text, owner text, envelope json, role text, subscription text, accepted timestamptz)
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
      RAISE EXCEPTION USING ERRCODE = '22023',
        MESSAGE = pg_catalog.format('%L is no cursor of rowseal.changes', changes.after),
        HINT = 'Give the cursor of the last row, or NULL to begin.';
    END IF;
    from_xid := pg_catalog.split_part(changes.after, ':', 2)::xid8;
    from_position := pg_catalog.split_part(changes.after, ':', 3)::bigint;
    IF pg_catalog.split_part(changes.after, ':', 1) <> state.id::text
       OR (from_xid, from_position) < (state.pruned_xid, state.pruned_position) THEN
      RAISE EXCEPTION USING ERRCODE = 'RS016',
        MESSAGE = 'the cursor is older than what the feed keeps, or of another server',
        HINT = 'Take the tables'' state with rowseal.export, then follow the feed from its present end: '
            || 'rowseal.changes_end().';
    END IF;
  END IF;
  -- Transactions commit in another order than they began.  Only what was written by transactions older than every open
  -- one is shown: nothing can appear before it any more, so a cursor never skips a row.
  RETURN QUERY
    SELECT pg_catalog.format('%s:%s:%s', state.id, f.xid, f.position),
           f.tag, f.owner, f.envelope, f.role, f.subscription, f.accepted
      FROM rowseal.feed f
     WHERE (f.xid, f.position) > (from_xid, from_position)
       AND f.xid < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())
     ORDER BY f.xid, f.position LIMIT at_most;
END
$$;
COMMENT ON FUNCTION rowseal.changes(text, integer) IS
$$What was accepted after a cursor (NULL: from the beginning of what is kept), in an order in which nothing can appear
later before it; at most so many rows. Give the last row's cursor the next time. A long transaction anywhere in the
cluster holds back what came after it began. Errors: RS016 the cursor is older than what is kept. Needs SELECT on
rowseal.feed (role rowseal_admin).$$;

CREATE OR REPLACE FUNCTION rowseal.changes_end() RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.format('%s:%s:0', s.id, pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()))
    FROM rowseal.feed_state s
$$;
COMMENT ON FUNCTION rowseal.changes_end() IS
  'A cursor for rowseal.changes at the present end: take it first, then the tables'' state';

-- SECURITY DEFINER, owner rowseal_internal: administrators prune the feed, nobody deletes from it by hand.
CREATE OR REPLACE FUNCTION rowseal.prune_feed(keep interval) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  gone bigint;
  young record;
  last record;
BEGIN
  -- Up to the oldest row that is young, or whose transaction may still be running: what remains has no holes.
  SELECT f.xid, f.position INTO young FROM rowseal.feed f
   WHERE f.accepted >= pg_catalog.clock_timestamp() - keep
      OR f.xid >= pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())
   ORDER BY f.xid, f.position LIMIT 1;
  SELECT f.xid, f.position INTO last FROM rowseal.feed f
   WHERE young.xid IS NULL OR (f.xid, f.position) < (young.xid, young.position)
   ORDER BY f.xid DESC, f.position DESC LIMIT 1;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  -- Whoever erases in one of them, and stays open, is not waited for: up to there.
  WITH old AS MATERIALIZED (
    SELECT f.xid, f.position FROM rowseal.feed f WHERE (f.xid, f.position) <= (last.xid, last.position)
  ), free AS MATERIALIZED (
    SELECT f.position FROM rowseal.feed f WHERE (f.xid, f.position) <= (last.xid, last.position) FOR UPDATE SKIP LOCKED
  ), locked AS (
    SELECT o.xid, o.position FROM old o WHERE NOT EXISTS (SELECT FROM free f WHERE f.position = o.position)
     ORDER BY o.xid, o.position LIMIT 1
  ) SELECT o.xid, o.position INTO last FROM old o
     WHERE NOT EXISTS (SELECT FROM locked l WHERE (o.xid, o.position) >= (l.xid, l.position))
     ORDER BY o.xid DESC, o.position DESC LIMIT 1;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  DELETE FROM rowseal.feed f WHERE (f.xid, f.position) <= (last.xid, last.position);
  GET DIAGNOSTICS gone = ROW_COUNT;
  -- another prune may have gone further meanwhile
  UPDATE rowseal.feed_state s SET pruned_xid = last.xid, pruned_position = last.position
   WHERE (s.pruned_xid, s.pruned_position) < (last.xid, last.position) IS NOT FALSE;
  RETURN gone;
END
$$;
COMMENT ON FUNCTION rowseal.prune_feed(interval) IS
  'Drops what entered the feed longer ago than this, up to the first row that somebody has locked; the tables keep '
  'everything. Local: nothing of it is replicated. Returns how many rows';
