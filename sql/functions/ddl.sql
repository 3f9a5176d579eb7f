-- The declared tables change; their functions follow.
--
-- Event triggers know tables by their OIDs and do nothing for tables that are not declared.  They raise errors only
-- about what a command does to the table that it is about: what it does to the declared tables of others besides is a
-- warning, their functions fail closed, and health() tells.
--
-- A declared table is in one of two states, and its facts are those of the last time that it was in order:
--
--   open     its functions were generated from its facts, and the catalogs say the same, or what the next step finds
--   closed   (queries = '{}') it is not as its functions know it: they take no row, and nothing is read by its queries
--
-- Each step (_refresh) compares the catalogs with the facts.  If a declaration can be made of what there is now, the
-- table is open, with new facts; else it is closed, and its facts stay, or the command is refused: when it is about
-- this very table, and breaks it, or brings rows that nobody could verify later.
--
-- In either state a step writes down which names the columns have by now, and which partitions have left (_kept_up).
-- So what has become of a column is told by its number, of a partition by its OID, whatever happened in between and
-- however often; columns that are gone leave the declaration.  Columns that came are signed from the moment at which
-- the table is open, and hold no values then; partitions that came are verified.  In a database where it is restored,
-- numbers say nothing: at the first step there columns and partitions are known by their names, then they have numbers.

CREATE OR REPLACE FUNCTION rowseal._closed(d rowseal.declarations) RETURNS boolean LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$ SELECT d.queries = '{}' $$;
COMMENT ON FUNCTION rowseal._closed(rowseal.declarations) IS 'Whether a declared table takes no rows: see ddl.sql';

