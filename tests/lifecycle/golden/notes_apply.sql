#variable_conflict use_column
DECLARE
  r record;
  outcome text;
  outcomes text[] := pg_catalog.array_fill(NULL::text, ARRAY[pg_catalog.cardinality($1)]);
BEGIN
  IF rowseal._moved_4(1) IS NOT NULL THEN
    RETURN pg_catalog.array_fill(rowseal._moved_4(1)::text, ARRAY[pg_catalog.cardinality($1)]);
  END IF;
  FOR r IN
    SELECT e.n, x.deleted_flag AS c0, x.key AS c1, CASE WHEN (x.n ~ '[0-9.][eE]') IS NOT TRUE THEN x.n::numeric
        ELSE concat('an exponent in ', left(x.n, 40))::numeric END AS c2, x.owner_timestamp AS c3, CASE
        WHEN starts_with(x.parent_sign_b64, E'\\x') THEN (x.parent_sign_b64)::bytea
        ELSE decode(x.parent_sign_b64, 'base64') END::bytea AS c4, CASE WHEN starts_with(x.user_hash, E'\\x')
        THEN (x.user_hash)::bytea ELSE decode(x.user_hash, 'base64') END::bytea AS c5, CASE
        WHEN starts_with(x.writer_pkey, E'\\x') THEN (x.writer_pkey)::bytea
        ELSE decode(x.writer_pkey, 'base64') END::bytea AS c6, CASE WHEN starts_with(x.writer_prev, E'\\x')
        THEN (x.writer_prev)::bytea ELSE decode(x.writer_prev, 'base64') END::bytea AS c7, x.writer_seq AS c8, CASE
        WHEN starts_with(w.sign_b64, E'\\x') THEN (w.sign_b64)::bytea ELSE decode(w.sign_b64, 'base64') END AS c9
      FROM pg_catalog.unnest($1) WITH ORDINALITY e(v, n),
           LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'canonical')) w("row" json, "content" json,
               sign_b64 text, "rowseal" text),
                  LATERAL pg_catalog.json_to_record((CASE WHEN w.rowseal = '1'
                      THEN w."row" END)) x(deleted_flag boolean, "key" text, "n" text, owner_timestamp bigint,
                      parent_sign_b64 text, user_hash text, writer_pkey text, writer_prev text, writer_seq bigint)
     WHERE $2 = 'canonical'
    UNION ALL
    SELECT e.n, x.deleted_flag AS c0, x.key AS c1, CASE WHEN (x.n ~ '[0-9.][eE]') IS NOT TRUE THEN x.n::numeric
        ELSE concat('an exponent in ', left(x.n, 40))::numeric END AS c2, x.owner_timestamp AS c3,
        x.parent_sign_b64 AS c4, x.user_hash AS c5, x.writer_pkey AS c6, x.writer_prev AS c7, x.writer_seq AS c8,
        x.sign_b64 AS c9
      FROM pg_catalog.unnest($1) WITH ORDINALITY e(v, n),
           LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'pgtext')) x(deleted_flag boolean, "key" text,
               "n" text, owner_timestamp bigint, parent_sign_b64 bytea, user_hash bytea, writer_pkey bytea,
               writer_prev bytea, writer_seq bigint, sign_b64 bytea)
     WHERE $2 = 'pgtext'
    ORDER BY 7, 3, 5 DESC, 2 DESC, 11 DESC, 1  -- every session takes its locks in this order
  LOOP
    outcome := rowseal._moved_4(1)::text;  -- the row before may have waited
    IF outcome IS NULL THEN
      outcome := pg_catalog.set_config('rowseal.outcome', '', true);
      INSERT INTO public.notes (deleted_flag, "key", "n", owner_timestamp, parent_sign_b64, user_hash, writer_pkey,
          writer_prev, writer_seq, sign_b64) VALUES (r.c0, r.c1, r.c2, r.c3, r.c4, r.c5, r.c6, r.c7, r.c8, r.c9)
        ON CONFLICT (user_hash, "key") DO UPDATE SET deleted_flag = EXCLUDED.deleted_flag, "key" = EXCLUDED.key,
            "n" = EXCLUDED.n, owner_timestamp = EXCLUDED.owner_timestamp, parent_sign_b64 = EXCLUDED.parent_sign_b64,
            user_hash = EXCLUDED.user_hash, writer_pkey = EXCLUDED.writer_pkey, writer_prev = EXCLUDED.writer_prev,
            writer_seq = EXCLUDED.writer_seq, sign_b64 = EXCLUDED.sign_b64;
      outcome := pg_catalog.current_setting('rowseal.outcome');
      IF outcome = '' THEN
        PERFORM rowseal._unguarded('public.notes'::regclass);
      END IF;
    END IF;
    outcomes[r.n] := outcome;
  END LOOP;
  RETURN outcomes;
END
