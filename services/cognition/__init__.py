"""Cognition: the conversation turn and the memory behind it."""
