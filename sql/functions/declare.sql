-- declare and undeclare.  They are ordinary functions that write rowseal.declarations with the rights of who calls;
-- row security there asks for ownership of the table, and triggers there do what needs more.

CREATE OR REPLACE FUNCTION rowseal._owns(relation regclass) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce((SELECT pg_catalog.pg_has_role(current_user, c.relowner, 'USAGE')
                     FROM pg_catalog.pg_class c WHERE c.oid = relation), false)
$$;
COMMENT ON FUNCTION rowseal._owns(regclass) IS 'Whether the current user owns the table, directly or through a role';

CREATE OR REPLACE FUNCTION rowseal._planned(d rowseal.declarations) RETURNS jsonb LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  planned jsonb;
  card jsonb;
BEGIN
  SELECT pg_catalog.jsonb_build_object('facts', rowseal._facts(i.relation), 'public_key', i.public_key,
                                       'owner', i.owner, 'algorithms', i.algorithms)
    INTO card FROM rowseal.declarations i WHERE i.relation = d.identity;
  IF (d.versions IS NOT NULL AND rowseal._facts(d.versions) IS NULL)
      OR (d.identity IS NOT NULL AND rowseal._facts(d.identity) IS NULL) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
        MESSAGE = pg_catalog.format('the versions or identity table of %s is gone', d.relation),
      HINT = 'rowseal.undeclare the table and declare it anew.';
  END IF;
  planned := rowseal._plan(
    pg_catalog.to_jsonb(d) - ARRAY['facts', 'queries', 'spec', 'manifest'] || pg_catalog.jsonb_build_object(
      'identity_label', d.identity::text,
      'grants_table', (
        SELECT pg_catalog.jsonb_build_object('id', g.id, 'grants', g.grants, 'identity', g.identity,
                                             'label', g.relation::text)
          FROM rowseal.declarations g WHERE g.relation = d.writers)),
    rowseal._facts(d.relation), CASE WHEN d.versions IS NOT NULL THEN rowseal._facts(d.versions) END, card);
  IF planned ? 'refused' THEN
    RAISE EXCEPTION USING
      ERRCODE = planned #>> '{refused,sqlstate}', MESSAGE = planned #>> '{refused,message}',
      HINT = planned #>> '{refused,hint}';
  END IF;
  RETURN planned;
END
$$;
COMMENT ON FUNCTION rowseal._planned(rowseal.declarations) IS
  'The completed declaration and its statements; raises RS007 for a wrong one';

CREATE OR REPLACE FUNCTION rowseal._known_facts(d rowseal.declarations) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.jsonb_build_object(
    'main', rowseal._facts(d.relation),
    'versions', CASE WHEN d.versions IS NOT NULL THEN rowseal._facts(d.versions) END,
    'identity', (SELECT pg_catalog.jsonb_build_object(
                          'facts', f - ARRAY['unique', 'partitions', 'late_triggers', 'rules'],
                          'owner', i.owner, 'public_key', i.public_key, 'algorithms', i.algorithms)
                   FROM rowseal.declarations i, rowseal._facts(i.relation) f WHERE i.relation = d.identity))
$$;
COMMENT ON FUNCTION rowseal._known_facts(rowseal.declarations) IS
  'The facts that a declaration rests on, as they are now';

-- BEFORE INSERT OR UPDATE.  Whatever the caller wrote there, what is derived is derived here.
CREATE OR REPLACE FUNCTION rowseal._complete_declaration() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- a superuser's complete row is one that pg_restore puts back, before the tables have their keys
  IF NEW.queries IS NOT NULL AND (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user) THEN
    RETURN NEW;
  END IF;
  IF TG_OP = 'INSERT' THEN
    NEW.id := pg_catalog.nextval('rowseal.declarations_id_seq');
    NEW.fields := NULL;
  END IF;
  IF NEW.versions = NEW.relation OR EXISTS (
      SELECT FROM rowseal.declarations d WHERE d.relation <> NEW.relation
         AND (d.relation = NEW.versions OR d.versions IN (NEW.relation, NEW.versions))) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('%s or its versions table %s has another part already', NEW.relation, NEW.versions),
      HINT = 'A table is either declared or the versions table of one declared table. rowseal.declarations shows all.';
  END IF;
  NEW := pg_catalog.jsonb_populate_record(NEW, rowseal._planned(NEW) -> 'declaration');
  NEW.facts := rowseal._known_facts(NEW);
  RETURN NEW;
