-- declare and undeclare, with the rights of who calls.  Both write rowseal.declarations; the rest happens there.

CREATE OR REPLACE FUNCTION rowseal._qualified(name_ text, beside regclass) RETURNS text LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  path text[];
BEGIN
  path := pg_catalog.parse_ident(name_);
  IF pg_catalog.cardinality(path) > 2 THEN
    RAISE invalid_parameter_value;
  END IF;
  IF pg_catalog.cardinality(path) = 1 THEN
    path := pg_catalog.array_prepend((
      SELECT n.nspname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
       WHERE c.oid = beside), path);
  END IF;
  RETURN pg_catalog.format('%I.%I', path[1], path[2]);
EXCEPTION WHEN invalid_parameter_value THEN
  RAISE EXCEPTION USING ERRCODE = 'RS007', MESSAGE = pg_catalog.format('%L is not the name of a table', name_),
    HINT = 'name or schema.name, each part in double quotes where it is not lower case.';
END
$$;
COMMENT ON FUNCTION rowseal._qualified(text, regclass) IS
  'A name as SQL would read it, quoted, in the schema of another table when it names none';

-- Each step of declare is a function; each raises RS007 (wrong declaration) or RS008 (no right) unless it says more.

CREATE OR REPLACE FUNCTION rowseal._may_declare(
  relation regclass, owner text, public_key text, identity regclass, writers regclass)
RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF relation IS NULL OR owner IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007', MESSAGE = 'declare needs a relation and its owner column',
      HINT = 'SELECT rowseal.declare(''table'', owner => ''column'', …).';
  END IF;
  IF NOT rowseal._owns(relation) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS008', MESSAGE = pg_catalog.format('no right to declare %s', relation),
      HINT = 'Only the owner of a table may declare it.';
  END IF;
  IF identity IS NOT NULL AND NOT pg_catalog.has_table_privilege(identity, 'SELECT') THEN
    RAISE EXCEPTION USING ERRCODE = 'RS008',
      MESSAGE = pg_catalog.format('no right to use %s as identity table', identity),
      HINT = 'Keys are read there with the rights of who writes: SELECT on it is needed.';
  END IF;
  IF writers IS NOT NULL AND NOT rowseal._owns(writers) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS008', MESSAGE = pg_catalog.format('no right to use %s as grants table', writers),
      HINT = 'A table with writers and its grants table must have the same owner.';
  END IF;
  -- the third argument without a name
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = relation AND a.attname = public_key)
      AND EXISTS (SELECT FROM rowseal.declarations d JOIN pg_catalog.pg_class c ON c.oid = d.relation
                   WHERE d.public_key IS NOT NULL AND c.relname = _may_declare.public_key) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('public_key of %s names the identity table %s', relation, public_key),
      HINT = pg_catalog.format('identity => %L names the identity table of its owners; public_key is for identity '
                               'tables, and names the column of the key.', public_key);
  END IF;
  IF rowseal._provider() IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'RS014',
      MESSAGE = 'no provider of signatures: neither pgsodium nor PyNaCl is there', HINT = rowseal._hint('RS014');
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._may_declare(regclass, text, text, regclass, regclass) IS
  'Whether who calls may declare this table, and a server can do it (else RS014)';

CREATE OR REPLACE FUNCTION rowseal._owner_columns(relation regclass, owner text) RETURNS text[] LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF pg_catalog.left(owner, 1) <> '{' OR EXISTS (
      SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = relation AND a.attname = owner AND a.attnum > 0) THEN
    RETURN ARRAY[owner];
  END IF;
  RETURN owner::text[];
EXCEPTION WHEN invalid_text_representation THEN
  RAISE EXCEPTION USING ERRCODE = 'RS007',
    MESSAGE = pg_catalog.format('owner %L is neither a column nor an array of columns', owner),
    HINT = 'owner => ''column'' or owner => ''{one,another}''.';
END
$$;
COMMENT ON FUNCTION rowseal._owner_columns(regclass, text) IS
  'The columns that the argument owner names: one, or an array as text';

CREATE OR REPLACE FUNCTION rowseal._declared_same(wish rowseal.declarations, versions text) RETURNS rowseal.declarations
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d rowseal.declarations;
  differs text;
