"""Facts that people state plainly, in English and French: rules that would rather miss one than invent one. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from libs.shared.contracts.memory import MemoryKind
from libs.shared.text import fold, terms
from services.cognition import dates
from services.cognition.extraction import english, english_words, french, french_words
from services.cognition.extraction.attributes import is_known, is_single
from services.cognition.extraction.clauses import stated
from services.cognition.extraction.drawn import Drawn, value_key
from services.cognition.extraction.patterns import Rule, cleaned, listed
from services.cognition.searchable import ASSISTANT, Text

EXTRACTOR = "rules@1"
USER = "user"
MOST_OF_A_TEXT = 40
_RULES = (*english.RULES, *french.RULES)
_RELATIONS = english_words.RELATIONS | french_words.RELATIONS
_KEEPS_ARTICLE = frozenset({"residence", "hometown", "employer"})
_SPELLINGS = {"colour": "color", "flavour": "flavor", "favourite": "favorite", "neighbour": "neighbor"}


def draw(text: Text) -> list[Drawn]:
    """What the text states of its speaker, and of theirs. What the assistant says, and documents, state nothing."""
    if text.speaker == ASSISTANT or text.kind not in (MemoryKind.MESSAGE, MemoryKind.NOTE):
        return []
    found: dict[tuple[object, ...], Drawn] = {}
    for clause in stated(text.text):
        for drawn in _of_clause(clause, text):
            lane = _lane(drawn)
            if lane in found or len(found) < MOST_OF_A_TEXT:
                found[lane] = drawn
    return [replace(drawn, mark=str(place)) for place, drawn in enumerate(found.values())]


def _lane(drawn: Drawn) -> tuple[object, ...]:
    """Of what can be but one at a time, the last that a text says counts."""
    alone = is_single(drawn.attribute) and not drawn.ended
    told = drawn.at if alone else value_key(drawn.value)
    return (drawn.subject, drawn.attribute, drawn.ended, told)


def _of_clause(clause: str, text: Text) -> Iterator[Drawn]:
    subject = USER if text.speaker == USER else text.speaker
    for rule in _RULES:
        for parts in rule.matches(clause):
            about, attribute = _about(rule, parts, subject)
            if attribute is None or not is_known(attribute):
                continue
            for value in _values(rule, parts, attribute):
                yield Drawn(
                    subject=about,
                    attribute=attribute,
                    value=value,
                    text=clause,
                    at=_when(clause, text.at) if rule.dated else text.at,
                    source=text.message_id,
                    said_at=text.at,
                    extractor=EXTRACTOR,
                    mark="",
                    ended=rule.ended,
                )


def _about(rule: Rule, parts: dict[str, str], subject: str) -> tuple[str, str | None]:
    """Whom it is about, and what it tells: of somebody whom the clause names, by that name."""
    attribute = rule.attribute
    if "{thing}" in attribute:
        attribute = attribute.format(thing=_thing(parts["thing"]))
    relation = parts.get("rel")
    if relation is None:
        return subject, attribute
    known = _RELATIONS.get(fold(relation))
    if known is None:
        return subject, None
    named = parts.get("named")
    if named and attribute != "name":
        return named, attribute
    return subject, f"{known}.{attribute}"


def _thing(said: str) -> str:
    """A thing's name, the same however it is spelled."""
    plain = " ".join(_SPELLINGS.get(word, word) for word in fold(said).split())
    return " ".join(terms(plain))


def _values(rule: Rule, parts: dict[str, str], attribute: str) -> Iterator[str]:
    if rule.value is not None:
        yield rule.value.format_map(defaultdict(str, parts)).strip()
        return
    said = parts.get("value")
    if said is None:
        if rule.ended:
            yield ""
        return
    for part in listed(said) if rule.many else [said]:
        value = cleaned(part, keep_article=attribute.rpartition(".")[2] in _KEEPS_ARTICLE)
        if value is not None and (rule.check is None or rule.check(value)):
            yield value


def _when(clause: str, said_at: datetime) -> datetime:
    """The past time that a clause tells, else when it was said."""
    times, _ = dates.find(fold(clause), said_at)
    now = said_at.timestamp()
    starts = [start for time in times for start, _ in time.latest(now, 1) if start <= now]
    return datetime.fromtimestamp(max(starts), UTC) if starts else said_at
