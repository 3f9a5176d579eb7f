-- Whose code a write runs.  Where a row says itself into which table it goes (receive, links, imports, cures), the
-- code of that table, triggers most of all, would run with the rights of whoever carries the row.

CREATE OR REPLACE FUNCTION rowseal._in_person() RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Either is refused where the code of a table's owner runs for whoever maintains it, and does nothing elsewhere.
  IF NOT pg_catalog.pg_is_in_recovery() AND NOT EXISTS (SELECT FROM pg_catalog.pg_listening_channels()) THEN
    UNLISTEN rowseal_in_person;
    RETURN;
  END IF;
  BEGIN  -- slower; who listens could not PREPARE TRANSACTION after the other
    DEALLOCATE rowseal_in_person;
  EXCEPTION WHEN invalid_sql_statement_name THEN
    NULL;
  END;
END
$$;
COMMENT ON FUNCTION rowseal._in_person() IS
  'Raises 42501 within a security-restricted operation: autovacuum, ANALYZE, CREATE INDEX, REFRESH MATERIALIZED VIEW … '
  'There session_user, by whom SECURITY DEFINER functions tell who asks, is not who acts';

CREATE OR REPLACE FUNCTION rowseal._asker() RETURNS name LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM rowseal._in_person();
  RETURN session_user;
EXCEPTION WHEN insufficient_privilege THEN
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._asker() IS
  'The session''s user, for policies; NULL within a security-restricted operation: see _in_person';

CREATE OR REPLACE FUNCTION rowseal._trusted_owner(owner oid) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT pg_catalog.pg_has_role(owner, pg_catalog.to_regrole(pg_catalog.quote_ident(current_user)), 'USAGE')
      OR pg_catalog.pg_has_role(owner, 'rowseal_trusted', 'USAGE')
$$;
COMMENT ON FUNCTION rowseal._trusted_owner(oid) IS
  'Whether code of a role may run as the current user without his naming the table. Without a search path, so that it '
  'is inlined';

CREATE OR REPLACE FUNCTION rowseal._written(relation regclass)
RETURNS TABLE (relation regclass, versions regclass, identity regclass, kept boolean) LANGUAGE sql STABLE AS $$
  SELECT x.relation, x.versions, x.identity, d.ledger IS NULL
    FROM (SELECT y.*, CASE WHEN y.grants THEN y.relation ELSE y.writers END AS ledger
            FROM rowseal.declarations y WHERE y.relation OPERATOR(pg_catalog.=) $1) d
    JOIN rowseal.declarations x ON x.relation OPERATOR(pg_catalog.=) ANY (ARRAY[d.relation, d.ledger])
                                OR x.writers OPERATOR(pg_catalog.=) d.ledger
$$;
COMMENT ON FUNCTION rowseal._written(regclass) IS
  'The tables that a row of this one may change, their versions tables, and the identity tables that are read: with '
  'writers, a row may admit and retract rows in all tables of its grants table; kept: without, none ever goes. Without '
  'a search path, so that it is inlined';

CREATE OR REPLACE FUNCTION rowseal._names_of(owner oid, namespace oid) RETURNS SETOF oid LANGUAGE sql STABLE AS $$
  SELECT owner
  UNION ALL
  SELECT n.nspowner FROM pg_catalog.pg_namespace n
   WHERE n.oid OPERATOR(pg_catalog.=) namespace
     AND n.nspowner OPERATOR(pg_catalog.<>) 'pg_database_owner'::pg_catalog.regrole
$$;
COMMENT ON FUNCTION rowseal._names_of(oid, oid) IS
  'Who can put something else under the name of an object: its owner, and that of its schema, but for the owner of the '
  'database. Without a search path, so that it is inlined';

CREATE OR REPLACE FUNCTION rowseal._who_attached(trigger_ oid) RETURNS SETOF oid LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT a.grantee
    FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid, pg_catalog.aclexplode(c.relacl) a
   WHERE g.oid = trigger_ AND a.privilege_type = 'TRIGGER'
  UNION ALL
  SELECT c.relowner
    FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc f ON f.oid = g.tgfoid
    JOIN rowseal.declarations d ON d.id = pg_catalog.substring(f.proname, '_([0-9]+)$')::integer
    JOIN pg_catalog.pg_class c ON c.oid = d.relation
   WHERE g.oid = trigger_ AND f.pronamespace = 'rowseal'::pg_catalog.regnamespace
