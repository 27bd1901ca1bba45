"""PREPARE_AHEAD: what is likely to be asked has its vector, its user's index and its answer in memory by then.

A prepared question is one of cognition's cached ones, which goes with anything that changes in its user's memory, with
its consent, and with the process; nothing of it is written anywhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic

from libs.shared.bus.base import Bus
from libs.shared.contracts.dreaming import PrepareAhead, PreparedAhead
from libs.shared.contracts.memory import MemoryChanged
from libs.shared.contracts.replay import READ_ASKED, ReadAsked
from libs.shared.errors import Overloaded, Preempted, ServiceError
from libs.shared.telemetry import get_logger
from services.cognition.dreaming.drafting import Drafter
from services.cognition.dreaming.drafts import Drafts
from services.cognition.dreaming.likely import DAYS, Likely, Past, foreseen, likely
from services.cognition.traffic import Traffic

MOST_READ = 4000
"""Questions of the past weeks, over all users."""
TESTED_DAYS = 7
ATTEMPTS = 3
LONGEST_PAUSE_S = 20.0
LONGEST_S = 150.0
"""After so long no further answer is drafted: whoever asked for all this waits for it."""
LEAST_CHANCE_OF_A_DRAFT = 0.3
"""An answer takes a model seconds, and what draws power for nobody is worth less than a moment's wait."""

Warm = Callable[[str, str, float], Awaitable[bool]]
"""(user, question, seconds): whether the question is ready for so long."""

log = get_logger(__name__)


class Preparer:
    """Holds nothing of what was asked once it has answered."""

    def __init__(
        self,
        bus: Bus,
        warm: Warm,
        drafter: Drafter,
        drafts: Drafts,
        forget: Callable[[MemoryChanged], Awaitable[None]],
        traffic: Traffic,
        clock: Callable[[], datetime],
    ) -> None:
        self._bus = bus
        self._warm = warm
        self._drafter = drafter
        self._drafts = drafts
        self._forget = forget
        self._traffic = traffic
        self._clock = clock
        self._changed: set[str] = set()
        self._given = 0

    async def changed(self, event: MemoryChanged) -> None:
        """MEMORY_CHANGED: what was read of that user before is no longer to be prepared."""
        self._changed.add(event.user_id)

    async def prepare(self, request: PrepareAhead) -> PreparedAhead:
        """Raises ServiceError where what was asked can't be read."""
        self._changed.clear()
        now, until = self._clock(), monotonic() + LONGEST_S
        past = await self._past(now)
        expected = _expected(past, now, request)
        prepared = 0
        for user_id, one in expected:
            prepared += await self._prepared(user_id, one.text, request.hours * 3600, self._warm)
        drafted = await self._drafted(expected, request.hours * 3600, until)
        tested = [foreseen(asked, now, request.hours, request.most, TESTED_DAYS) for asked in past.values()]
        log.info("prepared_ahead", users=len(past), questions=len(expected), prepared=prepared, drafted=drafted)
        given, self._given = self._drafts.given - self._given, self._drafts.given
        return PreparedAhead(
            users=len(past),
            questions=len(expected),
            prepared=prepared,
            drafted=drafted,
            drafts_given=given,
            asked=sum(asked for asked, _ in tested),
            foreseen=sum(hits for _, hits in tested),
        )

    async def _past(self, now: datetime) -> dict[str, list[Past]]:
        """By user, what is to be foretold from; only of those who allow it."""
        found: dict[str, list[Past]] = {}
        since = now - timedelta(days=DAYS + TESTED_DAYS)
        cursor, count = None, 0
        while count < MOST_READ:
            query = ReadAsked(cursor=cursor, since=since, whatever_answered=True)
            page = await self._bus.request(READ_ASKED, query)
            for one in page.asked:
                found.setdefault(one.user_id, []).append(Past(one.question, one.at, one.conversation_id))
            count += len(page.asked)
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    async def _drafted(self, expected: Sequence[tuple[str, Likely]], seconds: float, until: float) -> int:
        """How many of the likeliest are answered beforehand, as long as there is time."""
        drafted = 0
        for user_id, one in expected:
            if drafted >= self._drafter.most or one.chance < LEAST_CHANCE_OF_A_DRAFT or monotonic() > until:
                break
            drafted += await self._prepared(user_id, one.text, seconds, self._drafter.draft)
        return drafted

    async def _prepared(self, user_id: str, text: str, seconds: float, warm: Warm) -> bool:
        """A memory that changed since its questions were read keeps nothing that was derived of them."""
        for _ in range(ATTEMPTS):
            if self._traffic.busy:
                await self._traffic.give_way(LONGEST_PAUSE_S)
            if user_id in self._changed:
                return False
            try:
                ready = await warm(user_id, text, seconds)
            except (Preempted, Overloaded):
                self._traffic.announced()
                continue
            except (ServiceError, TimeoutError) as error:
                log.info("question_not_prepared", code=error.code if isinstance(error, ServiceError) else "timed_out")
                return False
            if user_id in self._changed:
                await self._forget(MemoryChanged(user_id=user_id))
                return False
            return ready
        return False


def _expected(past: dict[str, list[Past]], now: datetime, request: PrepareAhead) -> Sequence[tuple[str, Likely]]:
    """(user, question), the likeliest of all users' first."""
    found = [(user, one) for user, asked in past.items() for one in likely(asked, now, request.hours, request.most)]
    return sorted(found, key=lambda pair: -pair[1].chance)[: request.most]
