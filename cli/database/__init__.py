"""The installation's own PostgreSQL: its binaries, its system user, its first creation, its start."""
