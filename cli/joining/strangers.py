"""Connections that haven't shown yet who they are: how many there may be, of one address and of all. Pure."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Generic, TypeVar

G = TypeVar("G")

MOST = 256
MOST_OF_ONE = 32
"""A machine's node comes with a connection for itself and one for each of its replicas, all at once after an outage."""
_HOUSE_BITS = 64
"""Of an IPv6 address: what follows a machine chooses itself."""


class Strangers(Generic[G]):
    """The guests that have come and not shown who they are, the oldest first."""

    def __init__(self, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._guests: dict[G, str] = {}
        self._of: Counter[str] = Counter()

    def has_room(self, address: str) -> bool:
        """Whether one more may come from there."""
        return self._of[house(address)] < self._most_of_one

    def come(self, guest: G, address: str) -> G | None:
        """Counts one more. Who has to go in its place, when there are too many: the one that has dallied longest, so
        that whoever is quick gets in whatever the others do."""
        oldest = next(iter(self._guests)) if len(self._guests) >= self._most else None
        if oldest is not None:
            self.leave(oldest)
        self._guests[guest] = house(address)
        self._of[house(address)] += 1
        return oldest

    def leave(self, guest: G) -> None:
        """It is gone, or has shown who it is; doing so twice changes nothing."""
        where = self._guests.pop(guest, None)
        if where is None:
            return
        self._of[where] -= 1
        if not self._of[where]:
            del self._of[where]

    def __len__(self) -> int:
        return len(self._guests)


def house(address: str) -> str:
    """What is counted as one address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _HOUSE_BITS), strict=False))
