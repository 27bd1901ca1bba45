"""Giving an answer its thumb over the installation's HTTP surface: from a talk, and by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.gateway import Gateway

PATH = "/api/v1/ratings"


def rate(gateway: Gateway, turn_id: str, thumb: str | None) -> str:
    """Gives the thumb, or takes it back; what is so now, in a few words. Raises Refused, GatewayAway."""
    if thumb is None:
        gateway.ask("DELETE", f"{PATH}/{turn_id}")
        return "no thumb any more"
    gateway.ask("PUT", f"{PATH}/{turn_id}", {"thumb": thumb})
    return f"rated {thumb}"
