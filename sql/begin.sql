\echo Use "CREATE EXTENSION rowseal CASCADE" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;  -- for this script; CREATE EXTENSION puts the caller's back
