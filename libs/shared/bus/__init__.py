"""Typed conversations between services, over NATS or in memory."""

from __future__ import annotations

from libs.shared.bus.base import Bus, Delivery, KeyValue, Poison

__all__ = ["Bus", "Delivery", "KeyValue", "Poison"]
