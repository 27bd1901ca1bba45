"""Letting other machines in: over TLS alone, with an authority of the installation's own or given files."""
