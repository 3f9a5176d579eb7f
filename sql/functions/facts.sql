-- What the catalogs say about a table, as JSON for rowseal._plan.

CREATE OR REPLACE FUNCTION rowseal._name(relation regclass, OUT schema_ text, OUT name_ text) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT n.nspname, c.relname
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation
$$;
COMMENT ON FUNCTION rowseal._name(regclass) IS 'Schema and name of a table, without quotes';

-- Everybody can nest types as deep as he likes, and event triggers meet them on behalf of others: no work beyond this.
CREATE OR REPLACE FUNCTION rowseal._within(type oid) RETURNS TABLE (oid oid, depth integer) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  WITH RECURSIVE within(oid, depth) AS (
    SELECT type, 1
    UNION ALL
    SELECT p.oid, w.depth + 1 FROM within w JOIN pg_catalog.pg_type t ON t.oid = w.oid, LATERAL (
      SELECT a.atttypid FROM pg_catalog.pg_attribute a
       WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
      UNION ALL SELECT t.typelem WHERE t.typelem <> 0
      UNION ALL SELECT t.typbasetype WHERE t.typtype = 'd') p(oid)
     WHERE w.depth <= 32
  ) SELECT w.oid, w.depth FROM within w LIMIT 257
$$;
COMMENT ON FUNCTION rowseal._within(oid) IS
  'A type and the types that it is made of (attributes, elements, bounds, bases), each as often as it occurs: of 257 '
  'rows, or where one has depth 33, there may be more';

CREATE OR REPLACE FUNCTION rowseal._kind(type oid) RETURNS jsonb LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  passing text;
BEGIN
  IF (SELECT count(*) > 256 OR max(w.depth) > 32 FROM rowseal._within(type) w) THEN
    RETURN pg_catalog.jsonb_build_object('refused', pg_catalog.format(
      '%s of more than 256 types or 32 levels', pg_catalog.format_type(type, NULL)));
  END IF;
  -- its name is another type, or none, in every other session
  SELECT pg_catalog.format('pg_temp.%I', t.typname) INTO passing
    FROM rowseal._within(type) w JOIN pg_catalog.pg_type t ON t.oid = w.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE pg_catalog.starts_with(n.nspname::text, 'pg_temp_')
   LIMIT 1;
  IF passing IS NOT NULL THEN
    RETURN pg_catalog.jsonb_build_object('refused', passing);
  END IF;
  -- how long these would be when they are written, nothing tells before: see _digits
  IF rowseal._base_type(type) <> ALL ('{numrange,numrange[],nummultirange,nummultirange[]}'::regtype[])
     AND EXISTS (
       SELECT FROM rowseal._within(type) w JOIN pg_catalog.pg_range r ON w.oid IN (r.rngtypid, r.rngmultitypid),
                   LATERAL rowseal._within(r.rngsubtype) s
        WHERE s.oid IN ('numeric'::regtype, 'jsonb'::regtype)) THEN
    RETURN pg_catalog.jsonb_build_object('refused', pg_catalog.format_type(type, NULL));
  END IF;
  RETURN rowseal._kind_of(type);
END
$$;
COMMENT ON FUNCTION rowseal._kind(oid) IS
  'The kind of a type: which row of the type table in docs/specification.md it follows';

-- Called by _kind, which has looked at the size of the type.
CREATE OR REPLACE FUNCTION rowseal._kind_of(type oid) RETURNS jsonb LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  t pg_catalog.pg_type;
  inner_ jsonb;
