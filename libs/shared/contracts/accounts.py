"""Accounts, API keys and refresh tokens: the api and the command line ask, persistence keeps.

Password hashing and token signing happen at the caller; persistence sees hashes alone.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from libs.shared.contracts.base import Broadcast, Empty, Message, Principal, Rpc
from libs.shared.contracts.common import Id, MemoryMode, Page, Role
from libs.shared.contracts.forgetting import Receipt

_CALLERS = frozenset({Principal.API, Principal.CLI})


class User(Message):
    """An account, without its secrets."""

    user_id: Id
    name: str
    role: Role
    disabled: bool
    must_change_password: bool = False
    created_at: datetime


class Users(Message):
    """By name."""

    users: tuple[User, ...]
    next_cursor: str | None = None


class CreateUser(Message):
    """Raises ``user_exists``. ``password_hash`` (argon2id) None: the account can only be used by keys."""

    user_id: Id
    name: str = Field(min_length=1, max_length=64, pattern=r"^[^\s/:\x00-\x1f]+$")
    role: Role = Role.USER
    password_hash: str | None = None
    must_change_password: bool = False


class UserRef(Message):
    """An account by id or by name. Raises ``user_not_found``."""

    user_id: Id | None = None
    name: str | None = None


class ChangeUser(Message):
    """Changes what is not None. Raises ``user_not_found``, ``last_admin``. A change ends the user's sessions."""

    user_id: Id
    role: Role | None = None
    disabled: bool | None = None
    password_hash: str | None = None
    must_change_password: bool | None = None


class Login(Message):
    """What the api needs to check a password; ``user`` None when there is no such account."""

    user: User | None
    password_hash: str | None


class ApiKey(Message):
    """An API key as its owner may see it; the secret was shown once."""

    key_id: Id
    user_id: Id
    name: str
    prefix: str
    """The first characters, to recognise it by."""
    memory: MemoryMode
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None


class CreateKey(Message):
    """``hash`` is the SHA-256 of the secret, in hexadecimal. Raises ``user_not_found``, ``too_many_keys``."""

    key_id: Id
    user_id: Id
    name: str = Field(min_length=1, max_length=64)
    prefix: str
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    memory: MemoryMode = MemoryMode.OFF
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None


class FindKey(Message):
    """Looks a key up by its hash."""

    hash: str


class FoundKey(Message):
    """None when there is no such key; an expired key is returned, and the api refuses it."""

    key: ApiKey | None
    user: User | None


class KeyRef(Message):
    """A key of a user. Raises ``key_not_found``, for another user's key too."""

    user_id: Id
    key_id: Id


class ListKeys(Page):
    """One user's keys."""

    user_id: Id


class ApiKeys(Message):
    """Newest first."""

    keys: tuple[ApiKey, ...]
    next_cursor: str | None = None


class KeyMapping(Message):
    """For whom a key with the scope ``on-behalf-of`` may speak. What its program calls them is kept as a keyed hash
    alone, which is the mapping's id."""

    mapping_id: Id
    key_id: Id
    user_id: Id
    name: str
    """Of the account."""
    created_at: datetime
    accepted: bool
    """It means nobody before its account accepted it: an admin of the gateway could read anybody's memory else."""


class MapUser(Message):
    """Lets a key speak for an account where its program names ``external``; one that stood for another changes.
    Without ``accepted`` it waits for the account's word, unless it had that already.

    Raises ``key_not_found``, ``user_not_found``, ``invalid_request`` (a key without the scope).
    """

    key_id: Id
    external: str = Field(min_length=1, max_length=256)
    user_id: Id
    accepted: bool = False


class MappingRef(Message):
    """A mapping of an account's own. Raises ``mapping_not_found``, for another account's too."""

    mapping_id: Id
    user_id: Id


class UnmapUser(Message):
    """Ends one mapping, by its id or by what the program calls the account. Raises ``mapping_not_found``."""

    key_id: Id | None = None
    external: str | None = Field(default=None, min_length=1, max_length=256)
    mapping_id: Id | None = None
    user_id: Id | None = None
    """Only if it is this account's."""


class ListMappings(Message):
    """Of a key, or of an account."""

    key_id: Id | None = None
    user_id: Id | None = None


class KeyMappings(Message):
    """Newest first."""

    mappings: tuple[KeyMapping, ...]


class FindMapped(Message):
    """Asks whose account the key's program means; all of ``externals`` are names of one person."""

    key_id: Id
    externals: tuple[str, ...] = Field(min_length=1, max_length=8)


