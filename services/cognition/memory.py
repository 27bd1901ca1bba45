"""Recalling: a question is read, persistence finds evidence for it, and the texts of the best are brought."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from libs.shared import dates
from libs.shared.bus.base import Bus
from libs.shared.contracts.common import Position
from libs.shared.contracts.memory import MemoryChanged, MemoryItem, MemoryItems, SearchMemory
from libs.shared.contracts.recall import FIND_CANDIDATES, READ_MEMORIES, FindCandidates, Interval, ReadMemories
from libs.shared.contracts.runtime_settings import RecallWeights, RuntimeSettings
from libs.shared.errors import NotYetApplied, TimedOut, Unavailable
from libs.shared.telemetry import get_logger, tracer
from libs.shared.text import fold
from services.cognition.composing import POOL, composed
from services.cognition.digests import Told, read_digests, with_told
from services.cognition.embedding import Embedder
from services.cognition.measuring import measured
from services.cognition.patience import ask
from services.cognition.profiles import KnownProfile, Profiles
from services.cognition.question import Question, read, understood
from services.cognition.question_vectors import QuestionVectors
from services.cognition.recall import Ranked, found_in, moment, rank
from services.cognition.selection import Hit, distinct, spread_out, within
from services.cognition.sessions import Sessions
from services.cognition.settings import CognitionSettings

QUESTION_CHARACTERS = 4000
"""Of a longer question the beginning is looked up: the embedder reads no more either."""
BRIEFLY_S = 1.0
MOST_INTERVALS = 8
MOST_READ = 1000
NO_EMBEDDER = "no-embedder"
LEAST_EVENT_EVIDENCE = 0.4
"""A time hangs on an event of the memory only if so much says that it is the one that the question means."""
EVENT_CANDIDATES = 16
MOST_DIGESTS = POOL + POOL // 2
"""For a context: some tell only what others told."""
SLACK = 2
"""Texts that are read beyond those wanted, in any case."""
EVENT_CHARACTERS = 4000
"""Of a memory of an event, the beginning is searched for its day."""

log = get_logger(__name__)


@dataclass(frozen=True)
class Recollection:
    """What was found, best first; ``degraded`` says which evidence was missing."""

    hits: tuple[Hit, ...] = ()
    degraded: str | None = None
    question: Question | None = None


@dataclass(frozen=True)
class Asked:
    """A question to a memory, and what of the answer is of use."""

    text: str
    read_after: Position | None
    now: datetime
    """The asker's clock."""
    most: int
    """So many hits are wanted."""
    weights: RecallWeights
    of_no_use: int = 0
    """So many more may turn out to be of no use to whoever asks: they have them already, or no room for them."""
    least_evidence: float = 0.0


@dataclass(frozen=True)
class _Search:
    """One question under way: whose, and how long a restarting service is waited for."""

    user_id: str
    asked: Asked
    profile: KnownProfile
    patience_s: float