END
$$;

-- Called by _install alone, with its rights.
CREATE OR REPLACE FUNCTION rowseal._uninstall(d rowseal.declarations) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  trigger_ record;
  function_ text;
BEGIN
  FOR trigger_ IN
    SELECT g.tgname, g.tgrelid::pg_catalog.regclass AS relation
      FROM rowseal._wanted_triggers(d) w JOIN pg_catalog.pg_trigger g ON g.tgrelid = w.relation AND g.tgname = w.name
     WHERE g.tgparentid = 0
  LOOP
    EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', trigger_.tgname, trigger_.relation);
  END LOOP;
  FOR function_ IN SELECT f ->> 'name' FROM pg_catalog.jsonb_array_elements(d.manifest -> 'functions') f LOOP
    EXECUTE pg_catalog.format('DROP FUNCTION IF EXISTS rowseal.%I', function_);
  END LOOP;
  IF d.grants THEN
    PERFORM rowseal._forget_writers(d.id);
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._uninstall(rowseal.declarations) IS 'Drops what the manifest of a declaration lists';

-- AFTER ROW, so after row security has decided.  SECURITY DEFINER: functions in plpython3u and in the schema rowseal
-- are the superuser's to create.  It runs nothing of the table's owner: CREATE FUNCTION and CREATE TRIGGER only.
CREATE OR REPLACE FUNCTION rowseal._install() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
DECLARE
  planned jsonb;
  statement text;
