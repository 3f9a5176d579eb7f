#variable_conflict use_column
DECLARE
  r record;
  outcome text := pg_catalog.set_config('rowseal.outcome', '', true);
BEGIN
  IF rowseal._moved_6(1) IS NOT NULL THEN
    RETURN rowseal._moved_6(1)::text;
  END IF;
  SELECT x.at AS c0, x.deleted_flag AS c1, x.owner_timestamp AS c2, CASE WHEN starts_with(x.parent_sign_b64, E'\\x')
      THEN (x.parent_sign_b64)::bytea ELSE decode(x.parent_sign_b64, 'base64') END::bytea AS c3, CASE
      WHEN starts_with(x.user_hash, E'\\x') THEN (x.user_hash)::bytea
      ELSE decode(x.user_hash, 'base64') END::bytea AS c4, x.uuid AS c5, CASE WHEN starts_with(w.sign_b64, E'\\x')
      THEN (w.sign_b64)::bytea ELSE decode(w.sign_b64, 'base64') END AS c6 INTO r FROM (SELECT $1 AS v) e,
      LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'canonical')) w("row" json, "content" json,
      sign_b64 text, "rowseal" text),
         LATERAL pg_catalog.json_to_record((CASE WHEN w.rowseal = '1'
             THEN w."row" END)) x("at" timestamp with time zone, deleted_flag boolean, owner_timestamp bigint,
             parent_sign_b64 text, user_hash text, "uuid" uuid);
  INSERT INTO public.events ("at", deleted_flag, owner_timestamp, parent_sign_b64, user_hash, "uuid", sign_b64)
      VALUES (r.c0, r.c1, r.c2, r.c3, r.c4, r.c5, r.c6)
    ON CONFLICT (user_hash, "uuid", sign_b64) DO NOTHING;
  IF NOT FOUND AND current_setting('rowseal.outcome') IN ('inserted', 'superseded', 'archived') THEN
    PERFORM set_config('rowseal.outcome', 'duplicate', true);  -- another session has stored it
  END IF;
  outcome := pg_catalog.current_setting('rowseal.outcome');
  IF outcome = '' THEN
    PERFORM rowseal._unguarded('public.events'::regclass);
  END IF;
  RETURN outcome;
END
