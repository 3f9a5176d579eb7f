"""rowseal: rows that only their owner can write.

What is signed (form) runs inside PostgreSQL, inlined into the extension, and in clients; client,
electric and cli run outside alone, everything else inside alone.
"""