BEGIN
  SELECT * INTO STRICT d FROM rowseal.declarations x WHERE x.relation = wish.relation;
  wish.id := d.id;
  wish.fields := (  -- all columns: none of them came later
    SELECT pg_catalog.jsonb_object_agg(a.attname, a.attname) || d.fields FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = d.relation AND a.attnum > 0 AND NOT a.attisdropped);
  wish.versions := pg_catalog.to_regclass(rowseal._qualified(versions, wish.relation));
  wish.version_columns := d.version_columns || coalesce(wish.version_columns, '{}');
  wish := pg_catalog.jsonb_populate_record(wish, rowseal._planned(wish) -> 'declaration');
  SELECT pg_catalog.string_agg(w.key, ', ' ORDER BY w.key) INTO differs
    FROM pg_catalog.jsonb_each(pg_catalog.to_jsonb(wish) - '{generation,facts,numbers,manifest,queries,spec}'::text[]) w
   WHERE w.value <> pg_catalog.to_jsonb(d) -> w.key;
  IF differs IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('table %s is declared already, and otherwise: %s', d.relation, differs),
      HINT = 'rowseal.declarations shows how. To change it, rowseal.undeclare the table first.';
  END IF;
  RETURN d;
END
$$;
COMMENT ON FUNCTION rowseal._declared_same(rowseal.declarations, text) IS
  'The declaration of a table that is declared already; an error where this wish is another one';

CREATE OR REPLACE FUNCTION rowseal._check_tag(d rowseal.declarations) RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  taken regclass := (SELECT x.relation FROM rowseal.declarations x WHERE x.tag = d.tag);
BEGIN
  IF taken IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('tag %L of %s is taken by %s', d.tag, d.relation, taken),
      HINT = 'Rows of one could be replayed into the other. Choose another one with tag => ….';
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._check_tag(rowseal.declarations) IS 'Whether no other table has this tag';

CREATE OR REPLACE FUNCTION rowseal._versions_table(d rowseal.declarations, versions text) RETURNS regclass
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  target text := rowseal._qualified(versions, d.relation);
BEGIN
  IF pg_catalog.to_regclass(target) IS NULL THEN
    PERFORM rowseal._create_versions_table(d, target);
  END IF;
  -- nor by a superuser, who has the rights of both
  IF NOT rowseal._owns(target::pg_catalog.regclass)
      OR rowseal._owner(target) <> rowseal._owner(d.relation::text) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS008',
      MESSAGE = pg_catalog.format('no right to use %s as versions table', target),
      HINT = 'Main and versions table must have the same owner.';
  END IF;
  EXECUTE pg_catalog.format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', target);
  RETURN target::pg_catalog.regclass;
END
$$;
COMMENT ON FUNCTION rowseal._versions_table(rowseal.declarations, text) IS
  'The versions table of this name, made if it is not there, locked against writing';

CREATE OR REPLACE FUNCTION rowseal._owner(relation text) RETURNS regrole LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass(relation)
$$;
COMMENT ON FUNCTION rowseal._owner(text) IS 'Who owns a table or view; NULL when it is not there';

