"""Persistence as its own tests have it."""

from __future__ import annotations

from tests.integration.persistence.conftest import broker, client, cluster, emptied, persistence

__all__ = ["broker", "client", "cluster", "emptied", "persistence"]
