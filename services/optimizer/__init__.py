"""Sommeil Paradoxal: what the installation improves while nobody needs it."""
