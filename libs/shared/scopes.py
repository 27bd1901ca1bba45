"""What an API key can be made for beside a role: agreed by the api, persistence and the command line."""

from __future__ import annotations

METRICS = "metrics"
"""Reads ``/metrics`` and nothing else."""
ON_BEHALF_OF = "on-behalf-of"
"""Chats for the accounts that its program's users are mapped to, and nothing else: made by admins, by itself."""
