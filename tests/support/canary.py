"""Looking for what was to be forgotten: every byte that an installation keeps, with every key that can still be had.

The disk is taken to keep every ciphertext that was ever made, whether or not its bytes are still found:
``Ciphertexts`` notes them all as they are made. Sealed keys alone are expected to be gone where they were overwritten,
so these are looked for in every file. A canary is found where one of its forms (text, keyed hashes of its terms, bytes
of its vector) lies in a file as it is, or in what a key that can be had makes of one of the ciphertexts.

A store that comes later adds its folder to ``stores``; what it seals with ``libs.shared.sealing`` is noted already.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import numpy as np
from nacl.secret import SecretBox
from nacl.utils import EncryptedMessage

from libs.shared.sealing import KEY_BYTES, Unreadable, unseal
from services.persistence.journal import PURPOSE
from services.persistence.sealing import UserKeys
from services.persistence.slot_file import HEADER_BYTES, SLOT_BYTES, decode_slot
from tests.support.needles import Needles

DIMENSIONS = 64
_PART = 32
"""Bytes of a vector that give it away."""
_PAGE = 4096
OPENED = "opened"


@dataclass(frozen=True)
class Canary:
    """Something unlike anything else. ``word`` is one normalised term, so that the index holds its hash."""

    name: str
    word: str
    text: str
    vector: bytes

    @classmethod
    def new(cls, name: str) -> Canary:
        """Random, with an accent and an emoji, so that its encodings differ."""
        word = f"zeb{uuid4().hex}"
        seed = int.from_bytes(blake2b(word.encode(), digest_size=8).digest())
        numbers = np.random.default_rng(seed).standard_normal(DIMENSIONS)
        vector = (numbers / np.linalg.norm(numbers)).astype("<f4").tobytes()
        return cls(name, word, f"Le zèbre 🦓 s'appelle {word}, déjà", vector)

    def forms(self, users: Iterable[UserKeys]) -> dict[bytes, tuple[str, str]]:
        """Byte strings of which each gives it away → its name, and what of it that is."""
        numbers = np.frombuffer(self.vector, "<f4")
        vectors = (self.vector, numbers.astype("<f2").tobytes())
        hashes = [user.hash_term(self.word) for user in users]
        forms = {form: "text" for text in (self.word, self.text) for form in _spellings(text)}
        forms |= {form: "terms" for told in hashes for form in (told[:8], told[:8][::-1], *_base64s(told))}
        forms |= {
            form: "vector" for v in vectors for part in (v[:_PART], v[-_PART:]) for form in (part, *_base64s(part))
        }
        return {form: (self.name, kind) for form, kind in forms.items()}


def _spellings(text: str) -> Iterator[bytes]:
    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le"):
        yield text.encode(encoding)
    yield json.dumps(text)[1:-1].encode()
    yield text.encode().hex().encode()
    yield from _base64s(text.encode())


def _base64s(plain: bytes) -> Iterator[bytes]:
    """What every base64 of something with ``plain`` in it has in common, at each of the three alignments, in both
    alphabets."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            yield encode(b"\0" * before + plain)[4 if before else 0 : -4]


