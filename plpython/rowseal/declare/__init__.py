"""From a table's catalog facts and a wish to its declaration.  Pure; runs in the server."""