class Memory:
    """Searches one user's memory at a time; of users it keeps what the caches of profiles and questions keep."""

    def __init__(
        self,
        bus: Bus,
        embedder: Embedder,
        sessions: Sessions,
        settings: CognitionSettings,
        in_force: Callable[[], RuntimeSettings],
    ) -> None:
        self._bus = bus
        self._settings = settings
        self._in_force = in_force
        self._sessions = sessions
        self._profiles = Profiles(bus)
        self._vectors = QuestionVectors(embedder, settings.embed_query_s)

    async def changed(self, event: MemoryChanged) -> None:
        """MEMORY_CHANGED."""
        self._profiles.changed(event.user_id)
        self._vectors.changed(event.user_id)

    async def search(self, request: SearchMemory) -> MemoryItems:
        """SEARCH_MEMORY."""
        position = request.read_after or await self._sessions.last(request.user_id)
        now = request.now if request.now is not None and request.now.tzinfo is not None else datetime.now(UTC)
        patience_s = self._settings.restart_patience_s
        composing = (
            request.budget_tokens is not None
            and (await self._profiles.of(request.user_id, patience_s=patience_s)).digested
        )
        unfitting = 0 if request.budget_tokens is None else spare(request.k)
        most = max(request.k, POOL) if composing else request.k
        weights = self._in_force().recall_weights
        asked = Asked(request.query, position, now, most=most, of_no_use=unfitting, weights=weights)
        found = await self.recall(request.user_id, asked, patience_s=patience_s)
        told = await read_digests(self._bus, request.user_id, found.hits[:MOST_DIGESTS]) if composing else None
        items = await self._shown(request, found, told)
        if not request.explain:
            items = tuple(item.model_copy(update={"parts": {}}) for item in items)
            return MemoryItems(items=items, degraded=found.degraded)
        understood_ = understood(found.question, now) if found.question else {}
        if told is not None:
            understood_ |= {"digests": told.generation}
        return MemoryItems(items=items, degraded=found.degraded, understood=understood_)

    async def _shown(self, request: SearchMemory, found: Recollection, told: Told | None) -> tuple[MemoryItem, ...]:
        """The best; within a budget as many as fit, or sentences of their digests."""
        if request.budget_tokens is None:
            return tuple(hit.item for hit in found.hits[: request.k])
        if told is None or found.question is None:
            return tuple(hit.item for hit in within(found.hits, request.budget_tokens)[: request.k])
        vector = await self._vectors.of(request.user_id, found.question.text, told.embedder) if told.embedder else None
        return composed(
            found.hits[:MOST_DIGESTS],
            told.digests,
            found.question,
            vector.vector if vector else None,
            tokens=request.budget_tokens,
            most=request.k,
        )

    async def recall_for_turn(
        self,
        user_id: str,
        question: str,
        read_after: Position | None,
        chosen: RuntimeSettings,
        *,
        kept: bool,
        shown: int,
    ) -> Recollection | None:
        """What may stand in a prompt, by the settings of its conversation, each text once; None when the memory can't
        be reached.

        A turn that is to be kept waits for persistence anyway; another does better without memories than late. Up to
        ``shown`` messages of the conversation stand in the prompt as such, and may be among what is found.
        """
        settings = self._settings
        patience_s = settings.restart_patience_s if kept else min(settings.restart_patience_s, BRIEFLY_S)
        asked = Asked(
            question,
            read_after,
            datetime.now(UTC),
            most=chosen.recall_k,
            of_no_use=shown,
            least_evidence=chosen.recall_min_score,
            weights=chosen.recall_weights,
        )
        try:
            with tracer.start_as_current_span("recall"):
                found = await self.recall(user_id, asked, patience_s=patience_s)
        except (NotYetApplied, TimedOut, Unavailable) as error:
            log.info("recall_failed", code=error.code)
            return None
        hits = distinct(found.hits)
        if hits and (await self._profiles.of(user_id, patience_s=patience_s)).digested:
            hits = with_told(hits, await read_digests(self._bus, user_id, hits))
        return replace(found, hits=hits)

    async def recall(self, user_id: str, asked: Asked, *, patience_s: float) -> Recollection:
        """What fits the question. Raises what persistence raises; a missing embedder only degrades."""
        text = asked.text[:QUESTION_CHARACTERS].strip()
        if not text or not asked.most:
            return Recollection()
        with measured("search_memory"):
            profile = await self._profiles.of(user_id, patience_s=patience_s)
            search = _Search(user_id, asked, profile, patience_s)
            question = await self._placed(search, read(text, profile.names, asked.now))
            ranked, degraded = await self._ranked(search, question, self._candidates(asked))
            telling = [one for one in ranked if one.score > 0 and one.evidence >= asked.least_evidence]
            hits = await self._chosen(search, telling, past=question.past)
        return Recollection(hits, degraded, question)

    async def prepare(self, user_id: str, text: str, seconds: float) -> bool:
        """Makes a question ready that is likely to be asked: its vector is kept for so long, and the index that it is
        looked up in is in memory. False where there are no vectors. Raises ServiceError; Preempted.
        """
        profile = await self._profiles.of(user_id, patience_s=BRIEFLY_S)
        question = read(text[:QUESTION_CHARACTERS].strip(), profile.names, datetime.now(UTC))
        query = FindCandidates(user_id=user_id, terms=question.terms, limit=1, background=True)
        await self._bus.request(FIND_CANDIDATES, query)
        if profile.embedder is None:
            return False
        await self._vectors.prepare(user_id, question.text, profile.embedder, seconds)
        return True

    async def _chosen(self, search: _Search, telling: Sequence[Ranked], *, past: bool) -> tuple[Hit, ...]:
        """Of the best as many as are wanted, each a little less for what a better one told already.

        The texts of a few more are read at first; of the rest only where so much is repeated that one of them might
        stand before what was chosen.
        """
        wanted = search.asked.most + search.asked.of_no_use
        repetition = search.asked.weights.repetition
        first, rest = telling[: wanted + SLACK], telling[wanted + SLACK : min(MOST_READ, wanted + spare(wanted))]
        hits = await self._brought(search, first)
        chosen = spread_out(hits, repetition, past=past)
        if rest and (len(distinct(chosen)) < wanted or chosen[wanted - 1].item.score < rest[0].score):
            hits += await self._brought(search, rest)
            chosen = spread_out(hits, repetition, past=past)
        return chosen

    def _candidates(self, asked: Asked) -> int:
        return max(self._settings.recall_candidates, asked.most)

    async def _placed(self, search: _Search, question: Question) -> Question:
        """The question with the time that hangs on an event, where the memory knows the event."""
        anchor = question.anchor
        if anchor is None:
            return question
        event = read(anchor.event, search.profile.names, search.asked.now)
        ranked, _ = await self._ranked(search, replace(event, anchor=None), EVENT_CANDIDATES)
        told = [one for one in ranked if one.evidence >= LEAST_EVENT_EVIDENCE]
        hits = await self._brought(search, told[:1])
        return question.at(anchor.time(day_of(hits[0], search.asked.now))) if hits else question

    async def _ranked(self, search: _Search, question: Question, limit: int) -> tuple[list[Ranked], str | None]:
        user_id, now = search.user_id, search.asked.now.timestamp()
        vector = await self._vectors.of(user_id, question.text, search.profile.embedder)
        query = FindCandidates(
            user_id=user_id,
            terms=question.terms,
            vector=vector.vector if vector else None,
            embedder=vector.embedder if vector else None,
            limit=limit,
            intervals=intervals(question.times, now),
            read_after=search.asked.read_after,
        )
        found = await ask(self._bus, FIND_CANDIDATES, query, patience_s=search.patience_s)
        rows = found_in(found, question.terms)
        ranked = rank(rows, question, search.asked.weights, now, found.whole_bm25)
        return ranked, None if vector else NO_EMBEDDER

    async def _brought(self, search: _Search, ranked: Sequence[Ranked]) -> list[Hit]:
        """The hits with their texts, each memory once: one that is being indexed may be found in both places. What was
        forgotten meanwhile is absent."""
        ordinals = tuple(one.found.ordinal for one in ranked if one.found.fresh is None)
        texts = {}
        if ordinals:
            wanted = ReadMemories(user_id=search.user_id, ordinals=ordinals)
            brought = await ask(self._bus, READ_MEMORIES, wanted, patience_s=search.patience_s)
            texts = dict(zip(brought.ordinals, brought.items, strict=True))
        hits: dict[str, Hit] = {}
        for one in ranked:
            item = one.found.fresh or texts.get(one.found.ordinal)
            if item is not None and item.id not in hits:
                scored = item.model_copy(update={"score": one.score, "parts": one.parts})
                hits[item.id] = Hit(scored, one.evidence, None if one.until is None else moment(one.until))
        return list(hits.values())


def spare(wanted: int) -> int:
    """How many more texts are read than are wanted: some repeat others."""
    return wanted // 2 + 4


def intervals(times: Sequence[dates.Time], now: float) -> tuple[Interval, ...]:
    """The spans of the named times, the newest of those that come every year; at most what one search takes."""
    share = MOST_INTERVALS // len(times) if times else 0
    spans = [span for time in times[:MOST_INTERVALS] for span in time.latest(now, max(1, share))]
    return tuple(Interval(start=moment(start), end=moment(end)) for start, end in spans[:MOST_INTERVALS])


def day_of(hit: Hit, now: datetime) -> datetime:
    """The event's day: the one that the memory names, by the clock of its telling, else that of the telling itself."""
    told = hit.item.at.astimezone(now.tzinfo)
    named, _ = dates.find(fold(hit.item.text[:EVENT_CHARACTERS]), told)
    days = [time.spans[0] for time in named if not time.yearly and time.spans[0][1] - time.spans[0][0] <= dates.DAY_S]
    return datetime.fromtimestamp(days[0][0], now.tzinfo) if days else told
