#variable_conflict use_column
DECLARE
  stored public.events;
  public_key pg_catalog.bytea;
  verdict rowseal.verdict;
  outcome pg_catalog.text;
  respelled pg_catalog.bool;  -- the signature is here, on other content
  kept pg_catalog.bool := false;
BEGIN
  <<judged>> BEGIN
    verdict := rowseal._moved_6(1);
    EXIT judged WHEN verdict IS NOT NULL;
    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
      IF ((NEW.sign_b64 OPERATOR(pg_catalog.=) OLD.sign_b64
          AND pg_catalog.record_image_eq(ROW(NEW.at, NEW.deleted_flag, NEW.owner_timestamp, NEW.parent_sign_b64,
          NEW.user_hash, NEW.uuid, NEW.sign_b64),
          ROW(OLD.at, OLD.deleted_flag, OLD.owner_timestamp, OLD.parent_sign_b64, OLD.user_hash, OLD.uuid,
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
    SELECT * INTO stored FROM public.events t WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash
        AND t.uuid OPERATOR(pg_catalog.=) NEW.uuid AND t.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64;
    respelled := FOUND;

    -- 2. What is NEW to it?  No signature is looked at.
    IF respelled AND (stored.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64
        AND pg_catalog.record_image_eq(ROW(stored.at, stored.deleted_flag, stored.owner_timestamp,
        stored.parent_sign_b64, stored.user_hash, stored.uuid, stored.sign_b64),
        ROW(NEW.at, NEW.deleted_flag, NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash, NEW.uuid,
        NEW.sign_b64))) THEN
      outcome := 'duplicate';
      EXIT judged;
    END IF;
    LOCK TABLE ONLY public.user_cards IN ACCESS SHARE MODE;
    verdict := rowseal._moved_6(1);
    EXIT judged WHEN verdict IS NOT NULL;

    -- 3. Is it the owner's?
    SELECT k.sign_pkey INTO public_key FROM public.user_cards k
        WHERE k.user_hash OPERATOR(pg_catalog.=) NEW.user_hash LIMIT 1;
    verdict := rowseal._judge_6(public_key, NEW.sign_b64, NEW.at, NEW.deleted_flag, NEW.owner_timestamp,
        NEW.parent_sign_b64, NEW.user_hash, NEW.uuid);
    EXIT judged WHEN verdict IS NOT NULL;

    -- 4. It is carried out.
    kept := NOT respelled;
    IF respelled THEN
      outcome := 'duplicate';  -- the version that is there, in another spelling
    ELSIF pg_catalog.current_setting('rowseal.mode', true) OPERATOR(pg_catalog.=) 'apply' THEN
      SELECT CASE WHEN pg_catalog.bool_or(ROW(t.owner_timestamp, t.deleted_flag,
          t.sign_b64) OPERATOR(pg_catalog.>) ROW(NEW.owner_timestamp, NEW.deleted_flag, NEW.sign_b64)) THEN 'archived'
                  WHEN pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 THEN 'superseded' ELSE 'inserted' END
        INTO outcome FROM public.events t WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash
            AND t.uuid OPERATOR(pg_catalog.=) NEW.uuid;
    END IF;
  END judged;

  outcome := coalesce(verdict::pg_catalog.text, outcome);
  IF outcome IS NOT NULL AND pg_catalog.current_setting('rowseal.mode', true) OPERATOR(pg_catalog.=) 'apply' THEN
    outcome := pg_catalog.set_config('rowseal.outcome', outcome, true);
  ELSIF verdict IS NOT NULL THEN
    PERFORM rowseal._refuse(TG_RELID, rowseal._table_of(6, false), verdict,
        rowseal._payload_6(NEW.at, NEW.deleted_flag, NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash,
            NEW.uuid),
        NEW.sign_b64, NEW);
  END IF;
  IF kept AND verdict IS NULL THEN
    RETURN NEW;
  END IF;
  RETURN NULL;
END