BEGIN
  SELECT * INTO STRICT t FROM pg_catalog.pg_type WHERE oid = type;
  IF t.typtype = 'd' THEN
    RETURN rowseal._kind_of(t.typbasetype);
  ELSIF t.typtype = 'e' THEN
    RETURN '"text"';
  ELSIF t.typtype = 'c' THEN
    SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(a.attname, rowseal._kind_of(a.atttypid))
                                         ORDER BY a.attnum), '[]')
      INTO inner_
      FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped;
    -- jsonb_populate_record takes elements for dimensions
    IF pg_catalog.jsonb_path_exists(inner_, '$[*][1] ? (@.array == "json")') THEN
      RETURN pg_catalog.jsonb_build_object('refused', pg_catalog.format_type(t.oid, NULL));
    END IF;
    RETURN pg_catalog.jsonb_build_object('composite', inner_);
  ELSIF t.typelem <> 0 AND EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid) THEN
    inner_ := rowseal._kind_of(t.typelem);
    IF inner_ ? 'array' THEN  -- its element is a domain over an array
      RETURN pg_catalog.jsonb_build_object('refused', pg_catalog.format_type(t.oid, NULL));
    END IF;
    RETURN pg_catalog.jsonb_build_object('array', inner_);
  ELSIF t.typtype IN ('r', 'm') AND EXISTS (
      SELECT FROM pg_catalog.pg_range r
       WHERE type IN (r.rngtypid, r.rngmultitypid)
         AND (pg_catalog.jsonb_path_exists(rowseal._kind_of(r.rngsubtype), '$.**.refused')
              -- which bound is the lower one would depend on the server
              OR r.rngcollation NOT IN (0, 'pg_catalog."C"'::pg_catalog.regcollation))) THEN
    RETURN pg_catalog.jsonb_build_object('refused', pg_catalog.format_type(t.oid, NULL));
  ELSIF t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace THEN
    -- money depends on lc_monetary; oid and reg* name objects of one server; int2vector counts from 0;
    -- of xml, the text leaves out a declaration that is stored; of jsonpath, 1e99999 is written with all its digits
    IF t.typname ~ '^reg' OR t.typtype = 'p' OR t.typname IN (
        'money', 'oid', 'oidvector', 'int2vector', 'xid', 'xid8', 'cid', 'tid', 'aclitem', 'xml', 'jsonpath') THEN
      RETURN pg_catalog.jsonb_build_object('refused', t.typname);
    END IF;
    RETURN pg_catalog.to_jsonb(CASE
      WHEN t.typname IN ('int2', 'int4', 'int8') THEN 'integer'
      WHEN t.typname IN ('float4', 'float8') THEN 'float'
      WHEN t.typname = 'bool' THEN 'boolean'
      WHEN t.typname IN ('text', 'varchar', 'bpchar', 'name') THEN 'text'
      WHEN t.typname IN ('numeric', 'bytea', 'uuid', 'timestamptz', 'timestamp', 'date', 'time') THEN t.typname
      WHEN t.typname IN ('json', 'jsonb') THEN 'json'
      ELSE 'other' END);
  END IF;
  RETURN CASE WHEN t.typname = 'citext' THEN '"text"' ELSE '"other"' END;
END
$$;
COMMENT ON FUNCTION rowseal._kind_of(oid) IS 'The kind of a type that is not too large';

CREATE OR REPLACE FUNCTION rowseal._base_type(type oid) RETURNS oid LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  t pg_catalog.pg_type;
BEGIN
  SELECT * INTO STRICT t FROM pg_catalog.pg_type WHERE oid = type;
  RETURN CASE WHEN t.typtype = 'd' THEN rowseal._base_type(t.typbasetype) ELSE type END;
END
$$;
COMMENT ON FUNCTION rowseal._base_type(oid) IS
  'The type below all domains. Those of elements, attributes and bounds stay: from an array of a domain to one of its '
  'base leads a cast, if somebody has made one';

-- What a name means is changed by whoever owns the type, its schema, or the extension that it belongs to.  The owner of
-- the database, and with it of the schema public, is no adversary (docs/limits.md).
CREATE OR REPLACE FUNCTION rowseal._who_names(type oid) RETURNS TABLE (type oid, role oid) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT t.oid, r.oid
    FROM rowseal._within(type) w
    JOIN pg_catalog.pg_type t ON t.oid = w.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_depend m ON m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND m.objid = t.oid
                                    AND m.deptype = 'e'
    LEFT JOIN pg_catalog.pg_extension x ON x.oid = m.refobjid
    JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
    JOIN pg_catalog.pg_roles r ON r.oid IN (
           t.typowner, nullif(n.nspowner, 'pg_database_owner'::pg_catalog.regrole), nullif(x.extowner, d.datdba))
   WHERE NOT r.rolsuper
$$;
COMMENT ON FUNCTION rowseal._who_names(oid) IS
  'Who, but for superusers, can put another type in the place of which type within this one';

CREATE OR REPLACE FUNCTION rowseal._changeable(type oid) RETURNS oid LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT t.oid
    FROM rowseal._within(rowseal._base_type(type)) w JOIN pg_catalog.pg_type t ON t.oid = w.oid
   WHERE t.typtype IN ('c', 'd')
  UNION ALL
  SELECT w.type FROM rowseal._who_names(rowseal._base_type(type)) w
   LIMIT 1
