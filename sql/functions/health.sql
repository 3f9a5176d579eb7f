-- Whether everything is as it was installed and declared.

CREATE OR REPLACE FUNCTION rowseal._fingerprint() RETURNS bytea LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
  SELECT pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.string_agg(line, E'\n' ORDER BY line COLLATE "C"), 'UTF8')) FROM (
    SELECT pg_catalog.concat_ws(' ', p.proname, p.pronargs, p.prosecdef, p.proisstrict, p.provolatile, p.proleakproof, p.proconfig, l.lanname,
                                CASE WHEN r.rolsuper THEN 'superuser' ELSE r.rolname END, p.prosrc)
      FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
     -- all but the generated ones: an overload that somebody adds can stand in for one of ours
     WHERE p.pronamespace = 'rowseal'::pg_catalog.regnamespace AND p.proname !~ '_[0-9]+$' AND p.proname <> '_verified'  -- which _bound knows
    UNION ALL
    SELECT pg_catalog.concat_ws(' ', g.tgrelid::pg_catalog.regclass, g.tgname, g.tgenabled, g.tgtype, g.tgqual, f.proname)
      FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc f ON f.oid = g.tgfoid
     WHERE g.tgrelid IN (SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relnamespace = 'rowseal'::pg_catalog.regnamespace) AND NOT g.tgisinternal
    UNION ALL
    SELECT pg_catalog.concat_ws(' ', v.evtname, v.evtevent, v.evtenabled, v.evttags, f.proname)
      FROM pg_catalog.pg_event_trigger v JOIN pg_catalog.pg_proc f ON f.oid = v.evtfoid WHERE v.evtname LIKE 'rowseal%') x(line)
$$;
COMMENT ON FUNCTION rowseal._fingerprint() IS 'sha256 over the extension''s own functions and triggers as they are';

CREATE OR REPLACE FUNCTION rowseal._trigger_problems(d rowseal.declarations)
RETURNS TABLE (relation regclass, name text, problem text) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
  -- the main table, each of its partitions, and the versions table need their triggers, unconditional and ALWAYS
  SELECT n.rel, n.name, CASE WHEN g.tgname IS NULL THEN 'missing'
           WHEN g.tgtype <> n.type OR NOT c.expected OR g.tgattr::text <> ''
             OR f.pronamespace <> 'rowseal'::pg_catalog.regnamespace OR f.proname <> n.function THEN 'not the one installed'
           ELSE 'not ENABLE ALWAYS' END
      FROM (SELECT t.relid AS rel, x.name, x.type, x.function
              FROM (SELECT p FROM rowseal._tree(d.relation) p) t(relid),
                   (VALUES ('zzz_rowseal_guard', 23, '_guard_' || d.id, true),
                           ('zzz_rowseal_keep', 11, CASE WHEN d.grants OR d.writers IS NOT NULL THEN '_keep_' || d.id ELSE '_keep' END, true),
                           ('zzz_rowseal_keep_all', 34, '_keep', true), ('zzz_rowseal_feed', 21, '_feed_' || d.id, d.feed),
                           ('zzz_rowseal_then_cure', 5, '_cure_' || d.id, d.public_key IS NOT NULL),
                           ('zzz_rowseal_ledger', 21, '_ledger_' || d.id, d.grants OR d.writers IS NOT NULL),
                           ('zzz_rowseal_retract', 9, '_ledger_' || d.id, d.grants OR d.writers IS NOT NULL),
                           ('zzz_rowseal_settle', CASE WHEN d.grants THEN 5 ELSE 21 END, '_settle_' || d.id, d.grants OR d.writers IS NOT NULL)) x(name, type, function, wanted)
             WHERE x.wanted
            UNION ALL
            SELECT d.versions, x.name, x.type, x.function
              FROM (VALUES ('zzz_rowseal_guard', 23, '_guard_versions_' || d.id, true),
                           ('zzz_rowseal_keep', 11, CASE WHEN d.writers IS NOT NULL THEN '_keep_versions_' || d.id ELSE '_keep' END, true),
                           ('zzz_rowseal_keep_all', 34, '_keep', true),
                           ('zzz_rowseal_feed', 5, '_feed_versions_' || d.id, d.feed),
                           ('zzz_rowseal_ledger', 21, '_ledger_versions_' || d.id, d.writers IS NOT NULL),
                           ('zzz_rowseal_retract', 9, '_ledger_versions_' || d.id, d.writers IS NOT NULL),
                           ('zzz_rowseal_settle', 5, '_settle_versions_' || d.id, d.writers IS NOT NULL)) x(name, type, function, wanted)
             WHERE d.versions IS NOT NULL AND x.wanted) n
      LEFT JOIN (pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc f ON f.oid = g.tgfoid)
             ON g.tgrelid = n.rel AND g.tgname = n.name
      LEFT JOIN LATERAL (SELECT w.key AS main, d.version_columns ->> w.key AS versions FROM pg_catalog.jsonb_each_text(d.fields) w
                          WHERE w.value = 'writer_pkey') w ON true
      CROSS JOIN LATERAL (SELECT pg_catalog.format('(new.%I IS NOT NULL)', CASE WHEN n.function ~ '_versions_' THEN w.versions ELSE w.main END)) r(writes)
      CROSS JOIN LATERAL (SELECT coalesce(pg_catalog.substring(pg_catalog.pg_get_triggerdef(g.oid), 'WHEN [(](.*)[)] EXECUTE '), '')) q(condition)
      CROSS JOIN LATERAL (SELECT CASE
        WHEN n.function ~ '^_feed_versions_'  -- of columns with a domain, a cast is shown
          THEN pg_catalog.regexp_replace(q.condition, '[(](new[.][^()]+)[)]::[^,()]+([(][0-9,]+[)])?', '\1', 'g') = pg_catalog.format('(NOT rowseal._is_tip_%s(%s))', d.id, (
            SELECT pg_catalog.string_agg(pg_catalog.format('new.%I', d.version_columns ->> k), ', ' ORDER BY o)
              FROM pg_catalog.unnest(d.key || d.signature_column) WITH ORDINALITY u(k, o)))
        WHEN n.name = 'zzz_rowseal_retract' THEN q.condition = pg_catalog.replace(r.writes, '(new.', '(old.')
        WHEN NOT d.grants AND n.name = 'zzz_rowseal_ledger' THEN q.condition = r.writes
        WHEN NOT d.grants AND n.name = 'zzz_rowseal_settle'
          THEN q.condition = pg_catalog.format('(%s AND (current_setting(''rowseal.revoked''::text, true) = ''on''::text))', r.writes)
        ELSE q.condition = '' END) c(expected)
     WHERE g.tgname IS NULL OR g.tgenabled <> 'A' OR g.tgtype <> n.type OR g.tgattr::text <> '' OR NOT c.expected
        OR f.pronamespace <> 'rowseal'::pg_catalog.regnamespace OR f.proname <> n.function
