#variable_conflict use_column
DECLARE
  r record;
  outcome text;
  outcomes text[] := pg_catalog.array_fill(NULL::text, ARRAY[pg_catalog.cardinality($1)]);
BEGIN
  IF rowseal._moved_6(1) IS NOT NULL THEN
    RETURN pg_catalog.array_fill(rowseal._moved_6(1)::text, ARRAY[pg_catalog.cardinality($1)]);
  END IF;
  FOR r IN
    SELECT e.n, x.at AS c0, x.deleted_flag AS c1, x.owner_timestamp AS c2, CASE
        WHEN starts_with(x.parent_sign_b64, E'\\x') THEN (x.parent_sign_b64)::bytea
        ELSE decode(x.parent_sign_b64, 'base64') END::bytea AS c3, CASE WHEN starts_with(x.user_hash, E'\\x')
        THEN (x.user_hash)::bytea ELSE decode(x.user_hash, 'base64') END::bytea AS c4, x.uuid AS c5, CASE
        WHEN starts_with(w.sign_b64, E'\\x') THEN (w.sign_b64)::bytea ELSE decode(w.sign_b64, 'base64') END AS c6
      FROM pg_catalog.unnest($1) WITH ORDINALITY e(v, n),
           LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'canonical')) w("row" json, "content" json,
               sign_b64 text, "rowseal" text),
                  LATERAL pg_catalog.json_to_record((CASE WHEN w.rowseal = '1'
                      THEN w."row" END)) x("at" timestamp with time zone, deleted_flag boolean,
                      owner_timestamp bigint, parent_sign_b64 text, user_hash text, "uuid" uuid)
     WHERE $2 = 'canonical'
    UNION ALL
    SELECT e.n, x.at AS c0, x.deleted_flag AS c1, x.owner_timestamp AS c2, x.parent_sign_b64 AS c3, x.user_hash AS c4,
        x.uuid AS c5, x.sign_b64 AS c6
      FROM pg_catalog.unnest($1) WITH ORDINALITY e(v, n),
           LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'pgtext')) x("at" timestamp with time zone,
               deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea, user_hash bytea, "uuid" uuid,
               sign_b64 bytea)
     WHERE $2 = 'pgtext'
    ORDER BY 6, 7, 4 DESC, 3 DESC, 8 DESC, 1  -- every session takes its locks in this order
  LOOP
    outcome := rowseal._moved_6(1)::text;  -- the row before may have waited
    IF outcome IS NULL THEN
      outcome := pg_catalog.set_config('rowseal.outcome', '', true);
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
    END IF;
    outcomes[r.n] := outcome;
  END LOOP;
  RETURN outcomes;
END