$$;
COMMENT ON FUNCTION rowseal._changeable(oid) IS
  'A type within a type''s base type that others than superusers can put another one in the place of, or that holds '
  'constraints (a composite type, a domain): their code would run wherever a value is read, at any time. NULL: none';

CREATE OR REPLACE FUNCTION rowseal._has_default(type oid) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  WITH RECURSIVE r(base, value) AS (
    SELECT t.typbasetype, t.typdefault FROM pg_catalog.pg_type t WHERE t.oid = type
    UNION ALL
    SELECT t.typbasetype, t.typdefault FROM r JOIN pg_catalog.pg_type t ON t.oid = r.base
  ) SELECT pg_catalog.bool_or(r.value IS NOT NULL) FROM r
$$;
COMMENT ON FUNCTION rowseal._has_default(oid) IS 'Whether a type, a domain most often, has a default value of its own';

-- pg_partition_tree would lock every partition, and deadlock with a parallel restore
CREATE OR REPLACE FUNCTION rowseal._tree(relation oid) RETURNS SETOF oid LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  WITH RECURSIVE t(oid) AS (
    SELECT relation
    UNION ALL
    SELECT i.inhrelid
      FROM t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
     WHERE c.relispartition
  ) SELECT t.oid FROM t
$$;
COMMENT ON FUNCTION rowseal._tree(oid) IS 'A table and its partitions of all levels';

CREATE OR REPLACE FUNCTION rowseal._stands_for(role oid, owner oid) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.pg_has_role(role, owner, 'USAGE') OR pg_catalog.pg_has_role(role, 'pg_database_owner', 'USAGE')
      OR pg_catalog.pg_has_role(role, 'rowseal_trusted', 'USAGE')
$$;
COMMENT ON FUNCTION rowseal._stands_for(oid, oid) IS
  'Whether a role could act as the owner of a table anyway, owns the database, or is trusted by all';

CREATE OR REPLACE FUNCTION rowseal._stranger(relation oid) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  WITH named(what, role) AS (
    SELECT pg_catalog.format('schema %I', n.nspname), n.nspowner
      FROM rowseal._tree(relation) t(oid) JOIN pg_catalog.pg_class c USING (oid)
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    UNION
    SELECT pg_catalog.format('partition %s', c.oid::pg_catalog.regclass), c.relowner
      FROM rowseal._tree(relation) t(oid) JOIN pg_catalog.pg_class c USING (oid) WHERE t.oid <> relation
    UNION
    SELECT pg_catalog.format('type %s', pg_catalog.format_type(y.oid, NULL)), r.oid  -- of a table OF a type
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_type y ON y.oid = c.reloftype,
           LATERAL rowseal._names_of(y.typowner, y.typnamespace) r(oid)
     WHERE c.oid = relation
    UNION
    SELECT pg_catalog.format('collation %s', l.oid::pg_catalog.regcollation), r.oid
      FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation,
           LATERAL rowseal._names_of(l.collowner, l.collnamespace) r(oid)
     WHERE a.attrelid = relation AND l.oid >= 16384  -- not made by initdb
    UNION
    SELECT pg_catalog.format('operator %s', o.oid::pg_catalog.regoperator), r.oid
      FROM pg_catalog.pg_index x, LATERAL pg_catalog.unnest(x.indclass::pg_catalog.oid[]) k(class)
      JOIN pg_catalog.pg_opclass c ON c.oid = k.class
      JOIN pg_catalog.pg_amop s ON s.amopfamily = c.opcfamily AND s.amopstrategy = 3
      JOIN pg_catalog.pg_operator o ON o.oid = s.amopopr,
           LATERAL rowseal._names_of(o.oprowner, o.oprnamespace) r(oid)
     WHERE x.indrelid = relation AND x.indisprimary AND o.oid >= 16384
  ), strange AS MATERIALIZED (
    SELECT r.role FROM (SELECT DISTINCT n.role FROM named n) r
      JOIN pg_catalog.pg_class c ON c.oid = relation AND NOT rowseal._stands_for(r.role, c.relowner)
  )
  SELECT pg_catalog.format('%s (%I)', n.what, pg_catalog.pg_get_userbyid(n.role))
    FROM named n JOIN strange s USING (role) ORDER BY 1 LIMIT 1
$$;
COMMENT ON FUNCTION rowseal._stranger(oid) IS
  'What a table rests on, besides the types of its columns, that belongs to somebody else, and to whom: its schema, a '
  'partition or its schema, the type that it is OF, a collation, an operator of its key';

