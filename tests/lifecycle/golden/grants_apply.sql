#variable_conflict use_column
DECLARE
  r record;
  outcome text;
  outcomes text[] := pg_catalog.array_fill(NULL::text, ARRAY[pg_catalog.cardinality($1)]);
BEGIN
  IF rowseal._moved_3(1) IS NOT NULL THEN
    RETURN pg_catalog.array_fill(rowseal._moved_3(1)::text, ARRAY[pg_catalog.cardinality($1)]);
  END IF;
  FOR r IN
    SELECT e.n, x.deleted_flag AS c0, CASE WHEN starts_with(x.grantee_pkey, E'\\x') THEN (x.grantee_pkey)::bytea
        ELSE decode(x.grantee_pkey, 'base64') END::bytea AS c1, CASE WHEN (x.keys::text ~ '[0-9.][eE]') IS NOT TRUE
        OR rowseal._digits(((CASE WHEN w.rowseal = '1'
        THEN w."row" END) -> 'keys')::jsonb) <= octet_length(x.keys::text)
        THEN ((CASE WHEN w.rowseal = '1' THEN w."row" END) -> 'keys')::jsonb
        ELSE concat('an exponent in ', left(x.keys::text, 40))::jsonb END AS c2, x.may_grant AS c3,
        x.owner_timestamp AS c4, CASE WHEN (pg_catalog.json_typeof(x.tables) = ANY ('{array,"null"}')) IS NOT FALSE
        THEN (SELECT h.v
      FROM pg_catalog.json_to_record(pg_catalog.json_build_object('v', x.tables)) h(v text[]))
          ELSE concat('no array or object: ', left(x.tables::text, 40))::text[] END AS c5, x.tombstones AS c6,
          x.until AS c7, CASE WHEN (pg_catalog.jsonb_typeof(x.upto) = ANY ('{array,"null"}')) IS NOT FALSE
          THEN (SELECT h.v
      FROM pg_catalog.jsonb_to_record(pg_catalog.jsonb_build_object('v',
          rowseal._hex('{"array": "bytea"}', x.upto))) h(v bytea[]))
          ELSE concat('no array or object: ', left(x.upto::text, 40))::bytea[] END AS c8, CASE
          WHEN starts_with(x.user_hash, E'\\x') THEN (x.user_hash)::bytea
          ELSE decode(x.user_hash, 'base64') END::bytea AS c9, CASE WHEN starts_with(x.writer_pkey, E'\\x')
          THEN (x.writer_pkey)::bytea ELSE decode(x.writer_pkey, 'base64') END::bytea AS c10, CASE
          WHEN starts_with(x.writer_prev, E'\\x') THEN (x.writer_prev)::bytea
          ELSE decode(x.writer_prev, 'base64') END::bytea AS c11, x.writer_seq AS c12, CASE
          WHEN starts_with(w.sign_b64, E'\\x') THEN (w.sign_b64)::bytea ELSE decode(w.sign_b64, 'base64') END AS c13
      FROM pg_catalog.unnest($1) WITH ORDINALITY e(v, n),
           LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'canonical')) w("row" json, "content" json,
               sign_b64 text, "rowseal" text),
                  LATERAL pg_catalog.json_to_record((CASE WHEN w.rowseal = '1'
                      THEN w."row" END)) x(deleted_flag boolean, grantee_pkey text, "keys" json, may_grant smallint,
                      owner_timestamp bigint, "tables" json, "tombstones" boolean, "until" bigint, "upto" jsonb,
                      user_hash text, writer_pkey text, writer_prev text, writer_seq bigint)
     WHERE $2 = 'canonical'
    UNION ALL
    SELECT e.n, x.deleted_flag AS c0, x.grantee_pkey AS c1, CASE WHEN rowseal._sparse(x.keys)
        THEN (SELECT CASE WHEN (x.keys ~ '[0-9.][eE]') IS NOT TRUE OR rowseal._digits(h.v) <= octet_length(x.keys)
        THEN h.v ELSE concat('an exponent in ', left(x.keys, 40))::jsonb END
        FROM (SELECT x.keys::jsonb OFFSET 0) h(v))
        ELSE concat('too many elements: ', left(x.keys, 40))::jsonb END AS c2, x.may_grant AS c3,
        x.owner_timestamp AS c4, CASE WHEN rowseal._sparse(x.tables)
        THEN (SELECT h.v FROM (SELECT x.tables::text[] OFFSET 0) h(v))
        ELSE concat('too many elements: ', left(x.tables, 40))::text[] END AS c5, x.tombstones AS c6, x.until AS c7,
        CASE WHEN rowseal._sparse(x.upto) THEN (SELECT h.v FROM (SELECT x.upto::bytea[] OFFSET 0) h(v))
        ELSE concat('too many elements: ', left(x.upto, 40))::bytea[] END AS c8, x.user_hash AS c9,
        x.writer_pkey AS c10, x.writer_prev AS c11, x.writer_seq AS c12, x.sign_b64 AS c13
      FROM pg_catalog.unnest($1) WITH ORDINALITY e(v, n),
           LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'pgtext')) x(deleted_flag boolean,
               grantee_pkey bytea, "keys" text, may_grant smallint, owner_timestamp bigint, "tables" text,
               "tombstones" boolean, "until" bigint, "upto" text, user_hash bytea, writer_pkey bytea,
               writer_prev bytea, writer_seq bigint, sign_b64 bytea)
     WHERE $2 = 'pgtext'
    ORDER BY 11, 3, 6 DESC, 2 DESC, 15 DESC, 1  -- every session takes its locks in this order
  LOOP
    outcome := rowseal._moved_3(1)::text;  -- the row before may have waited
    IF outcome IS NULL THEN
      outcome := pg_catalog.set_config('rowseal.outcome', '', true);
      INSERT INTO public.grants (deleted_flag, grantee_pkey, "keys", may_grant, owner_timestamp, "tables",
          "tombstones", "until", "upto", user_hash, writer_pkey, writer_prev, writer_seq, sign_b64)
          VALUES (r.c0, r.c1, r.c2, r.c3, r.c4, r.c5, r.c6, r.c7, r.c8, r.c9, r.c10, r.c11, r.c12, r.c13)
        ON CONFLICT (user_hash, grantee_pkey, sign_b64) DO NOTHING;
      IF NOT FOUND AND current_setting('rowseal.outcome') IN ('inserted', 'superseded', 'archived') THEN
        PERFORM set_config('rowseal.outcome', 'duplicate', true);  -- another session has stored it
      END IF;
      outcome := pg_catalog.current_setting('rowseal.outcome');
      IF outcome = '' THEN
        PERFORM rowseal._unguarded('public.grants'::regclass);
      END IF;
    END IF;
    outcomes[r.n] := outcome;
  END LOOP;
  RETURN outcomes;
END
