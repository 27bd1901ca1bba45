"""Watching what a change does: guardrails over the turns before it and after it."""
