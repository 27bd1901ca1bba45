"""Whom a key's program means: mapping its users to accounts, by keyed hashes of what it calls them."""

from __future__ import annotations

import unicodedata
from hashlib import blake2b

from libs.shared.contracts.accounts import (
    FindMapped,
    FoundMapped,
    KeyMapping,
    KeyMappings,
    ListMappings,
    MappingRef,
    MapUser,
    UnmapUser,
    UserRef,
)
from libs.shared.contracts.base import Empty
from libs.shared.errors import InvalidRequest
from libs.shared.telemetry import get_logger
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, mappings

log = get_logger(__name__)

_ID_BYTES = 16


def mapping_id(parts: Parts, key_id: str, external: str) -> str:
    """What stands for ``external``, in any case, of a key: 32 hexadecimal digits."""
    folded = unicodedata.normalize("NFKC", external).strip().casefold()
    key = parts.keys.derived_key(b"mongars mapping")
    return blake2b(f"{key_id}\0{folded}".encode(), key=key, digest_size=_ID_BYTES).hexdigest()


async def map_user(request: MapUser, parts: Parts) -> KeyMapping:
    """Lets the key speak for the account, or asks the account whether it may."""
    if not request.external.strip():
        raise InvalidRequest("who is mapped has a name", errors=["external"])
    name = mapping_id(parts, request.key_id, request.external)
    async with parts.database.transaction() as session:
        user = await accounts.read_user(session, UserRef(user_id=request.user_id))
        made = await mappings.keep(session, name, request.key_id, user, parts.clock(), accepted=request.accepted)
    log.info("user_mapped", key_id=request.key_id, user_id=request.user_id, accepted=made.accepted)
    return made


async def accept_mapping(request: MappingRef, parts: Parts) -> Empty:
    """From now on the key speaks for the account."""
    async with parts.database.transaction() as session:
        await mappings.accept(session, request)
    log.info("mapping_accepted", user_id=request.user_id)
    return Empty()


async def unmap_user(request: UnmapUser, parts: Parts) -> Empty:
    """Ends it at once: nobody keeps what they were told of it."""
    name = request.mapping_id
    if request.key_id is not None and request.external is not None:
        name = mapping_id(parts, request.key_id, request.external)
    if name is None:
        raise InvalidRequest("a mapping is named by its id, or by a key and a name", errors=["mapping_id"])
    async with parts.database.transaction() as session:
        user_id = await mappings.remove(session, name, request.user_id)
    log.info("user_unmapped", user_id=user_id)
    return Empty()


async def list_mappings(request: ListMappings, parts: Parts) -> KeyMappings:
    """Of a key, or of an account."""
    if request.key_id is None and request.user_id is None:
        raise InvalidRequest("mappings are listed of a key or of an account", errors=["key_id", "user_id"])
    async with parts.database.transaction() as session:
        return KeyMappings(mappings=tuple(await mappings.listed(session, request)))


async def find_mapped(request: FindMapped, parts: Parts) -> FoundMapped:
    """The account that is meant."""
    names = [mapping_id(parts, request.key_id, external) for external in request.externals]
    async with parts.database.transaction() as session:
        return FoundMapped(user_id=await mappings.meant(session, names))