-- Each type once, and of all together no more than this: see _within.
CREATE OR REPLACE FUNCTION rowseal._types(relation oid)
RETURNS TABLE (type oid, base oid, filled boolean, kind jsonb, changeable text, stranger text) LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
DECLARE
  owner CONSTANT oid := (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = relation);
  left_ bigint := 1024;
  scalar boolean;
BEGIN
  FOR type, scalar IN
    SELECT a.atttypid, t.typtype = 'b' AND t.typelem = 0 AND t.oid < 16384  -- made by initdb
      FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
     WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
     GROUP BY t.oid, a.atttypid ORDER BY pg_catalog.min(a.attnum)
  LOOP
    base := type; filled := false; changeable := NULL; stranger := NULL;
    IF scalar THEN  -- most are: nothing is within
      left_ := left_ - 1;
      kind := rowseal._kind_of(type);
    ELSIF left_ > 0 THEN
      left_ := left_ - (SELECT count(*) FROM rowseal._within(type));
      kind := rowseal._kind(type);
      changeable := pg_catalog.format_type(rowseal._changeable(type), NULL);
      stranger := (
        SELECT pg_catalog.format('%s (%I)', pg_catalog.format_type(w.type, NULL), pg_catalog.pg_get_userbyid(w.role))
          FROM rowseal._who_names(_types.type) w WHERE NOT rowseal._stands_for(w.role, owner) LIMIT 1);
    ELSE  -- not even unsigned: who names it is not known
      kind := pg_catalog.jsonb_build_object('refused', pg_catalog.format(
        '%s, after columns of 1024 types', pg_catalog.format_type(type, NULL)));
      stranger := pg_catalog.format('%s (it comes after columns of 1024 types)', pg_catalog.format_type(type, NULL));
    END IF;
    IF NOT scalar THEN
      base := rowseal._base_type(type);
      filled := rowseal._has_default(type);
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._types(oid) IS
  'The types of the columns of a table; filled: a domain gives a value to who names none (see _base_type, '
  '_has_default, _kind, _changeable); stranger: a type within, and a role that names it, which does not stand for the '
  'table''s owner (_who_names, _stands_for)';

CREATE OR REPLACE FUNCTION rowseal._column_facts(relation oid) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
  SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
           'name', a.attname,
           'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
           'base', pg_catalog.format_type(b.oid, NULL),
           'base_qualified', CASE WHEN b.oid < 16384 THEN pg_catalog.format('%I.%I', n.nspname, b.typname)
                                  ELSE pg_catalog.format_type(b.oid, NULL) END,
           'kind', pg_catalog.format_type(a.atttypid, NULL),
           'collation', (
             SELECT pg_catalog.format('%I.%I', ln.nspname, l.collname)
               FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace ln ON ln.oid = l.collnamespace
              WHERE l.oid = a.attcollation AND l.oid <> b.typcollation),
           'generated', a.attgenerated <> '',
           'hash_of', (  -- of a generated column: whose sha256 it is
             SELECT h.attname
               FROM (SELECT x.adrelid, pg_catalog.pg_get_expr(x.adbin, x.adrelid) AS expression
                       FROM pg_catalog.pg_attrdef x
                      WHERE a.attgenerated <> '' AND x.adrelid = a.attrelid AND x.adnum = a.attnum
                        AND pg_catalog.octet_length(x.adbin::text) < 8192  -- else it is none, and takes its time
                     OFFSET 0) e
               JOIN pg_catalog.pg_attribute h ON h.attrelid = e.adrelid AND h.attnum > 0
              WHERE e.expression IN (pg_catalog.format('sha256(%I)', h.attname),
                                     pg_catalog.format('sha256(decode(%I, ''base64''::text))', h.attname))),
           'identity', a.attidentity,
           'filled', a.attgenerated = '' AND (a.atthasdef OR a.atthasmissing OR a.attidentity <> ''
                                              OR k.filled),
           'notnull', a.attnotnull,
           'toastable', t.typlen = -1,
           'domain', b.oid <> a.atttypid,
           'modified', a.atttypmod >= 0,
           'required', a.attnotnull AND NOT a.atthasdef AND a.attidentity = '') ORDER BY a.attnum)
    FROM pg_catalog.pg_attribute a
    JOIN rowseal._types(relation) k ON k.type = a.atttypid
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    JOIN pg_catalog.pg_type b ON b.oid = k.base
    JOIN pg_catalog.pg_namespace n ON n.oid = b.typnamespace
   WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION rowseal._column_facts(oid) IS
  'Catalog facts of the columns of a table, in their order; _facts has the kinds, each once. filled: rows that name no '
  'value there, or were there before the column, have one all the same';