CREATE OR REPLACE FUNCTION rowseal._create_versions_table(d rowseal.declarations, target text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  hash_ text;
  columns text;
  key_ text;
BEGIN
  d.writers := NULL;  -- they ask for versions, which are not there yet
  hash_ := rowseal._planned(d) ->> 'version_hash';  -- a wrong declaration leaves nothing behind
  SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns
    FROM pg_catalog.pg_attribute a
   WHERE a.attrelid = d.relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
     AND a.attname <> ALL (d.unsigned);
  SELECT pg_catalog.string_agg(pg_catalog.quote_ident(k ->> 'name'), ', ') INTO key_
    FROM pg_catalog.jsonb_array_elements(rowseal._facts(d.relation) -> 'key') k;
  EXECUTE pg_catalog.format('CREATE TABLE %s AS SELECT %s FROM %s WITH NO DATA', target, columns, d.relation);
  IF hash_ IS NULL THEN
    EXECUTE pg_catalog.format('ALTER TABLE %s ADD PRIMARY KEY (%I)', target,
                              coalesce(d.name_column, d.signature_column));
  ELSE  -- signatures that do not fit into an index
    EXECUTE pg_catalog.format('ALTER TABLE %s ADD COLUMN %I bytea GENERATED ALWAYS AS (%s) STORED PRIMARY KEY',
                              target, d.signature_column || '_sha256', hash_);
  END IF;
  EXECUTE pg_catalog.format('CREATE INDEX ON %s (%s)', target, key_);
  EXECUTE pg_catalog.format('ALTER TABLE %s OWNER TO %s', target, rowseal._owner(d.relation::text));
  EXECUTE pg_catalog.format('COMMENT ON TABLE %s IS %L', target,
                            pg_catalog.format('Superseded versions of %s, kept by rowseal', d.relation));
END
$$;
COMMENT ON FUNCTION rowseal._create_versions_table(rowseal.declarations, text) IS
  'Makes a table for the superseded versions of another one, owned by the same';

CREATE OR REPLACE FUNCTION rowseal._nothing_hidden(d rowseal.declarations) RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  hidden regclass := (SELECT t FROM pg_catalog.unnest(ARRAY[d.relation, d.versions]) t
                       WHERE pg_catalog.row_security_active(t) LIMIT 1);
BEGIN
  IF hidden IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42501',
      MESSAGE = pg_catalog.format('rows of %s cannot be verified: row security of %s may hide some from %s',
                                  d.relation, hidden, current_user),
      HINT = 'Let a role do this to which it does not apply: the owner, without FORCE, or one with BYPASSRLS.';
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._nothing_hidden(rowseal.declarations) IS
  'Raises 42501 where rows that are to be verified may not all be seen: those that are hidden would come in '
  'unverified. A card that is hidden lets none in';

CREATE OR REPLACE FUNCTION rowseal._stored_problems(d rowseal.declarations)
RETURNS TABLE (key jsonb, sign bytea, sqlstate text, problem text) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  PERFORM rowseal._nothing_hidden(d)
    WHERE EXISTS (SELECT FROM (SELECT rowseal._tree(d.relation) UNION ALL SELECT d.versions) t(oid)
                   WHERE pg_catalog.pg_relation_size(t.oid) > 0);
  -- before anything is derived from the rows; licences are looked at afterwards
  RETURN QUERY SELECT * FROM rowseal._wrong_rows(d.relation) v WHERE v.sqlstate NOT IN ('RS010', 'RS011', 'RS012');
  IF NOT FOUND AND (d.grants OR d.writers IS NOT NULL) THEN
    PERFORM rowseal._enter_stored(d);
    -- what is held is no row of the table: it keeps no table from being declared
    RETURN QUERY SELECT * FROM rowseal.verify(d.relation) v WHERE v.sign IS NOT NULL OR v.sqlstate = 'RS020';
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._stored_problems(rowseal.declarations) IS
  'Verifies what a table holds when it is declared, and enters its grants';

CREATE OR REPLACE FUNCTION rowseal._check_stored(d rowseal.declarations) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  schema_ text;
  name_ text;
  bad record;
BEGIN
  SELECT * INTO bad FROM rowseal._stored_problems(d) LIMIT 1;
  IF FOUND THEN
    SELECT * INTO schema_, name_ FROM rowseal._name(d.relation);
    RAISE EXCEPTION USING ERRCODE = bad.sqlstate,
      MESSAGE = pg_catalog.format('table %s holds a row that cannot stay: %s', d.relation, bad.problem),
      DETAIL = pg_catalog.format('Key %s.', bad.key),
      SCHEMA = schema_, TABLE = name_,
      HINT = 'Remove or repair it, then declare the table again; rowseal.check, with the same arguments, lists all of '
             'them.';
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._check_stored(rowseal.declarations) IS
  'Verifies what a table holds when it is declared; raises what the first wrong row deserves';

CREATE OR REPLACE FUNCTION rowseal._repair(d rowseal.declarations, key jsonb, sign bytea, sqlstate text, problem text)
RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1 AS $$
DECLARE
  parent text;
BEGIN
  IF sqlstate = 'RS001' AND d.queries ->> 'parents' <> '' THEN
    EXECUTE rowseal._query(d, 'parents') INTO parent USING key, sign;
    RETURN 'signed with another parent: set ' || pg_catalog.quote_ident(d.parent_column) || ' to ' || parent;
  ELSIF problem LIKE '%of the same timestamp%' THEN
    RETURN 'both are authentic: exchange it with the current version';
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._repair(rowseal.declarations, jsonb, bytea, text, text) IS
  'How a row that stands against declaring its table could be repaired, where that can be told; else NULL';

CREATE OR REPLACE FUNCTION rowseal._create_tips_view(d rowseal.declarations) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  schema_ text;
  name_ text;
  target text;
  query CONSTANT text := rowseal._planned(d) ->> 'tips';
BEGIN
  SELECT * INTO schema_, name_ FROM rowseal._name(d.relation);
  WHILE pg_catalog.octet_length(name_) > 58 LOOP  -- a name has 63 bytes at most
    name_ := pg_catalog.left(name_, -1);
  END LOOP;
  target := pg_catalog.format('%I.%I', schema_, name_ || '_tips');
  IF rowseal._owner(target) <> rowseal._owner(d.relation::text) THEN  -- he could say what it shows
    RAISE EXCEPTION USING ERRCODE = 'RS008',
      MESSAGE = pg_catalog.format('%s, where the current versions of %s would show, is of somebody else',
                                  target, d.relation),
      HINT = 'Have it dropped, or rename the table.';
  END IF;
  BEGIN
    EXECUTE pg_catalog.format('CREATE OR REPLACE VIEW %s %s', target, query);
  EXCEPTION WHEN invalid_table_definition THEN  -- it has columns that the table has no more, by these names
    EXECUTE pg_catalog.format('DROP VIEW %s', target);
    EXECUTE pg_catalog.format('CREATE VIEW %s %s', target, query);
    RAISE WARNING USING MESSAGE = pg_catalog.format('rowseal: the view %s is made anew, with other columns', target),
      HINT = 'Rights to read it have to be granted again.';
  END;
  EXECUTE pg_catalog.format('ALTER VIEW %s OWNER TO %s', target, rowseal._owner(d.relation::text));
END
$$;
COMMENT ON FUNCTION rowseal._create_tips_view(rowseal.declarations) IS
  'The view NAME_tips of a table that keeps its versions itself: of each key the greatest version, deleted or not';

CREATE OR REPLACE FUNCTION rowseal._wish(
  relation regclass, owner text, public_key text, identity regclass, fingerprint text, algorithms text[],
  certificates jsonb, tag text, unsigned text[], columns jsonb, feed boolean, grants boolean, writers regclass,
  legacy jsonb)
RETURNS rowseal.declarations LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
BEGIN
  PERFORM rowseal._may_declare(relation, owner, public_key, identity, writers);
  d.relation := relation; d.owner := rowseal._owner_columns(relation, owner);
  d.tag := coalesce(tag, (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid = relation));
  d.public_key := public_key; d.identity := identity; d.fingerprint := fingerprint; d.algorithms := algorithms;
  d.certificates := coalesce(certificates, '{}'); d.unsigned := coalesce(unsigned, '{}');
  d.feed := coalesce(feed, false); d.grants := coalesce(grants, false); d.writers := writers;
  RETURN pg_catalog.jsonb_populate_record(d, rowseal._unless_refused(rowseal._options(columns, legacy)));
END
$$;
COMMENT ON FUNCTION rowseal._wish(
  regclass, text, text, regclass, text, text[], jsonb, text, text[], jsonb, boolean, boolean, regclass, jsonb) IS
  'The arguments of declare as an incomplete declaration';

CREATE OR REPLACE FUNCTION rowseal._refuse_declared(relation regclass, hint text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'RS007', MESSAGE = pg_catalog.format('table %s is declared already', relation),
    HINT = hint;
END
$$;
COMMENT ON FUNCTION rowseal._refuse_declared(regclass, text) IS 'Raises that a table is declared already';

CREATE OR REPLACE FUNCTION rowseal._install_wish(d rowseal.declarations, versions text) RETURNS rowseal.declarations
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  without text := (SELECT a FROM pg_catalog.unnest(d.algorithms) a WHERE rowseal._provider(a) IS NULL LIMIT 1);
BEGIN
  PERFORM rowseal._check_tag(d);
  IF (SELECT c.relkind IN ('r', 'p') FROM pg_catalog.pg_class c WHERE c.oid = d.relation) THEN
    -- no write may slip in between the check of the rows and the triggers
    EXECUTE pg_catalog.format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', d.relation);
  END IF;
  IF versions IS NOT NULL THEN
    d.versions := rowseal._versions_table(d, versions);
  END IF;
  INSERT INTO rowseal.declarations VALUES (d.*);  -- its triggers complete it and install the guards
  IF without IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'RS014',
      MESSAGE = pg_catalog.format('no provider of %s, which %s is to allow', without, d.relation),
      HINT = rowseal._hint('RS014');
  END IF;
  SELECT * INTO STRICT d FROM rowseal.declarations x WHERE x.relation = d.relation;
  RETURN d;
END
$$;
COMMENT ON FUNCTION rowseal._install_wish(rowseal.declarations, text) IS
  'Declares a table, its rows unseen: locks it, makes its versions table, stores and completes the declaration';

CREATE OR REPLACE FUNCTION rowseal.declare(
  INOUT relation regclass,
  owner text,
  public_key text DEFAULT NULL,
  identity regclass DEFAULT NULL,
  fingerprint text DEFAULT NULL,
  algorithms text[] DEFAULT NULL,
  certificates jsonb DEFAULT NULL,
  INOUT versions text DEFAULT NULL,
  tag text DEFAULT NULL,
  unsigned text[] DEFAULT NULL,
  columns jsonb DEFAULT NULL,
  feed boolean DEFAULT false,
  grants boolean DEFAULT false,
  writers regclass DEFAULT NULL,
  legacy jsonb DEFAULT NULL,
  if_not_exists boolean DEFAULT false,
  OUT layout text, OUT created boolean
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $declare$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
  remark record;
BEGIN
  d := rowseal._wish(relation, owner, public_key, identity, fingerprint, algorithms, certificates, tag, unsigned,
                     columns, feed, grants, writers, legacy);
  IF EXISTS (SELECT FROM rowseal.declarations x WHERE x.relation = declare.relation) THEN
    IF NOT if_not_exists THEN
      PERFORM rowseal._refuse_declared(relation, 'rowseal.undeclare it first, or say if_not_exists => true.');
    END IF;
    d := rowseal._declared_same(d, versions);
    RAISE NOTICE 'table % is declared already, skipping', relation;
    layout := d.layout; versions := d.versions; created := false;
    RETURN;
  END IF;

  d := rowseal._install_wish(d, versions);
  PERFORM rowseal._check_stored(d);
  IF d.layout = 'one table' AND NOT d.grants THEN  -- of grants none supersedes another
    PERFORM rowseal._create_tips_view(d);
  END IF;
  layout := d.layout; versions := d.versions; created := true;
  FOR remark IN SELECT * FROM rowseal._remarks(d) LOOP
    RAISE WARNING USING MESSAGE = 'rowseal: ' || remark.message, HINT = remark.hint;
  END LOOP;
  PERFORM rowseal._retry(NULL, d.tag);  -- what came before it was declared
END
$declare$;
COMMENT ON FUNCTION rowseal.declare IS
$$Declares a table: from now on it accepts only rows that their owner signed. Existing rows are verified first. owner:
column of the primary key that names the owner, or several as '{a,b}'; public_key: makes it an identity table, names
the key column; identity: the identity table of its owners; fingerprint: sha256, sha512, sha3-512 or blake2b-256, the
owner must be this hash of the key (bytea, or hex); algorithms: of an identity table, what its keys may be (ed25519,
ml-dsa-65, ml-dsa-87; by default ed25519); certificates: {"column": "column it certifies"}; versions: table for
superseded rows, created when missing; tag: name in the signed bytes; unsigned: columns for local bookkeeping; columns:
what is called otherwise here ({"timestamp", "deleted", "signature", "parent": "column"}, {"versions": {"main column":
"versions column"}}), what is signed by digest ({"digests": ["column"]}: rowseal.erase can empty it; each needs a
column NAME_sha256 bytea beside it) and comes back with an intact row after that ({"healed": ["column"]}); feed:
accepted versions enter rowseal.feed; grants: its rows let other keys write; writers: the table with such grants, for
a table that others than the owner may write; legacy: for the rows of an older system, {"form": "concatenated",
"accept_ambiguity": true (although different rows share their bytes), "fingerprint_prefix": "text before the hex",
"name_column": "column of the signature's hash, by which parents are named, too", "name_hash", "name_prefix"};
if_not_exists: no error when it is declared so already. A table that keeps its versions itself gets a view NAME_tips.
Errors: RS007 wrong declaration, RS008 not the owner, RS014 no provider; RS001-RS006 for an existing row.$$;

CREATE OR REPLACE FUNCTION rowseal.check(
  relation regclass,
  owner text,
  public_key text DEFAULT NULL,
  identity regclass DEFAULT NULL,
  fingerprint text DEFAULT NULL,
  algorithms text[] DEFAULT NULL,
  certificates jsonb DEFAULT NULL,
  versions text DEFAULT NULL,
  tag text DEFAULT NULL,
  unsigned text[] DEFAULT NULL,
  columns jsonb DEFAULT NULL,
  feed boolean DEFAULT false,
  grants boolean DEFAULT false,
  writers regclass DEFAULT NULL,
  legacy jsonb DEFAULT NULL,
  if_not_exists boolean DEFAULT false
) RETURNS TABLE (key jsonb, sign bytea, problem text, repair text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $check$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
  found jsonb;
BEGIN
  d := rowseal._wish(relation, owner, public_key, identity, fingerprint, algorithms, certificates, tag, unsigned,
                     columns, feed, grants, writers, legacy);
  IF EXISTS (SELECT FROM rowseal.declarations x WHERE x.relation = d.relation) THEN
    PERFORM rowseal._refuse_declared(relation, 'rowseal.verify lists what is wrong with its rows.');
  END IF;
  BEGIN  -- declared, looked at, and taken back
    d := rowseal._install_wish(d, versions);
    SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(p.key, p.sign::text,
             pg_catalog.concat(p.sqlstate, ': ', p.problem),
             rowseal._repair(d, p.key, p.sign, p.sqlstate, p.problem))), '[]')
      INTO found FROM rowseal._stored_problems(d) p;
    RAISE EXCEPTION 'taken back';
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF found IS NULL THEN
      RAISE;
    END IF;
  END;
  RETURN QUERY SELECT f -> 0, (f ->> 1)::bytea, f ->> 2, f ->> 3 FROM pg_catalog.jsonb_array_elements(found) f;
END
$check$;
COMMENT ON FUNCTION rowseal.check IS
$$Lists all rows that stand against declaring a table, by the same arguments as declare, and changes nothing. key and
sign: which row; problem: SQLSTATE and reason; repair: what could be done, where that can be told (a parent that a
server overwrote; of two versions with one timestamp the lower one as the current one), else NULL. No rows: declare
will succeed. Locks the table against writes while it looks. Errors: those of declare but for its rows.$$;

CREATE OR REPLACE FUNCTION rowseal.undeclare(relation regclass) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  IF NOT EXISTS (SELECT FROM rowseal.declarations x WHERE x.relation = undeclare.relation) THEN
    RAISE NOTICE 'table % is not declared, skipping', relation;
    RETURN false;
  END IF;
  IF NOT rowseal._owns(relation) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS008', MESSAGE = pg_catalog.format('no right to undeclare %s', relation),
      HINT = 'Only the owner of a table may do that.';
  END IF;
  -- those of others do not keep an owner from his own: they take no more rows then
  IF EXISTS (SELECT FROM rowseal.declarations x
              WHERE x.writers = undeclare.relation
                AND rowseal._owner_of(x.relation) = rowseal._owner_of(relation)) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('table %s holds the grants of other declared tables', relation),
      HINT = 'Undeclare those first.';
  END IF;
  IF EXISTS (SELECT FROM rowseal.declarations x
              WHERE x.identity = undeclare.relation
                AND rowseal._owner_of(x.relation) = rowseal._owner_of(relation)) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('table %s holds the public keys of other declared tables', relation),
      HINT = 'Undeclare those first.';
  END IF;
  INSERT INTO rowseal._removals (relation) VALUES (relation);
  RETURN true;
END
$$;
COMMENT ON FUNCTION rowseal.undeclare(regclass) IS
  'Takes triggers and functions off a declared table; its rows, its versions table and its view stay as they are. '
  'False when it was not declared.';
