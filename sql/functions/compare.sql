-- Compare and repair: which versions only one of two servers holds, and how they get to the other.
--
-- Each server sums hashes of its versions' signatures in 4096 buckets: one look at each row, 40 kB to exchange.  Then
-- they exchange the hashes in the buckets that differ, and last the keys and signatures of what only one has.  What is
-- stored under a signature is not looked at: that is for verify and digest.
--
-- Nothing is kept between comparisons, so nothing can be out of date.  The hash has a seed that is new each time:
-- whoever could foresee it would sign versions whose hashes add up to those of somebody else's.

CREATE OR REPLACE FUNCTION rowseal._there(tag text) RETURNS text LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.format('(SELECT x.relation FROM rowseal.declarations x '
                           'WHERE x.tag = %L AND rowseal._trusted(x.relation))', tag)
$$;
COMMENT ON FUNCTION rowseal._there(text) IS
  'The table with a tag at another server, as a query: its name may be another one there, and it may be a stranger''s, '
  'whose code is not to run';

CREATE OR REPLACE FUNCTION rowseal._hashed(relation regclass, owner jsonb) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.format('SELECT key, sign, pg_catalog.hash_array_extended(ARRAY[sign], $2) AS hash FROM (%s) x',
    (rowseal._pinned(relation)).queries ->> CASE WHEN owner IS NULL THEN 'digest' ELSE 'digest_owner' END)
$$;
COMMENT ON FUNCTION rowseal._hashed(regclass, jsonb) IS
  'The query of (key, signature, hash of the signature) for all versions, or for those of one owner ($1); $2: the seed';

