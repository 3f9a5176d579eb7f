-- Refusals: an error in an ordinary session; where an error would stop the rows behind it, an entry in the quarantine.
--
-- PL/pgSQL also where SQL would do: PostgreSQL before 18 plans a function in SQL again for every query that calls it.

CREATE OR REPLACE FUNCTION rowseal._hint(sqlstate text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE sqlstate
    WHEN 'RS001' THEN 'Sign rowseal.payload(table, row) with the owner''s key; '
                   || 'every column in it must be stored as signed.'
    WHEN 'RS002' THEN 'Store the owner''s row in the identity table first.'
    WHEN 'RS003' THEN 'A row with another key, owner or public key is another row: insert it.'
    WHEN 'RS004' THEN 'Write a signed row with the deletion flag set; rowseal.prune removes old versions.'
    WHEN 'RS005' THEN 'The owner must be derived from the public key, and certificates signed with it, '
                   || 'as the declaration says.'
    WHEN 'RS006' THEN 'See the type table in docs/specification.md.'
    WHEN 'RS007' THEN 'rowseal.health() shows what is wrong; undeclare the table and declare it anew.'
    WHEN 'RS009' THEN 'Insert the new version; what is stored never changes.'
    WHEN 'RS010' THEN 'The owner, or somebody whom he let, has to sign a grant for this key: rowseal.allow.'
    WHEN 'RS011' THEN 'rowseal.writers shows what the writer may write; a wider grant has to be signed.'
    WHEN 'RS012' THEN 'The writer has been revoked: rows after the frontier never count, '
                   || 'rows before it wait for the links between.'
    WHEN 'RS013' THEN 'writer_pkey, writer_seq (1, 2, …) and writer_prev (the link of the row before; none for 1) '
                   || 'go together; see docs/writers.md.'
    WHEN 'RS014' THEN 'For the server''s Python: ed25519 needs python3-nacl (Debian: apt install python3-nacl) '
                   || 'or CREATE EXTENSION pgsodium; '
                   || 'ML-DSA needs the package cryptography, 47 or later (README, Install).'
    WHEN 'RS015' THEN 'Add the column to the table; rows that wait for it follow by themselves.'
    WHEN '54000' THEN 'Give it a shorter key: an index takes 2704 bytes, and which longer value it can compress into '
                   || 'them depends on the server.'
    WHEN '42501' THEN 'A writer needs policies that show him the rows which he writes.'
    WHEN 'RS017' THEN 'GRANT rowseal_trusted to the role whose code it is, '
                   || 'or let the owner of the table call rowseal.retry().'
    WHEN 'RS019' THEN 'rowseal.health() shows which trigger is not ENABLE ALWAYS; switch it on, verify the table, '
                   || 'then call rowseal.retry().'
  END
$$;
COMMENT ON FUNCTION rowseal._hint(text) IS 'What to do about a refusal';

CREATE OR REPLACE FUNCTION rowseal._shortened(value text, most integer) RETURNS text LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN pg_catalog.length(value) <= most THEN value
              ELSE pg_catalog.concat(pg_catalog.left(value, most * 3 / 4), ' … ', pg_catalog.right(value, most / 8)) END
$$;
COMMENT ON FUNCTION rowseal._shortened(text, integer) IS
  'What a message shows of a value: of one of more characters its beginning and its end';

CREATE OR REPLACE FUNCTION rowseal._hidden(id integer, new_ record) RETURNS rowseal.verdict LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
  seen boolean;
BEGIN
  SELECT * INTO d FROM rowseal.declarations x WHERE x.id = id;
  IF FOUND THEN
    EXECUTE rowseal._query(d, 'locked') INTO seen USING new_;
    IF seen IS NULL THEN
      RETURN ROW('42501', 'row security hides the current version from UPDATE')::rowseal.verdict;
    END IF;
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._hidden(integer, record) IS
  'The verdict where the UPDATE by which a newer version was to be stored has changed nothing, and the row is not to '
  'be seen for UPDATE either';

-- Nobody has judged this row, so it is bounded before it is written: a number of a few bytes can have 147,455 digits,
-- and a control character takes six bytes in JSON.
CREATE OR REPLACE FUNCTION rowseal._key_of(d rowseal.declarations, relation regclass, raw record) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  query text;
  key jsonb;
BEGIN
  -- of other people's types the text: to_jsonb would call a cast that their owner can define
  SELECT pg_catalog.format(
           'SELECT CASE WHEN pg_catalog.pg_column_size(ROW(%s)) < 8192 THEN pg_catalog.jsonb_build_object(%s) END',
           pg_catalog.string_agg(pg_catalog.format('($1).%I', a.attname), ', '),
           pg_catalog.string_agg(pg_catalog.format(
             CASE WHEN a.atttypid < 16384 THEN '%L, ($1).%I' ELSE '%L, pg_catalog.format(''%%s'', ($1).%I)' END,
             d.fields ->> k, a.attname), ', '))
    INTO query FROM pg_catalog.unnest(d.key) k JOIN pg_catalog.pg_attribute a
      ON a.attrelid = relation AND a.attname = CASE WHEN relation = d.versions THEN d.version_columns ->> k ELSE k END;
  IF query IS NOT NULL THEN  -- else its columns have other names by now
    EXECUTE query INTO key USING raw;
  END IF;
  RETURN key;
END
$$;
COMMENT ON FUNCTION rowseal._key_of(rowseal.declarations, regclass, record) IS
  'The key of a row of a declared table, a partition or a versions table; NULL of one that no index could hold';

CREATE OR REPLACE FUNCTION rowseal._shown_column(name name, type oid) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  value CONSTANT text := pg_catalog.format('($1).%I', name);
  as_text CONSTANT text := pg_catalog.format(
    'CASE WHEN pg_catalog.num_nonnulls(%s) = 1 THEN pg_catalog.to_json(pg_catalog.format(''%%s'', %1$s)) END', value);
  size CONSTANT text := pg_catalog.format('pg_catalog.to_json(pg_catalog.pg_column_size(%s))', value);
BEGIN
  IF type = 'jsonb'::regtype THEN
    RETURN pg_catalog.format('CASE WHEN rowseal._digits(%s) < 1000 THEN pg_catalog.to_json(%1$s) ELSE %s END',
                             value, size);
  ELSIF EXISTS (SELECT FROM rowseal._within(type) w WHERE w.oid IN ('numeric'::regtype, 'jsonb'::regtype)) THEN
    RETURN pg_catalog.format('CASE WHEN pg_catalog.pg_column_size(%s) < 100 THEN %s ELSE %s END', value, as_text, size);
  END IF;
  -- of other people's types the text: to_json would call a cast that their owner can define
  RETURN CASE WHEN type < 16384 THEN pg_catalog.format('pg_catalog.to_json(%s)', value) ELSE as_text END;
END
$$;
COMMENT ON FUNCTION rowseal._shown_column(name, oid) IS
  'An expression for a column of the row $1 as JSON; where its numbers may have many digits, how many bytes it has';

CREATE OR REPLACE FUNCTION rowseal._shown(relation regclass, key jsonb, raw record) RETURNS json LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  most CONSTANT integer := 1024 * 1024;
  columns CONSTANT name[] := ARRAY(SELECT a.attname FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum);
  query CONSTANT text := 'SELECT pg_catalog.json_object_agg(x.name, x.value ORDER BY x.n) '
    'FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest(ARRAY[%s])) WITH ORDINALITY x(name, value, n)';
  shown json;
BEGIN
  BEGIN
    IF pg_catalog.pg_column_size(raw) <= most THEN
      EXECUTE pg_catalog.format(query, (
        SELECT pg_catalog.string_agg(rowseal._shown_column(a.attname, a.atttypid), ', ' ORDER BY a.attnum)
          FROM pg_catalog.pg_attribute a WHERE a.attrelid = relation AND a.attname = ANY (columns)))
        INTO shown USING raw, columns;
    END IF;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF rowseal._passing(SQLSTATE) THEN
      RAISE;
    END IF;
  END;
  IF pg_catalog.octet_length(shown::text) <= most THEN
    RETURN shown;
  END IF;
  EXECUTE pg_catalog.format(query, (
    SELECT pg_catalog.string_agg(pg_catalog.format('pg_catalog.pg_column_size(($1).%I)', c), ', ' ORDER BY n)
      FROM pg_catalog.unnest(columns) WITH ORDINALITY x(c, n))) INTO shown USING raw, columns;
  RETURN pg_catalog.json_build_object('key', key, 'bytes', shown);
END
$$;
COMMENT ON FUNCTION rowseal._shown(regclass, jsonb, record) IS
  'A row to look at, as JSON of at most 1 MiB; of a larger one its key and how many bytes its columns have';

CREATE OR REPLACE FUNCTION rowseal._as_pgtext(d rowseal.declarations, relation regclass, raw record) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  names text[];
  query text;
  given json;
BEGIN
  SELECT pg_catalog.array_agg(a.name ORDER BY a.n), pg_catalog.format(
           'SELECT pg_catalog.json_object_agg(x.name, x.value) '
           'FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest(ARRAY[%s])) x(name, value) '
           'WHERE pg_catalog.pg_column_size($1) <= 1048576 AND %s',
           pg_catalog.string_agg(pg_catalog.format(
             'CASE WHEN pg_catalog.num_nonnulls(%s) = 1 THEN pg_catalog.format(''%%s'', %1$s) END', a.value),
             ', ' ORDER BY a.n),
           pg_catalog.string_agg(
             CASE WHEN a.long THEN pg_catalog.format('pg_catalog.pg_column_size(%s) < 100', a.value) ELSE 'true' END,
             ' AND '))
    INTO names, query FROM (
      SELECT c.attnum AS n, coalesce(v.key, c.attname) AS name, pg_catalog.format('($1).%I', c.attname) AS value,
             EXISTS (SELECT FROM rowseal._within(c.atttypid) w
                      WHERE w.oid IN ('numeric'::regtype, 'jsonb'::regtype)) AS long
        FROM pg_catalog.pg_attribute c
        LEFT JOIN pg_catalog.jsonb_each_text(d.version_columns) v ON relation = d.versions AND v.value = c.attname
       WHERE c.attrelid = relation AND c.attnum > 0 AND NOT c.attisdropped AND c.attgenerated = '') a;
  EXECUTE query INTO given USING raw, names;
  RETURN given;
END
$$;
COMMENT ON FUNCTION rowseal._as_pgtext(rowseal.declarations, regclass, record) IS
  'A row that nobody has judged, as rowseal.apply takes it in the format pgtext; NULL of one of more than 1 MiB, or '
  'with numbers that may have many digits';

-- What is raised in a worker stops it, so nothing is but conflicts and missing resources: then it tries again.
CREATE OR REPLACE FUNCTION rowseal._set_apart(
  d rowseal.declarations, relation regclass, verdict rowseal.verdict, payload text, signature bytea, raw record,
  content json)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  given json;
BEGIN
  IF d.queries = '{}' THEN  -- it is closed
    given := rowseal._as_pgtext(d, relation, raw);
  END IF;
  IF given IS NOT NULL THEN
    PERFORM rowseal._quarantine(d.tag, verdict, 'pgtext', given, d.tag);
  ELSIF signature IS NULL OR payload IS NULL OR pg_catalog.starts_with(payload, '(') THEN  -- it has no canonical form
    PERFORM rowseal._quarantine(d.tag, verdict, 'raw',
                                rowseal._shown(relation, rowseal._key_of(d, relation, raw), raw),
                                CASE WHEN verdict.sqlstate = 'RS007' THEN d.tag END);
  ELSE
    PERFORM rowseal._set_aside(d, verdict::text, 'canonical', rowseal._envelope(payload, signature, content));
  END IF;
EXCEPTION WHEN OTHERS OR assert_failure THEN
  IF rowseal._passing(SQLSTATE) THEN
    RAISE;
  END IF;
  PERFORM rowseal._quarantine(d.tag, verdict, 'raw', pg_catalog.json_build_object(
    'key', rowseal._key_of(d, relation, raw), 'error', pg_catalog."left"(SQLERRM, 1000)));
END
$$;
COMMENT ON FUNCTION rowseal._set_apart(
  rowseal.declarations, regclass, rowseal.verdict, text, bytea, record, json) IS
  'Quarantines a row that the worker of a direct publication brought';

-- Functions of others, and foreign keys, run with the rights of their owners: what they may see is not for everybody
-- who sets them off.
CREATE OR REPLACE FUNCTION rowseal._may_see(relation regclass) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.has_table_privilege(relation, 'SELECT') AND NOT pg_catalog.row_security_active(relation)
         AND (w.who = current_user
              OR pg_catalog.has_table_privilege(w.who, relation, 'SELECT') AND NOT c.relrowsecurity)
    FROM pg_catalog.pg_class c, (
           SELECT coalesce(nullif(pg_catalog.current_setting('role'), 'none')::name, session_user)) w(who)
   WHERE c.oid = relation
$$;
COMMENT ON FUNCTION rowseal._may_see(regclass) IS
  'Whether rows of a table may be shown in an error: to the current user, and to the role that gave the statement';

-- Called by the guards.  In apply the outcome goes to the caller; in a replication worker the row into quarantine.
CREATE OR REPLACE FUNCTION rowseal._refuse(
  relation regclass, main regclass, verdict rowseal.verdict, payload text, signature bytea, raw record,
  content json DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1 AS $$
DECLARE
  d rowseal.declarations;
  seen regclass := main;
  cost bigint;
BEGIN
  IF pg_catalog.current_setting('rowseal.mode', true) = 'apply' THEN
    PERFORM pg_catalog.set_config('rowseal.outcome', verdict::text, true);
    RETURN;
  END IF;
  SELECT * INTO d FROM rowseal.declarations x WHERE x.relation = main;
  IF pg_catalog.current_setting('session_replication_role') = 'replica' THEN
    cost := rowseal._cost_of_stranger(verdict::text);
    IF cost = 0 OR NOT rowseal._flooded(cost, 1, pg_catalog.octet_length(payload)) THEN
      PERFORM rowseal._set_apart(d, relation, verdict, payload, signature, raw, content);
    END IF;
    RETURN;
  END IF;
  IF relation = d.versions THEN
    seen := relation;
  END IF;
  RAISE EXCEPTION USING ERRCODE = verdict.sqlstate, HINT = rowseal._hint(verdict.sqlstate),
    MESSAGE = pg_catalog.format('%s, in table %s', verdict.reason, relation)
           || coalesce(', key ' || rowseal._key_of(d, relation, raw)::text, ''),
    DETAIL = CASE
      WHEN payload IS NULL THEN 'Nobody has looked at its content.'
      -- an UPDATE of one column would show the others
      WHEN NOT rowseal._may_see(seen) THEN 'What would be stored is shown to who may read all of the table.'
      WHEN pg_catalog.starts_with(payload, '(') THEN 'It has no canonical form, so nothing that could be signed.'
      ELSE 'What would be stored, as it has to be signed: '
        || rowseal._shortened(CASE d.form WHEN 'concatenated' THEN pg_catalog.substr(payload, 2) ELSE payload END,
                              1000) END,
    SCHEMA = (SELECT c.relnamespace::pg_catalog.regnamespace::text FROM pg_catalog.pg_class c WHERE c.oid = relation),
    TABLE = (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid = relation);
END
$$;
COMMENT ON FUNCTION rowseal._refuse(regclass, regclass, rowseal.verdict, text, bytea, record, json) IS
  'Refuses a row: raises, reports to apply, or quarantines it';

CREATE OR REPLACE FUNCTION rowseal._refuse_delete(relation oid, operation text, row_ record)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
  schema_ text;
  table_ text;
  key jsonb;
BEGIN
  SELECT * INTO d FROM rowseal.declarations x
   WHERE relation IN (x.relation, x.versions)
      OR x.relation IN (SELECT a.relid FROM pg_catalog.pg_partition_ancestors(relation) a);
  IF operation = 'DELETE' THEN
    key := rowseal._key_of(d, relation, row_);
    IF pg_catalog.current_setting('session_replication_role') = 'replica' THEN
      PERFORM rowseal._quarantine(d.tag, ROW('RS004', 'DELETE is refused')::rowseal.verdict, 'raw',
                                  rowseal._shown(relation, key, row_));
      RETURN;
    END IF;
  END IF;
  SELECT * INTO schema_, table_ FROM rowseal._name(relation);
  RAISE EXCEPTION USING ERRCODE = 'RS004', HINT = rowseal._hint('RS004'), SCHEMA = schema_, TABLE = table_,
    MESSAGE = pg_catalog.format('%s is refused, in table %I.%I', operation, schema_, table_)
           || coalesce(', key ' || key::text, '');
END
$$;
COMMENT ON FUNCTION rowseal._refuse_delete(oid, text, record) IS
  'Refuses a DELETE (of this row) or a TRUNCATE; under replication it notes it in the quarantine';

CREATE OR REPLACE FUNCTION rowseal._keep() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM rowseal._refuse_delete(TG_RELID, TG_OP, OLD);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._keep() IS 'Refuses DELETE and TRUNCATE; a replicated DELETE is skipped and noted';