$$;
COMMENT ON FUNCTION rowseal._who_attached(oid) IS
  'Whose code a trigger may run, or who may refuse rows by it, besides its function''s owner. Nobody owns a trigger: '
  'whoever may create triggers there has said what it does (0: PUBLIC). A function of rowseal runs the code of the '
  'table that it was made for';

CREATE OR REPLACE FUNCTION rowseal._lasting_key(index oid) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.bool_and(
           i.indisprimary
           -- not all that PostgreSQL can deduplicate: of bpchar blanks do not count, of interval a day is 24 hours
           AND o.opcnamespace = 'pg_catalog'::regnamespace
           AND o.opcintype = ANY ('{bool,int2,int4,int8,oid,uuid,bytea,date,time,timestamp,timestamptz,text,name,
                                    anyenum}'::regtype[])
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_collation c
                            WHERE c.oid = x.collid AND NOT c.collisdeterministic))
    FROM pg_catalog.pg_index i,
         ROWS FROM (pg_catalog.unnest(i.indclass::oid[]), pg_catalog.unnest(i.indcollation::oid[])) x(opclass, collid)
    JOIN pg_catalog.pg_opclass o ON o.oid = x.opclass
   WHERE i.indexrelid = index
$$;
COMMENT ON FUNCTION rowseal._lasting_key(oid) IS
  'Whether an index is of a primary key whose equal values are the same byte for byte: not 1 and 1.0 of numeric, say';

-- From the tables through pg_depend, in two steps over and over: what belongs to an object (triggers, constraints,
-- defaults, indexes, policies, rules, partitions; the checks of a domain), and what that names (functions, operators,
-- types; the table of a foreign key).  A function is an end: what it calls, its owner chose.  And from each table to
-- those with a foreign key to it: whatever that does, PostgreSQL reads their rows, or changes them with triggers and
-- all; but not where it refers to the primary key of a table that keeps its rows, and no key of it can change, not in
-- its spelling either.  Tables that are only read are an end, too: class 0; but what a query reads, a policy's or a
-- view's, runs its own policies, or query: class 1.
-- PL/pgSQL, which keeps the plan: it takes a fifth of the time.  The first that is found will do: whoever is not
-- trusted may own more than can be read for every row that somebody sends.
CREATE OR REPLACE FUNCTION rowseal._distrusted(relation regclass) RETURNS name LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  RETURN (WITH RECURSIVE code(classid, objid, kept) AS (
    SELECT t.classid, t.objid::oid, w.kept
      FROM rowseal._written($1) w, LATERAL (VALUES ('pg_class'::regclass::oid, w.relation),
        ('pg_class'::regclass, w.versions), (0, w.identity), (1, w.identity)) t(classid, objid)
     WHERE t.objid IS NOT NULL
    UNION
    SELECT n.classid, n.objid, n.kept FROM code c, LATERAL (
      SELECT p.classid, p.objid, c.kept FROM pg_catalog.pg_depend p
       WHERE p.refclassid = c.classid AND p.refobjid = c.objid AND p.deptype IN ('a', 'i', 'P', 'S')
         AND c.classid IN ('pg_class'::regclass, 'pg_type'::regclass, 'pg_constraint'::regclass)
      UNION ALL
      SELECT CASE WHEN c.classid = 'pg_constraint'::regclass AND p.refclassid = 'pg_class'::regclass THEN 0
                  ELSE p.refclassid END, p.refobjid, c.kept FROM pg_catalog.pg_depend p
       WHERE p.classid = c.classid AND p.objid = c.objid AND c.classid <> 'pg_proc'::regclass
         AND (p.refclassid IN ('pg_proc'::regclass, 'pg_type'::regclass, 'pg_operator'::regclass)
              -- the attributes of a composite type
              OR p.refclassid = 'pg_class'::regclass AND c.classid IN ('pg_type'::regclass, 'pg_constraint'::regclass))
      UNION ALL
      SELECT 1, p.refobjid, c.kept FROM pg_catalog.pg_depend p
       WHERE p.classid = c.classid AND p.objid = c.objid AND p.refclassid = 'pg_class'::regclass
         AND c.classid IN ('pg_policy'::regclass, 'pg_rewrite'::regclass)
      UNION ALL
      SELECT c.classid, i.inhrelid, c.kept FROM pg_catalog.pg_inherits i
       WHERE c.classid IN (0, 1) AND i.inhparent = c.objid  -- read, too, with the expressions of their indexes
      UNION ALL
      SELECT 'pg_policy'::regclass, p.oid, c.kept FROM pg_catalog.pg_policy p
       WHERE c.classid = 1 AND p.polrelid = c.objid
      UNION ALL
      SELECT 'pg_rewrite'::regclass, w.oid, c.kept FROM pg_catalog.pg_rewrite w
       WHERE c.classid = 1 AND w.ev_class = c.objid AND w.ev_type = '1'
      UNION ALL
      SELECT c.classid, k.conrelid, false
        FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_constraint k ON k.oid = g.tgconstraint
       WHERE c.classid = 'pg_class'::regclass
         AND g.tgrelid = c.objid AND g.tgconstrrelid <> 0 AND k.confrelid = c.objid
         AND NOT (c.kept AND rowseal._lasting_key(k.conindid))) n
  )
  SELECT CASE o.oid WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(o.oid) END
    FROM code x,
         LATERAL (  -- look-ups: a join may read the whole of pg_class
           SELECT c.relowner, CASE WHEN x.classid <> 1 THEN c.relnamespace END FROM pg_catalog.pg_class c
            WHERE x.classid IN (0, 1, 'pg_class'::regclass) AND c.oid = x.objid
           UNION ALL SELECT t.typowner, t.typnamespace FROM pg_catalog.pg_type t
            WHERE x.classid = 'pg_type'::regclass AND t.oid = x.objid
           UNION ALL SELECT f.proowner, NULL FROM pg_catalog.pg_proc f
            WHERE x.classid = 'pg_proc'::regclass AND f.oid = x.objid
              AND f.pronamespace <> 'rowseal'::pg_catalog.regnamespace  -- ours
           -- not those that are ENABLE ALWAYS: the table's owner alone can do that
           UNION ALL SELECT w.oid, NULL FROM pg_catalog.pg_trigger g, rowseal._who_attached(g.oid) w(oid)
            WHERE x.classid = 'pg_trigger'::regclass AND g.oid = x.objid
              AND g.tgenabled = 'O' AND NOT g.tgisinternal) n(owner, namespace),
         rowseal._names_of(n.owner, n.namespace) o(oid)
   WHERE NOT rowseal._trusted_owner(o.oid) LIMIT 1);
