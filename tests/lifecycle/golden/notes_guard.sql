#variable_conflict use_column
DECLARE
  tip pg_catalog.record;
  public_key pg_catalog.bytea;
  verdict rowseal.verdict;
  outcome pg_catalog.text;
  known pg_catalog.bool;
  newer pg_catalog.bool := true;  -- than the tip
  kept pg_catalog.bool := false;
  whole public.notes;
  news pg_catalog.bool;
BEGIN
  <<judged>> LOOP
    verdict := rowseal._moved_4(1);
    EXIT judged WHEN verdict IS NOT NULL;

    -- 1. What is there?
    IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
      SELECT * INTO tip FROM public.notes t WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash
          AND t.key OPERATOR(pg_catalog.=) NEW.key;
      known := FOUND;
    ELSE
      tip := OLD;
      known := true;
    END IF;

    -- 2. What is NEW to it?  No signature yet.
    IF known AND (tip.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64
        AND pg_catalog.record_image_eq(ROW(tip.deleted_flag, tip.key, tip.n, tip.owner_timestamp, tip.parent_sign_b64,
        tip.user_hash, tip.writer_pkey, tip.writer_prev, tip.writer_seq, tip.sign_b64),
        ROW(NEW.deleted_flag, NEW.key, NEW.n, NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash,
        NEW.writer_pkey, NEW.writer_prev, NEW.writer_seq, NEW.sign_b64))) THEN
      outcome := 'duplicate';
      IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
        -- unsigned columns; between servers they would circle
        kept := pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.<>) 'replica';
      END IF;
      EXIT judged;
    END IF;
    LOCK TABLE ONLY public.notes_versions, ONLY public.user_cards IN ACCESS SHARE MODE;
    verdict := rowseal._moved_4(1);
    EXIT judged WHEN verdict IS NOT NULL;
    IF known THEN
      IF NEW.owner_timestamp IS NULL OR NEW.deleted_flag IS NULL OR NEW.sign_b64 IS NULL THEN
        verdict := ROW('RS001',
            'the row is not signed: key, timestamp, deletion flag or signature is missing')::rowseal.verdict;
        EXIT judged;
      END IF;
      IF rowseal._lock_writers(3, rowseal._encoded(NEW.user_hash), false) THEN
      CONTINUE judged;
      END IF;
      IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE'
          AND (NEW.user_hash OPERATOR(pg_catalog.=) tip.user_hash
          AND NEW.key OPERATOR(pg_catalog.=) tip.key) IS NOT TRUE THEN
        verdict := ROW('RS003', 'primary key and owner never change')::rowseal.verdict;
        EXIT judged;
      END IF;
      newer := (ROW(NEW.owner_timestamp, NEW.deleted_flag,
          NEW.sign_b64) OPERATOR(pg_catalog.>) ROW(tip.owner_timestamp, tip.deleted_flag,
          tip.sign_b64)) IS NOT FALSE;  -- NULL: the tip has lost its place
      IF NOT newer AND NEW.sign_b64 OPERATOR(pg_catalog.<>) tip.sign_b64 THEN
        -- late: that table's guard decides
        INSERT INTO public.notes_versions (deleted_flag, "key", "n", owner_timestamp, parent_sign_b64, user_hash,
            writer_pkey, writer_prev, writer_seq, sign_b64)
          VALUES (NEW.deleted_flag, NEW.key, NEW.n, NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash,
              NEW.writer_pkey, NEW.writer_prev, NEW.writer_seq, NEW.sign_b64) ON CONFLICT (sign_b64) DO NOTHING;
        IF NOT FOUND AND pg_catalog.current_setting('rowseal.outcome', true) OPERATOR(pg_catalog.=) 'archived' THEN
          outcome := 'duplicate';  -- of another session's
        END IF;
        EXIT judged;
      END IF;
      IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' AND newer THEN
        -- here again, the tip locked
        UPDATE public.notes t SET deleted_flag = NEW.deleted_flag, "key" = NEW.key, "n" = NEW.n,
            owner_timestamp = NEW.owner_timestamp, parent_sign_b64 = NEW.parent_sign_b64, user_hash = NEW.user_hash,
            writer_pkey = NEW.writer_pkey, writer_prev = NEW.writer_prev, writer_seq = NEW.writer_seq,
            sign_b64 = NEW.sign_b64 WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash
            AND t.key OPERATOR(pg_catalog.=) NEW.key;
        IF NOT FOUND THEN
          verdict := rowseal._hidden(4, NEW);
        END IF;
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
    IF news THEN
    CONTINUE judged;
    END IF;

    -- 4. It is carried out.
    IF NOT newer THEN
      outcome := 'duplicate';  -- spelled otherwise
    ELSE
      outcome := 'inserted';  -- once, by the primary key
      IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
        INSERT INTO public.notes_versions (deleted_flag, "key", "n", owner_timestamp, parent_sign_b64, user_hash,
            writer_pkey, writer_prev, writer_seq, sign_b64)
          VALUES (tip.deleted_flag, tip.key, tip.n, tip.owner_timestamp, tip.parent_sign_b64, tip.user_hash,
              tip.writer_pkey, tip.writer_prev, tip.writer_seq, tip.sign_b64) ON CONFLICT (sign_b64) DO NOTHING;
        IF NOT FOUND THEN
          PERFORM rowseal._must_be_archived(4, tip.sign_b64);
        END IF;
        -- else the WAL lacks large values
        whole := ROW(NEW.user_hash, NEW.key, NEW.n, NEW.parent_sign_b64, NEW.writer_pkey, NEW.writer_seq,
            NEW.writer_prev, NEW.deleted_flag, NEW.owner_timestamp, NEW.sign_b64);
        NEW.key := whole.key;
        NEW.n := whole.n;
        NEW.parent_sign_b64 := whole.parent_sign_b64;
        NEW.user_hash := whole.user_hash;
        NEW.writer_pkey := whole.writer_pkey;
        NEW.writer_prev := whole.writer_prev;
        outcome := 'superseded';
      END IF;
      kept := true;
    END IF;
    EXIT judged;
  END LOOP;

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
