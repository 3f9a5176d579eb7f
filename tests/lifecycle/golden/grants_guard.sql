#variable_conflict use_column
DECLARE
  stored public.grants;
  public_key pg_catalog.bytea;
  verdict rowseal.verdict;
  outcome pg_catalog.text;
  respelled pg_catalog.bool;  -- the signature is here, on other content
  kept pg_catalog.bool := false;
  news pg_catalog.bool;
BEGIN
  <<judged>> BEGIN
    verdict := rowseal._moved_3(1);
    EXIT judged WHEN verdict IS NOT NULL;
    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
      IF ((NEW.sign_b64 OPERATOR(pg_catalog.=) OLD.sign_b64
          AND pg_catalog.record_image_eq(ROW(NEW.deleted_flag, NEW.grantee_pkey, NEW.keys, NEW.may_grant,
          NEW.owner_timestamp, NEW.tables, NEW.tombstones, NEW.until, NEW.upto, NEW.user_hash, NEW.writer_pkey,
          NEW.writer_prev, NEW.writer_seq, NEW.sign_b64),
          ROW(OLD.deleted_flag, OLD.grantee_pkey, OLD.keys, OLD.may_grant, OLD.owner_timestamp, OLD.tables,
          OLD.tombstones, OLD.until, OLD.upto, OLD.user_hash, OLD.writer_pkey, OLD.writer_prev, OLD.writer_seq,
          OLD.sign_b64)))) IS NOT TRUE THEN
        verdict := ROW('RS009', 'history is append-only')::rowseal.verdict;
        EXIT judged;
      END IF;
      -- unsigned columns, each server's own: replicated they would circle
      kept := pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.<>) 'replica';
      outcome := 'duplicate';
      EXIT judged;
    END IF;

    -- 1. What is there?
    SELECT * INTO stored FROM public.grants t WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash
        AND t.grantee_pkey OPERATOR(pg_catalog.=) NEW.grantee_pkey AND t.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64;
    respelled := FOUND;

    -- 2. What is NEW to it?  No signature is looked at.
    IF respelled AND (stored.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64
        AND pg_catalog.record_image_eq(ROW(stored.deleted_flag, stored.grantee_pkey, stored.keys, stored.may_grant,
        stored.owner_timestamp, stored.tables, stored.tombstones, stored.until, stored.upto, stored.user_hash,
        stored.writer_pkey, stored.writer_prev, stored.writer_seq, stored.sign_b64),
        ROW(NEW.deleted_flag, NEW.grantee_pkey, NEW.keys, NEW.may_grant, NEW.owner_timestamp, NEW.tables,
        NEW.tombstones, NEW.until, NEW.upto, NEW.user_hash, NEW.writer_pkey, NEW.writer_prev, NEW.writer_seq,
        NEW.sign_b64))) THEN
      outcome := 'duplicate';
      EXIT judged;
    END IF;
    LOCK TABLE ONLY public.user_cards IN ACCESS SHARE MODE;
    verdict := rowseal._moved_3(1);
    EXIT judged WHEN verdict IS NOT NULL;
    PERFORM rowseal._lock_writers(3, rowseal._encoded(NEW.user_hash), true);
    verdict := rowseal._moved_3(1);
    EXIT judged WHEN verdict IS NOT NULL;

    -- 3. Is it the owner's?
    IF NEW.writer_pkey IS NULL THEN
      SELECT k.sign_pkey INTO public_key FROM public.user_cards k
          WHERE k.user_hash OPERATOR(pg_catalog.=) NEW.user_hash LIMIT 1;
      verdict := coalesce(CASE WHEN CASE WHEN NEW.writer_pkey IS NULL THEN NEW.writer_seq IS NULL
          AND NEW.writer_prev IS NULL
                     ELSE NEW.writer_seq OPERATOR(pg_catalog.>=) 1
                         AND (NEW.writer_prev IS NULL)
                         OPERATOR(pg_catalog.=) (NEW.writer_seq OPERATOR(pg_catalog.=) 1)
                          AND coalesce(pg_catalog.octet_length(NEW.writer_prev),
                              32) OPERATOR(pg_catalog.=) 32 END IS NOT TRUE
                              THEN ROW('RS013',
                                  'writer, number and previous link do not fit each other')::rowseal.verdict
           WHEN NOT (pg_catalog.octet_length(NEW.writer_pkey) OPERATOR(pg_catalog.=) ANY ('{32}'::pg_catalog.int4[]))
               THEN ROW('RS013', 'the key of a writer is none of ed25519')::rowseal.verdict
           WHEN (pg_catalog.octet_length(NEW.grantee_pkey)
               OPERATOR(pg_catalog.=) ANY ('{32}'::pg_catalog.int4[])) IS NOT TRUE
               THEN ROW('RS013', 'the key of a writer is none of ed25519')::rowseal.verdict
           WHEN NEW.deleted_flag THEN ROW('RS013', 'a grant is ended by a revocation, not deleted')::rowseal.verdict
           WHEN NEW.upto IS NULL AND NEW.until IS NULL
               THEN ROW('RS013', 'a grant needs a last timestamp (until)')::rowseal.verdict
           WHEN NOT (rowseal._flat(NEW.tables)
               AND coalesce(pg_catalog.jsonb_typeof(NEW.keys), 'object') OPERATOR(pg_catalog.=) 'object'
                     AND rowseal._are_links(NEW.upto))
                         THEN ROW('RS013',
                             'tables or upto is no plain array, or keys no JSON object')::rowseal.verdict
           WHEN pg_catalog.octet_length((NEW.tables)::pg_catalog.text) OPERATOR(pg_catalog.>) 4096
               OR pg_catalog.octet_length((CASE
               WHEN (NEW.keys IS NULL OR pg_catalog.pg_column_size(NEW.keys) OPERATOR(pg_catalog.<=) 4000
                   OR rowseal._digits(NEW.keys) OPERATOR(pg_catalog.<=) 65011712)
               THEN NEW.keys END)::pg_catalog.text) OPERATOR(pg_catalog.>) 4096
               THEN ROW('RS013', 'tables or keys have more than 4096 bytes as text')::rowseal.verdict
      END, rowseal._judge_3(public_key, NEW.sign_b64, rowseal._one_based(NEW.tables) AND rowseal._one_based(NEW.upto),
          rowseal._few(NEW.tables, 262144) AND rowseal._few(NEW.upto, 262144),
          (NEW.keys IS NULL OR pg_catalog.pg_column_size(NEW.keys) OPERATOR(pg_catalog.<=) 4000
              OR rowseal._digits(NEW.keys) OPERATOR(pg_catalog.<=) 65011712),
          NEW.deleted_flag, NEW.grantee_pkey, CASE
          WHEN (NEW.keys IS NULL OR pg_catalog.pg_column_size(NEW.keys) OPERATOR(pg_catalog.<=) 4000
              OR rowseal._digits(NEW.keys) OPERATOR(pg_catalog.<=) 65011712)
          THEN NEW.keys END, NEW.may_grant, NEW.owner_timestamp, CASE WHEN rowseal._few(NEW.tables, 262144)
          THEN NEW.tables END, NEW.tombstones, NEW.until, CASE WHEN rowseal._few(NEW.upto, 262144) THEN NEW.upto END,
          NEW.user_hash, NEW.writer_pkey, NEW.writer_prev, NEW.writer_seq));
    ELSE
      verdict := coalesce(coalesce(CASE WHEN CASE WHEN NEW.writer_pkey IS NULL THEN NEW.writer_seq IS NULL
          AND NEW.writer_prev IS NULL
                     ELSE NEW.writer_seq OPERATOR(pg_catalog.>=) 1
                         AND (NEW.writer_prev IS NULL)
                         OPERATOR(pg_catalog.=) (NEW.writer_seq OPERATOR(pg_catalog.=) 1)
                          AND coalesce(pg_catalog.octet_length(NEW.writer_prev),
                              32) OPERATOR(pg_catalog.=) 32 END IS NOT TRUE
                              THEN ROW('RS013',
                                  'writer, number and previous link do not fit each other')::rowseal.verdict
           WHEN NOT (pg_catalog.octet_length(NEW.writer_pkey) OPERATOR(pg_catalog.=) ANY ('{32}'::pg_catalog.int4[]))
               THEN ROW('RS013', 'the key of a writer is none of ed25519')::rowseal.verdict
           WHEN (pg_catalog.octet_length(NEW.grantee_pkey)
               OPERATOR(pg_catalog.=) ANY ('{32}'::pg_catalog.int4[])) IS NOT TRUE
               THEN ROW('RS013', 'the key of a writer is none of ed25519')::rowseal.verdict
           WHEN NEW.deleted_flag THEN ROW('RS013', 'a grant is ended by a revocation, not deleted')::rowseal.verdict
           WHEN NEW.upto IS NULL AND NEW.until IS NULL
               THEN ROW('RS013', 'a grant needs a last timestamp (until)')::rowseal.verdict
           WHEN NOT (rowseal._flat(NEW.tables)
               AND coalesce(pg_catalog.jsonb_typeof(NEW.keys), 'object') OPERATOR(pg_catalog.=) 'object'
                     AND rowseal._are_links(NEW.upto))
                         THEN ROW('RS013',
                             'tables or upto is no plain array, or keys no JSON object')::rowseal.verdict
           WHEN pg_catalog.octet_length((NEW.tables)::pg_catalog.text) OPERATOR(pg_catalog.>) 4096
               OR pg_catalog.octet_length((CASE
               WHEN (NEW.keys IS NULL OR pg_catalog.pg_column_size(NEW.keys) OPERATOR(pg_catalog.<=) 4000
                   OR rowseal._digits(NEW.keys) OPERATOR(pg_catalog.<=) 65011712)
               THEN NEW.keys END)::pg_catalog.text) OPERATOR(pg_catalog.>) 4096
               THEN ROW('RS013', 'tables or keys have more than 4096 bytes as text')::rowseal.verdict
      END, rowseal._judge_3(NEW.writer_pkey, NEW.sign_b64, rowseal._one_based(NEW.tables)
          AND rowseal._one_based(NEW.upto), rowseal._few(NEW.tables, 262144) AND rowseal._few(NEW.upto, 262144),
          (NEW.keys IS NULL OR pg_catalog.pg_column_size(NEW.keys) OPERATOR(pg_catalog.<=) 4000
              OR rowseal._digits(NEW.keys) OPERATOR(pg_catalog.<=) 65011712),
          NEW.deleted_flag, NEW.grantee_pkey, CASE
          WHEN (NEW.keys IS NULL OR pg_catalog.pg_column_size(NEW.keys) OPERATOR(pg_catalog.<=) 4000
              OR rowseal._digits(NEW.keys) OPERATOR(pg_catalog.<=) 65011712)
          THEN NEW.keys END, NEW.may_grant, NEW.owner_timestamp, CASE WHEN rowseal._few(NEW.tables, 262144)
          THEN NEW.tables END, NEW.tombstones, NEW.until, CASE WHEN rowseal._few(NEW.upto, 262144) THEN NEW.upto END,
          NEW.user_hash, NEW.writer_pkey, NEW.writer_prev, NEW.writer_seq)),
          rowseal._licensed(3, rowseal._encoded(NEW.user_hash), NEW.writer_pkey, NEW.writer_seq,
          pg_catalog.sha256(pg_catalog.int8send(NEW.writer_seq) OPERATOR(pg_catalog.||) coalesce(NEW.writer_prev,
              '') OPERATOR(pg_catalog.||) NEW.sign_b64), 'grants',
          NEW.owner_timestamp, NEW.deleted_flag, NULL));
    END IF;
    verdict := coalesce(verdict, CASE
      WHEN (pg_catalog.octet_length(NEW.user_hash)
            OPERATOR(pg_catalog.+) pg_catalog.octet_length(NEW.grantee_pkey))
          OPERATOR(pg_catalog.>) 2624
      THEN ROW('54000', 'a primary key of more than 2624 bytes')::rowseal.verdict END);
    EXIT judged WHEN verdict IS NOT NULL;

    -- 4. It is carried out.
    kept := NOT respelled;
    IF respelled THEN
      outcome := 'duplicate';  -- the version that is there, in another spelling
    ELSIF pg_catalog.current_setting('rowseal.mode', true) OPERATOR(pg_catalog.=) 'apply' THEN
      SELECT CASE WHEN pg_catalog.bool_or(ROW(t.owner_timestamp, t.deleted_flag,
          t.sign_b64) OPERATOR(pg_catalog.>) ROW(NEW.owner_timestamp, NEW.deleted_flag, NEW.sign_b64)) THEN 'archived'
                  WHEN pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 THEN 'superseded' ELSE 'inserted' END
        INTO outcome FROM public.grants t WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash
            AND t.grantee_pkey OPERATOR(pg_catalog.=) NEW.grantee_pkey;
    END IF;
  END judged;

  outcome := coalesce(verdict::pg_catalog.text, outcome);
  IF outcome IS NOT NULL AND pg_catalog.current_setting('rowseal.mode', true) OPERATOR(pg_catalog.=) 'apply' THEN
    outcome := pg_catalog.set_config('rowseal.outcome', outcome, true);
  ELSIF verdict IS NOT NULL THEN
    PERFORM rowseal._refuse(TG_RELID, rowseal._table_of(3, false), verdict,
        rowseal._payload_3(rowseal._one_based(NEW.tables) AND rowseal._one_based(NEW.upto),
        rowseal._few(NEW.tables, 262144) AND rowseal._few(NEW.upto, 262144),
        (NEW.keys IS NULL OR pg_catalog.pg_column_size(NEW.keys) OPERATOR(pg_catalog.<=) 4000
            OR rowseal._digits(NEW.keys) OPERATOR(pg_catalog.<=) 65011712),
        NEW.deleted_flag, NEW.grantee_pkey, CASE
        WHEN (NEW.keys IS NULL OR pg_catalog.pg_column_size(NEW.keys) OPERATOR(pg_catalog.<=) 4000
            OR rowseal._digits(NEW.keys) OPERATOR(pg_catalog.<=) 65011712)
        THEN NEW.keys END, NEW.may_grant, NEW.owner_timestamp, CASE WHEN rowseal._few(NEW.tables, 262144)
        THEN NEW.tables END, NEW.tombstones, NEW.until, CASE WHEN rowseal._few(NEW.upto, 262144) THEN NEW.upto END,
        NEW.user_hash, NEW.writer_pkey, NEW.writer_prev, NEW.writer_seq), NEW.sign_b64, NEW);
  END IF;
  IF kept AND verdict IS NULL THEN
    RETURN NEW;
  END IF;
  RETURN NULL;
END
