#variable_conflict use_column
BEGIN
  RETURN EXISTS (SELECT FROM public.notes t WHERE t.user_hash OPERATOR(pg_catalog.=) k0
      AND t.key OPERATOR(pg_catalog.=) k1 AND t.sign_b64 = k2);
END
