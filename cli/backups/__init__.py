"""Backups: making them while the installation runs, keeping and checking them, and living again from one."""