class Ciphertexts:
    """Every ciphertext that this process made while it was ``noting``."""

    def __init__(self) -> None:
        self.texts: dict[bytes, bytes] = {}
        """Ciphertext → what it seals."""
        self.keys: dict[bytes, bytes] = {}
        """The same of sealed keys."""

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Within it, nothing is sealed unnoticed."""
        real = SecretBox.encrypt

        def encrypt(box: SecretBox, plaintext: bytes, *arguments: Any, **named: Any) -> EncryptedMessage:
            sealed = real(box, plaintext, *arguments, **named)
            noted = self.keys if len(plaintext) == KEY_BYTES else self.texts
            noted[bytes(sealed)] = bytes(plaintext)
            return sealed

        with patch.object(SecretBox, "encrypt", encrypt):
            yield


@dataclass(frozen=True)
class Finding:
    """What of a canary was found, and where: in a file, or ``opened`` where a key made it of a ciphertext."""

    canary: str
    form: str
    where: str


@dataclass(frozen=True)
class Content:
    """What lies in a file."""

    store: str
    path: str
    held: bytes


@dataclass
class Scanner:
    """Everything that is kept. ``stores`` are folders by name; the slot file and the installation key lie in one."""

    stores: Mapping[str, Path]
    installation_key: Path
    slot_file: Path
    ciphertexts: Ciphertexts = field(default_factory=Ciphertexts)
    _users: dict[bytes, UserKeys] = field(default_factory=dict)
    """Every user's keys that were ever seen: their hashes of terms are looked for when they are gone too."""

    def find(self, canaries: Sequence[Canary]) -> set[Finding]:
        """Whatever can be had of the canaries."""
        contents = self.files()
        keys = self.keys(contents)
        forms = {form: told for canary in canaries for form, told in canary.forms(self._users.values()).items()}
        needles = Needles(forms)
        found = {Finding(*forms[hit], OPENED) for plain in self._openable(keys) for hit in needles.within(plain)}
        return found | {Finding(*forms[hit], one.path) for one in contents for hit in needles.within(one.held)}

    def keys(self, contents: Sequence[Content]) -> set[bytes]:
        """Every key that can be had: the installation key's, what it opens, what that opens, and what lies about."""
        installation = self.installation_key.read_bytes()
        lying = _lying({*self.ciphertexts.keys, *self.ciphertexts.keys.values()}, contents)
        sealed = self._slot_records() | (lying & self.ciphertexts.keys.keys())
        users = {key for one in sealed if (key := _opened(installation, one)) is not None}
        for key in users:
            self._users.setdefault(key, UserKeys(key))
        data = {key for user in users for one in sealed if (key := _opened(user, one)) is not None}
        journal = blake2b(key=installation, person=PURPOSE, digest_size=KEY_BYTES).digest()
        return {installation, journal} | users | data | (lying - self.ciphertexts.keys.keys())

    def _slot_records(self) -> set[bytes]:
        """The sealed keys that stand in the slot file."""
        slots = self.slot_file.read_bytes()[HEADER_BYTES:]
        records = (decode_slot(n, slots[n * SLOT_BYTES :][:SLOT_BYTES]) for n in range(len(slots) // SLOT_BYTES))
        return {one for one in records if one is not None}

    def _openable(self, keys: set[bytes]) -> Iterator[bytes]:
        """What the keys make of every ciphertext that was ever made."""
        for sealed in self.ciphertexts.texts:
            yield from (plain for key in keys if (plain := _opened(key, sealed)) is not None)

    def files(self) -> list[Content]:
        """Every file of every store; of equal ones (a new database is a copy) the first."""
        found: dict[bytes, Content] = {}
        for name, folder in self.stores.items():
            for path in sorted(folder.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    content = _read(path)
                    digest = blake2b(content).digest()
                    found.setdefault(digest, Content(name, f"{name}/{path.relative_to(folder)}", content))
        return list(found.values())

    def sealing(self, canary: Canary) -> frozenset[bytes]:
        """The ciphertexts of what holds anything of the canary."""
        needles = Needles(canary.forms(self._users.values()))
        return frozenset(sealed for sealed, plain in self.ciphertexts.texts.items() if needles.within(plain))

    def stores_of(self, sealed: Iterable[bytes]) -> dict[bytes, set[str]]:
        """Ciphertext → the stores in whose files it begins somewhere, as it is or in base64 (files interrupt long
        ones)."""
        spelled = {form: one for one in sealed for form in (one[:_PART], *_base64s(one[:_PART]))}
        needles, found = Needles(spelled), {one: set[str]() for one in spelled.values()}
        for content in self.files():
            for hit in needles.within(content.held):
                found[spelled[hit]].add(content.store)
        return found


def _lying(values: Iterable[bytes], contents: Sequence[Content]) -> set[bytes]:
    """Those of the values that lie in a file, as they are, in hexadecimal or in base64."""
    spelled = {form: one for one in values for form in (one, one.hex().encode(), *_base64s(one))}
    needles = Needles(spelled)
    return {spelled[hit] for content in contents for hit in needles.within(content.held)}


def _opened(key: bytes, sealed: bytes) -> bytes | None:
    try:
        return unseal(key, sealed)
    except Unreadable:
        return None


def _read(path: Path) -> bytes:
    """A file's bytes without its empty pages, in which nothing lies."""
    try:
        return path.read_bytes().replace(bytes(_PAGE), b"")
    except FileNotFoundError:
        return b""  # the database recycles its files
