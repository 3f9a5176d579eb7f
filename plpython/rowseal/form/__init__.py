"""What is signed: canonical form, signatures, the verdict on one row.  On the server and in a client."""