CREATE OR REPLACE FUNCTION rowseal._sums(relation regclass, seed bigint, owner jsonb) RETURNS integer[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
  sums integer[];
BEGIN
  -- OFFSET: a hash is made once, though two things are asked of it
  EXECUTE pg_catalog.format($q$
      SELECT ARRAY(SELECT coalesce(s.sum, 0)
        FROM pg_catalog.generate_series(0, 4095) b LEFT JOIN (
          SELECT hash & 4095 AS bucket, (pg_catalog.sum(hash >> 12) %% 2147483648)::integer AS sum
            FROM (%s OFFSET 0) v GROUP BY bucket) s ON s.bucket = b
       ORDER BY b) $q$, rowseal._hashed(relation, owner)) INTO sums USING owner, seed;
  RETURN sums;
END
$$;
COMMENT ON FUNCTION rowseal._sums(regclass, bigint, jsonb) IS
  'Of the hashes in each of 4096 buckets the sum, 31 bits of it; a bucket is what a hash ends with';

CREATE OR REPLACE FUNCTION rowseal._in_buckets(relation regclass, seed bigint, buckets integer[], owner jsonb)
RETURNS TABLE (key jsonb, sign bytea, hash bigint) LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET jit = off SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1 AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY EXECUTE pg_catalog.format('SELECT * FROM (%s) v WHERE hash & 4095 = ANY ($3)',
                                         rowseal._hashed(relation, owner)) USING owner, seed, buckets;
END
$$;
COMMENT ON FUNCTION rowseal._in_buckets(regclass, bigint, integer[], jsonb) IS
  'The versions in some buckets of rowseal._sums, with their hashes';

CREATE OR REPLACE FUNCTION rowseal._send(conninfo text, question text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  dblink CONSTANT text := rowseal._dblink();
BEGIN
  PERFORM rowseal._disconnect('rowseal_compare');
  EXECUTE pg_catalog.format('SELECT %s.dblink_connect(''rowseal_compare'', $1)', dblink) USING conninfo;
  EXECUTE pg_catalog.format('SELECT %s.dblink_send_query(''rowseal_compare'', $1)', dblink) USING question;
END
$$;
COMMENT ON FUNCTION rowseal._send(text, text) IS
  'Asks another server and does not wait, so that both work at the same time; '
  'dblink_get_result(''rowseal_compare'') has the answer';

CREATE OR REPLACE FUNCTION rowseal._differing_buckets(
  relation regclass, seed bigint, owner jsonb, conninfo text, remote text)
RETURNS integer[] LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  mine integer[];
  theirs integer[];
BEGIN
  PERFORM rowseal._send(conninfo, pg_catalog.format('SELECT rowseal._sums(%s, %s, %L)', remote, seed, owner));
  mine := rowseal._sums(relation, seed, owner);
  EXECUTE pg_catalog.format('SELECT * FROM %s.dblink_get_result(''rowseal_compare'') AS x(sums integer[])',
                            rowseal._dblink()) INTO theirs;
  RETURN ARRAY(SELECT b - 1 FROM pg_catalog.generate_subscripts(mine, 1) b WHERE mine[b] IS DISTINCT FROM theirs[b]);
END
$$;
COMMENT ON FUNCTION rowseal._differing_buckets(regclass, bigint, jsonb, text, text) IS
  'The buckets of rowseal._sums that another server has otherwise';

CREATE OR REPLACE FUNCTION rowseal.compare(relation regclass, conninfo text, owner jsonb DEFAULT NULL)
RETURNS TABLE (key jsonb, sign bytea, here boolean, there boolean) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  dblink CONSTANT text := rowseal._dblink();
  remote CONSTANT text := rowseal._there((rowseal._declaration(compare.relation)).tag);
  seed CONSTANT bigint := pg_catalog.uuid_hash_extended(pg_catalog.gen_random_uuid(), 0);
  buckets integer[];
  versions text;  -- of theirs in these buckets
  version record;
  missing bigint[] := '{}';
BEGIN
  buckets := rowseal._differing_buckets(compare.relation, seed, compare.owner, compare.conninfo, remote);
  IF buckets <> '{}' THEN
    versions := pg_catalog.format('rowseal._in_buckets(%s, %s, %L, %L)', remote, seed, buckets, compare.owner);
    PERFORM rowseal._send(compare.conninfo, 'SELECT hash FROM ' || versions);
    FOR version IN EXECUTE pg_catalog.format($q$
        SELECT mine.*, theirs.hash AS missing
          FROM rowseal._in_buckets($1, $2, $3, $4) mine
          FULL JOIN %s.dblink_get_result('rowseal_compare') AS theirs(hash bigint) USING (hash)
         WHERE mine.hash IS NULL OR theirs.hash IS NULL $q$, dblink)
      USING compare.relation, seed, buckets, compare.owner
    LOOP
      IF version.missing IS NULL THEN
        key := version.key; sign := version.sign; here := true; there := false;
        RETURN NEXT;
      ELSE
        missing := missing || version.missing;
      END IF;
    END LOOP;
  END IF;
  IF missing <> '{}' THEN
    RETURN QUERY EXECUTE pg_catalog.format(
      'SELECT key, sign, false, true FROM %s.dblink($1, $2) AS x(key jsonb, sign bytea)', dblink)
      USING compare.conninfo,
            pg_catalog.format('SELECT key, sign FROM %s WHERE hash = ANY (%L)', versions, missing);
  END IF;
  PERFORM rowseal._disconnect('rowseal_compare');
EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
  PERFORM rowseal._disconnect('rowseal_compare');
  RAISE;
END
$$;
COMMENT ON FUNCTION rowseal.compare(regclass, text, jsonb) IS
  'The versions, told by their signatures, that only one of two servers holds; what was altered behind the guards, '
  'rowseal.verify and rowseal.digest see. conninfo: the other server; needs dblink. owner: {"user_hash": …} for one '
  'owner''s';

CREATE OR REPLACE FUNCTION rowseal._fetch(d rowseal.declarations, conninfo text, query text, outcomes jsonb)
RETURNS jsonb LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  state refcursor := 'rowseal_state';
  envelopes json;
BEGIN
  EXECUTE pg_catalog.format('DECLARE rowseal_state NO SCROLL CURSOR FOR SELECT e FROM %s.dblink(%L, %L) AS x(e json)',
                            rowseal._dblink(), conninfo, query);
  LOOP
    envelopes := rowseal._next_state(1000);
    EXIT WHEN envelopes IS NULL;
    outcomes := rowseal._counted(outcomes, ARRAY(SELECT a.outcome FROM rowseal.apply(d.relation, envelopes) a));
  END LOOP;
  CLOSE state;
  RETURN outcomes;
END
$$;
COMMENT ON FUNCTION rowseal._fetch(rowseal.declarations, text, text, jsonb) IS
  'Applies the envelopes that a query at another server gives, in batches of at most a thousand and some 4 MB; adds to '
  'the outcomes ({"outcome": rows})';

CREATE OR REPLACE FUNCTION rowseal.repair(relation regclass, conninfo text, owner jsonb DEFAULT NULL)
RETURNS TABLE (outcome text, rows bigint) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  d rowseal.declarations := rowseal._declaration(repair.relation);
  missing jsonb;
  outcomes jsonb;
BEGIN
  FOR missing IN
    SELECT pg_catalog.jsonb_agg(k.key) FROM (
      SELECT c.key, pg_catalog.row_number() OVER before / 1000 AS thousands,
             pg_catalog.sum(pg_catalog.octet_length(c.key::text)) OVER before / 4194304 AS megabytes
        FROM (SELECT DISTINCT c.key FROM rowseal.compare(repair.relation, repair.conninfo, repair.owner) c
               WHERE NOT c.here) c
      WINDOW before AS (ORDER BY c.key ROWS UNBOUNDED PRECEDING)) k
     GROUP BY k.thousands, k.megabytes::integer
  LOOP
    outcomes := rowseal._fetch(d, repair.conninfo, pg_catalog.format($q$
      SELECT * FROM rowseal._versions_of(%s, %L) $q$, rowseal._there(d.tag), missing), outcomes);
  END LOOP;
  IF d.grants OR d.writers IS NOT NULL THEN
    outcomes := rowseal._fetch(d, repair.conninfo,
      pg_catalog.format('SELECT * FROM rowseal._held_envelopes(%L)', d.tag), outcomes);
  END IF;
  RETURN QUERY SELECT e.key, e.value::bigint FROM pg_catalog.jsonb_each_text(outcomes) e ORDER BY 1;
END
$$;
COMMENT ON FUNCTION rowseal.repair(regclass, text, jsonb) IS
  'Fetches the versions that another server holds and this one does not, through rowseal.apply, and what it holds of '
  'known writers: links that a walk may need. Returns outcomes; '
  'call it there for the other direction';
