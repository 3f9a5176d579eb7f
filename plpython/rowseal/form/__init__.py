"""What is signed: canonical form, signatures, the verdict on one row.

It runs on the server, in every session that stores rows, and in clients: it imports nothing heavy.
"""
