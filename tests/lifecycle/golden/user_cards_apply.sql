#variable_conflict use_column
DECLARE
  r record;
  outcome text;
  outcomes text[] := pg_catalog.array_fill(NULL::text, ARRAY[pg_catalog.cardinality($1)]);
BEGIN
  IF rowseal._moved_1(1) IS NOT NULL THEN
    RETURN pg_catalog.array_fill(rowseal._moved_1(1)::text, ARRAY[pg_catalog.cardinality($1)]);
  END IF;
  FOR r IN
    SELECT e.n, CASE WHEN starts_with(x.contact_cert, E'\\x') THEN (x.contact_cert)::bytea
        ELSE decode(x.contact_cert, 'base64') END::bytea AS c0, CASE WHEN starts_with(x.contact_pkey, E'\\x')
        THEN (x.contact_pkey)::bytea ELSE decode(x.contact_pkey, 'base64') END::bytea AS c1, CASE
        WHEN starts_with(x.crypt_cert, E'\\x') THEN (x.crypt_cert)::bytea
        ELSE decode(x.crypt_cert, 'base64') END::bytea AS c2, CASE WHEN starts_with(x.crypt_pkey, E'\\x')
        THEN (x.crypt_pkey)::bytea ELSE decode(x.crypt_pkey, 'base64') END::bytea AS c3, x.deleted_flag AS c4,
        x.name AS c5, x.owner_timestamp AS c6, CASE WHEN starts_with(x.sign_pkey, E'\\x') THEN (x.sign_pkey)::bytea
        ELSE decode(x.sign_pkey, 'base64') END::bytea AS c7, CASE WHEN starts_with(x.user_hash, E'\\x')
        THEN (x.user_hash)::bytea ELSE decode(x.user_hash, 'base64') END::bytea AS c8, CASE
        WHEN starts_with(w.sign_b64, E'\\x') THEN (w.sign_b64)::bytea ELSE decode(w.sign_b64, 'base64') END AS c9
      FROM pg_catalog.unnest($1) WITH ORDINALITY e(v, n),
           LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'canonical')) w("row" json, "content" json,
               sign_b64 text, "rowseal" text),
                  LATERAL pg_catalog.json_to_record((CASE WHEN w.rowseal = '1' THEN w."row" END)) x(contact_cert text,
                      contact_pkey text, crypt_cert text, crypt_pkey text, deleted_flag boolean, "name" text,
                      owner_timestamp bigint, sign_pkey text, user_hash text)
     WHERE $2 = 'canonical'
    UNION ALL
    SELECT e.n, x.contact_cert AS c0, x.contact_pkey AS c1, x.crypt_cert AS c2, x.crypt_pkey AS c3,
        x.deleted_flag AS c4, x.name AS c5, x.owner_timestamp AS c6, x.sign_pkey AS c7, x.user_hash AS c8,
        x.sign_b64 AS c9
      FROM pg_catalog.unnest($1) WITH ORDINALITY e(v, n),
           LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'pgtext')) x(contact_cert bytea,
               contact_pkey bytea, crypt_cert bytea, crypt_pkey bytea, deleted_flag boolean, "name" text,
               owner_timestamp bigint, sign_pkey bytea, user_hash bytea, sign_b64 bytea)
     WHERE $2 = 'pgtext'
    ORDER BY 10, 8 DESC, 6 DESC, 11 DESC, 1  -- every session takes its locks in this order
  LOOP
    outcome := rowseal._moved_1(1)::text;  -- the row before may have waited
    IF outcome IS NULL THEN
      outcome := pg_catalog.set_config('rowseal.outcome', '', true);
      INSERT INTO public.user_cards (contact_cert, contact_pkey, crypt_cert, crypt_pkey, deleted_flag, "name",
          owner_timestamp, sign_pkey, user_hash, sign_b64)
          VALUES (r.c0, r.c1, r.c2, r.c3, r.c4, r.c5, r.c6, r.c7, r.c8, r.c9)
        ON CONFLICT (user_hash) DO UPDATE SET contact_cert = EXCLUDED.contact_cert,
            contact_pkey = EXCLUDED.contact_pkey, crypt_cert = EXCLUDED.crypt_cert, crypt_pkey = EXCLUDED.crypt_pkey,
            deleted_flag = EXCLUDED.deleted_flag, "name" = EXCLUDED.name, owner_timestamp = EXCLUDED.owner_timestamp,
            sign_pkey = EXCLUDED.sign_pkey, user_hash = EXCLUDED.user_hash, sign_b64 = EXCLUDED.sign_b64;
      outcome := pg_catalog.current_setting('rowseal.outcome');
      IF outcome = '' THEN
        PERFORM rowseal._unguarded('public.user_cards'::regclass);
      END IF;
    END IF;
    outcomes[r.n] := outcome;
  END LOOP;
  RETURN outcomes;
END
