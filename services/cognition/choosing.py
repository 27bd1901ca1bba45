"""Which settings a turn goes by: those of its conversation, chosen once, whatever is tried out meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import uuid4

from libs.shared.contracts.chat import ChatRequest
from libs.shared.contracts.common import MemoryMode
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.turns import Joined
from libs.shared.contracts.watching import Arm
from libs.shared.runtime_settings import InUse


class Choice:
    """One turn's. A turn without a conversation is one of its own."""

    def __init__(self, request: ChatRequest, in_use: InUse, told: Callable[[str, Arm | None], None]) -> None:
        """``told`` is given the conversation and its arm, once they are known."""
        self.fresh = uuid4().hex
        """The conversation that begins with the turn, where it belongs to no other."""
        kept = request.memory is MemoryMode.READ_WRITE
        self._own = request.conversation_id or (self.fresh if kept else request.turn_id)
        self._in_use = in_use
        self._told = told
        self._chosen: RuntimeSettings | None = None

    async def awaited(self, joining: Awaitable[Joined | None]) -> RuntimeSettings:
        """At once, unless something is tried out: then it has to be known first where the turn belongs."""
        return self._in_use.settings if self._in_use.tried is None else self.made(await joining)

    def made(self, joined: Joined | None) -> RuntimeSettings:
        """``joined``: where a client's history belongs that names no conversation."""
        if self._chosen is None:
            conversation = (joined.conversation_id if joined else None) or self._own
            self._chosen, arm = self._in_use.for_conversation(conversation)
            self._told(conversation, arm)
        return self._chosen
