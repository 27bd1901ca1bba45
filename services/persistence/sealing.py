"""Users' keys and data keys: who may open which slot, and the keyed hashes of a user's terms."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from libs.shared.sealing import KEY_BYTES, Unreadable, new_key, seal, unseal
from services.persistence.slot_file import KeyGone, SlotFile

_TERM_BYTES = 16


class InstallationKeyMissing(Exception):
    """The installation key is not there or has the wrong length: nothing could be read or kept."""


class KeysDontFit(Exception):
    """The slot file or the installation key isn't the one that the database was written with: nothing may be added."""


@dataclass(frozen=True, repr=False)
class UserKeys:
    """What one user's key gives: the key itself, and one derived from it for the index."""

    key: bytes
    term_key: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "term_key", blake2b(key=self.key, person=b"mongars terms", digest_size=32).digest())

    def hash_term(self, term: str) -> bytes:
        """What the index knows a term by; another user's hash of it is different."""
        return blake2b(term.encode(), key=self.term_key, digest_size=_TERM_BYTES).digest()


def read_installation_key(path: Path) -> bytes:
    """Raises InstallationKeyMissing."""
    try:
        key = path.read_bytes()
    except OSError as error:
        raise InstallationKeyMissing(f"the installation key can't be read ({type(error).__name__})") from None
    if len(key) != KEY_BYTES:
        raise InstallationKeyMissing("the installation key has the wrong length")
    return key


class KeyRing:
    """Makes keys in slots and opens them again. Users' keys are held in memory, at most ``capacity`` of them."""

    def __init__(self, slots: SlotFile, installation_key: bytes, *, capacity: int = 1024) -> None:
        self.slots = slots
        self._installation_key = installation_key
        self._capacity = capacity
        self._users: OrderedDict[str, UserKeys] = OrderedDict()

    def derived_key(self, person: bytes) -> bytes:
        """32 bytes for another purpose of the installation, which ``person`` (at most 16 bytes) names."""
        return blake2b(key=self._installation_key, person=person, digest_size=32).digest()

    def judge(self, user_slots: Collection[int], last_slot: int) -> None:
        """Raises KeysDontFit unless keys of the database's users open and the file reaches to ``last_slot``.

        Without this a lost slot file would be begun anew, and its new keys stand where old rows look for theirs.
        """
        if max((last_slot, *user_slots)) >= self.slots.size:
            raise KeysDontFit("the slot file ends before keys that the database needs: restore it from a backup")
        if user_slots and not any(self._opens(slot) for slot in user_slots):
            raise KeysDontFit(
                "no user's key opens: the installation key or the slot file is another one; restore it from a backup"
            )

    def _opens(self, user_slot: int) -> bool:
        try:
            unseal(self._installation_key, self.slots.read(user_slot))
        except (KeyGone, Unreadable):
            return False
        return True

    async def new_user_key(self) -> int:
        """The slot of a fresh user's key."""
        return await self.slots.allocate(seal(self._installation_key, new_key()))

    async def new_data_key(self, user: UserKeys) -> tuple[int, bytes]:
        """A fresh data key and its slot, on disk."""
        key = new_key()
        return await self.slots.allocate(seal(user.key, key)), key

    async def new_data_keys(self, user: UserKeys, count: int) -> list[tuple[int, bytes]]:
        """Fresh data keys and their slots, on disk by one synchronisation."""
        keys = [new_key() for _ in range(count)]
        slots = await self.slots.allocate_many([seal(user.key, key) for key in keys])
        return list(zip(slots, keys, strict=True))

    def data_key(self, user: UserKeys, slot: int) -> bytes:
        """The data key in ``slot``. Raises KeyGone, Unreadable (another user's)."""
        return unseal(user.key, self.slots.read(slot))

    def cached(self, user_id: str) -> UserKeys | None:
        """The user's keys, if they are in memory."""
        if (found := self._users.get(user_id)) is not None:
            self._users.move_to_end(user_id)
        return found

    def open_user(self, user_id: str, slot: int) -> UserKeys:
        """The user's keys from their slot. Raises KeyGone, Unreadable."""
        if (found := self.cached(user_id)) is not None:
            return found
        keys = UserKeys(unseal(self._installation_key, self.slots.read(slot)))
        self._users[user_id] = keys
        while len(self._users) > self._capacity:
            self._users.popitem(last=False)
        return keys

    def drop_user(self, user_id: str) -> None:
        """Forgets a user's keys in memory."""
        self._users.pop(user_id, None)

    def open_text(self, user: UserKeys, slot: int, sealed: bytes) -> str:
        """A kept text. Raises KeyGone, Unreadable."""
        return unseal(self.data_key(user, slot), sealed).decode()