END
$$;
COMMENT ON FUNCTION rowseal._distrusted(regclass) IS
  'A role whose code a write to this declared table may run, and whom the current user does not trust; else NULL. Code '
  'is of the owners of the tables, of functions of triggers, constraints, defaults, indexes and policies, of domains '
  'and other types, of tables that foreign keys connect with them, of what policies and views read; of the schemas of '
  'tables and types; and of _who_attached a trigger';

-- What others have committed, a session hears when it locks a relation, and not because it has waited for a row.  Of
-- what is looked for here there is none; to look opens a catalog, and lets go of it.
CREATE OR REPLACE FUNCTION rowseal._hear() RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_catalog.pg_describe_object('pg_catalog.pg_attrdef'::pg_catalog.regclass, 0, 0);
END
$$;
COMMENT ON FUNCTION rowseal._hear() IS
  'From here on names lead where they lead now, also where the session has waited for a row meanwhile';

-- IMMUTABLE, which it is not: planned into a constant, it is as good as the plan.
CREATE OR REPLACE FUNCTION rowseal._leads_to(name text) RETURNS oid LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN coalesce(pg_catalog.to_regclass(name), 0);
END
$$;
COMMENT ON FUNCTION rowseal._leads_to(text) IS
  'The number of the table with this name, 0 of none: for plans that name the table besides (see generate/subject.py)';

-- IMMUTABLE as _leads_to: who undeclares a table takes its triggers, and so it moves.
CREATE OR REPLACE FUNCTION rowseal._is_guarded(id integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN pg_catalog.to_regprocedure(pg_catalog.format('rowseal._moved_%s(integer)', id)) IS NOT NULL;
END
$$;
COMMENT ON FUNCTION rowseal._is_guarded(integer) IS
  'Whether there is a declaration with this number, as the caches know it; for plans that name its table besides';

-- By their numbers: to look names up takes rights on schemas.  As the parser sees them, now: a query would look at the
-- catalogs by the snapshot of a transaction.
CREATE OR REPLACE FUNCTION rowseal._moved(names jsonb) RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
BEGIN
  PERFORM rowseal._hear();
  RETURN EXISTS (SELECT FROM pg_catalog.jsonb_each_text(names -> 'regclass') x(name, number)
                  WHERE x.number::oid::regclass::text <> x.name)
      OR EXISTS (SELECT FROM pg_catalog.jsonb_each_text(names -> 'regtype') x(name, number)
                  WHERE pg_catalog.format_type(x.number::oid, NULL) <> x.name)
      OR EXISTS (SELECT FROM pg_catalog.jsonb_each_text(names -> 'regoperator') x(name, number)
                  WHERE x.number::oid::regoperator::text <> x.name);
END
$$;
COMMENT ON FUNCTION rowseal._moved(jsonb) IS
  'Whether a table, type or operator that a declaration names (its names) has another name now, and its queries '
  'would read something else, or run its code';

CREATE OR REPLACE FUNCTION rowseal._standing(relation regclass) RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN NOT EXISTS (
    SELECT FROM rowseal._written(relation) w JOIN rowseal.declarations d USING (relation)
     WHERE d.queries <> '{}' AND (  -- a closed one takes nothing, by whatever name
           rowseal._moved(d.names)
        OR d.versions IS NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = d.versions)
        OR d.identity IS NOT NULL AND NOT EXISTS (SELECT FROM rowseal.declarations x WHERE x.relation = d.identity)
        OR d.writers IS NOT NULL AND NOT EXISTS (SELECT FROM rowseal.declarations x WHERE x.relation = d.writers)));
