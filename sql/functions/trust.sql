-- Whose code a write runs.  Where a row says itself into which table it goes (receive, links, imports, cures), the
-- code of that table, triggers most of all, would run with the rights of whoever carries the row.

CREATE OR REPLACE FUNCTION rowseal._trusted_owner(owner oid) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT pg_catalog.pg_has_role(owner, pg_catalog.to_regrole(pg_catalog.quote_ident(current_user)), 'USAGE')
      OR pg_catalog.pg_has_role(owner, 'rowseal_trusted', 'USAGE')
$$;
COMMENT ON FUNCTION rowseal._trusted_owner(oid) IS
  'Whether code of a role may run as the current user without his naming the table. Without a search path, so that it '
  'is inlined';

-- PL/pgSQL, which keeps the plan: it takes a fifth of the time.
CREATE OR REPLACE FUNCTION rowseal._code_owners(relation regclass) RETURNS SETOF oid LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- From the tables through pg_depend, in two steps over and over: what belongs to an object (triggers, constraints,
  -- defaults, indexes, policies, rules, partitions; the checks of a domain), and what that names (functions, operators,
  -- types).  A function is an end: what it calls, its owner chose.
  RETURN QUERY WITH RECURSIVE d AS (
    SELECT x.*, CASE WHEN x.grants THEN x.relation ELSE x.writers END AS ledger
      FROM rowseal.declarations x WHERE x.relation = _code_owners.relation
  ), tables AS (  -- with writers, a row may admit and retract rows in all tables of its grants table
    SELECT x.relation, x.versions, x.identity
      FROM d JOIN rowseal.declarations x ON x.relation IN (d.relation, d.ledger) OR x.writers = d.ledger
  ), code(classid, objid) AS (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, t.oid::oid
      FROM tables, pg_catalog.unnest(ARRAY[tables.relation, tables.versions]) t(oid) WHERE t.oid IS NOT NULL
    UNION
    SELECT 'pg_catalog.pg_policy'::pg_catalog.regclass, p.oid  -- the identity table is only read
      FROM tables JOIN pg_catalog.pg_policy p ON p.polrelid = tables.identity
    UNION
    SELECT n.classid, n.objid FROM code c, LATERAL (
      SELECT p.classid, p.objid FROM pg_catalog.pg_depend p
       WHERE p.refclassid = c.classid AND p.refobjid = c.objid AND p.deptype IN ('a', 'i', 'P', 'S')
         AND c.classid IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass,
                           'pg_catalog.pg_constraint'::pg_catalog.regclass)
      UNION ALL
      SELECT p.refclassid, p.refobjid FROM pg_catalog.pg_depend p
       WHERE p.classid = c.classid AND p.objid = c.objid AND c.classid <> 'pg_catalog.pg_proc'::pg_catalog.regclass
         AND (p.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass,
                               'pg_catalog.pg_operator'::pg_catalog.regclass)
              OR p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass  -- the attributes of a composite type
                 AND c.classid = 'pg_catalog.pg_type'::pg_catalog.regclass)) n
  )
  SELECT c.relowner FROM code JOIN pg_catalog.pg_class c ON c.oid = code.objid
   WHERE code.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
  UNION
  SELECT t.typowner FROM code JOIN pg_catalog.pg_type t ON t.oid = code.objid
   WHERE code.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
  UNION
  SELECT f.proowner FROM code JOIN pg_catalog.pg_proc f ON f.oid = code.objid
   WHERE code.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
     AND f.pronamespace <> 'rowseal'::pg_catalog.regnamespace;  -- ours
END
$$;
COMMENT ON FUNCTION rowseal._code_owners(regclass) IS
  'The roles whose code a write to this declared table may run: owners of the tables, of functions of triggers, '
  'constraints, defaults, indexes and policies, of domains and other types';

CREATE OR REPLACE FUNCTION rowseal._distrusted(relation regclass) RETURNS name LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (SELECT r.rolname FROM rowseal._code_owners(relation) o(oid) JOIN pg_catalog.pg_roles r ON r.oid = o.oid
           WHERE NOT rowseal._trusted_owner(o.oid) ORDER BY 1 LIMIT 1);
END
$$;
COMMENT ON FUNCTION rowseal._distrusted(regclass) IS
  'A role whose code a write to this table would run, and whom the current user does not trust; else NULL';

CREATE OR REPLACE FUNCTION rowseal._distrust(relation regclass) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN pg_catalog.format('a write to the table runs code of %s, whom the current user does not trust',
                           rowseal._distrusted(relation));
END
$$;
COMMENT ON FUNCTION rowseal._distrust(regclass) IS 'The reason of RS017';

CREATE OR REPLACE FUNCTION rowseal._trusted(relation regclass) RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN rowseal._distrusted(relation) IS NULL;
END
$$;
COMMENT ON FUNCTION rowseal._trusted(regclass) IS
  'Whether a write to this table runs no code of anybody whom the current user does not trust';
