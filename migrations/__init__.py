"""The chain of database migrations."""
