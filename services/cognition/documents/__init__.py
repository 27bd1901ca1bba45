"""A user's documents: read apart from the service, cut into passages, kept and made searchable."""
