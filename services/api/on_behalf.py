"""For whom a chat is: forwarded names of users count for keys with the scope ``on-behalf-of``, and mapped accounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from libs.shared.bus.base import Bus
from libs.shared.contracts.accounts import FIND_MAPPED, FindMapped
from libs.shared.contracts.common import MemoryMode
from libs.shared.scopes import ON_BEHALF_OF
from services.api.access import Caller

_USER_HEADERS = ("x-mongars-user", "x-openwebui-user-id", "x-openwebui-user-email")
"""What names a user for good. A name that they show (``x-openwebui-user-name``) can be chosen to be another's, and what
they are over there (``-role``) says nothing here."""
_CHAT_HEADER = "x-openwebui-chat-id"
_LONGEST = 256


def forwarded(headers: Mapping[str, str], user: str | None) -> tuple[str, ...]:
    """What the program calls its user. Headers are the program's own; the body's ``user`` may be its user's choice,
    and counts only where there are none. Pure."""
    told = [headers[name].strip() for name in _USER_HEADERS if headers.get(name, "").strip()]
    if not told and user and user.strip():
        told = [user.strip()]
    return tuple(name for name in told if len(name) <= _LONGEST)


def chat_of(headers: Mapping[str, str], key_id: str | None) -> str | None:
    """What the program calls the conversation, told apart from other keys'. Pure."""
    chat = headers.get(_CHAT_HEADER, "").strip()
    return f"{key_id}/{chat}" if chat and len(chat) <= _LONGEST // 2 else None


async def served(bus: Bus, caller: Caller, headers: Mapping[str, str], user: str | None) -> tuple[Caller, str | None]:
    """The caller as the turn sees them, and what their program calls the conversation.

    Of a key with the scope, that is the account that its user is mapped to, with no more memory than the key has; who
    isn't mapped has none, and least of all the key's owner's. Any other caller stays who they are. Raises Unavailable.
    """
    if ON_BEHALF_OF not in caller.scopes or caller.key_id is None:
        return caller, None
    names = forwarded(headers, user)
    if names:
        found = await bus.request(FIND_MAPPED, FindMapped(key_id=caller.key_id, externals=names))
        if found.user_id is not None:
            return replace(caller, user_id=found.user_id), chat_of(headers, caller.key_id)
    return replace(caller, memory=MemoryMode.OFF), None