BEGIN
  IF TG_OP = 'DELETE' THEN
    PERFORM rowseal._uninstall(OLD);
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' AND pg_catalog.to_regprocedure(pg_catalog.format('rowseal._guard_%s()', NEW.id)) IS NOT NULL THEN
    RETURN NULL;  -- restored: the dump brings functions and triggers
  END IF;
  IF NEW.queries = '{}' THEN
    RETURN NULL;  -- no longer as declared: see _refresh
  END IF;
  planned := rowseal._planned(NEW);
  FOR statement IN
    SELECT * FROM pg_catalog.jsonb_array_elements_text(planned -> 'functions' || (planned -> 'triggers'))
  LOOP
    EXECUTE statement;
  END LOOP;
  -- what has been made, as the catalogs show it: health() compares
  UPDATE rowseal.declarations d SET manifest = d.manifest || pg_catalog.jsonb_build_object('triggers', (
      SELECT pg_catalog.jsonb_agg(
               t || pg_catalog.jsonb_build_object('definition', pg_catalog.pg_get_triggerdef(g.oid)) ORDER BY n)
        FROM pg_catalog.jsonb_array_elements(d.manifest -> 'triggers') WITH ORDINALITY x(t, n)
        JOIN pg_catalog.pg_trigger g ON g.tgrelid = (t ->> 'table')::pg_catalog.regclass AND g.tgname = t ->> 'name'))
   WHERE d.id = NEW.id;
  RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION rowseal._qualified(name_ text, schema_ text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  path text[];
BEGIN
  path := pg_catalog.parse_ident(name_);
  IF pg_catalog.cardinality(path) > 2 THEN
    RAISE invalid_parameter_value;
  END IF;
  RETURN pg_catalog.format('%I.%I', CASE WHEN pg_catalog.cardinality(path) > 1 THEN path[1] ELSE schema_ END,
      path[pg_catalog.cardinality(path)]);
EXCEPTION WHEN invalid_parameter_value THEN
  RAISE EXCEPTION USING ERRCODE = 'RS007', MESSAGE = pg_catalog.format('%L is not the name of a table', name_),
    HINT = 'name or schema.name, each part in double quotes where it is not lower case.';
END
$$;
COMMENT ON FUNCTION rowseal._qualified(text, text) IS
  'A name as SQL would read it, quoted, in the given schema when it names none';

CREATE OR REPLACE FUNCTION rowseal.declare(
  INOUT relation regclass,
  owner text,
  public_key text DEFAULT NULL,
  identity regclass DEFAULT NULL,
  fingerprint text DEFAULT NULL,
  fingerprint_prefix text DEFAULT '',
  algorithms text[] DEFAULT NULL,
  certificates jsonb DEFAULT '{}',
  INOUT versions text DEFAULT NULL,
  version_columns jsonb DEFAULT NULL,
  tag text DEFAULT NULL,
  unsigned text[] DEFAULT '{}',
  timestamp_column text DEFAULT 'owner_timestamp',
  deleted_column text DEFAULT 'deleted_flag',
  signature_column text DEFAULT 'sign_b64',
  parent_column text DEFAULT 'parent_sign_b64',
  tips text DEFAULT NULL,
  form text DEFAULT 'rowseal/1',
  accept_ambiguity boolean DEFAULT false,
  name_column text DEFAULT NULL,
  name_hash text DEFAULT 'sha3-512',
  name_prefix text DEFAULT '',
  digests text[] DEFAULT '{}',
  heal boolean DEFAULT false,
  feed boolean DEFAULT false,
  grants boolean DEFAULT false,
  writers regclass DEFAULT NULL,
  if_not_exists boolean DEFAULT false,
  OUT layout text, OUT created boolean
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $declare$
#variable_conflict use_variable
DECLARE
  label text := pg_catalog.format('%s', relation);
  schema_ text;
  name_ text;
  d rowseal.declarations;
  bad record;
BEGIN
  IF relation IS NULL OR owner IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007', MESSAGE = 'declare needs a relation and its owner column',
      HINT = 'SELECT rowseal.declare(''table'', owner => ''column'', …).';
  END IF;
  SELECT * INTO d FROM rowseal.declarations x WHERE x.relation = declare.relation;
  IF FOUND THEN
    IF NOT if_not_exists THEN
      RAISE EXCEPTION USING ERRCODE = 'RS007', MESSAGE = pg_catalog.format('table %s is declared already', label),
        HINT = 'rowseal.undeclare it first, or say if_not_exists => true.';
    END IF;
    RAISE NOTICE 'table % is declared already, skipping', label;
    layout := d.layout; versions := d.versions; created := false;
    RETURN;
  END IF;
  IF NOT rowseal._owns(relation) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS008', MESSAGE = pg_catalog.format('no right to declare %s', label),
      HINT = 'Only the owner of a table may declare it.';
  END IF;
  IF writers IS NOT NULL AND NOT rowseal._owns(writers) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS008', MESSAGE = pg_catalog.format('no right to use %s as grants table', writers),
      HINT = 'A table with writers and its grants table must have the same owner.';
  END IF;
  IF rowseal._provider() IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'RS014',
        MESSAGE = 'no provider of signatures: neither pgsodium nor PyNaCl is there',
      HINT = rowseal._hint('RS014');
  END IF;
  SELECT n.nspname, c.relname INTO schema_, name_
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;

  d.relation := relation; d.identity := identity; d.grants := grants; d.feed := feed;
  d.tag := coalesce(tag, name_);
  SELECT x.relation INTO bad FROM rowseal.declarations x WHERE x.tag = d.tag;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
        MESSAGE = pg_catalog.format('tag %L of %s is taken by %s', d.tag, label, bad.relation),
      HINT = 'Rows of one could be replayed into the other. Choose another one with tag => ….';
  END IF;
  BEGIN
    d.owner := CASE WHEN pg_catalog.left(owner, 1) <> '{' OR EXISTS (
        SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = relation AND a.attname = owner AND a.attnum > 0)
      THEN ARRAY[owner] ELSE owner::text[] END;
  EXCEPTION WHEN invalid_text_representation THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
        MESSAGE = pg_catalog.format('owner %L is neither a column nor an array of columns', owner),
      HINT = 'owner => ''column'' or owner => ''{one,another}''.';
  END;
  d.public_key := public_key; d.fingerprint := fingerprint; d.fingerprint_prefix := coalesce(fingerprint_prefix, '');
  d.algorithms := algorithms; d.healed := CASE WHEN heal THEN digests ELSE '{}' END;
  d.digests := coalesce((
    SELECT pg_catalog.jsonb_object_agg(c, c || '_sha256') FROM pg_catalog.unnest(digests) c), '{}');
  d.form := form; d.accept_ambiguity := coalesce(accept_ambiguity, false);
  d.name_column := name_column; d.name_hash := coalesce(name_hash, 'sha3-512');
  d.name_prefix := coalesce(name_prefix, '');
  d.certificates := coalesce(certificates, '{}'); d.unsigned := coalesce(unsigned, '{}');
  d.timestamp_column := timestamp_column; d.deleted_column := deleted_column;
  d.signature_column := signature_column; d.parent_column := parent_column; d.version_columns := version_columns;

  IF (SELECT c.relkind IN ('r', 'p') FROM pg_catalog.pg_class c WHERE c.oid = relation) THEN
    -- no write may slip in between the check of the rows and the triggers
    EXECUTE pg_catalog.format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', relation);
  END IF;
  IF versions IS NOT NULL THEN
    DECLARE
      target text := rowseal._qualified(versions, schema_);
      planned jsonb;
    BEGIN
      IF pg_catalog.to_regclass(target) IS NULL THEN
        planned := rowseal._planned(d);  -- a wrong declaration leaves nothing behind
        EXECUTE pg_catalog.format('CREATE TABLE %s AS SELECT %s FROM %s WITH NO DATA', target, (
          SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum)
            FROM pg_catalog.pg_attribute a
           WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
             AND a.attname <> ALL (d.unsigned)), relation);
        IF planned ? 'version_hash' THEN  -- signatures that do not fit into an index
          EXECUTE pg_catalog.format('ALTER TABLE %s ADD COLUMN %I bytea GENERATED ALWAYS AS (%s) STORED PRIMARY KEY',
            target, d.signature_column || '_sha256', planned ->> 'version_hash');
        ELSE
          EXECUTE pg_catalog.format('ALTER TABLE %s ADD PRIMARY KEY (%I)', target,
              coalesce(d.name_column, d.signature_column));
        END IF;
        EXECUTE pg_catalog.format('CREATE INDEX ON %s (%s)', target, (
          SELECT pg_catalog.string_agg(pg_catalog.quote_ident(k ->> 'name'), ', ')
            FROM pg_catalog.jsonb_array_elements(rowseal._facts(relation) -> 'key') k));
        EXECUTE pg_catalog.format('ALTER TABLE %s OWNER TO %s', target, (
          SELECT c.relowner::pg_catalog.regrole FROM pg_catalog.pg_class c WHERE c.oid = relation));
        EXECUTE pg_catalog.format('COMMENT ON TABLE %s IS %L', target,
            'Superseded versions of ' || label || ', kept by rowseal');
      END IF;
      d.versions := target::pg_catalog.regclass;
      IF NOT rowseal._owns(d.versions) THEN
        RAISE EXCEPTION USING ERRCODE = 'RS008',
            MESSAGE = pg_catalog.format('no right to use %s as versions table', target),
          HINT = 'Main and versions table must have the same owner.';
      END IF;
      EXECUTE pg_catalog.format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', target);
    END;
  END IF;

  d.writers := writers;  -- they ask for versions, which were not there when the plan was tried
  INSERT INTO rowseal.declarations VALUES (d.*);  -- its trigger completes what is derived
  SELECT * INTO STRICT d FROM rowseal.declarations x WHERE x.relation = declare.relation;
  SELECT a AS algorithm INTO bad FROM pg_catalog.unnest(d.algorithms) a WHERE rowseal._provider(a) IS NULL;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'RS014',
        MESSAGE = pg_catalog.format('no provider of %s, which %s is to allow', bad.algorithm, label),
      HINT = rowseal._hint('RS014');
  END IF;

  -- before anything is derived from the rows; licences are looked at afterwards
  SELECT * INTO bad FROM rowseal.verify(relation) v WHERE v.sqlstate NOT IN ('RS010', 'RS011', 'RS012') LIMIT 1;
  IF NOT FOUND AND (d.grants OR d.writers IS NOT NULL) THEN
    PERFORM rowseal._enter_stored(d);
    SELECT * INTO bad FROM rowseal.verify(relation) LIMIT 1;
  END IF;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = bad.sqlstate,
      MESSAGE = pg_catalog.format('table %s holds a row that cannot stay: %s', label, bad.problem),
      DETAIL = pg_catalog.format('Key %s.', bad.key), SCHEMA = schema_, TABLE = name_,
      HINT = 'Remove or repair it, then declare the table again; rowseal.verify shows all of them after that.';
  END IF;
  IF d.layout = 'one table' AND NOT d.grants THEN  -- of grants none supersedes another
    WHILE pg_catalog.octet_length(name_) > 58 LOOP  -- a name has 63 bytes at most
      name_ := pg_catalog.left(name_, -1);
    END LOOP;
    EXECUTE pg_catalog.concat('CREATE OR REPLACE VIEW ',
      coalesce(rowseal._qualified(tips, schema_), pg_catalog.format('%I.%I', schema_, name_ || '_tips')), ' ',
          rowseal._planned(d) ->> 'tips');
  END IF;
  layout := d.layout; versions := d.versions; created := true;
  PERFORM rowseal._retry(NULL, d.tag);  -- what came before it was declared
END
$declare$;
COMMENT ON FUNCTION rowseal.declare IS
$$Declares a table: from now on it accepts only rows that their owner signed. Existing rows are verified first. owner:
column of the primary key that names the owner, or several as '{a,b}'; public_key: makes it an identity table, names
the key column; identity: the identity table of its owners; fingerprint: sha256, sha512, sha3-512 or blake2b-256, the
owner must be this hash of the key (bytea, or fingerprint_prefix || hex); algorithms: of an identity table, what its
keys may be (ed25519, ml-dsa-65, ml-dsa-87; by default ed25519); certificates: {"column": "column it certifies"};
versions: table for superseded rows, created when missing; version_columns: {"main column": "versions column"} where
names differ; tag: name in the signed bytes; unsigned: columns for local bookkeeping; form: rowseal/1, or concatenated
for the rows of one older system (accept_ambiguity: although different rows share their bytes); name_column: holds the
name_hash of the signature, after name_prefix, parents are named so; digests: columns signed by digest, which
rowseal.erase can empty (each needs a column NAME_sha256 bytea beside it); heal: whether an intact row that arrives
restores what was erased; feed: accepted versions enter rowseal.feed; grants: its rows let other keys write; writers:
the table with such grants, for a table that others than the owner may write; *_column: other column names; tips: name
of the view of current rows (one table layout). Errors: RS007 wrong declaration, RS008 not the owner, RS014 no
provider; RS001-RS006 for an existing row.$$;

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
  IF EXISTS (SELECT FROM rowseal.declarations x WHERE x.writers = undeclare.relation) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('table %s holds the grants of other declared tables', relation),
      HINT = 'Undeclare those first.';
  END IF;
  IF EXISTS (SELECT FROM rowseal.declarations x WHERE x.identity = undeclare.relation) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('table %s holds the public keys of other declared tables', relation),
      HINT = 'Undeclare those first.';
  END IF;
  DELETE FROM rowseal.declarations x WHERE x.relation = undeclare.relation;
  RETURN true;
END
$$;
COMMENT ON FUNCTION rowseal.undeclare(regclass) IS
  'Takes triggers and functions off a declared table; its rows, its versions table and its view stay as they are. '
  'False when it was not declared.';
