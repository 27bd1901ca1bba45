"""Who may do what: callers, and what an endpoint asks of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from libs.shared.contracts.accounts import User
from libs.shared.contracts.common import MemoryMode, Role
from libs.shared.scopes import METRICS, ON_BEHALF_OF
from services.api.accounts import KeyHolder
from services.api.errors import NotAllowed, PasswordChangeRequired, SessionRequired
from services.api.tokens import AccessToken

_RANK = {Role.USER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}
KEY_SCOPES = frozenset({*Role, METRICS, ON_BEHALF_OF})
"""What a key can be made for; a key without scopes serves its owner as a plain user."""


class Access(Enum):
    """What an endpoint asks of its caller."""

    OPEN = "open"
    USER = "user"
    OPERATOR = "operator"
    ADMIN = "admin"
    SESSION = "session"
    """A logged-in person of any role, not a key: for what would let a key outgrow itself."""
    PASSWORD = "password"  # noqa: S105 - the name of a level
    """A session, one with a one-time password included."""
    METRICS = "metrics"
    """An operator, or a key made for reading metrics."""
    CHAT = "chat"
    """Any user, or a key that chats on behalf of the users of its program."""
    ADMIN_SESSION = "admin-session"
    """A logged-in admin, not a key."""


_SESSIONS = frozenset({Access.SESSION, Access.PASSWORD, Access.ADMIN_SESSION})
_SCOPE_ENOUGH = {Access.METRICS: METRICS, Access.CHAT: ON_BEHALF_OF}
_LEAST = {Access.METRICS: Role.OPERATOR, Access.CHAT: Role.USER, Access.ADMIN_SESSION: Role.ADMIN}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever makes this request. ``role`` None: a key that was made for its scopes alone."""

    user_id: str
    role: Role | None
    memory: MemoryMode
    name: str = ""
    """Of a session's account; keys are known by their ids alone."""
    scopes: frozenset[str] = frozenset()
    key_id: str | None = None
    token: AccessToken | None = None
    must_change_password: bool = False

    @property
    def limited_as(self) -> str:
        """The name under which its requests are counted."""
        return self.key_id or self.user_id


def session_caller(user: User, token: AccessToken) -> Caller:
    """A person who logged in: the account's role as it is now, and memory as they left it."""
    return Caller(
        user_id=user.user_id,
        name=user.name,
        role=user.role,
        memory=MemoryMode.READ_WRITE,
        token=token,
        must_change_password=user.must_change_password,
    )


def key_caller(holder: KeyHolder) -> Caller:
    """A program with a key: a plain user unless its scopes say more, and never more than its owner is."""
    scopes = frozenset(holder.scopes)
    roles = [role for role in Role if role in scopes] if scopes else [Role.USER]
    role = max(roles, key=_RANK.__getitem__, default=None)
    if role is not None and _RANK[role] > _RANK[holder.role]:
        role = holder.role
    if ON_BEHALF_OF in scopes:
        role = None  # its owner's memory and rights are nobody's whom it speaks for
    usable = {METRICS: _RANK[holder.role] >= _RANK[Role.OPERATOR], ON_BEHALF_OF: holder.role is Role.ADMIN}
    return Caller(
        user_id=holder.user_id,
        role=role,
        memory=holder.memory,
        scopes=frozenset(scope for scope in scopes if usable.get(scope, True)),
        key_id=holder.key_id,
    )


def permit(caller: Caller, access: Access) -> None:
    """Raises NotAllowed, SessionRequired or PasswordChangeRequired."""
    if caller.must_change_password and access is not Access.PASSWORD:
        raise PasswordChangeRequired("Choose a password first: POST /api/v1/auth/password.")
    if access in _SESSIONS and caller.token is None:
        raise SessionRequired("An API key can't do this: log in.")
    if access in (Access.SESSION, Access.PASSWORD) or _SCOPE_ENOUGH.get(access) in caller.scopes:
        return
    needed = _LEAST.get(access) or Role(access.value)
    if caller.role is None or _RANK[caller.role] < _RANK[needed]:
        raise NotAllowed(f"This needs the role {needed.value}.")


def permit_memory(caller: Caller, needed: MemoryMode) -> None:
    """A key sees what was said only as far as it was made for that. Raises NotAllowed."""
    if caller.memory is MemoryMode.OFF:
        raise NotAllowed("This key was made without memory.")
    if needed is MemoryMode.READ_WRITE and caller.memory is not MemoryMode.READ_WRITE:
        raise NotAllowed("This key was made to read memory, not to change it.")
