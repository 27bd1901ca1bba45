"""Telling how a turn went, in numbers alone, to whoever watches what a change of settings does."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

from libs.shared.bus.base import Bus
from libs.shared.contracts.watching import TURN_MEASURED, Arm, TurnMeasured
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from libs.shared.text import words
from services.cognition.outcomes import OF_THE_REQUEST
from services.cognition.selection import Hit

RUN_WORDS = 4
FEWEST_RUNS = 12
"""Shorter answers have nothing to repeat."""

MOST_CONVERSATIONS = 10_000

log = get_logger(__name__)


class Conversations:
    """Which conversations told a turn in the trial of now, or since the last ended: ids, in this process' memory."""

    def __init__(self) -> None:
        self._trial: str | None = None
        self._told = OrderedDict[str, None]()

    def again(self, conversation: str, trial: str | None) -> bool:
        """Whether it told one before; from now on it has."""
        if trial != self._trial:
            self._trial = trial
            self._told.clear()
        before = conversation in self._told
        self._told[conversation] = None
        self._told.move_to_end(conversation)
        if len(self._told) > MOST_CONVERSATIONS:
            self._told.popitem(last=False)
        return before


@dataclass
class TurnClock:
    """One turn under way."""

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    evidence: float | None = None
    first_s: float | None = None
    repetition: float | None = None
    drafted: bool = False
    arm: Arm | None = None
    conversation: str | None = None
    """None: the turn ended before that was known."""
    _began_s: float = field(default_factory=monotonic)

    def belongs(self, conversation: str, arm: Arm | None) -> None:
        """Where the turn belongs, and on which side of a trial that is."""
        self.conversation, self.arm = conversation, arm

    def recalled(self, hits: Sequence[Hit]) -> None:
        """What a search of the memory brought."""
        self.evidence = min(1.0, max((hit.evidence for hit in hits), default=0.0))

    def came(self) -> None:
        """A piece of the answer."""
        if self.first_s is None:
            self.first_s = monotonic() - self._began_s

    def answered(self, text: str, *, drafted: bool = False) -> None:
        """A model's whole answer; how soon one came that was ``drafted`` says nothing of the settings."""
        self.drafted = drafted
        of_words = repetition(words(text))
        self.repetition = of_words if of_words is not None else repetition(signs(text))

    def ended(self, told: Conversations, error: ServiceError | None = None) -> TurnMeasured:
        """A request that can't be answered says nothing of who was to answer it."""
        failed = error is not None and not isinstance(error, OF_THE_REQUEST)
        trial = self.arm.change_id if self.arm is not None else None
        return TurnMeasured(
            began=self.began,
            first_s=None if self.drafted else self.first_s,
            failed=failed,
            evidence=self.evidence,
            repetition=self.repetition,
            arm=self.arm,
            again=self.conversation is not None and told.again(self.conversation, trial),
        )


def signs(text: str) -> list[str]:
    """What is neither word nor space: all that a model says that is stuck in one of them. Pure."""
    return [sign for sign in text if not sign.isalnum() and not sign.isspace()]


def repetition(said: Sequence[str]) -> float | None:
    """Of the runs of four words (or signs), the share that stood before (seq-rep-4, Welleck et al. 2020, §3). Pure."""
    runs = [tuple(said[at : at + RUN_WORDS]) for at in range(len(said) - RUN_WORDS + 1)]
    return 1.0 - len(set(runs)) / len(runs) if len(runs) >= FEWEST_RUNS else None


async def tell(bus: Bus, measured: TurnMeasured) -> None:
    """Lossy: a turn that isn't counted is one of many."""
    try:
        await bus.broadcast(TURN_MEASURED, measured)
    except ServiceError as error:
        log.debug("turn_measure_not_told", reason=error.code)
