-- apply and receive: many rows, from whoever carries them, never an error for a bad one.

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
  'What apply returns for outcomes, words and verdicts. Without a search path, so that it is inlined';

CREATE OR REPLACE FUNCTION rowseal._merged(id integer, rows jsonb, format text) RETURNS text[] LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  n integer := pg_catalog.jsonb_array_length(rows);
  half integer := n / 2;
  part jsonb;
  outcomes text[];
  written boolean := pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL;
BEGIN
  LOOP
    BEGIN
      IF n = 1 AND format = 'canonical' THEN
        EXECUTE pg_catalog.format('SELECT ARRAY[rowseal._take_%s($1)]', id) INTO outcomes USING rows -> 0;
      ELSE
        EXECUTE pg_catalog.format('SELECT rowseal._apply_%s($1, $2)', id) INTO outcomes USING rows, format;
      END IF;
      RETURN outcomes;
    EXCEPTION
      WHEN deadlock_detected THEN
        -- The locks of this batch are gone, so it can be tried again.  Locks from before this call stay: with them,
        -- trying again could go on for ever.
        IF written THEN
          RAISE;
        END IF;
      WHEN OTHERS THEN
        -- Conflicts, missing rights or resources and a broken schema are not the row's fault.  A syntax error is:
        -- tsvector and jsonpath call bad input so.
        IF pg_catalog.left(SQLSTATE, 2) IN ('25', '40', '42', '53', '55', '57', '58') AND SQLSTATE <> '42601' THEN
          RAISE;
        END IF;
        IF n = 1 THEN
          RETURN ARRAY[ROW(SQLSTATE, SQLERRM)::rowseal.verdict::text];
        END IF;
        EXIT;
    END;
  END LOOP;
  -- Some row cannot be stored at all.  Halving finds it at a cost that grows with the bad rows, not with all.
  part := pg_catalog.jsonb_build_object('half', half);
  RETURN rowseal._merged(id, pg_catalog.jsonb_path_query_array(rows, '$[0 to $half - 1]', part), format)
      || rowseal._merged(id, pg_catalog.jsonb_path_query_array(rows, '$[$half to last]', part), format);
END
$$;
COMMENT ON FUNCTION rowseal._merged(integer, jsonb, text) IS
  'The outcome of each row, a word or a verdict as text; bisects a batch that raises';

CREATE OR REPLACE FUNCTION rowseal._set_aside(d rowseal.declarations, outcome text, format text, element jsonb)
RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  verdict rowseal.verdict := rowseal._explained(d, outcome::rowseal.verdict, element, format);
  waits_for text := rowseal._waits_for(d, verdict, format, element);
BEGIN
  IF waits_for IS NOT NULL THEN
    -- Somebody may be bringing the owner just now.  Either he waits for this lock and then sees what is entered here,
    -- or we wait for him and see the owner.
    PERFORM rowseal._lock_owner(waits_for, false);
    outcome := (rowseal._merged(d.id, pg_catalog.jsonb_build_array(element), format))[1];
    IF rowseal._settled(outcome) THEN
      RETURN outcome;
    END IF;
    verdict := rowseal._explained(d, outcome::rowseal.verdict, element, format);
  END IF;
  PERFORM rowseal._hold(d, verdict, format, element, waits_for);
  RETURN verdict::text;
END
$$;
COMMENT ON FUNCTION rowseal._set_aside(rowseal.declarations, text, text, jsonb) IS
  'Keeps a row that was refused in the quarantine, unless what it waits for has come; returns its outcome';

CREATE OR REPLACE FUNCTION rowseal.apply(relation regclass, rows jsonb, format text DEFAULT 'canonical')
RETURNS TABLE (ordinal integer, outcome text, reason text) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET rowseal.mode = 'apply' AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
  outcomes text[];
  i integer;
BEGIN
  IF format NOT IN ('canonical', 'pgtext') OR format IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = pg_catalog.format('format %L is not known', format),
      HINT = 'canonical (envelopes) or pgtext (columns in PostgreSQL''s text form).';
  END IF;
  IF pg_catalog.jsonb_typeof(rows) = 'object' THEN
    rows := pg_catalog.jsonb_build_array(rows);
  ELSIF pg_catalog.jsonb_typeof(rows) IS DISTINCT FROM 'array' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'rows must be a JSON array of objects, or one object';
  END IF;
  SELECT * INTO d FROM rowseal.declarations x WHERE x.relation = apply.relation;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007', MESSAGE = pg_catalog.format('table %s is not declared', relation),
      HINT = 'SELECT rowseal.declare(…) first.';
  END IF;
  outcomes := rowseal._merged(d.id, rows, format);
  IF rowseal._settled(pg_catalog.array_to_string(outcomes, '')) THEN  -- all of them
    RETURN QUERY SELECT * FROM rowseal._results(outcomes);
    RETURN;
  END IF;
  -- every session enters what it refuses in the same order
  FOR i IN
    SELECT o.n FROM pg_catalog.unnest(outcomes) WITH ORDINALITY o(outcome, n) WHERE NOT rowseal._settled(o.outcome)
     ORDER BY pg_catalog.md5((rows -> (o.n::integer - 1))::text)
  LOOP
    outcomes[i] := rowseal._set_aside(d, outcomes[i], format, rows -> (i - 1));
  END LOOP;
  RETURN QUERY SELECT * FROM rowseal._results(outcomes);
