"""rowseal: rows that only their owner can write.

The same modules run inside PostgreSQL (inlined into the extension) and in a client that signs.
"""
