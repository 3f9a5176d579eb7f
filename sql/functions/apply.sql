-- apply and receive: many rows, from whoever carries them, never an error for a bad one.
--
-- Rows are handed on by assignments and loops: a query copies the variables that it names, all rows once or twice.

CREATE OR REPLACE FUNCTION rowseal._settled(outcome text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT pg_catalog.strpos(outcome, '(') OPERATOR(pg_catalog.=) 0
$$;
COMMENT ON FUNCTION rowseal._settled(text) IS
  'Whether an outcome is one word (inserted, superseded, archived, stale, duplicate), or else a verdict as text. '
  'Without a search path, so that it is inlined';

CREATE OR REPLACE FUNCTION rowseal._results(outcomes text[])
RETURNS TABLE (ordinal integer, outcome text, reason text) LANGUAGE sql STABLE AS $$
  SELECT v.n::pg_catalog.int4,
         CASE WHEN rowseal._settled(v.outcome) THEN v.outcome
              WHEN rowseal._curable(v.outcome::rowseal.verdict) THEN 'deferred' ELSE 'rejected' END,
         CASE WHEN NOT rowseal._settled(v.outcome)
              THEN pg_catalog.concat((v.outcome::rowseal.verdict).sqlstate, ': ',
                                     (v.outcome::rowseal.verdict).reason) END
    FROM pg_catalog.unnest(outcomes) WITH ORDINALITY v(outcome, n)
$$;
COMMENT ON FUNCTION rowseal._results(text[]) IS
  'What apply returns for outcomes, words and verdicts. Without a search path, so that it is inlined; as everything '
  'that is inlined, into a query without volatile arguments';

CREATE OR REPLACE FUNCTION rowseal._unguarded(relation regclass) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'RS019', MESSAGE = pg_catalog.format('no guard of %s has seen the row', relation),
    HINT = rowseal._hint('RS019');
END
$$;
COMMENT ON FUNCTION rowseal._unguarded(regclass) IS
  'Raises RS019: a guard is off, or another trigger has taken the row away. What stored the row is rolled back with it';

CREATE OR REPLACE FUNCTION rowseal._must_be_archived(id integer, signature anyelement) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d rowseal.declarations;
  archived boolean;
BEGIN
  SELECT * INTO STRICT d FROM rowseal.declarations x WHERE x.id = $1;
  EXECUTE pg_catalog.format('SELECT EXISTS (SELECT FROM %s v WHERE v.%I = $1)',
                            d.versions, d.version_columns ->> d.signature_column) INTO archived USING signature;
  IF NOT archived THEN
    PERFORM rowseal._unguarded(d.versions);
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._must_be_archived(integer, anyelement) IS
  'Raises RS019 where a current version that is being replaced has not come into the versions table: a trigger there '
  'has changed it, or taken it away';

-- Where the schema has been restored, and its declarations not yet, the numbers are those of another database.  Older
-- snapshots than a declaration do not count.
CREATE OR REPLACE FUNCTION rowseal._elsewhere(id integer, generation integer) RETURNS rowseal.verdict LANGUAGE plpgsql
STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  current_ CONSTANT integer := (SELECT d.generation FROM rowseal.declarations d WHERE d.id = id);
BEGIN
  IF current_ <> generation THEN
    RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'a table that this rests on has been altered meanwhile',
      HINT = 'Try it again.';
  ELSIF current_ IS NULL AND pg_catalog.current_setting('transaction_isolation') = 'read committed' THEN
    RETURN NULL;
  END IF;
  RETURN ROW('RS007', 'a table or type is not what its name says')::rowseal.verdict;
END
$$;
COMMENT ON FUNCTION rowseal._elsewhere(integer, integer) IS
  'The verdict where a name leads elsewhere than when the table was declared, and its functions have not followed; '
  'NULL where it is not declared: it is being restored. 40001 where they have been replaced, and this one goes on';

CREATE OR REPLACE FUNCTION rowseal._passing(sqlstate text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Class 42 is none: some types call bad input a syntax error, and a policy refuses a row as a missing right.
  RETURN pg_catalog.left(sqlstate, 2) IN ('40', '53', '57', '58') OR sqlstate IN ('25006', '55P03');
END
$$;
COMMENT ON FUNCTION rowseal._passing(text) IS
  'Whether an error is a conflict, or of missing resources: nothing that a row could be blamed for';

CREATE OR REPLACE FUNCTION rowseal._merged(id integer, rows json[], format text) RETURNS text[] LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  n integer := coalesce(pg_catalog.cardinality(rows), 0);
  outcome text;
  outcomes text[];
  written boolean := pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL;
BEGIN
  -- of much only parts: what is read of a batch is in memory until its end
  WHILE n < 2 OR pg_catalog.pg_column_size(rows) < 16777216 LOOP
    BEGIN
      IF n = 1 AND format = 'canonical' THEN
        EXECUTE pg_catalog.format('SELECT rowseal._take_%s($1)', id) INTO outcome USING rows[1];
        RETURN ARRAY[outcome];
      END IF;
      EXECUTE pg_catalog.format('SELECT rowseal._apply_%s($1, $2)', id) INTO outcomes USING rows, format;
      RETURN outcomes;
    EXCEPTION
      WHEN deadlock_detected THEN
        -- The locks of this batch are gone, so it can be tried again.  Locks from before this call stay: with them,
        -- trying again could go on for ever.
        IF written THEN
          RAISE;
        END IF;
      WHEN OTHERS OR assert_failure THEN
        IF rowseal._passing(SQLSTATE) THEN
          RAISE;
        END IF;
        IF n < 2 THEN
          RETURN ARRAY[ROW(SQLSTATE, SQLERRM)::rowseal.verdict::text];
        END IF;
        EXIT;
    END;
  END LOOP;
  -- Or some row cannot be stored at all.  Halving finds it at a cost that grows with the bad rows, not with all.
  RETURN rowseal._merged(id, rows[:n / 2], format) || rowseal._merged(id, rows[n / 2 + 1:], format);
END
$$;
COMMENT ON FUNCTION rowseal._merged(integer, json[], text) IS
  'The outcome of each row, a word or a verdict as text; bisects a batch that raises';

CREATE OR REPLACE FUNCTION rowseal._set_aside(
  d rowseal.declarations, outcome text, format text, element json, again bigint DEFAULT NULL)
RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET rowseal.mode = 'apply' AS $$
DECLARE
  verdict rowseal.verdict := rowseal._explained(d, outcome::rowseal.verdict, element, format);
  envelope json;
  waits_for text;
BEGIN
  IF verdict.sqlstate IN ('RS002', 'RS010', 'RS011', 'RS012') THEN
    envelope := rowseal._decoded(d, format, element);
    IF envelope IS NULL THEN
      verdict := ROW('RS006', 'the row of an unknown owner has no canonical form')::rowseal.verdict;
    ELSE
      -- Somebody may be bringing the owner just now.  Either he waits for this lock and then sees what is entered here,
      -- or we wait for him and see the owner.
      waits_for := rowseal._waits_for(d, verdict, envelope);
      PERFORM rowseal._lock_arrival(waits_for, false);
      outcome := (rowseal._merged(d.id, ARRAY[envelope], 'canonical'))[1];
      IF rowseal._settled(outcome) THEN
        RETURN outcome;
      END IF;
      verdict := outcome::rowseal.verdict;
      -- Decoded, it would lose what it says in columns that are not there yet; whether that is signed, its owner tells.
      IF verdict.sqlstate <> 'RS002' OR rowseal._unknown_field(d, element, format) IS NULL THEN
        element := envelope; format := 'canonical';
      END IF;
    END IF;
  END IF;
  RETURN rowseal._hold(d, verdict, format, element,
                       CASE verdict.sqlstate WHEN 'RS002' THEN waits_for WHEN 'RS007' THEN d.tag END, again)::text;
END
$$;
COMMENT ON FUNCTION rowseal._set_aside(rowseal.declarations, text, text, json, bigint) IS
  'Keeps a row that was refused in the quarantine, unless what it waits for has come; returns its outcome. again: the '
  'entry that it has been until now';

CREATE OR REPLACE FUNCTION rowseal._applied(id integer, rows json[], format text)
RETURNS text[] LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET rowseal.mode = 'apply' AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
  outcomes text[] := rowseal._merged(id, rows, format);
  i integer;
  before integer;
  cost bigint := 0;
  strangers bigint := 0;
  bytes bigint := 0;
  flooded boolean;
  hashes text[] := pg_catalog.array_fill(NULL::text, ARRAY[pg_catalog.cardinality(rows)]);
BEGIN
  IF rowseal._settled(pg_catalog.array_to_string(outcomes, '')) THEN  -- all of them
    RETURN outcomes;
  END IF;
  FOR i IN 1 .. pg_catalog.cardinality(rows) LOOP
    IF rowseal._cost_of_stranger(outcomes[i]) > 0 THEN
      cost := cost + rowseal._cost_of_stranger(outcomes[i]);
      strangers := strangers + 1;
      bytes := bytes + pg_catalog.octet_length(rows[i]::text);
    END IF;
  END LOOP;
  -- for rows of a flood no more is done than to refuse them: good ones wait behind
  flooded := cost > 0 AND rowseal._flooded(cost, strangers, bytes);
  FOR i IN 1 .. pg_catalog.cardinality(rows) LOOP
    IF NOT rowseal._settled(outcomes[i]) AND NOT (flooded AND rowseal._cost_of_stranger(outcomes[i]) > 0) THEN
      hashes[i] := pg_catalog.md5(rows[i]::text);
    END IF;
  END LOOP;
  SELECT * INTO STRICT d FROM rowseal.declarations x WHERE x.id = id;
  -- every session enters what it refuses in the same order
  FOR i IN
    SELECT h.n FROM pg_catalog.unnest(hashes) WITH ORDINALITY h(hash, n) WHERE h.hash IS NOT NULL ORDER BY h.hash
  LOOP
    IF rows[i]::text = rows[before]::text AND NOT rowseal._settled(outcomes[before]) THEN
      outcomes[i] := outcomes[before];  -- the same row again
    ELSE
      outcomes[i] := rowseal._set_aside(d, outcomes[i], format, rows[i]);
      before := i;
    END IF;
  END LOOP;
  RETURN outcomes;
END
$$;
COMMENT ON FUNCTION rowseal._applied(integer, json[], text) IS
  'Merges rows into a table and sets the bad ones aside; an outcome for each, a word or a verdict as text';

CREATE OR REPLACE FUNCTION rowseal._elements(rows json) RETURNS json[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF pg_catalog.json_typeof(rows) OPERATOR(pg_catalog.=) 'object' THEN
    RETURN ARRAY[rows];
  ELSIF pg_catalog.json_typeof(rows) OPERATOR(pg_catalog.=) 'array' THEN
    RETURN ARRAY(SELECT * FROM pg_catalog.json_array_elements(rows));
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._elements(json) IS
  'The elements of a JSON array, or one object; else NULL. Without a search path: to set one takes longer';

CREATE OR REPLACE FUNCTION rowseal.apply(relation regclass, rows json, format text DEFAULT 'canonical')
RETURNS TABLE (ordinal integer, outcome text, reason text) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  id integer;
  elements json[];
  outcomes text[];
BEGIN
  IF format NOT IN ('canonical', 'pgtext') OR format IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = pg_catalog.format('format %L is not known', format),
      HINT = 'canonical (envelopes) or pgtext (columns in PostgreSQL''s text form).';
  END IF;
  elements := rowseal._elements(rows);
  IF elements IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'rows must be a JSON array of objects, or one object';
  END IF;
  IF NOT rowseal._may_write(relation) THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = pg_catalog.format('permission denied for table %s', relation),
      HINT = 'apply needs SELECT, INSERT and UPDATE.';
  END IF;
  IF relation IS NOT NULL THEN  -- nobody alters it any more: rows are read as they are judged
    EXECUTE pg_catalog.format('LOCK TABLE ONLY %s IN ROW EXCLUSIVE MODE', relation);
  END IF;
  SELECT x.id INTO id FROM rowseal.declarations x WHERE x.relation = apply.relation;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007', MESSAGE = pg_catalog.format('table %s is not declared', relation),
      HINT = 'SELECT rowseal.declare(…) first.';
  END IF;
  outcomes := rowseal._applied(id, elements, format);
  RETURN QUERY SELECT * FROM rowseal._results(outcomes);
END
$$;
COMMENT ON FUNCTION rowseal.apply(regclass, json, text) IS
$$Merges rows that others signed; a bad row is quarantined, not raised. rows: a JSON array. format canonical:
envelopes {"row": …, "rowseal": 1, "table": …, "sign_b64": …}; pgtext: objects of columns in PostgreSQL's text form.
One result per row, in their order; outcome is inserted, superseded, archived, stale, duplicate, deferred (waits for
its owner, a grant, a column …) or rejected; reason: SQLSTATE and text. Needs INSERT, UPDATE and SELECT on the table.
Errors: RS007 not declared, 22023 no rows or unknown format.$$;

CREATE OR REPLACE FUNCTION rowseal._received(tag text, rows json[], owners text[]) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
  verdict rowseal.verdict;
BEGIN
  IF pg_catalog.octet_length(tag) > 1000 THEN
    tag := NULL;  -- no table can have it: see declarations.tag
  END IF;
  LOOP
    SELECT * INTO d FROM rowseal.declarations x WHERE x.tag = tag;
    IF NOT FOUND AND tag IS NOT NULL THEN  -- somebody may be declaring it just now: as in _set_aside
      PERFORM rowseal._lock_arrival(tag, false);
      SELECT * INTO d FROM rowseal.declarations x WHERE x.tag = tag;
    END IF;
    IF tag IS NULL THEN
      verdict := ROW('RS001', 'not an envelope: it names no table, or holds what no text can be');
    ELSIF d.id IS NULL THEN
      verdict := ROW('RS007', 'no table is declared with this tag');
    ELSE
      BEGIN
        IF rowseal._secured(d.relation) THEN
          -- as it is now that nothing changes it any more
          SELECT x.id INTO d.id FROM rowseal.declarations x WHERE x.relation = d.relation AND x.tag = tag;
          CONTINUE WHEN NOT FOUND;  -- its owner undeclared it, or gave the tag to another
          RETURN rowseal._applied(d.id, rows, 'canonical');
        END IF;
        verdict := ROW('RS017', rowseal._distrust(d.relation));
      EXCEPTION WHEN OTHERS OR assert_failure THEN
        IF rowseal._passing(SQLSTATE) THEN
          RAISE;
        END IF;
        -- the table is broken or not ours to write; the rows of other tables must not wait for it
        verdict := ROW(SQLSTATE, SQLERRM);
      END;
    END IF;
    EXIT;
  END LOOP;
  FOR i IN 1 .. pg_catalog.cardinality(rows) LOOP
    PERFORM rowseal._quarantine(tag, verdict, 'canonical', rows[i], sent_as => owners[i]);
  END LOOP;
  RETURN pg_catalog.array_fill(verdict::text, ARRAY[pg_catalog.cardinality(rows)]);
END
$$;
COMMENT ON FUNCTION rowseal._received(text, json[], text[]) IS
  'Merges envelopes of one tag into its table, or keeps them in the quarantine; an outcome for each';

CREATE OR REPLACE FUNCTION rowseal._member(object json, VARIADIC path text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN object #>> path;
EXCEPTION WHEN data_exception OR statement_too_complex THEN
  RETURN NULL;  -- U+0000, or half a surrogate pair, anywhere in it; or it is nested too deep
END
$$;
COMMENT ON FUNCTION rowseal._member(json, text[]) IS
  'A member of an object as text; NULL when there is none, or the JSON is none that can be text. What nobody has '
  'judged yet is read by this alone';

CREATE OR REPLACE FUNCTION rowseal._receive(envelopes json[], owners text[] DEFAULT '{}') RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  tags text[];
  part record;
  n integer;
  rows json[];
  senders text[];
  merged text[];
  outcomes text[] := pg_catalog.array_fill(NULL::text, ARRAY[coalesce(pg_catalog.cardinality(envelopes), 0)]);
BEGIN
  BEGIN
    tags := ARRAY(SELECT e.v ->> 'table' FROM pg_catalog.unnest(envelopes) WITH ORDINALITY e(v, n) ORDER BY e.n);
  EXCEPTION WHEN data_exception OR statement_too_complex THEN  -- some cannot be read as text: one by one
    FOR n IN 1 .. pg_catalog.cardinality(outcomes) LOOP
      tags[n] := rowseal._member(envelopes[n], 'table');
    END LOOP;
  END;
  IF tags <> '{}' AND tags[1] = ALL (tags) THEN
    RETURN rowseal._received(tags[1], envelopes, owners);
  END IF;
  FOR part IN
    SELECT e.tag, pg_catalog.array_agg(e.n::integer ORDER BY e.n) AS ordinals
      FROM pg_catalog.unnest(tags) WITH ORDINALITY e(tag, n) LEFT JOIN rowseal.declarations d ON d.tag = e.tag
     GROUP BY d.identity IS NULL, d.id, e.tag
     ORDER BY d.identity IS NULL DESC, d.id  -- owners before what they own; everywhere in the same order
  LOOP
    rows := '{}'; senders := '{}';
    FOREACH n IN ARRAY part.ordinals LOOP
      rows := pg_catalog.array_append(rows, envelopes[n]);
      senders := pg_catalog.array_append(senders, owners[n]);
    END LOOP;
    merged := rowseal._received(part.tag, rows, senders);
    FOR n IN 1 .. pg_catalog.cardinality(merged) LOOP
      outcomes[part.ordinals[n]] := merged[n];
    END LOOP;
  END LOOP;
  RETURN outcomes;
END
$$;
COMMENT ON FUNCTION rowseal._receive(json[], text[]) IS
  'Merges envelopes as rowseal.receive does, an outcome for each, a word or a verdict as text; owners: whose rows they '
  'are, as whoever sent them says';

CREATE OR REPLACE FUNCTION rowseal.receive(envelopes json)
RETURNS TABLE (ordinal integer, outcome text, reason text) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  elements json[] := rowseal._elements(envelopes);
  outcomes text[];
BEGIN
  IF elements IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'envelopes must be a JSON array of envelopes, or one envelope';
  END IF;
  outcomes := rowseal._receive(elements);
  RETURN QUERY SELECT * FROM rowseal._results(outcomes);
END
$$;
COMMENT ON FUNCTION rowseal.receive(json) IS
$$Merges envelopes of any tables: each goes to the table declared with its tag, as by rowseal.apply; without such a
table it waits in the quarantine. What the envelopes say decides here which tables are written, and tables have
triggers: only those are whose code (rowseal._distrusted) is all by roles that could act as the current user anyway,
or are members of rowseal_trusted.
envelopes: a JSON array. One result per envelope. Errors: 22023 no array.$$;
