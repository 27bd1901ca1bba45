"""Keeps accounts, conversations, the index, the ledger and jobs: the only service that connects to PostgreSQL."""
