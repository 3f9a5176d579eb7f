#variable_conflict use_column
BEGIN
  IF rowseal._moved_2(1) IS NOT NULL THEN  -- while the row was stored
    RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'a table or type has been altered meanwhile';
  END IF;
  RETURN EXISTS (SELECT FROM public.user_storage t WHERE t.user_hash OPERATOR(pg_catalog.=) k0
      AND t.uuid OPERATOR(pg_catalog.=) k1 AND t.sign_b64 = k2);
END
