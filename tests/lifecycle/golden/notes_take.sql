#variable_conflict use_column
DECLARE
  r record;
  outcome text := pg_catalog.set_config('rowseal.outcome', '', true);
BEGIN
  IF rowseal._moved_4(1) IS NOT NULL THEN
    RETURN rowseal._moved_4(1)::text;
  END IF;
  SELECT x.deleted_flag AS c0, x.key AS c1, CASE WHEN (x.n ~ '[0-9.][eE]') IS NOT TRUE THEN x.n::numeric
      ELSE concat('an exponent in ', left(x.n, 40))::numeric END AS c2, x.owner_timestamp AS c3, CASE
      WHEN starts_with(x.parent_sign_b64, E'\\x') THEN (x.parent_sign_b64)::bytea
      ELSE decode(x.parent_sign_b64, 'base64') END::bytea AS c4, CASE WHEN starts_with(x.user_hash, E'\\x')
      THEN (x.user_hash)::bytea ELSE decode(x.user_hash, 'base64') END::bytea AS c5, CASE
      WHEN starts_with(x.writer_pkey, E'\\x') THEN (x.writer_pkey)::bytea
      ELSE decode(x.writer_pkey, 'base64') END::bytea AS c6, CASE WHEN starts_with(x.writer_prev, E'\\x')
      THEN (x.writer_prev)::bytea ELSE decode(x.writer_prev, 'base64') END::bytea AS c7, x.writer_seq AS c8, CASE
      WHEN starts_with(w.sign_b64, E'\\x') THEN (w.sign_b64)::bytea ELSE decode(w.sign_b64, 'base64') END AS c9 INTO r
      FROM (SELECT $1 AS v) e,
      LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'canonical')) w("row" json, "content" json,
      sign_b64 text, "rowseal" text),
         LATERAL pg_catalog.json_to_record((CASE WHEN w.rowseal = '1' THEN w."row" END)) x(deleted_flag boolean,
             "key" text, "n" text, owner_timestamp bigint, parent_sign_b64 text, user_hash text, writer_pkey text,
             writer_prev text, writer_seq bigint);
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
  RETURN outcome;
END
