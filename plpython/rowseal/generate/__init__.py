"""From a declaration to the SQL that enforces it.  Pure; runs in the server."""