CREATE OR REPLACE FUNCTION rowseal._type_oids(relation oid) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
  SELECT coalesce(pg_catalog.jsonb_object_agg(x.name, x.oid::bigint), '{}')
    FROM pg_catalog.pg_attribute a
    CROSS JOIN LATERAL (VALUES (a.atttypid), (rowseal._base_type(a.atttypid))) y(oid)
    CROSS JOIN LATERAL (SELECT pg_catalog.format_type(y.oid, NULL) AS name, y.oid) x
   WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND x.oid >= 16384  -- not made by initdb
$$;
COMMENT ON FUNCTION rowseal._type_oids(oid) IS
  'The numbers of the types of a table''s columns, by the names that generated functions have for them';

CREATE OR REPLACE FUNCTION rowseal._key_operators(relation oid)
RETURNS TABLE (attname name, ord bigint, operator oid) LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT a.attname, k.ord, s.amopopr
    FROM pg_catalog.pg_index x,
         ROWS FROM (pg_catalog.unnest(x.indkey::pg_catalog.int2[]),
                    pg_catalog.unnest(x.indclass::pg_catalog.oid[])) WITH ORDINALITY k(attnum, class, ord)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = relation AND a.attnum = k.attnum
    JOIN pg_catalog.pg_opclass c ON c.oid = k.class
    JOIN pg_catalog.pg_amop s ON s.amopfamily = c.opcfamily AND s.amopstrategy = 3
                             AND s.amoplefttype = c.opcintype AND s.amoprighttype = c.opcintype
   WHERE x.indrelid = relation AND x.indisprimary
$$;
COMMENT ON FUNCTION rowseal._key_operators(oid) IS
  'Columns of a primary key with their places in it, and the index''s own equality of each';

CREATE OR REPLACE FUNCTION rowseal._operator_oids(relation oid) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
  SELECT coalesce(pg_catalog.jsonb_object_agg(k.operator::regoperator::text, k.operator::bigint), '{}')
    FROM rowseal._key_operators(relation) k WHERE k.operator >= 16384  -- not made by initdb
$$;
COMMENT ON FUNCTION rowseal._operator_oids(oid) IS
  'The numbers of the operators that compare a table''s keys, by their names for to_regoperator';

CREATE OR REPLACE FUNCTION rowseal._key_facts(relation oid) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
  SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
           'name', k.attname,
           -- the index's own equality: that of citext, say, is in no fixed schema
           'equal', pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname)) ORDER BY k.ord)
    FROM rowseal._key_operators(relation) k JOIN pg_catalog.pg_operator o ON o.oid = k.operator
    JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
$$;
COMMENT ON FUNCTION rowseal._key_facts(oid) IS
  'The columns of a primary key, each with strategy 3 of its index: of a btree that is its equality';

CREATE OR REPLACE FUNCTION rowseal._late(relation oid) RETURNS TABLE (name name, rule boolean) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  WITH parts AS MATERIALIZED (SELECT rowseal._tree(relation) AS oid)
  SELECT g.tgname, false FROM parts p JOIN pg_catalog.pg_trigger g ON g.tgrelid = p.oid
   WHERE NOT g.tgisinternal AND g.tgparentid = 0
     AND g.tgtype & 3 = 3 AND g.tgtype & 20 <> 0  -- ROW, BEFORE; INSERT or UPDATE
     AND g.tgname > 'zzz_rowseal_guard'::pg_catalog.name
  UNION ALL
  SELECT r.rulename, true FROM parts p JOIN pg_catalog.pg_rewrite r ON r.ev_class = p.oid WHERE r.ev_type <> '1'
$$;
COMMENT ON FUNCTION rowseal._late(oid) IS
  'Triggers that fire after the guard of a table, or of its partitions, and rules: they could change or divert rows';

