#variable_conflict use_column
DECLARE
  r record;
  outcome text;
  outcomes text[] := pg_catalog.array_fill(NULL::text, ARRAY[pg_catalog.cardinality($1)]);
BEGIN
  IF rowseal._moved_5(1) IS NOT NULL THEN
    RETURN pg_catalog.array_fill(rowseal._moved_5(1)::text, ARRAY[pg_catalog.cardinality($1)]);
  END IF;
  FOR r IN
    SELECT e.n, CASE WHEN starts_with((CASE WHEN pg_catalog.jsonb_typeof((w.content -> 'content')::jsonb) = 'string'
        THEN w.content ->> 'content' END), E'\\x')
        THEN ((CASE WHEN pg_catalog.jsonb_typeof((w.content -> 'content')::jsonb) = 'string'
        THEN w.content ->> 'content' END))::bytea
        ELSE decode((CASE WHEN pg_catalog.jsonb_typeof((w.content -> 'content')::jsonb) = 'string'
        THEN w.content ->> 'content' END), 'base64') END AS c0, x.deleted_flag AS c1, x.owner_timestamp AS c2,
        x.up AS c3, CASE WHEN starts_with(x.user_hash, E'\\x') THEN (x.user_hash)::bytea
        ELSE decode(x.user_hash, 'base64') END::bytea AS c4, x.uuid AS c5, CASE
        WHEN starts_with(((CASE WHEN w.rowseal = '1' THEN w."row" END) -> 'content' ->> 'sha256'), E'\\x')
        THEN (((CASE WHEN w.rowseal = '1' THEN w."row" END) -> 'content' ->> 'sha256'))::bytea
        ELSE decode(((CASE WHEN w.rowseal = '1' THEN w."row" END) -> 'content' ->> 'sha256'), 'base64') END AS c6,
        NULL::text AS c7, CASE WHEN starts_with(w.sign_b64, E'\\x') THEN (w.sign_b64)::bytea
        ELSE decode(w.sign_b64, 'base64') END AS c8
      FROM pg_catalog.unnest($1) WITH ORDINALITY e(v, n),
           LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'canonical')) w("row" json, "content" json,
               sign_b64 text, "rowseal" text),
                  LATERAL pg_catalog.json_to_record((CASE WHEN w.rowseal = '1' THEN w."row" END)) x("content" jsonb,
                      deleted_flag boolean, owner_timestamp bigint, "up" text, user_hash text, "uuid" uuid)
     WHERE $2 = 'canonical'
    UNION ALL
    SELECT e.n, x.content AS c0, x.deleted_flag AS c1, x.owner_timestamp AS c2, x.up AS c3, x.user_hash AS c4,
        x.uuid AS c5, x.content_sha256 AS c6, x.name AS c7, x.sign_b64 AS c8
      FROM pg_catalog.unnest($1) WITH ORDINALITY e(v, n),
           LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'pgtext')) x("content" bytea, deleted_flag boolean,
               owner_timestamp bigint, "up" text, user_hash bytea, "uuid" uuid, content_sha256 bytea, "name" text,
               sign_b64 bytea)
     WHERE $2 = 'pgtext'
    ORDER BY 6, 7, 4 DESC, 3 DESC, 10 DESC, 1  -- every session takes its locks in this order
  LOOP
    outcome := rowseal._moved_5(1)::text;  -- the row before may have waited
    IF outcome IS NULL THEN
      outcome := pg_catalog.set_config('rowseal.outcome', '', true);
      INSERT INTO public.files ("content", deleted_flag, owner_timestamp, "up", user_hash, "uuid", content_sha256,
          "name", sign_b64) VALUES (r.c0, r.c1, r.c2, r.c3, r.c4, r.c5, r.c6, r.c7, r.c8)
        ON CONFLICT (user_hash, "uuid") DO UPDATE SET "content" = EXCLUDED.content,
            deleted_flag = EXCLUDED.deleted_flag, owner_timestamp = EXCLUDED.owner_timestamp, "up" = EXCLUDED.up,
            user_hash = EXCLUDED.user_hash, "uuid" = EXCLUDED.uuid, content_sha256 = EXCLUDED.content_sha256,
            "name" = EXCLUDED.name, sign_b64 = EXCLUDED.sign_b64;
      outcome := pg_catalog.current_setting('rowseal.outcome');
      IF outcome = '' THEN
        PERFORM rowseal._unguarded('public.files'::regclass);
      END IF;
    END IF;
    outcomes[r.n] := outcome;
  END LOOP;
  RETURN outcomes;
END