END
$$;
COMMENT ON FUNCTION rowseal.apply(regclass, jsonb, text) IS
$$Merges rows that others signed; a bad row is quarantined, not raised. rows: a JSON array. format canonical:
envelopes {"row": …, "rowseal": 1, "table": …, "sign_b64": …}; pgtext: objects of columns in PostgreSQL's text form.
One result per row, in their order; outcome is inserted, superseded, archived, stale, duplicate, deferred (waits for
its owner or a column) or rejected; reason: SQLSTATE and text. Needs INSERT, UPDATE and SELECT on the table. Errors:
RS007 not declared, 22023 no rows or unknown format.$$;

CREATE OR REPLACE FUNCTION rowseal._trusted_owner(owner oid) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT pg_catalog.pg_has_role(owner, pg_catalog.to_regrole(pg_catalog.quote_ident(current_user)), 'USAGE')
      OR pg_catalog.pg_has_role(owner, 'rowseal_trusted', 'USAGE')
$$;
COMMENT ON FUNCTION rowseal._trusted_owner(oid) IS
  'Whether triggers of a table''s owner may run as the current user without his naming the table. Without a search '
  'path, so that it is inlined';

CREATE OR REPLACE FUNCTION rowseal._trusted(relation regclass) RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (SELECT rowseal._trusted_owner(c.relowner) FROM pg_catalog.pg_class c WHERE c.oid = relation);
END
$$;
COMMENT ON FUNCTION rowseal._trusted(regclass) IS 'rowseal._trusted_owner, of a table';

CREATE OR REPLACE FUNCTION rowseal.receive(envelopes jsonb)
RETURNS TABLE (ordinal integer, outcome text, reason text) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  part record;
  verdict rowseal.verdict;
BEGIN
  IF pg_catalog.jsonb_typeof(envelopes) = 'object' THEN
    envelopes := pg_catalog.jsonb_build_array(envelopes);
  ELSIF pg_catalog.jsonb_typeof(envelopes) IS DISTINCT FROM 'array' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'envelopes must be a JSON array of envelopes, or one envelope';
  END IF;
  FOR part IN
    SELECT d.relation, e.envelope ->> 'table' AS tag, pg_catalog.array_agg(e.n::integer ORDER BY e.n) AS ordinals,
           pg_catalog.jsonb_agg(e.envelope ORDER BY e.n) AS rows
      FROM pg_catalog.jsonb_array_elements(envelopes) WITH ORDINALITY e(envelope, n)
      LEFT JOIN rowseal.declarations d ON d.tag = e.envelope ->> 'table'
     GROUP BY d.relation, d.identity IS NULL, d.id, 2
     ORDER BY d.identity IS NULL DESC, d.id  -- owners before what they own; everywhere in the same order
  LOOP
    verdict := CASE
      WHEN part.tag IS NULL THEN ROW('RS001', 'not an envelope: it names no table')::rowseal.verdict
      WHEN part.relation IS NULL THEN ROW('RS007', 'no table is declared with this tag')::rowseal.verdict
      WHEN NOT rowseal._trusted(part.relation)
        THEN ROW('RS017', 'the owner of the table is not trusted by the current user')::rowseal.verdict END;
    IF verdict IS NULL THEN
      BEGIN
        RETURN QUERY
          SELECT part.ordinals[a.ordinal], a.outcome, a.reason FROM rowseal.apply(part.relation, part.rows) a;
        CONTINUE;
      EXCEPTION
        -- conflicts and exhausted resources are passed on: the caller comes back to these rows
        WHEN transaction_rollback OR insufficient_resources OR operator_intervention OR system_error
             OR internal_error THEN
          RAISE;
        WHEN OTHERS THEN  -- the table is broken or not ours to write; the rows of other tables must not wait for it
          verdict := ROW(SQLSTATE, SQLERRM)::rowseal.verdict;
      END;
    END IF;
    FOR i IN 1 .. pg_catalog.cardinality(part.ordinals) LOOP
      PERFORM rowseal._quarantine(part.tag, verdict, 'canonical', part.rows -> (i - 1));
      RETURN QUERY SELECT part.ordinals[i], r.outcome, r.reason FROM rowseal._results(ARRAY[verdict::text]) r;
    END LOOP;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal.receive(jsonb) IS
$$Merges envelopes of any tables: each goes to the table declared with its tag, as by rowseal.apply; without such a
table it waits in the quarantine. What the envelopes say decides here which tables are written, and tables have
triggers: only those are whose owner could act as the current user anyway, or is a member of rowseal_trusted.
envelopes: a JSON array. One result per envelope. Errors: 22023 no array.$$;
