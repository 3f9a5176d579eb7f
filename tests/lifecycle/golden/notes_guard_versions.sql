#variable_conflict use_column
DECLARE
  stored pg_catalog.record;
  tip pg_catalog.record;
  public_key pg_catalog.bytea;
  verdict rowseal.verdict;
  outcome pg_catalog.text;
  has_tip pg_catalog.bool;
  respelled pg_catalog.bool;  -- the signature is here, on other content
  kept pg_catalog.bool := false;
  news pg_catalog.bool;
BEGIN
  <<judged>> BEGIN
    verdict := rowseal._moved_4(1);
    EXIT judged WHEN verdict IS NOT NULL;
    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
      IF ((NEW.sign_b64 OPERATOR(pg_catalog.=) OLD.sign_b64
          AND pg_catalog.record_image_eq(ROW(NEW.deleted_flag, NEW.key, NEW.n, NEW.owner_timestamp,
          NEW.parent_sign_b64, NEW.user_hash, NEW.writer_pkey, NEW.writer_prev, NEW.writer_seq, NEW.sign_b64),
          ROW(OLD.deleted_flag, OLD.key, OLD.n, OLD.owner_timestamp, OLD.parent_sign_b64, OLD.user_hash,
          OLD.writer_pkey, OLD.writer_prev, OLD.writer_seq, OLD.sign_b64)))) IS NOT TRUE THEN
        verdict := ROW('RS009', 'history is append-only')::rowseal.verdict;
        EXIT judged;
      END IF;
      -- unsigned columns, each server's own: replicated they would circle
      kept := pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.<>) 'replica';
      outcome := 'duplicate';
      EXIT judged;
    END IF;
    IF NEW.owner_timestamp IS NULL OR NEW.deleted_flag IS NULL OR NEW.sign_b64 IS NULL THEN
      verdict := ROW('RS001',
          'the row is not signed: key, timestamp, deletion flag or signature is missing')::rowseal.verdict;
      EXIT judged;
    END IF;

    -- 1. What is there?
    LOCK TABLE ONLY public.notes, ONLY public.user_cards IN ACCESS SHARE MODE;
    verdict := rowseal._moved_4(1);
    EXIT judged WHEN verdict IS NOT NULL;
    SELECT * INTO tip FROM public.notes t WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash
        AND t.key OPERATOR(pg_catalog.=) NEW.key;
    has_tip := FOUND;
    IF has_tip AND pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.>) 1
        AND (tip.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64
        AND pg_catalog.record_image_eq(ROW(tip.deleted_flag, tip.key, tip.n, tip.owner_timestamp, tip.parent_sign_b64,
        tip.user_hash, tip.writer_pkey, tip.writer_prev, tip.writer_seq, tip.sign_b64),
        ROW(NEW.deleted_flag, NEW.key, NEW.n, NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash,
        NEW.writer_pkey, NEW.writer_prev, NEW.writer_seq, NEW.sign_b64))) THEN
      -- its table's guard, about to replace it, archives it: it was verified when it came
      IF rowseal._lock_writers(3, rowseal._encoded(NEW.user_hash), false) THEN
        RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'a current version is archived by its table alone';
      END IF;
      kept := true;
      EXIT judged;
    END IF;
    SELECT * INTO stored FROM public.notes_versions v WHERE v.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64;
    respelled := FOUND;

    -- 2. What is NEW to it?  No signature is looked at.
    IF respelled THEN
      IF (stored.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64
          AND pg_catalog.record_image_eq(ROW(stored.deleted_flag, stored.key, stored.n, stored.owner_timestamp,
          stored.parent_sign_b64, stored.user_hash, stored.writer_pkey, stored.writer_prev, stored.writer_seq,
          stored.sign_b64),
          ROW(NEW.deleted_flag, NEW.key, NEW.n, NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash,
          NEW.writer_pkey, NEW.writer_prev, NEW.writer_seq, NEW.sign_b64))) THEN
        outcome := 'duplicate';
        EXIT judged;
      END IF;
    ELSE
      IF rowseal._lock_writers(3, rowseal._encoded(NEW.user_hash), false) THEN
      verdict := rowseal._moved_4(1);
      EXIT judged WHEN verdict IS NOT NULL;
      SELECT * INTO tip FROM public.notes t WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash
          AND t.key OPERATOR(pg_catalog.=) NEW.key;
      has_tip := FOUND;
      END IF;
      IF NOT has_tip OR ROW(NEW.owner_timestamp, NEW.deleted_flag,
          NEW.sign_b64) OPERATOR(pg_catalog.>=) ROW(tip.owner_timestamp, tip.deleted_flag, tip.sign_b64) THEN
        -- not superseded by anything yet: it belongs into the main table, whose guard decides
        INSERT INTO public.notes (deleted_flag, "key", "n", owner_timestamp, parent_sign_b64, user_hash, writer_pkey,
            writer_prev, writer_seq, sign_b64)
            VALUES (NEW.deleted_flag, NEW.key, NEW.n, NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash,
            NEW.writer_pkey, NEW.writer_prev, NEW.writer_seq, NEW.sign_b64)
          ON CONFLICT (user_hash, "key") DO UPDATE SET deleted_flag = EXCLUDED.deleted_flag, "key" = EXCLUDED.key,
              "n" = EXCLUDED.n, owner_timestamp = EXCLUDED.owner_timestamp,
              parent_sign_b64 = EXCLUDED.parent_sign_b64, user_hash = EXCLUDED.user_hash,
              writer_pkey = EXCLUDED.writer_pkey, writer_prev = EXCLUDED.writer_prev,
              writer_seq = EXCLUDED.writer_seq, sign_b64 = EXCLUDED.sign_b64;
        EXIT judged;
      END IF;
    END IF;

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
      END, CASE
        WHEN NEW.user_hash IS NOT NULL AND NEW.key IS NOT NULL AND NEW.owner_timestamp IS NOT NULL
            AND NEW.deleted_flag IS NOT NULL
         AND pg_catalog.octet_length(NEW.sign_b64) OPERATOR(pg_catalog.=) 64
             AND pg_catalog.octet_length(public_key) OPERATOR(pg_catalog.=) 32
         AND coalesce(pg_catalog.octet_length(NEW.parent_sign_b64), 0) OPERATOR(pg_catalog.<=) 4000
         AND coalesce(pg_catalog.octet_length(NEW.writer_pkey), 0) OPERATOR(pg_catalog.<=) 4000
         AND coalesce(pg_catalog.octet_length(NEW.writer_prev), 0) OPERATOR(pg_catalog.<=) 4000
         AND rowseal._verified(NEW.sign_b64,
           pg_catalog.convert_to(pg_catalog.concat('{"row":{', pg_catalog.concat_ws(',',
             rowseal._flag('"deleted_flag":', NEW.deleted_flag),
             rowseal._text('"key":', NEW.key::pg_catalog.text),
             rowseal._string('"n":', NEW.n::pg_catalog.text),
             rowseal._string('"owner_timestamp":', NEW.owner_timestamp::pg_catalog.text),
             rowseal._string('"parent_sign_b64":', rowseal._encoded(NEW.parent_sign_b64)),
             rowseal._string('"user_hash":', rowseal._encoded(NEW.user_hash)),
             rowseal._string('"writer_pkey":', rowseal._encoded(NEW.writer_pkey)),
             rowseal._string('"writer_prev":', rowseal._encoded(NEW.writer_prev)),
             rowseal._string('"writer_seq":', NEW.writer_seq::pg_catalog.text)), '},"rowseal":1,"table":"notes"}'),
                 'UTF8'),
           public_key)
        THEN NULL ELSE rowseal._judge_4(public_key, NEW.sign_b64, NEW.deleted_flag, NEW.key, NEW.n,
            NEW.owner_timestamp,
            NEW.parent_sign_b64, NEW.user_hash, NEW.writer_pkey, NEW.writer_prev, NEW.writer_seq)
      END);
    ELSE
      IF news IS NOT TRUE THEN
        verdict := coalesce(coalesce(CASE WHEN CASE WHEN NEW.writer_pkey IS NULL THEN NEW.writer_seq IS NULL
            AND NEW.writer_prev IS NULL
                       ELSE NEW.writer_seq OPERATOR(pg_catalog.>=) 1
                           AND (NEW.writer_prev IS NULL)
                           OPERATOR(pg_catalog.=) (NEW.writer_seq OPERATOR(pg_catalog.=) 1)
                            AND coalesce(pg_catalog.octet_length(NEW.writer_prev),
                                32) OPERATOR(pg_catalog.=) 32 END IS NOT TRUE
                                THEN ROW('RS013',
                                    'writer, number and previous link do not fit each other')::rowseal.verdict
             WHEN NOT (pg_catalog.octet_length(NEW.writer_pkey)
                 OPERATOR(pg_catalog.=) ANY ('{32}'::pg_catalog.int4[]))
                 THEN ROW('RS013', 'the key of a writer is none of ed25519')::rowseal.verdict
        END, CASE
          WHEN NEW.user_hash IS NOT NULL AND NEW.key IS NOT NULL AND NEW.owner_timestamp IS NOT NULL
              AND NEW.deleted_flag IS NOT NULL
           AND pg_catalog.octet_length(NEW.sign_b64) OPERATOR(pg_catalog.=) 64
               AND pg_catalog.octet_length(NEW.writer_pkey) OPERATOR(pg_catalog.=) 32
           AND coalesce(pg_catalog.octet_length(NEW.parent_sign_b64), 0) OPERATOR(pg_catalog.<=) 4000
           AND coalesce(pg_catalog.octet_length(NEW.writer_pkey), 0) OPERATOR(pg_catalog.<=) 4000
           AND coalesce(pg_catalog.octet_length(NEW.writer_prev), 0) OPERATOR(pg_catalog.<=) 4000
           AND rowseal._verified(NEW.sign_b64,
             pg_catalog.convert_to(pg_catalog.concat('{"row":{', pg_catalog.concat_ws(',',
               rowseal._flag('"deleted_flag":', NEW.deleted_flag),
               rowseal._text('"key":', NEW.key::pg_catalog.text),
               rowseal._string('"n":', NEW.n::pg_catalog.text),
               rowseal._string('"owner_timestamp":', NEW.owner_timestamp::pg_catalog.text),
               rowseal._string('"parent_sign_b64":', rowseal._encoded(NEW.parent_sign_b64)),
               rowseal._string('"user_hash":', rowseal._encoded(NEW.user_hash)),
               rowseal._string('"writer_pkey":', rowseal._encoded(NEW.writer_pkey)),
               rowseal._string('"writer_prev":', rowseal._encoded(NEW.writer_prev)),
               rowseal._string('"writer_seq":', NEW.writer_seq::pg_catalog.text)), '},"rowseal":1,"table":"notes"}'),
                   'UTF8'),
             NEW.writer_pkey)
          THEN NULL ELSE rowseal._judge_4(NEW.writer_pkey, NEW.sign_b64, NEW.deleted_flag, NEW.key, NEW.n,
              NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash, NEW.writer_pkey, NEW.writer_prev,
                  NEW.writer_seq)
        END), rowseal._admit(3, rowseal._encoded(NEW.user_hash), NEW.writer_pkey, NEW.writer_seq,
            pg_catalog.sha256(pg_catalog.int8send(NEW.writer_seq) OPERATOR(pg_catalog.||) coalesce(NEW.writer_prev,
                '') OPERATOR(pg_catalog.||) NEW.sign_b64), 'notes',
            NEW.owner_timestamp, NEW.deleted_flag,
            pg_catalog.jsonb_build_object('user_hash', rowseal._encoded(NEW.user_hash), 'key',
                NEW.key::pg_catalog.text)));
      END IF;
      news := news IS NULL AND (verdict).sqlstate OPERATOR(pg_catalog.=) '00000';
      IF news THEN
        verdict := NULL;
      END IF;
    END IF;
    verdict := coalesce(verdict, CASE
      WHEN (pg_catalog.octet_length(NEW.user_hash)
            OPERATOR(pg_catalog.+) pg_catalog.octet_length(pg_catalog.to_json(NEW.key)::pg_catalog.text))
          OPERATOR(pg_catalog.>) 2000
      THEN ROW('54000', 'a primary key of more than 2000 bytes')::rowseal.verdict END);
    EXIT judged WHEN verdict IS NOT NULL;

    -- 4. It is carried out.
    IF respelled THEN
      outcome := 'duplicate';
    ELSE
      outcome := 'archived';
      kept := true;
    END IF;
  END judged;

  outcome := coalesce(verdict::pg_catalog.text, outcome);
  IF outcome IS NOT NULL AND pg_catalog.current_setting('rowseal.mode', true) OPERATOR(pg_catalog.=) 'apply' THEN
    outcome := pg_catalog.set_config('rowseal.outcome', outcome, true);
  ELSIF verdict IS NOT NULL THEN
    PERFORM rowseal._refuse(TG_RELID, rowseal._table_of(4, false), verdict,
        rowseal._payload_4(NEW.deleted_flag, NEW.key, NEW.n, NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash,
        NEW.writer_pkey, NEW.writer_prev, NEW.writer_seq), NEW.sign_b64, NEW);
  END IF;
  IF kept AND verdict IS NULL THEN
    RETURN NEW;
  END IF;
  RETURN NULL;
END
