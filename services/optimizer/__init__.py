"""Sommeil Paradoxal: what the installation does for itself while nobody needs it."""