$$;
COMMENT ON FUNCTION rowseal._trigger_problems(rowseal.declarations) IS 'Triggers of a declaration that are missing, replaced or not ENABLE ALWAYS';

CREATE OR REPLACE FUNCTION rowseal.health() RETURNS TABLE ("check" text, relation regclass, ok boolean, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  d rowseal.declarations;
  planned jsonb;
BEGIN
  "check" := 'provider'; relation := NULL;
  detail := rowseal._provider(); ok := detail IS NOT NULL; detail := coalesce(detail, rowseal._hint('RS014'));
  RETURN NEXT;
  "check" := 'algorithms';
  SELECT pg_catalog.string_agg(pg_catalog.concat(a, ' ', coalesce(rowseal._provider(a), 'is not there: ' || rowseal._hint('RS014'))), '; ' ORDER BY a),
         pg_catalog.bool_and(rowseal._provider(a) IS NOT NULL) INTO detail, ok
    FROM (SELECT DISTINCT pg_catalog.unnest(x.algorithms) FROM rowseal.declarations x) u(a) WHERE a <> 'ed25519';
  ok := coalesce(ok, true); detail := coalesce(detail, 'ed25519 alone');
  RETURN NEXT;
  -- pgsodium outside shared_preload_libraries has an event trigger that reads a setting which nobody defined
  "check" := 'pgsodium';
  ok := rowseal._bound() AND ((rowseal._pgsodium()).version IS NULL OR pg_catalog.current_setting('pgsodium.enable_event_trigger', true) IS NOT NULL);
  detail := CASE WHEN ok THEN 'not in the way' WHEN NOT rowseal._bound() THEN 'guards call another function than its: SELECT rowseal._bind()' ELSE pg_catalog.format(
    'not preloaded, so every ALTER TABLE fails here: ALTER DATABASE %I SET pgsodium.enable_event_trigger = ''on''', pg_catalog.current_database()) END;
  RETURN NEXT;
  "check" := 'event triggers';
  SELECT count(*) FILTER (WHERE e.evtenabled = 'A') = 3, count(*) FILTER (WHERE e.evtenabled = 'A') || ' of 3 enabled always' INTO ok, detail
    FROM pg_catalog.pg_event_trigger e WHERE e.evtname IN ('rowseal_ddl', 'rowseal_ddl_retry', 'rowseal_drop');
  RETURN NEXT;

  "check" := 'installation';
  SELECT f.fingerprint = rowseal._fingerprint() INTO ok FROM rowseal.fingerprint f;
  ok := coalesce(ok, false);
  detail := CASE WHEN ok THEN 'functions and triggers as installed' ELSE 'a function or trigger of rowseal itself has been altered: install it anew (or ENABLE ALWAYS its triggers, after pg_restore --disable-triggers)' END;
  RETURN NEXT;

  FOR d IN SELECT * FROM rowseal.declarations ORDER BY 1 LOOP
    relation := d.relation;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = d.relation) THEN
      "check" := 'table'; ok := false; detail := 'the declared table is gone';
      RETURN NEXT;
      CONTINUE;
    END IF;

    "check" := 'triggers';
    SELECT pg_catalog.string_agg(pg_catalog.format('%s on %s is %s', t.name, t.relation, t.problem), '; ') INTO detail
      FROM rowseal._trigger_problems(d) t;
    ok := detail IS NULL; detail := coalesce(detail, 'all there, ENABLE ALWAYS');
    RETURN NEXT;

    "check" := 'structure';
    BEGIN
      planned := rowseal._planned(d);
      -- an index or a partition that came or went changes nothing; triggers are checked above
      ok := d.facts #- '{main,unique}' #- '{main,partitions}' #- '{versions,unique}'
          = rowseal._known_facts(d) #- '{main,unique}' #- '{main,partitions}' #- '{versions,unique}';
      detail := CASE WHEN ok THEN 'as declared: no late trigger, rule or child'
                     ELSE 'changed since the triggers were generated: undeclare and declare the table' END;
    EXCEPTION WHEN OTHERS THEN  -- one broken declaration must not hide the others
      planned := NULL; ok := false; detail := SQLERRM;
    END;
    RETURN NEXT;

    IF d.grants THEN
      "check" := 'writers';
      SELECT pg_catalog.string_agg(pg_catalog.format('%s: %s', pg_catalog.left(pg_catalog.encode(w.writer, 'hex'), 16), w.missing), ', ') INTO detail
        FROM (SELECT x.writer, x.last - x.numbers AS missing FROM rowseal._gaps(d.id) x) w WHERE w.missing > 0;
      ok := detail IS NULL; detail := coalesce('rows that have not arrived, by writer: ' || detail, 'no numbers missing');
      RETURN NEXT;
    END IF;

    CONTINUE WHEN planned IS NULL;
    "check" := 'functions';
    SELECT pg_catalog.string_agg(f.name, ', ') INTO detail
      FROM pg_catalog.jsonb_each_text(planned -> 'bodies') f(name, body)
     WHERE (SELECT count(*) FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'rowseal'::pg_catalog.regnamespace AND p.proname = f.name) <> 1
        OR NOT EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
                        WHERE p.pronamespace = 'rowseal'::pg_catalog.regnamespace AND p.proname = f.name AND p.prosrc = f.body
                          AND p.prosecdef = (f.name ~ '^_(feed|ledger)_') AND NOT p.proisstrict
                          AND p.provolatile = CASE WHEN f.name ~ '^_(seal|payload|signed|is_tip)_' THEN 's' ELSE 'v' END
                          AND CASE l.lanname WHEN 'plpgsql' THEN p.proconfig IS NOT DISTINCT FROM
                                                    CASE WHEN f.name LIKE E'\\_take%' THEN ARRAY['rowseal.mode=apply', 'search_path=pg_catalog, pg_temp']
                                                         WHEN f.name !~ '^_(guard|feed|ledger)_' THEN ARRAY['search_path=pg_catalog, pg_temp'] END
                                             ELSE l.lanname = 'plpython3u' AND NOT p.proconfig::text ~ 'search_path' IS TRUE END);
    IF detail IS NULL AND (d.queries <> planned #> '{declaration,queries}' OR d.spec <> planned #> '{declaration,spec}') THEN
      detail := 'the stored queries';
    END IF;
    ok := detail IS NULL; detail := coalesce('missing or altered: ' || detail, 'as generated');
    RETURN NEXT;

    "check" := 'unique';
    SELECT pg_catalog.string_agg(i.indexrelid::pg_catalog.regclass::text, ', ') INTO detail FROM pg_catalog.pg_index i
     WHERE i.indrelid IN (d.relation, d.versions) AND i.indisunique AND NOT i.indisprimary
       -- what contains the owner, or the signature, nobody else can take
       AND NOT ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::pg_catalog.int2[]))
           @> ARRAY(SELECT CASE WHEN i.indrelid = d.versions THEN d.version_columns ->> o ELSE o END FROM pg_catalog.unnest(d.owner) o)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::pg_catalog.int2[])
            AND a.attname = CASE WHEN i.indrelid = d.versions THEN d.version_columns ->> d.signature_column ELSE d.signature_column END);
    ok := detail IS NULL; detail := coalesce('one owner can take a value from another, and block his rows: ' || detail, 'the primary key alone');
    RETURN NEXT;

    "check" := 'foreign keys';
    SELECT pg_catalog.string_agg(c.conname::text, ', ') INTO detail FROM pg_catalog.pg_constraint c
     WHERE c.contype = 'f' AND (c.conrelid IN (d.relation, d.versions) OR c.confrelid IN (d.relation, d.versions));
    ok := detail IS NULL; detail := coalesce('rows arrive in any order, a foreign key blocks some: ' || detail, 'none');
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal.health() IS
  'One row per check: provider, algorithms, event triggers, and for each declared table its triggers, structure, functions, foreign keys. Not ok: rows may get in unchecked, or legitimate ones be kept out';