CREATE OR REPLACE FUNCTION rowseal._facts(relation regclass) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
  SELECT pg_catalog.jsonb_build_object(
    'qualified', pg_catalog.format('%I.%I', n.nspname, c.relname),
    'label', pg_catalog.format('%I.%I', n.nspname, c.relname),
    'relkind', c.relkind, 'partition', c.relispartition,
    'persistence', coalesce((
      SELECT min(p.relpersistence::text) FROM rowseal._tree(c.oid) t JOIN pg_catalog.pg_class p ON p.oid = t
       WHERE p.relpersistence <> 'p'), 'p'),
    'computed', (  -- after the guard has seen the row
      SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.format('%s of %s', a.attname, t::pg_catalog.regclass)
                                           ORDER BY t::oid, a.attnum), '[]')
        FROM rowseal._tree(c.oid) t JOIN pg_catalog.pg_attribute a ON a.attrelid = t AND a.attgenerated <> ''
       WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute m
                          WHERE m.attrelid = c.oid AND m.attname = a.attname AND m.attgenerated <> '')),
    'inherits', NOT c.relispartition AND c.relkind = 'r' AND EXISTS (
      SELECT FROM pg_catalog.pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)),
    'columns', rowseal._column_facts(c.oid),
    'oids', pg_catalog.jsonb_build_object('relation', c.oid::bigint, 'types', rowseal._type_oids(c.oid),
                                          'operators', rowseal._operator_oids(c.oid)),
    'kinds', k.kinds,
    'whose', pg_catalog.jsonb_build_object('table', rowseal._stranger(c.oid), 'types', k.whose, 'versions', (
      SELECT pg_catalog.format('versions table %s (%I)', v.oid::pg_catalog.regclass,
                               pg_catalog.pg_get_userbyid(v.relowner))
        FROM rowseal.declarations d JOIN pg_catalog.pg_class v ON v.oid = d.versions
       WHERE d.relation = c.oid AND NOT rowseal._stands_for(v.relowner, c.relowner))),
    'key', rowseal._key_facts(c.oid),
    'key_deferrable', NOT coalesce(x.indimmediate, true),
    'key_compares', coalesce(m.amname = 'btree' AND NOT x.indisexclusion, true),
    'deferrable', (
      SELECT coalesce(pg_catalog.jsonb_agg(DISTINCT d.conname), '[]') FROM pg_catalog.pg_constraint d
       WHERE d.conrelid IN (SELECT rowseal._tree(c.oid)) AND d.condeferrable AND d.contype IN ('u', 'x', 'f', 't')),
    'unique', (
      SELECT coalesce(pg_catalog.jsonb_agg(u.names ORDER BY u.names), '[]')
        FROM pg_catalog.pg_index ui,
             LATERAL (SELECT pg_catalog.jsonb_agg(a.attname ORDER BY a.attnum) AS names FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = c.oid AND a.attnum = ANY (ui.indkey::pg_catalog.int2[])) u
       WHERE ui.indrelid = c.oid AND ui.indisunique AND NOT ui.indisexclusion AND ui.indimmediate
         AND ui.indpred IS NULL AND ui.indexprs IS NULL),
    'rules', (
      SELECT coalesce(pg_catalog.jsonb_agg(x.name ORDER BY x.name), '[]') FROM rowseal._late(c.oid) x WHERE x.rule),
    'late_triggers', (
      SELECT coalesce(pg_catalog.jsonb_agg(x.name ORDER BY x.name), '[]') FROM rowseal._late(c.oid) x WHERE NOT x.rule),
    'partitions', (
      SELECT coalesce(
               pg_catalog.jsonb_object_agg(pg_catalog.format('%I.%I', pn.nspname, p.relname), p.oid::bigint), '{}')
        FROM rowseal._tree(c.oid) pt
        JOIN pg_catalog.pg_class p ON p.oid = pt JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
       WHERE pt <> c.oid))
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_index x ON x.indrelid = c.oid AND x.indisprimary
    LEFT JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    LEFT JOIN pg_catalog.pg_am m ON m.oid = i.relam,
         LATERAL (
           SELECT coalesce(pg_catalog.jsonb_object_agg(t.name, t.kind), '{}') AS kinds,
                  coalesce(pg_catalog.jsonb_object_agg(t.name, t.whose) FILTER (WHERE t.whose <> '{}'), '{}') AS whose
             FROM (SELECT pg_catalog.format_type(y.type, NULL) AS name, y.kind,
                          pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                            'changeable', y.changeable, 'stranger', y.stranger)) AS whose
                     FROM rowseal._types(c.oid) y) t) k
   WHERE c.oid = relation
$$;
COMMENT ON FUNCTION rowseal._facts(regclass) IS
  'Catalog facts of a table: columns with their kinds, primary key, partitions, whatever stands against declaring it';