class FoundMapped(Message):
    """None: nobody's, a disabled one's, or not the same one's by each name that is mapped."""

    user_id: Id | None


class SaveRefresh(Message):
    """Starts a session: a family of refresh tokens, each used once."""

    family_id: Id
    user_id: Id
    hash: str
    expires_at: datetime


class RotateRefresh(Message):
    """Uses one refresh token and stores the next.

    Raises ``refresh_invalid``; a token used twice ends its family.
    """

    hash: str
    next_hash: str
    next_expires_at: datetime


class Rotated(Message):
    """Whose session it is."""

    family_id: Id
    user: User


class EndSession(Message):
    """Ends one session (a family), or all of a user's."""

    user_id: Id
    family_id: Id | None = None


class AdmitAgain(Message):
    """An account whose password was reset by the machine's owner."""

    user_id: Id
    name: str


class AccountChanged(Message):
    """Something about a user's account or keys changed: drop what is cached of it."""

    user_id: Id
    key_hash: str | None = None


CREATE_USER = Rpc("mongars.v1.persistence.create_user", CreateUser, User, owner=Principal.PERSISTENCE, callers=_CALLERS)
READ_USER = Rpc("mongars.v1.persistence.read_user", UserRef, User, owner=Principal.PERSISTENCE, callers=_CALLERS)
LIST_USERS = Rpc("mongars.v1.persistence.list_users", Page, Users, owner=Principal.PERSISTENCE, callers=_CALLERS)
CHANGE_USER = Rpc("mongars.v1.persistence.change_user", ChangeUser, User, owner=Principal.PERSISTENCE, callers=_CALLERS)
DELETE_USER = Rpc(
    "mongars.v1.persistence.delete_user",
    UserRef,
    Receipt,
    owner=Principal.PERSISTENCE,
    callers=_CALLERS,
    timeout_s=120.0,
)
"""Forgets the account and everything it said. Raises ``user_not_found``, ``last_admin``."""
FIND_LOGIN = Rpc(
    "mongars.v1.persistence.find_login", UserRef, Login, owner=Principal.PERSISTENCE, callers=frozenset({Principal.API})
)
CREATE_KEY = Rpc("mongars.v1.persistence.create_key", CreateKey, ApiKey, owner=Principal.PERSISTENCE, callers=_CALLERS)
LIST_KEYS = Rpc("mongars.v1.persistence.list_keys", ListKeys, ApiKeys, owner=Principal.PERSISTENCE, callers=_CALLERS)
REVOKE_KEY = Rpc("mongars.v1.persistence.revoke_key", KeyRef, Empty, owner=Principal.PERSISTENCE, callers=_CALLERS)
FIND_KEY = Rpc(
    "mongars.v1.persistence.find_key",
    FindKey,
    FoundKey,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API}),
)
MAP_USER = Rpc("mongars.v1.persistence.map_user", MapUser, KeyMapping, owner=Principal.PERSISTENCE, callers=_CALLERS)
ACCEPT_MAPPING = Rpc(
    "mongars.v1.persistence.accept_mapping",
    MappingRef,
    Empty,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API}),
)
UNMAP_USER = Rpc("mongars.v1.persistence.unmap_user", UnmapUser, Empty, owner=Principal.PERSISTENCE, callers=_CALLERS)
LIST_MAPPINGS = Rpc(
    "mongars.v1.persistence.list_mappings", ListMappings, KeyMappings, owner=Principal.PERSISTENCE, callers=_CALLERS
)
FIND_MAPPED = Rpc(
    "mongars.v1.persistence.find_mapped",
    FindMapped,
    FoundMapped,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API}),
)
SAVE_REFRESH = Rpc(
    "mongars.v1.persistence.save_refresh",
    SaveRefresh,
    Empty,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API}),
)
ROTATE_REFRESH = Rpc(
    "mongars.v1.persistence.rotate_refresh",
    RotateRefresh,
    Rotated,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API}),
)
END_SESSION = Rpc(
    "mongars.v1.persistence.end_session",
    EndSession,
    Empty,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API}),
)
ADMIT_AGAIN = Rpc(
    "mongars.v1.api.admit_again", AdmitAgain, Empty, owner=Principal.API, callers=frozenset({Principal.CLI})
)
"""Ends every access token of the account, and the waits that wrong passwords brought it."""
ACCOUNT_CHANGED = Broadcast(
    "mongars.v1.persistence.account_changed",
    AccountChanged,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API}),
)
