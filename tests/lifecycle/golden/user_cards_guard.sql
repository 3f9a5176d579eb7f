#variable_conflict use_column
DECLARE
  tip pg_catalog.record;
  public_key pg_catalog.bytea;
  verdict rowseal.verdict;
  outcome pg_catalog.text;
  known pg_catalog.bool;
  newer pg_catalog.bool := true;  -- than the tip
  kept pg_catalog.bool := false;
  whole public.user_cards;
BEGIN
  <<judged>> LOOP
    verdict := rowseal._moved_1(1);
    EXIT judged WHEN verdict IS NOT NULL;

    -- 1. What is there?
    IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
      SELECT * INTO tip FROM public.user_cards t WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash;
      known := FOUND;
    ELSE
      tip := OLD;
      known := true;
    END IF;

    -- 2. What is NEW to it?  No signature yet.
    IF known AND (tip.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64
        AND pg_catalog.record_image_eq(ROW(tip.contact_cert, tip.contact_pkey, tip.crypt_cert, tip.crypt_pkey,
        tip.deleted_flag, tip.name, tip.owner_timestamp, tip.sign_pkey, tip.user_hash, tip.sign_b64),
        ROW(NEW.contact_cert, NEW.contact_pkey, NEW.crypt_cert, NEW.crypt_pkey, NEW.deleted_flag, NEW.name,
        NEW.owner_timestamp, NEW.sign_pkey, NEW.user_hash, NEW.sign_b64))) THEN
      outcome := 'duplicate';
      IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
        -- unsigned columns; between servers they would circle
        kept := pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.<>) 'replica';
      END IF;
      EXIT judged;
    END IF;
    IF known THEN
      IF NEW.owner_timestamp IS NULL OR NEW.deleted_flag IS NULL OR NEW.sign_b64 IS NULL THEN
        verdict := ROW('RS001',
            'the row is not signed: key, timestamp, deletion flag or signature is missing')::rowseal.verdict;
        EXIT judged;
      END IF;
      IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' AND (NEW.user_hash OPERATOR(pg_catalog.=) tip.user_hash) IS NOT TRUE
          THEN
        verdict := ROW('RS003', 'primary key and owner never change')::rowseal.verdict;
        EXIT judged;
      END IF;
      IF (NEW.sign_pkey OPERATOR(pg_catalog.=) tip.sign_pkey) IS NOT TRUE THEN
        verdict := ROW('RS003', 'the public key of an owner never changes')::rowseal.verdict;
        EXIT judged;
      END IF;
      newer := (ROW(NEW.owner_timestamp, NEW.deleted_flag,
          NEW.sign_b64) OPERATOR(pg_catalog.>) ROW(tip.owner_timestamp, tip.deleted_flag,
          tip.sign_b64)) IS NOT FALSE;  -- NULL: the tip has lost its place
      IF NOT newer AND NEW.sign_b64 OPERATOR(pg_catalog.<>) tip.sign_b64 THEN
        outcome := 'stale';
        EXIT judged;
      END IF;
      IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' AND newer THEN
        -- here again, the tip locked
        UPDATE public.user_cards t SET contact_cert = NEW.contact_cert, contact_pkey = NEW.contact_pkey,
            crypt_cert = NEW.crypt_cert, crypt_pkey = NEW.crypt_pkey, deleted_flag = NEW.deleted_flag,
            "name" = NEW.name, owner_timestamp = NEW.owner_timestamp, sign_pkey = NEW.sign_pkey,
            user_hash = NEW.user_hash, sign_b64 = NEW.sign_b64 WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash;
        IF NOT FOUND THEN
          verdict := rowseal._hidden(1, NEW);
        END IF;
        EXIT judged;
      END IF;
    END IF;

    -- 3. Is it the owner's?
    verdict := rowseal._judge_1(NEW.sign_pkey, NEW.sign_b64, NEW.contact_cert, NEW.contact_pkey, NEW.crypt_cert,
        NEW.crypt_pkey, NEW.deleted_flag, NEW.name, NEW.owner_timestamp, NEW.sign_pkey, NEW.user_hash);
    verdict := coalesce(verdict, CASE
      WHEN (pg_catalog.octet_length(NEW.user_hash))
          OPERATOR(pg_catalog.>) 2000
      THEN ROW('54000', 'a primary key of more than 2000 bytes')::rowseal.verdict END);
    EXIT judged WHEN verdict IS NOT NULL;

    -- 4. It is carried out.
    IF NOT newer THEN
      outcome := 'duplicate';  -- spelled otherwise
    ELSE
      outcome := 'inserted';  -- once, by the primary key
      IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
        -- else the WAL lacks large values
        whole := ROW(NEW.user_hash, NEW.sign_pkey, NEW.contact_pkey, NEW.contact_cert, NEW.crypt_pkey, NEW.crypt_cert,
            NEW.name, NEW.deleted_flag, NEW.owner_timestamp, NEW.sign_b64);
        NEW.contact_cert := whole.contact_cert;
        NEW.contact_pkey := whole.contact_pkey;
        NEW.crypt_cert := whole.crypt_cert;
        NEW.crypt_pkey := whole.crypt_pkey;
        NEW.name := whole.name;
        NEW.sign_pkey := whole.sign_pkey;
        NEW.user_hash := whole.user_hash;
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
    PERFORM rowseal._refuse(TG_RELID, rowseal._table_of(1, false), verdict,
        rowseal._payload_1(NEW.contact_cert, NEW.contact_pkey, NEW.crypt_cert, NEW.crypt_pkey, NEW.deleted_flag,
        NEW.name, NEW.owner_timestamp, NEW.sign_pkey, NEW.user_hash), NEW.sign_b64, NEW);
  END IF;
  IF kept AND verdict IS NULL THEN
    RETURN NEW;
  END IF;
  RETURN NULL;
END