CREATE OR REPLACE FUNCTION rowseal._restored(d rowseal.declarations) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT (d.facts ->> 'installation', d.facts #>> '{main,oids,relation}')
         IS DISTINCT FROM ((SELECT i.id::text FROM rowseal.installation i), d.relation::oid::text)
$$;
COMMENT ON FUNCTION rowseal._restored(rowseal.declarations) IS
  'Whether the numbers in the facts of a declaration are those of another database';

CREATE OR REPLACE FUNCTION rowseal._renames(old jsonb, now_ jsonb, here boolean) RETURNS jsonb LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(pg_catalog.jsonb_object_agg(o.key, n.key), '{}')
    FROM pg_catalog.jsonb_each(old -> 'columns') o
    JOIN pg_catalog.jsonb_each(now_ -> 'columns') n
      ON CASE WHEN here AND old -> 'relation' = now_ -> 'relation' THEN n.value = o.value ELSE n.key = o.key END
$$;
COMMENT ON FUNCTION rowseal._renames(jsonb, jsonb, boolean) IS
  '{"old name": "new name"} of the columns of a table that are still there, by its numbers before and now; here: the '
  'numbers are of one database';

CREATE OR REPLACE FUNCTION rowseal._renamed(d rowseal.declarations, main jsonb, versions jsonb)
RETURNS rowseal.declarations LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  -- names that another column has by now
  taken CONSTANT text[] := ARRAY(SELECT m.value FROM pg_catalog.jsonb_each_text(main) m WHERE NOT main ? m.value);
  gone text;
BEGIN
  SELECT c INTO gone
    FROM pg_catalog.unnest(
           d.owner || d.healed || ARRAY[d.public_key, d.timestamp_column, d.deleted_column, d.signature_column,
                                        d.parent_column, d.name_column]
           || ARRAY(SELECT x FROM pg_catalog.jsonb_each_text(d.digests || d.certificates),
                                  pg_catalog.unnest(ARRAY[key, value]) x)) c
   WHERE c = ANY (taken) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('column %I of %s is another one than was declared', gone, d.relation),
      HINT = 'rowseal.undeclare the table and declare it anew.';
  END IF;
  -- a name that is gone, and nobody else's, is missed where the declaration is made of it
  d.owner := ARRAY(SELECT coalesce(main ->> u.c, u.c) FROM pg_catalog.unnest(d.owner) WITH ORDINALITY u(c, n)
                    ORDER BY u.n);
  d.healed := ARRAY(SELECT coalesce(main ->> c, c) FROM pg_catalog.unnest(d.healed) c);
  d.public_key := coalesce(main ->> d.public_key, d.public_key);
  d.timestamp_column := coalesce(main ->> d.timestamp_column, d.timestamp_column);
  d.deleted_column := coalesce(main ->> d.deleted_column, d.deleted_column);
  d.signature_column := coalesce(main ->> d.signature_column, d.signature_column);
  d.parent_column := coalesce(main ->> d.parent_column, d.parent_column);
  d.name_column := coalesce(main ->> d.name_column, d.name_column);
  d.digests := coalesce((
    SELECT pg_catalog.jsonb_object_agg(coalesce(main ->> key, key), coalesce(main ->> value, value))
      FROM pg_catalog.jsonb_each_text(d.digests)), '{}');
  d.certificates := coalesce((
    SELECT pg_catalog.jsonb_object_agg(coalesce(main ->> key, key), coalesce(main ->> value, value))
      FROM pg_catalog.jsonb_each_text(d.certificates)), '{}');
  d.unsigned := ARRAY(SELECT coalesce(main ->> c, c) FROM pg_catalog.unnest(d.unsigned) c
                       WHERE main ? c OR c <> ALL (taken));
  d.fields := coalesce((
    SELECT pg_catalog.jsonb_object_agg(main ->> key, value) FROM pg_catalog.jsonb_each_text(d.fields)
     WHERE main ? key), '{}');
  d.version_columns := (
    SELECT pg_catalog.jsonb_object_agg(main ->> key, versions ->> value)
      FROM pg_catalog.jsonb_each_text(d.version_columns) WHERE main ? key AND versions ? value);
  RETURN d;
END
$$;
COMMENT ON FUNCTION rowseal._renamed(rowseal.declarations, jsonb, jsonb) IS
  'A declaration with the names that its columns have now, without those that are gone; main, versions: _renames. '
  'RS007: another column has the name of one that is gone and was declared';

CREATE OR REPLACE FUNCTION rowseal._kept_up(d rowseal.declarations) RETURNS rowseal.declarations LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  now_ CONSTANT jsonb := rowseal._numbers(d);
  here CONSTANT boolean := d.numbers -> 'installation' = now_ -> 'installation';
BEGIN
  IF rowseal._closed(d) THEN  -- those that have left, and may come again, with other rows
    d.facts := pg_catalog.jsonb_set(d.facts, '{main,partitions}', (
      SELECT coalesce(pg_catalog.jsonb_object_agg(p.name, p.oid), '{}')
        FROM (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.oid::bigint
                FROM rowseal._tree(d.relation) t JOIN pg_catalog.pg_class c ON c.oid = t
                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace) p(name, oid)
       WHERE CASE WHEN here THEN EXISTS (SELECT FROM pg_catalog.jsonb_each(d.facts #> '{main,partitions}') k
                                          WHERE k.value = pg_catalog.to_jsonb(p.oid))
                  ELSE d.facts #> '{main,partitions}' ? p.name END));
  END IF;
  d := rowseal._renamed(d, rowseal._renames(d.numbers -> 'main', now_ -> 'main', here),
                           rowseal._renames(d.numbers -> 'versions', now_ -> 'versions', here));
  d.numbers := now_;
  RETURN d;
END
$$;
COMMENT ON FUNCTION rowseal._kept_up(rowseal.declarations) IS
  'A declaration with the names and numbers of now; of a closed table, without partitions that have left. RS007 as '
  '_renamed';

CREATE OR REPLACE FUNCTION rowseal._store(d rowseal.declarations, anew boolean) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
  UPDATE rowseal.declarations x
     SET queries = CASE WHEN NOT anew THEN x.queries END, facts = d.facts, numbers = d.numbers,
         owner = d.owner, public_key = d.public_key, unsigned = d.unsigned,
         timestamp_column = d.timestamp_column, deleted_column = d.deleted_column,
         signature_column = d.signature_column, parent_column = d.parent_column, name_column = d.name_column,
         digests = d.digests, healed = d.healed, certificates = d.certificates, fields = d.fields,
         version_columns = d.version_columns
   WHERE x.relation = d.relation AND (anew OR x.numbers <> d.numbers OR x.facts <> d.facts)
$$;
COMMENT ON FUNCTION rowseal._store(rowseal.declarations, boolean) IS
  'Stores the names and numbers of a declaration; anew: and has its functions generated anew';

CREATE OR REPLACE FUNCTION rowseal._spoilt(old jsonb, now_ jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
  -- A column is changed in the versions table first, and then in the main one: in between they differ.  So do owners.
  -- Whose things are (types, schemas) changes by commands that no event trigger sees, too: by itself it is no fault of
  -- this one, unless that has changed the owner of one of the tables.
  SELECT count(DISTINCT (x.facts - '{identity,roles,installation}'::text[]) #- '{main,oids}' #- '{main,whose}'
                        #- '{versions,oids}' #- '{versions,columns}' #- '{versions,kinds}' #- '{versions,whose}') = 2
      OR count(DISTINCT x.facts -> 'roles') = 2
         AND count(DISTINCT x.facts #> '{main,whose}' #- '{versions}') = 2
    FROM (VALUES (old), (now_)) x(facts)
$$;
COMMENT ON FUNCTION rowseal._spoilt(jsonb, jsonb) IS
  'Whether a table that was in order no longer is, and what has changed is no first half of a change in two tables';

CREATE OR REPLACE FUNCTION rowseal._unfinished(old jsonb, now_ jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.bool_and(
           t.now_ - later.facts = t.old - later.facts
           AND (t.now_ -> 'key' = 'null' OR t.now_ -> 'key' = t.old -> 'key'))
    FROM (VALUES ('{key,key_deferrable,key_compares,unique,deferrable,partitions,late_triggers,rules,oids,
                    whose}'::text[])) later(facts),
         (VALUES ('{main}'::text[]), ('{versions}'), ('{identity,facts}')) part(path),
         LATERAL (SELECT coalesce(nullif(old #> part.path, 'null'), '{"key": null}') AS old,
                         coalesce(nullif(now_ #> part.path, 'null'), '{"key": null}') AS now_) t
$$;
COMMENT ON FUNCTION rowseal._unfinished(jsonb, jsonb) IS
  'Whether tables differ from how they were by what a restore adds after their rows alone (keys, indexes, triggers), '
  'or by whose they are';

CREATE OR REPLACE FUNCTION rowseal._of_this_transaction(xid xid) RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  this CONSTANT bigint := pg_catalog.pg_current_xact_id_if_assigned()::text::bigint;
BEGIN
  IF this IS NULL OR pg_catalog.age(xid) > 0 THEN
    RETURN false;
  END IF;
  -- Those of others that began later are as young, and over: else nobody would see the row.
  RETURN coalesce(pg_catalog.pg_xact_status((this + ((xid::text::bigint - this) & 4294967295))::text::xid8)
                  = 'in progress', false);
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN false;  -- a number of the future is one of two thousand million transactions ago
END
$$;
COMMENT ON FUNCTION rowseal._of_this_transaction(xid) IS
  'Whether a row with this xmin, which can be seen, is of this transaction, or of a subtransaction of it';

CREATE OR REPLACE FUNCTION rowseal._lacks_triggers(d rowseal.declarations) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM rowseal._trigger_problems(d) t
                  WHERE t.problem = 'missing'
                    AND (t.relation IN (d.relation, d.versions) OR rowseal._restored(d) AND EXISTS (
                      SELECT FROM pg_catalog.jsonb_each_text(d.facts #> '{main,partitions}') p
                        JOIN pg_catalog.pg_class c ON c.oid = t.relation
                        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                       WHERE p.value::oid = c.oid OR p.key = pg_catalog.format('%I.%I', n.nspname, c.relname))))
$$;
COMMENT ON FUNCTION rowseal._lacks_triggers(rowseal.declarations) IS
  'Whether triggers are missing that are not to be made now: partitions that come get theirs from us, and those of a '
  'restored table from the dump';

CREATE OR REPLACE FUNCTION rowseal._brings_rows(d rowseal.declarations) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
    WITH RECURSIVE new(oid) AS (
      SELECT i.inhrelid FROM pg_catalog.pg_inherits i
       WHERE (i.inhparent = d.versions OR i.inhparent IN (SELECT rowseal._tree(d.relation)))
         AND rowseal._of_this_transaction(i.xmin)
      UNION
      SELECT i.inhrelid FROM new n JOIN pg_catalog.pg_inherits i ON i.inhparent = n.oid
    ) SELECT FROM new n JOIN pg_catalog.pg_class c USING (oid)
       WHERE pg_catalog.pg_relation_size(n.oid) > 0 OR NOT c.relispartition)  -- no child gets our triggers
  -- pg_restore -1 brings the declaration along
  AND NOT (rowseal._restored(d) AND rowseal._as_superuser() AND EXISTS (
    SELECT FROM rowseal.declarations x WHERE x.id = d.id AND rowseal._of_this_transaction(x.xmin)))
$$;
COMMENT ON FUNCTION rowseal._brings_rows(rowseal.declarations) IS
  'Whether a table has come to be part of this one in this transaction that holds or held rows, or to which its '
  'triggers do not come; not where it is restored';

CREATE OR REPLACE FUNCTION rowseal._close_with(kept rowseal.declarations, said boolean, reason text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT said THEN
    PERFORM rowseal._close(kept, reason);
  END IF;
  PERFORM rowseal._leave_alone(d) FROM rowseal.declarations d WHERE d.id = kept.id;
  PERFORM rowseal._store(kept, false);
END
$$;
COMMENT ON FUNCTION rowseal._close_with(rowseal.declarations, boolean, text) IS
  'Closes a table, or leaves it closed, with the names of now; said: it has been told why, and that is still so';

CREATE OR REPLACE FUNCTION rowseal._may_open(d rowseal.declarations) RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- what a restore brings after the triggers may close it again, and would end the restore
  IF d.facts ? 'closed' AND rowseal._as_superuser()
     AND NOT (SELECT r.rolsuper FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
               WHERE c.oid = d.relation) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('%s was closed when it was dumped', d.relation),
      HINT = 'Any ALTER TABLE by its owner opens it, when it is in order.';
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._may_open(rowseal.declarations) IS
  'Raises RS007 where a superuser restores somebody else''s table that was closed when it was dumped';

CREATE OR REPLACE FUNCTION rowseal._note_opened(d rowseal.declarations) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO rowseal._opened (relation)
    SELECT d.relation
     WHERE d.grants OR d.writers IS NOT NULL OR rowseal._wait_for_table(d.tag, true) <> '{}'
    ON CONFLICT (relation) DO UPDATE SET xid = EXCLUDED.xid
$$;
COMMENT ON FUNCTION rowseal._note_opened(rowseal.declarations) IS
  'Notes that a table has opened, where something came in between that it has to follow (see _follow_opened)';

CREATE OR REPLACE FUNCTION rowseal._refresh(d rowseal.declarations, blamed boolean, patient boolean DEFAULT true)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  now_ jsonb;
  kept rowseal.declarations;
  closed boolean := rowseal._closed(d);
BEGIN
  now_ := rowseal._known_facts(d);
  IF EXISTS (SELECT FROM rowseal.declarations x  -- another command may have just followed it
              WHERE x.id = d.id AND x.facts = now_ AND x.numbers = rowseal._numbers(x) AND NOT rowseal._closed(x)) THEN
    RETURN;
  END IF;
  -- One after the other: two commands may change it side by side, and pg_restore -j makes triggers in several sessions.
  -- The last has to see all, and what the others have made of the declaration.
  LOCK TABLE rowseal.declarations IN ROW EXCLUSIVE MODE;  -- which _follow may wait for
  SELECT * INTO d FROM rowseal.declarations x WHERE x.id = d.id FOR UPDATE;
  now_ := rowseal._known_facts(d);
  closed := rowseal._closed(d);
  IF d.id IS NULL OR (d.facts = now_ AND d.numbers = rowseal._numbers(d) AND NOT closed) THEN
    RETURN;
  END IF;
  kept := rowseal._kept_up(d);
  PERFORM rowseal._leave_alone(d);
  IF rowseal._lacks_triggers(d) THEN
    -- It is being restored, and its triggers are to come; or health() tells.  Else what its queries name may be
    -- something else now, and is not read or called any more.
    IF blamed AND rowseal._brings_rows(d) THEN
      RAISE EXCEPTION USING ERRCODE = 'RS007', MESSAGE = pg_catalog.format('%s lacks triggers', d.relation),
        HINT = 'What comes to be part of it without them, nobody verifies: rowseal.health() shows them.';
    ELSIF closed OR NOT rowseal._unfinished(d.facts, now_) THEN
      PERFORM rowseal._close_with(kept, closed, 'it, or what it rests on, has changed, and it lacks triggers');
    END IF;
    RETURN;
  END IF;
  PERFORM rowseal._may_open(d) WHERE closed;
  PERFORM rowseal._store(kept, true);
  PERFORM rowseal._follow_columns(d, kept, blamed);
  PERFORM rowseal._follow_partitions(kept, now_, blamed);
  PERFORM rowseal._note_opened(d) WHERE closed;
EXCEPTION WHEN OTHERS OR assert_failure THEN
  IF patient AND rowseal._passing(SQLSTATE) THEN
    RAISE;  -- a lock that was not to be had, say: nothing has changed, the command can be tried again
  END IF;
  -- What fails closed may be half of a change, or somebody else's command.  Of rows that come along nobody would know
  -- later that they are unverified, and tables that rest on this one read them.  No table ends the restore of others.
  IF blamed AND NOT (rowseal._restored(d) AND rowseal._as_superuser())
     AND (SQLSTATE <> 'RS007' OR (NOT closed AND rowseal._spoilt(d.facts, now_)) OR rowseal._brings_rows(d)) THEN
    RAISE;
  END IF;
  -- Or it is the fault of whose command it is, that of no table: he holds all locks that there are, say.
  IF SQLSTATE <> 'RS007' AND (now_ IS NULL
                              OR NOT closed AND rowseal._lasting(now_) = rowseal._lasting(d.facts)) THEN
    RAISE WARNING USING MESSAGE = pg_catalog.format('rowseal: %s does not follow this change: %s', d.relation, SQLERRM),
      HINT = 'rowseal.health() shows whether it has to.';
    RETURN;
  END IF;
  PERFORM rowseal._close_with(CASE WHEN kept.id IS NULL THEN d ELSE kept END, closed AND NOT blamed, SQLERRM);
END
$$;
COMMENT ON FUNCTION rowseal._refresh(rowseal.declarations, boolean, boolean) IS
  'A step of a declared table from one state to the next (see the head of ddl.sql). blamed: the command is about this '
  'table, so what it spoils is an error, else a warning; patient: it may wait for locks on it';

-- Whoever declares a table on somebody's identity table, and holds a lock on his own, keeps nobody waiting by that, nor
-- from what is his: whatever goes wrong with it is a warning.
CREATE OR REPLACE FUNCTION rowseal._refresh_others(
  d rowseal.declarations, gone text DEFAULT NULL, first boolean DEFAULT false)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = '10ms' AS $$
DECLARE
  since CONSTANT timestamptz := pg_catalog.clock_timestamp();
  spent CONSTANT numeric := pg_catalog.current_setting('rowseal.spent');  -- for others in this command, in seconds
  problem text;
BEGIN
  IF spent > 1 AND NOT first THEN  -- anybody may have any number of tables; so they take turns, see _concerned
    problem := 'there are too many such tables';
  ELSE
    BEGIN
      IF gone IS NULL THEN
        PERFORM rowseal._refresh(d, false, patient => false);
      ELSE
        PERFORM rowseal._close(d, gone);
      END IF;
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      problem := CASE SQLSTATE WHEN '55P03' THEN 'it is locked' ELSE SQLERRM END;
    END;
    PERFORM pg_catalog.set_config('rowseal.spent', (
      spent + extract(epoch FROM pg_catalog.clock_timestamp() - since))::text, true);
  END IF;
  IF problem IS NOT NULL THEN
    RAISE WARNING USING
      MESSAGE = pg_catalog.format('rowseal: %s, of another owner, does not follow this change: %s',
                                  d.relation, problem),
      HINT = 'rowseal.health() shows it. Undeclare it and declare it anew.';
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._refresh_others(rowseal.declarations, text, boolean) IS
  'As _refresh, for a table whose owner is not the one whose table or type has changed: it does not wait. gone: why '
  'it cannot be in order any more, and is closed; first: of its owner, whatever those before it took';

CREATE OR REPLACE FUNCTION rowseal._as_superuser() RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.rolsuper FROM pg_catalog.pg_roles r
   WHERE r.rolname = coalesce(nullif(pg_catalog.current_setting('role'), 'none'), session_user)
$$;
COMMENT ON FUNCTION rowseal._as_superuser() IS
  'Whether the session gives commands as a superuser, by itself or by SET ROLE: as who restores a database does';

CREATE OR REPLACE FUNCTION rowseal._leave_alone(d rowseal.declarations) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET backtrace_functions = rowseal SET lock_timeout = '100ms' AS $$
DECLARE
  stray record;
BEGIN
  -- It is known by the number of the declaration in its trigger, and everybody can create such a one: nothing is done
  -- to other tables.
  FOR stray IN
    SELECT g.tgname, g.tgrelid::pg_catalog.regclass AS relation
      FROM pg_catalog.jsonb_each_text(d.facts #> '{main,partitions}') p
      JOIN pg_catalog.pg_trigger g ON g.tgrelid = p.value::oid
      JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
     WHERE d.numbers -> 'installation' = rowseal._numbers(d) -> 'installation'
       AND g.tgfoid = 'rowseal._keep()'::pg_catalog.regprocedure AND g.tgparentid = 0
       AND g.tgargs = pg_catalog.convert_to(d.id::text, 'UTF8') || pg_catalog.decode('00', 'hex')
       AND g.tgrelid NOT IN (SELECT rowseal._tree(d.relation))
       AND c.relowner = (SELECT m.relowner FROM pg_catalog.pg_class m WHERE m.oid = d.relation)
  LOOP
    BEGIN
      EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', stray.tgname, stray.relation);
    EXCEPTION WHEN lock_not_available THEN  -- whoever reads it keeps nobody from what is his
      RAISE WARNING USING
        MESSAGE = pg_catalog.format('rowseal: %s keeps the trigger %I, for it is locked', stray.relation, stray.tgname),
        HINT = 'DROP TRIGGER: it has left the declared table.';
    END;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._leave_alone(rowseal.declarations) IS
  'Takes the trigger off partitions that have left a table; the cloned ones went by themselves';

-- What has come to a table is looked at by _on_ddl_retry, with the rights of who gives the command.  Here, where those
-- of a superuser are, no table of a user is read, nor planned to be: planning calls functions in the expressions of its
-- indexes and statistics.
CREATE OR REPLACE FUNCTION rowseal._may_look(d rowseal.declarations, blamed boolean) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT blamed AND NOT (rowseal._closed(d) AND rowseal._as_superuser() AND NOT rowseal._trusted(d.relation))
$$;
COMMENT ON FUNCTION rowseal._may_look(rowseal.declarations, boolean) IS
  'Whether whoever gives this command is to read what has come to a table: he who changes something else does not wait '
  'for it, and a superuser whose command opens a table reads nothing of owners whom he does not trust';

CREATE OR REPLACE FUNCTION rowseal._came_empty(numbers jsonb, relation oid, attribute name) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT numbers - 'columns' = rowseal._numbers_of(relation) - 'columns'  -- neither it nor its files are others
         AND NOT pg_catalog.jsonb_path_exists(
           numbers, '$.columns.* ? (@ == $number)', pg_catalog.jsonb_build_object('number', a.attnum))
         AND NOT EXISTS (  -- of a partition, too, and there alone
           SELECT FROM rowseal._tree(relation) t JOIN pg_catalog.pg_attribute x ON x.attrelid = t
            WHERE x.attname = attribute AND x.atthasmissing)
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = relation AND a.attname = attribute
$$;
COMMENT ON FUNCTION rowseal._came_empty(jsonb, oid, name) IS
  'Whether a column was not there at the last step, and no row holds a value there. numbers: those of its table then';

CREATE OR REPLACE FUNCTION rowseal._follow_columns(
  before rowseal.declarations, kept rowseal.declarations, blamed boolean) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d rowseal.declarations;
  here CONSTANT boolean := before.numbers -> 'installation' = kept.numbers -> 'installation';
  new record;
BEGIN
  SELECT * INTO d FROM rowseal.declarations x WHERE x.id = kept.id;
  FOR new IN
    SELECT d.relation AS relation, f AS name, before.numbers -> 'main' AS numbers
      FROM pg_catalog.jsonb_object_keys(d.fields) f WHERE NOT kept.fields ? f
    UNION ALL
    SELECT d.versions, v.value, before.numbers -> 'versions'
      FROM pg_catalog.jsonb_each_text(d.version_columns) v WHERE NOT kept.version_columns ? v.key
  LOOP
    CONTINUE WHEN here AND rowseal._came_empty(new.numbers, new.relation, new.name);
    IF NOT rowseal._may_look(before, blamed) THEN
      RAISE EXCEPTION USING ERRCODE = 'RS007',
        MESSAGE = pg_catalog.format('column %I has come to %s, and nobody has looked whether it is empty',
                                    new.name, new.relation),
        HINT = 'ALTER the table itself.';
    END IF;
    INSERT INTO rowseal._new_columns (xid, relation, place, name)
      VALUES (pg_catalog.pg_current_xact_id(), d.relation, new.relation, new.name);
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._follow_columns(rowseal.declarations, rowseal.declarations, boolean) IS
  'Notes the columns that are signed from now on, where they may hold values. before, kept: the declaration before the '
  'command, and as _kept_up; blamed: as in _refresh; who changes something else cannot be asked to look (RS007)';

CREATE OR REPLACE FUNCTION rowseal._follow_partitions(d rowseal.declarations, now_ jsonb, blamed boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  here CONSTANT boolean := rowseal._closed(d) OR NOT rowseal._restored(d);  -- else they are known by their names
  known CONSTANT jsonb := coalesce(d.facts #> '{main,partitions}', '{}');
  came oid[] := ARRAY(
    SELECT p.number FROM pg_catalog.jsonb_each_text(now_ #> '{main,partitions}') p(name, number)
     WHERE NOT CASE WHEN here THEN pg_catalog.jsonb_path_exists(
                      known, '$.* ? (@ == $oid)', pg_catalog.jsonb_build_object('oid', p.number::bigint))
                    ELSE known ? p.name END);
BEGIN
  IF came <> '{}' AND NOT rowseal._may_look(d, blamed) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('partitions have come to %s whose rows nobody has verified', d.relation),
      HINT = 'ALTER the table itself.';
  END IF;
  INSERT INTO rowseal._new_partitions (xid, relation, partition)
    SELECT pg_catalog.pg_current_xact_id(), d.relation, c FROM pg_catalog.unnest(came) c;
END
$$;
COMMENT ON FUNCTION rowseal._follow_partitions(rowseal.declarations, jsonb, boolean) IS
  'Notes the partitions that came since a table was in order. d: as _kept_up, now_: _known_facts of now, blamed: as in '
  '_refresh; who changes something else cannot be asked to verify them (RS007)';

CREATE OR REPLACE FUNCTION rowseal._concerned(
  changed oid, OUT d rowseal.declarations, OUT own boolean, OUT others boolean, OUT turn bigint)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  -- once, for any number of tables
  WITH identity AS MATERIALIZED (SELECT rowseal._identity_facts(changed) AS facts),
       near AS MATERIALIZED (
         SELECT ARRAY(SELECT changed
                      UNION SELECT a.relid FROM pg_catalog.pg_partition_ancestors(changed) a
                      UNION SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = changed
                      -- it is altered with what it has become a partition of
                      UNION SELECT rowseal._tree(changed)) AS oids)
  SELECT x, o.own, t.others, CASE WHEN t.others THEN pg_catalog.row_number() OVER (
           PARTITION BY r.relowner, t.others ORDER BY x.identity IS NULL DESC, x.writers IS NULL DESC, x.id) END
    FROM rowseal.declarations x
    JOIN pg_catalog.pg_class r ON r.oid = x.relation,
         LATERAL (SELECT x.relation = ANY (n.oids) OR x.versions = ANY (n.oids) FROM near n) o(own),
         LATERAL (SELECT o.own IS NOT TRUE AND r.relowner <> (
                    SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = changed)) t(others)
   WHERE (coalesce(o.own, false) OR changed IN (x.identity, x.writers))
     AND NOT (t.others AND NOT rowseal._closed(x)
              AND coalesce(x.facts -> 'identity' = (SELECT i.facts FROM identity i), false))
   -- those of others take turns, by owners: see _refresh_others; and of each what the rest rests on comes first
   ORDER BY 3, 4, x.identity IS NULL DESC, x.writers IS NULL DESC, x.id
$$;
COMMENT ON FUNCTION rowseal._concerned(oid) IS
  'The declarations that a change of this table concerns; own: it is their main or versions table, or a partition or '
  'a parent of it; others: it is not, their owner is another one than this table''s, and what they rest on of it has '
  'changed';

CREATE OR REPLACE FUNCTION rowseal._touched(d rowseal.declarations) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
    SELECT FROM (SELECT rowseal._tree(d.relation) UNION ALL SELECT d.versions
                 UNION ALL  -- of a partition that has left the catalogs keep nothing else
                 SELECT p.value::oid FROM pg_catalog.jsonb_each_text(d.facts #> '{main,partitions}') p) t(oid),
         LATERAL (SELECT c.xmin FROM pg_catalog.pg_class c WHERE c.oid = t.oid
                  UNION ALL
                  SELECT a.xmin FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.oid
                  UNION ALL
                  SELECT k.xmin FROM pg_catalog.pg_constraint k WHERE k.conrelid = t.oid
                  UNION ALL
                  SELECT i.xmin FROM pg_catalog.pg_inherits i WHERE t.oid IN (i.inhrelid, i.inhparent)) x(xmin)
     WHERE rowseal._of_this_transaction(x.xmin))
$$;
COMMENT ON FUNCTION rowseal._touched(rowseal.declarations) IS
  'Whether this transaction has changed a declared table, its versions table or a partition';

CREATE OR REPLACE FUNCTION rowseal._reached(object oid, kind oid) RETURNS SETOF oid LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  WITH RECURSIVE reached(classid, objid) AS (
    VALUES (kind, object)
    UNION
    SELECT n.classid, n.objid FROM reached r, LATERAL (
      SELECT d.classid, d.objid FROM pg_catalog.pg_depend d WHERE d.refclassid = r.classid AND d.refobjid = r.objid
      -- what stands the other way round there
      UNION ALL
      SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, c.reltype FROM pg_catalog.pg_class c
       WHERE r.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = r.objid AND c.reltype <> 0
      UNION ALL
      SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, i.indrelid FROM pg_catalog.pg_index i
       WHERE r.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.indexrelid = r.objid
      UNION ALL
      SELECT 'pg_catalog.pg_opclass'::pg_catalog.regclass, c.oid
        FROM pg_catalog.pg_amop s JOIN pg_catalog.pg_opclass c ON c.opcfamily = s.amopfamily
       WHERE r.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND s.amopopr = r.objid) n(classid, objid)
  ) SELECT r.objid FROM reached r WHERE r.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
$$;
COMMENT ON FUNCTION rowseal._reached(oid, oid) IS
  'Tables that depend on an object (a type, an operator, a schema, an extension …), and what else pg_class has';

CREATE OR REPLACE FUNCTION rowseal._follow_named(object oid, kind oid) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  x record;
BEGIN
  FOR x IN
    WITH reached AS MATERIALIZED (SELECT rowseal._reached(object, kind) AS oid)
    SELECT d, c.relowner = CASE kind
             WHEN 'pg_catalog.pg_type'::pg_catalog.regclass
               THEN (SELECT t.typowner FROM pg_catalog.pg_type t WHERE t.oid = object)
             WHEN 'pg_catalog.pg_namespace'::pg_catalog.regclass
               THEN (SELECT n.nspowner FROM pg_catalog.pg_namespace n WHERE n.oid = object)
             WHEN 'pg_catalog.pg_class'::pg_catalog.regclass  -- a composite type
               THEN (SELECT t.relowner FROM pg_catalog.pg_class t WHERE t.oid = object) END AS own
      FROM rowseal.declarations d JOIN pg_catalog.pg_class c ON c.oid = d.relation
     WHERE EXISTS (SELECT FROM reached r WHERE r.oid IN (d.relation, d.versions, d.identity))
        OR EXISTS (SELECT FROM reached r WHERE r.oid IN (SELECT rowseal._tree(d.relation)))
     ORDER BY d.identity IS NULL DESC
  LOOP
    IF x.own THEN
      PERFORM rowseal._refresh(x.d, true);
    ELSE
      -- however many: whoever changes what they rest on, their owners trust (decision 22)
      PERFORM pg_catalog.set_config('rowseal.spent', '0', true);
      PERFORM rowseal._refresh_others(x.d);
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._follow_named(oid, oid) IS
  'Follows a change of what declared tables rest on, or of its name; kind: OID of its catalog. Errors only for tables '
  'of the owner of a type';

CREATE OR REPLACE FUNCTION rowseal._watch_trigger(d rowseal.declarations, changed oid, command text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET backtrace_functions = rowseal AS $$
DECLARE
  off text;
BEGIN
  off := coalesce((SELECT x.name::text FROM rowseal._late(changed) x
                    WHERE NOT rowseal._closed(d)  -- it does not open with it
                    ORDER BY x.rule, x.name LIMIT 1),
                  (SELECT t.name  -- of this command: others are as they were, on a table that has another name by now
                     FROM rowseal._trigger_problems(d) t
                     JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.relation AND g.tgname = t.name
                     JOIN pg_catalog.pg_event_trigger_ddl_commands() x ON x.objid = g.oid
                    WHERE t.problem = 'not the one installed'
                      -- it may have had another name when it was closed
                      AND NOT (rowseal._restored(d) AND rowseal._as_superuser())
                    LIMIT 1));
  IF off IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format(
        '%s on declared table %s could change or divert a row after rowseal has checked it',
        off, changed::pg_catalog.regclass),
      HINT = 'A trigger may change rows before the check: give it a name that sorts before zzz_rowseal_guard. '
          || 'Rules are not possible.';
  END IF;
  -- OR REPLACE, by whoever may create triggers, makes an ordinary one of ours: links would not fire it
  IF command = 'CREATE TRIGGER' THEN
    FOR off IN SELECT pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', t.relation, t.name)
                 FROM rowseal._trigger_problems(d) t WHERE t.problem = 'not ENABLE ALWAYS' LOOP
      EXECUTE off;
    END LOOP;
    FOR off IN SELECT t.name FROM rowseal._early_triggers(d) t
                WHERE t.id IN (SELECT x.objid FROM pg_catalog.pg_event_trigger_ddl_commands() x) LOOP
      RAISE WARNING USING
        MESSAGE = pg_catalog.format('rowseal: trigger %I on %s goes before the check',
                                    off, changed::pg_catalog.regclass),
        HINT = 'A row whose signed columns it changes is refused: its owner did not sign that.';
    END LOOP;
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._watch_trigger(rowseal.declarations, oid, text) IS
  'Refuses triggers and rules that come after the check, warns of triggers before it; keeps the triggers of rowseal '
  'ENABLE ALWAYS';

CREATE OR REPLACE FUNCTION rowseal._warn_of_disabled(changed oid) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  off text := (
    SELECT pg_catalog.string_agg(g.tgname, ', ') FROM pg_catalog.pg_trigger g
     WHERE g.tgrelid = changed AND pg_catalog.starts_with(g.tgname::text, 'zzz_rowseal_') AND g.tgenabled <> 'A');
BEGIN
  IF off IS NOT NULL THEN
    RAISE WARNING USING
      MESSAGE = pg_catalog.format('rowseal: %s on %s is not ENABLE ALWAYS, rows can enter unchecked',
                                  off, changed::pg_catalog.regclass),
      HINT = 'ALTER TABLE … ENABLE ALWAYS TRIGGER …; then rowseal.verify the table.';
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._warn_of_disabled(oid) IS 'Warns of triggers of rowseal that are switched off';

CREATE OR REPLACE FUNCTION rowseal._follow(changed oid, kind oid, command text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  x record;
BEGIN
  -- _install makes its triggers, and has just looked at the table
  IF EXISTS (SELECT FROM rowseal.declarations d
              WHERE changed IN (d.relation, d.versions) AND NOT d.manifest ? 'made_by') THEN
    RETURN;
  END IF;
  -- pg_restore -j makes them beside the transaction that brings their declaration: this one waits for it
  IF kind = 'pg_catalog.pg_trigger'::pg_catalog.regclass
     AND rowseal._as_superuser()  -- nobody else restores them
     AND EXISTS (SELECT FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid
                  WHERE g.tgrelid = changed AND p.pronamespace = 'rowseal'::pg_catalog.regnamespace
                    AND p.proname ~ '^_guard_[0-9]+$'
                    AND NOT EXISTS (SELECT FROM rowseal.declarations d
                                     WHERE p.proname = pg_catalog.concat('_guard_', d.id))) THEN
    LOCK TABLE rowseal.declarations IN SHARE ROW EXCLUSIVE MODE;
  END IF;
  FOR x IN SELECT * FROM rowseal._concerned(changed) LOOP
    IF x.own AND kind <> 'pg_catalog.pg_class'::pg_catalog.regclass THEN
      PERFORM rowseal._watch_trigger(x.d, changed, command);
    END IF;
    IF x.others THEN
      PERFORM rowseal._refresh_others(x.d, first => x.turn = 1);
      CONTINUE;
    END IF;
    PERFORM rowseal._refresh(x.d, coalesce(x.own, false));
    IF x.own AND kind = 'pg_catalog.pg_class'::pg_catalog.regclass AND command = 'ALTER TABLE' THEN
      PERFORM rowseal._warn_of_disabled(changed);
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._follow(oid, oid, text) IS
  'Follows a change of a table, or of a trigger or a rule on it; kind: OID of the catalog of what was changed';

-- Each level takes some 2.5 kB of the stack: with 120 left nothing here fails halfway by what was used up before.
-- Volatile, so that no plan keeps its result; without a search path, which would take most of its time.
CREATE OR REPLACE FUNCTION rowseal._room(levels integer DEFAULT 120) RETURNS integer LANGUAGE plpgsql STRICT AS $$
BEGIN
  RETURN CASE WHEN levels OPERATOR(pg_catalog.=) 0 THEN 0 ELSE rowseal._room(levels OPERATOR(pg_catalog.-) 1) END;
END
$$;
COMMENT ON FUNCTION rowseal._room(integer) IS
  'Raises 54001 where the session''s stack is nearly used up: what follows a command, or a grant, cannot be left out, '
  'and would be the fault of no table or row';

-- Functions of that role meet types and operators of users.  Whatever code comes to run as it, it changes none of its
-- tables and functions: a trigger that it put there would run as the next superuser who writes.
CREATE OR REPLACE FUNCTION rowseal._on_ddl_start() RETURNS event_trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_user = 'rowseal_internal' THEN
    RAISE insufficient_privilege USING MESSAGE = TG_TAG || ' is not for rowseal_internal',
      DETAIL = 'That role writes the tables of rowseal, and gives no commands about them, nor about anything else.';
  ELSIF NOT rowseal._installing() THEN
    PERFORM rowseal._room();
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._on_ddl_start() IS
  'Refuses DDL as rowseal_internal, who owns tables and functions here, and where what follows it would find no room';

CREATE OR REPLACE FUNCTION rowseal._sees_all(command text) RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF pg_catalog.current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
    RAISE EXCEPTION USING ERRCODE = '25001',
      MESSAGE = pg_catalog.format('%s needs READ COMMITTED in a database with rowseal', command),
      DETAIL = 'The snapshot of this transaction may be older than a declaration, or rows that it is about.',
      HINT = 'BEGIN ISOLATION LEVEL READ COMMITTED, or SET default_transaction_isolation.';
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._sees_all(text) IS
  'Raises 25001 in a transaction with a snapshot of its own: what others have declared and stored since then it would '
  'not see, and what it does could not be followed';

CREATE OR REPLACE FUNCTION rowseal._new_alone(relation oid, tag text) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.relpersistence = 't' OR c.relkind NOT IN ('r', 'p', 'i', 'I') OR (
           tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO')
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = relation))
    FROM pg_catalog.pg_class c WHERE c.oid = relation
$$;
COMMENT ON FUNCTION rowseal._new_alone(oid, text) IS
  'Whether a relation, by the command that was about it, can be no declared table, nor part of one: a temporary one, a '
  'new one without parents, a view';

-- SECURITY DEFINER: what it calls is for event triggers alone.
CREATE OR REPLACE FUNCTION rowseal._on_ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET rowseal.spent = '0' AS $$
DECLARE
  c record;
BEGIN
  IF TG_TAG IN ('CREATE EXTENSION', 'ALTER EXTENSION')
      AND EXISTS (SELECT FROM pg_catalog.pg_event_trigger_ddl_commands() x WHERE NOT x.in_extension) THEN
    PERFORM rowseal._bind();
  END IF;
  -- While a materialized view is refreshed, PostgreSQL tells event triggers nothing of what its functions do (but for
  -- what they drop).  Functions and rights are not followed; and closing or undeclaring a table changes some.
  IF NOT pg_catalog.starts_with(TG_TAG, 'DROP ')
     AND TG_TAG NOT IN ('CREATE FUNCTION', 'ALTER FUNCTION', 'GRANT', 'REVOKE')
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger_ddl_commands()) THEN
    IF rowseal._asker() IS NULL THEN
      -- REFRESH … CONCURRENTLY alters a table of its own.  It may be another one, too.
      IF TG_TAG = 'ALTER TABLE' THEN
        PERFORM rowseal._sees_all('ALTER TABLE within REFRESH MATERIALIZED VIEW');
      END IF;
      IF TG_TAG <> 'ALTER TABLE' OR EXISTS (
          SELECT FROM rowseal.declarations d
           WHERE rowseal._touched(d) AND CASE WHEN rowseal._closed(d) THEN rowseal._brings_rows(d)
             ELSE rowseal._known_facts(d) <> d.facts OR rowseal._numbers(d) <> d.numbers END) THEN
        RAISE insufficient_privilege USING MESSAGE = TG_TAG || ' cannot be followed within REFRESH MATERIALIZED VIEW',
          HINT = 'Give the command by itself.';
      END IF;
    END IF;
  END IF;
  FOR c IN
    SELECT DISTINCT x.classid, x.objid,
           CASE x.classid
             WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN x.objid
             WHEN 'pg_catalog.pg_trigger'::pg_catalog.regclass
               THEN (SELECT g.tgrelid FROM pg_catalog.pg_trigger g WHERE g.oid = x.objid)
             WHEN 'pg_catalog.pg_rewrite'::pg_catalog.regclass
               THEN (SELECT r.ev_class FROM pg_catalog.pg_rewrite r WHERE r.oid = x.objid)
           END AS relation
      FROM pg_catalog.pg_event_trigger_ddl_commands() x
  LOOP
    -- what generated functions name is followed to its new name: its old one may be somebody else's by then
    IF TG_TAG IN ('ALTER TYPE', 'ALTER DOMAIN', 'ALTER SCHEMA', 'ALTER EXTENSION', 'ALTER OPERATOR',
                  'ALTER OPERATOR CLASS', 'ALTER OPERATOR FAMILY', 'ALTER COLLATION') THEN
      PERFORM rowseal._sees_all(TG_TAG);
      PERFORM rowseal._follow_named(c.objid, c.classid);
    ELSIF c.relation IS NOT NULL THEN
      IF rowseal._new_alone(c.relation, TG_TAG) IS NOT TRUE THEN
        PERFORM rowseal._sees_all(TG_TAG);
        PERFORM rowseal._follow(c.relation, c.classid, TG_TAG);
      END IF;
      PERFORM rowseal._follow_named(r.reltype, 'pg_catalog.pg_type'::pg_catalog.regclass)  -- its rows as values
         FROM pg_catalog.pg_class r WHERE r.oid = c.relation AND c.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
          AND r.reltype <> 0 AND r.relpersistence <> 't'
          AND TG_TAG NOT IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO');
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._on_ddl() IS
  'Keeps generated functions in step with declared tables; refuses what would let unsigned content in';

-- SECURITY DEFINER: the declaration of a dropped table is nobody's any more.
CREATE OR REPLACE FUNCTION rowseal._on_drop() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET rowseal.spent = '0' AS $$
DECLARE
  x record;
  -- of temporary ones, which many create and drop all the time, nothing is declared
  gone CONSTANT oid[] := ARRAY(SELECT o.objid FROM pg_catalog.pg_event_trigger_dropped_objects() o
                                WHERE o.object_type = 'table' AND NOT o.is_temporary);
BEGIN
  PERFORM rowseal._sees_all(TG_TAG)
    WHERE EXISTS (SELECT FROM pg_catalog.pg_event_trigger_dropped_objects() o
                   WHERE NOT o.is_temporary
                     AND o.object_type IN ('table', 'table column', 'table constraint', 'trigger'));
  IF EXISTS (SELECT FROM pg_catalog.pg_event_trigger_dropped_objects() o
              WHERE o.object_type = 'extension' AND o.object_identity = 'pgsodium') THEN
    PERFORM rowseal._bind();
  END IF;
  IF gone <> '{}' THEN
    DELETE FROM rowseal.declarations d WHERE d.relation = ANY (gone);
    FOR x IN SELECT d FROM rowseal.declarations d WHERE d.versions = ANY (gone) LOOP
      PERFORM rowseal._close(x.d, 'the versions table is gone');
    END LOOP;
    -- of a partition the catalogs keep nothing
    PERFORM rowseal._refresh_others(d)
       FROM rowseal.declarations d
      WHERE EXISTS (SELECT FROM pg_catalog.unnest(gone) g
                     WHERE pg_catalog.jsonb_path_exists(d.facts, '$.main.partitions.* ? (@ == $oid)',
                                                        pg_catalog.jsonb_build_object('oid', g::bigint)));
  END IF;
  -- columns and constraints that went with something else, or with an ALTER TABLE
  FOR x IN SELECT DISTINCT l.relation FROM rowseal._lost() l LOOP
    PERFORM rowseal._lose_columns(x.relation, TG_TAG IN ('ALTER TABLE', 'DROP TRIGGER', 'DROP RULE'));
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._on_drop() IS
  'Forgets the declaration of a dropped table; follows the loss of columns and constraints';

CREATE OR REPLACE FUNCTION rowseal._lost() RETURNS TABLE (relation oid, "column" text) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT o.objid, o.address_names[3] FROM pg_catalog.pg_event_trigger_dropped_objects() o
   WHERE o.object_type = 'table column'
  UNION
  -- of these the catalogs keep nothing: their table is told by the name that it has just now
  SELECT pg_catalog.to_regclass(pg_catalog.format('%I.%I', o.address_names[1], o.address_names[2])), NULL
    FROM pg_catalog.pg_event_trigger_dropped_objects() o
   WHERE o.object_type IN ('table constraint', 'trigger', 'rule')
$$;
COMMENT ON FUNCTION rowseal._lost() IS
  'In an event trigger for sql_drop: tables that lost a column, or (NULL) a constraint, a trigger, a rule';

CREATE OR REPLACE FUNCTION rowseal._lose_columns(changed oid, blamed boolean) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  gone text[] := ARRAY(SELECT l."column" FROM rowseal._lost() l WHERE l.relation = changed);
  x record;
BEGIN
  FOR x IN SELECT * FROM rowseal._concerned(changed) LOOP
    IF changed = (x.d).relation AND (x.d).fields ?| gone THEN
      RAISE WARNING USING
        MESSAGE = pg_catalog.format('rowseal: rows of %s that were signed with the dropped column no longer verify',
                                    (x.d).relation),
        HINT = 'rowseal.verify lists them; they cannot be exported to other servers any more.';
    END IF;
    IF x.others THEN
      PERFORM rowseal._refresh_others(x.d, first => x.turn = 1);
    ELSE
      PERFORM rowseal._refresh(x.d, coalesce(x.own, false) AND blamed);
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._lose_columns(oid, boolean) IS
  'Follows the loss of columns, constraints, triggers or rules of a table';

-- The mark is a setting that superusers alone can make: PostgreSQL would log the stack of C functions of this name, and
-- there is none.  Those of our functions have it that give commands.  One of our own could be set by anybody, before he
-- calls a superuser's function that does DDL.
CREATE OR REPLACE FUNCTION rowseal._installing() RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.current_setting('backtrace_functions') = 'rowseal'
$$;
COMMENT ON FUNCTION rowseal._installing() IS
  'Whether a function of rowseal changes tables by several commands just now, as who installed it';

-- Not SECURITY DEFINER: it asks whose command it is.  What one owner could undeclare first is refused; the tables of
-- others are broken by now, fail closed, and keep nobody from what is his, a superuser neither.
CREATE OR REPLACE FUNCTION rowseal._on_drop_refuse() RETURNS event_trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  needs record;
  altered CONSTANT oid[] := ARRAY(SELECT o.objid FROM pg_catalog.pg_event_trigger_dropped_objects() o
                                   WHERE o.object_type = 'table column');
BEGIN
  -- a table of the same name would be taken for the one that is gone
  SELECT d.relation, o.object_identity INTO needs
    FROM pg_catalog.pg_event_trigger_dropped_objects() o
    JOIN rowseal.declarations d ON o.objid IN (d.versions, d.identity, d.writers)
    JOIN pg_catalog.pg_trigger g ON g.tgrelid = d.relation AND g.tgname = 'zzz_rowseal_guard'
   WHERE o.object_type = 'table' AND NOT o.is_temporary AND rowseal._owns(d.relation)
     AND (o.objid = d.versions OR rowseal._owner_of(d.relation) = rowseal._owner_of(o.objid)) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('declared table %s needs %s', needs.relation, needs.object_identity),
      HINT = 'rowseal.undeclare it first, or drop both in one command.';
  END IF;
  -- DROP TYPE … CASCADE, say: raises what is wrong without the column
  IF TG_TAG <> 'ALTER TABLE' AND altered <> '{}' THEN
    PERFORM rowseal._planned(d) FROM rowseal.declarations d
      WHERE (d.relation = ANY (altered) OR d.versions = ANY (altered))
        AND (NOT rowseal._closed(d) OR rowseal._of_this_transaction(d.xmin))  -- it may have been closed just now
        -- not as its member, which a superuser is of all, and anybody can make anybody else
        AND rowseal._owner_of(d.relation) = current_user;
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._on_drop_refuse() IS
  'Refuses to drop what a declared table of the same owner needs: its versions, identity or grants table, a column';

-- SECURITY DEFINER: what is forgotten is said by the command, by nobody else.  Nothing is lost: the number that is left
-- of a table would be another one in the cluster where a dump is restored.  What somebody else holds is left as it is:
-- nothing is trusted that rests on a table that is gone (see _standing).
CREATE OR REPLACE FUNCTION rowseal._on_drop_forget() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  gone oid[] := ARRAY(SELECT o.objid FROM pg_catalog.pg_event_trigger_dropped_objects() o
                       WHERE o.object_type = 'table' AND NOT o.is_temporary);
BEGIN
  IF gone = '{}' THEN
    RETURN;
  END IF;
  UPDATE rowseal.tags t SET relation = 0
   WHERE t.tag IN (SELECT x.tag FROM rowseal.tags x WHERE x.relation = ANY (gone) FOR UPDATE SKIP LOCKED);
  UPDATE rowseal.erasures e SET relation = 0
   WHERE e.id IN (SELECT x.id FROM rowseal.erasures x WHERE x.relation = ANY (gone) FOR UPDATE SKIP LOCKED);
  UPDATE rowseal.declarations d
     SET versions = CASE WHEN d.versions = ANY (gone) THEN 0 ELSE d.versions END,
         identity = CASE WHEN d.identity = ANY (gone) THEN 0 ELSE d.identity END,
         writers = CASE WHEN d.writers = ANY (gone) THEN 0 ELSE d.writers END
   WHERE d.relation IN (SELECT x.relation FROM rowseal.declarations x
                         WHERE x.versions = ANY (gone) OR x.identity = ANY (gone) OR x.writers = ANY (gone)
                           FOR UPDATE SKIP LOCKED);
END
$$;
COMMENT ON FUNCTION rowseal._on_drop_forget() IS
  'Where tables that are gone are named, 0 is from now on ("-"); the declarations that name one are closed';

-- SECURITY DEFINER, owner rowseal_internal: nobody else has the table.
CREATE OR REPLACE FUNCTION rowseal._take_new_columns() RETURNS TABLE (relation regclass, place regclass, name name)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY DELETE FROM rowseal._new_columns c WHERE c.xid = pg_catalog.pg_current_xact_id()
                 RETURNING c.relation::pg_catalog.regclass, c.place::pg_catalog.regclass, c.name;
END
$$;
COMMENT ON FUNCTION rowseal._take_new_columns() IS 'The columns that are signed since this command, once';

CREATE OR REPLACE FUNCTION rowseal._must_be_empty(relation regclass, place regclass, name name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  filled boolean;
BEGIN
  IF NOT rowseal._trusted(relation) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS017',
      MESSAGE = pg_catalog.format('whether column %I of %s is empty cannot be seen: to read it runs code of %s, whom '
                                  'the current user does not trust', name, place, rowseal._distrusted(relation)),
      HINT = 'Let the owner of the table alter it.';
  END IF;
  PERFORM rowseal._nothing_hidden(d) FROM rowseal.declarations d WHERE d.relation = _must_be_empty.relation;
  EXECUTE pg_catalog.format('SELECT EXISTS (SELECT FROM %s x WHERE pg_catalog.num_nonnulls(x.%I) = 1)', place, name)
    INTO filled;
  IF filled THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('column %I of %s holds values that nobody signed', name, place),
      HINT = 'Rows that are there were signed without. A new column comes without a default, and ALTER COLUMN … SET '
          || 'DEFAULT serves new rows; one that was not signed until now has to be dropped.';
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._must_be_empty(regclass, regclass, name) IS
  'Raises RS007 where a column that is signed from now on holds values; relation: the declared table, place: it or its '
  'versions table';

-- SECURITY DEFINER, owner rowseal_internal: nobody else has the table.
CREATE OR REPLACE FUNCTION rowseal._take_new_partitions() RETURNS TABLE (relation regclass, partitions oid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY SELECT p.relation::pg_catalog.regclass, pg_catalog.array_agg(p.partition)
                 FROM rowseal._new_partitions p WHERE p.xid = pg_catalog.pg_current_xact_id() GROUP BY p.relation;
  DELETE FROM rowseal._new_partitions p WHERE p.xid = pg_catalog.pg_current_xact_id();
END
$$;
COMMENT ON FUNCTION rowseal._take_new_partitions() IS 'The partitions that came with this command, once';

CREATE OR REPLACE FUNCTION rowseal._let_in_partitions(d rowseal.declarations, partitions oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET max_parallel_workers_per_gather = 0 AS $$
DECLARE
  bad record;
BEGIN
  IF d.queries = '{}' OR NOT EXISTS (SELECT FROM pg_catalog.unnest(partitions) p, rowseal._tree(p) t
                                      WHERE pg_catalog.pg_relation_size(t) > 0) THEN
    RETURN;
  ELSIF NOT rowseal._trusted(d.relation) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS017',
      MESSAGE = pg_catalog.format('the rows of a new partition of %s cannot be verified: to read them runs code of %s, '
                                  'whom the current user does not trust',
                                  d.relation, rowseal._distrusted(d.relation)),
      HINT = 'Let the owner of the table attach it.';
  END IF;
  PERFORM rowseal._nothing_hidden(d);
  d := rowseal._pinned(d.relation, cards => true);
  EXECUTE pg_catalog.format('SELECT * FROM (%s) x WHERE problem IS NOT NULL LIMIT 1', d.queries ->> 'verify')
    INTO bad USING partitions;
  IF bad.problem IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = (bad.problem).sqlstate,
      MESSAGE = pg_catalog.format('the new partition of %s holds a row that cannot stay: %s',
                                  d.relation, (bad.problem).reason),
      DETAIL = pg_catalog.format('Key %s.', bad.key), HINT = 'Remove or repair it first.';
  END IF;
  IF d.grants OR d.writers IS NOT NULL THEN
    PERFORM rowseal._lock_writers(rowseal._grants_id(d.grants, d.id, d.writers), NULL, true);  -- as in _enter_stored
    PERFORM rowseal._enter_rows(d, p::regclass, false) FROM pg_catalog.unnest(partitions) p;
    PERFORM rowseal._follow_grants(d);
  END IF;
  PERFORM rowseal._feed_rows(d, p::regclass) FROM pg_catalog.unnest(partitions) p WHERE d.feed;
END
$$;
COMMENT ON FUNCTION rowseal._let_in_partitions(rowseal.declarations, oid[]) IS
  'Verifies the rows of partitions that have come to a table, and enters them into its ledger and its feed';

-- Not SECURITY DEFINER: reading a table runs code of its owner, and rows are let in with the rights of who added their
-- column.
CREATE OR REPLACE FUNCTION rowseal._on_ddl_retry() RETURNS event_trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF rowseal._installing() THEN  -- the command that it follows from comes here, too
    RETURN;
  END IF;
  PERFORM rowseal._must_be_empty(c.relation, c.place, c.name) FROM rowseal._take_new_columns() c;
  PERFORM rowseal._let_in_partitions(d, f.partitions)
     FROM rowseal._take_new_partitions() f JOIN rowseal.declarations d USING (relation);
  PERFORM rowseal._retry_waiting(d.tag, true)
     FROM rowseal._opened o JOIN rowseal.declarations d USING (relation)
    WHERE o.xid = pg_catalog.pg_current_xact_id_if_assigned() AND rowseal._follow_opened(d);
  PERFORM rowseal._retry_waiting(t.tag)
     FROM (SELECT DISTINCT d.tag FROM pg_catalog.pg_event_trigger_ddl_commands() x
             JOIN rowseal.declarations d ON x.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                                        AND x.objid IN (d.relation, d.versions)) t;
END
$$;
COMMENT ON FUNCTION rowseal._on_ddl_retry() IS
  'Looks into new columns; verifies the rows of new partitions; tries rows again that waited for a column, or for a '
  'closed table to open';
