"""What may enter the memory from outside: texts that say something, at times that can be. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from libs.shared.contracts.common import Speaker
from libs.shared.contracts.memory import ImportedTurn
from libs.shared.errors import InvalidRequest
from libs.shared.thinking import without_thinking

MOST_AHEAD = timedelta(days=1)
"""A clock that is further ahead is wrong; less is a time zone."""
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)


def checked_text(text: str) -> str:
    """The text. Raises InvalidRequest when it is blank, or no text at all."""
    if problem := _problem_of(text):
        raise InvalidRequest(f"the text {problem}", errors=["text"])
    return text


def check_time(at: datetime, now: datetime) -> datetime:
    """In UTC; a time without a zone is taken for UTC. Raises InvalidRequest."""
    try:
        moment = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:
        raise InvalidRequest("the time is out of range", errors=["at"]) from None
    if moment < EARLIEST:
        raise InvalidRequest("the time is before the year 1900", errors=["at"])
    if moment > now + MOST_AHEAD:
        raise InvalidRequest("the time is in the future", errors=["at"])
    return moment


def checked_turns(turns: Sequence[ImportedTurn], now: datetime) -> tuple[ImportedTurn, ...]:
    """Each turn once, in UTC. Raises InvalidRequest that names the first turn that can't be kept."""
    found: dict[str, ImportedTurn] = {}
    for place, turn in enumerate(turns):
        try:
            checked = _checked(turn, now)
        except InvalidRequest as error:
            raise _at(place, turn, error.detail, error.data["errors"]) from None
        before = found.setdefault(checked.id, checked)
        if before != checked:
            raise _at(place, checked, "the same id stands for another turn above", ["id"])
    return tuple(found.values())


def _checked(turn: ImportedTurn, now: datetime) -> ImportedTurn:
    for name in ("id", "conversation_id", "speaker", "text"):
        if problem := _problem_of(getattr(turn, name)):
            raise InvalidRequest(f"the {name.replace('_', ' ')} {problem}", errors=[name])
    speaker = turn.speaker.strip()
    # what an assistant thought on the way isn't remembered; a turn that is nothing else stays as it is
    text = (without_thinking(turn.text).strip() and without_thinking(turn.text)) if speaker == Speaker.ASSISTANT else ""
    return turn.model_copy(update={"at": check_time(turn.at, now), "speaker": speaker, "text": text or turn.text})


def _problem_of(text: str) -> str | None:
    if not text.strip():
        return "is blank"
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        return "holds half a character (a lone surrogate)"
    return None


def _at(place: int, turn: ImportedTurn, detail: str, fields: list[str]) -> InvalidRequest:
    name = turn.id.encode("utf-8", "replace").decode()
    return InvalidRequest(
        f"turn {place + 1} ({name!r}): {detail}", errors=[f"turns.{place}.{field}" for field in fields]
    )
