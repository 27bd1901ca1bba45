"""Live events: what changes is noticed, kept for a moment, and told to those who may see it."""
