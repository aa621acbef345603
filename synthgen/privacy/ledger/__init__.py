"""The ledger of privacy spends: a hash chain in SQLite or PostgreSQL with caps and reservations."""