END
$$;
COMMENT ON FUNCTION rowseal._standing(regclass) IS
  'Whether the tables that a declared one rests on are there, by the names that it has for them, and declared: if not, '
  'its guard may go by the name of something else';

CREATE OR REPLACE FUNCTION rowseal._distrust(relation regclass) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN coalesce('a write to the table runs code of ' || rowseal._distrusted(relation)
                  || ', whom the current user does not trust',
                  'the table, or one that it needs, is gone or is being renamed');
END
$$;
COMMENT ON FUNCTION rowseal._distrust(regclass) IS 'The reason of RS017';

CREATE OR REPLACE FUNCTION rowseal._trusted(relation regclass) RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN rowseal._standing(relation) AND rowseal._distrusted(relation) IS NULL;
END
$$;
COMMENT ON FUNCTION rowseal._trusted(regclass) IS
  'Whether a write to this table runs no code of anybody whom the current user does not trust';

-- What was judged must be what is written: a trigger that is being created, a name that is being taken, shows once the
-- tables are locked, and none comes after that.
-- All of it are look-ups.  Plans are kept, also when others have declared a thousand tables meanwhile: no table is read
-- as a whole, and nothing is compiled for 40 ms that runs for 0.2.
CREATE OR REPLACE FUNCTION rowseal._secured(relation regclass) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
  tables record;
BEGIN
  FOR attempt IN 1 .. 3 LOOP
    SELECT pg_catalog.bool_and(rowseal._trusted_owner(c.relowner)) AS trusted,
           pg_catalog.array_agg(c.oid) AS oids, pg_catalog.array_agg(c.oid::regclass::text) AS names,
           pg_catalog.string_agg(c.oid::regclass::text, ', ') FILTER (
             WHERE t.written AND pg_catalog.has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')) AS written,
           pg_catalog.string_agg(c.oid::regclass::text, ', ') FILTER (
             WHERE NOT t.written AND pg_catalog.has_table_privilege(c.oid, 'SELECT')) AS read
      INTO tables
      FROM rowseal._written(relation) w,
           LATERAL (VALUES (w.relation, true), (w.versions, true), (w.identity, false)) t(oid, written)
      JOIN pg_catalog.pg_class c ON c.oid = t.oid;
    IF NOT tables.trusted THEN
      RETURN false;  -- who holds a lock on a table of his own keeps nobody waiting who would not write there
    END IF;
    BEGIN
      IF tables.written IS NOT NULL THEN
        EXECUTE 'LOCK TABLE ' || tables.written || ' IN ROW EXCLUSIVE MODE';
      END IF;
      IF tables.read IS NOT NULL THEN
        EXECUTE 'LOCK TABLE ' || tables.read || ' IN ACCESS SHARE MODE';
      END IF;
      IF NOT EXISTS (SELECT FROM ROWS FROM (pg_catalog.unnest(tables.names), pg_catalog.unnest(tables.oids))
                                   x(name, oid)
                      WHERE pg_catalog.to_regclass(x.name) IS DISTINCT FROM x.oid) THEN
        RETURN rowseal._trusted(relation);
      END IF;
    EXCEPTION WHEN undefined_table OR invalid_schema_name THEN
      NULL;
    END;
    -- it was renamed just then: by its new name
  END LOOP;
  RETURN false;
END
$$;
COMMENT ON FUNCTION rowseal._secured(regclass) IS
  'Locks the tables that a row of this one may change, against other triggers and names; then as _trusted';
