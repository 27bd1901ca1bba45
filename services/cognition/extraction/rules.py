"""Facts that people state plainly, in English and French: rules that would rather miss one than invent one. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from libs.shared import dates
from libs.shared.contracts.memory import MemoryKind
from libs.shared.text import fold
from services.cognition.extraction import (
    english_life,
    english_things,
    english_words,
    french_life,
    french_things,
    french_words,
)
from services.cognition.extraction.attributes import NAME, PRINCIPAL, is_known, is_single
from services.cognition.extraction.clauses import stated
from services.cognition.extraction.drawn import Drawn, value_key
from services.cognition.extraction.patterns import Rule, split_words
from services.cognition.extraction.values import cleaned, listed
from services.cognition.searchable import ASSISTANT, Text

EXTRACTOR = "rules@1"
USER = "user"
RECENT_S = 45 * 86_400.0
"""A change so long ago at most counts from when it was told."""
MOST_OF_A_TEXT = 40
ALL = (*english_life.RULES, *english_things.RULES, *french_life.RULES, *french_things.RULES)
_RELATIONS = english_words.RELATIONS | french_words.RELATIONS
_KEEPS_ARTICLE = frozenset({"residence", "hometown", "employer"})
_ANIMALS = english_words.ANIMALS | french_words.ANIMALS
_ALIASES = {
    "car": "car",
    "voiture": "car",
    "auto": "car",
    "phone": "device",
    "telephone": "device",
    "portable": "device",
    "phone number": "phone",
    "number": "phone",
    "numero telephone": "phone",
    "numero": "phone",
}
"""What is an attribute of its own, by the thing's name."""
_ON_TOP = re.compile(
    r"\b(?:also|too|as well|another|second|besides|aussi|egalement|deuxieme|second|seconde|en plus|autre)\b"
)
_NO_NAMES = split_words(
    "recently lately just i we he she it they you this that these those there here the a an my our your his her "
    "their its who what where "
    "when why how everyone everybody someone somebody nobody people one both all some many most today yesterday "
    "tomorrow now then and but so or also oh well hey hi hello ok okay yes no not please thanks actually apparently "
    "anyway since because while after before although though monday tuesday wednesday thursday friday saturday sunday "
    "je nous il elle on ils elles vous tu ce cela ca c'est ceci le la les l un une des mon ma mes notre nos ton ta "
    "tes votre son sa ses leur qui que quoi ou quand comment tout tous chacun personne quelqu'un certains aujourd'hui "
    "hier demain maintenant alors puis ensuite et mais donc or car ah bon salut bonjour oui non merci au comme depuis "
    "avant apres lundi mardi mercredi jeudi vendredi samedi dimanche"
)
"""What no name begins with, although a sentence may."""
_GENERAL = frozenset({"hobby", "habit", "possession"})
_OF = frozenset({"de", "du", "des", "la", "le"})
_SPELLINGS = {"colour": "color", "flavour": "flavor", "favourite": "favorite", "neighbour": "neighbor"}


def may_state(text: Text) -> bool:
    """Whether it is somebody's own word: what the assistant says, and documents, state nothing."""
    return text.memorable and text.speaker != ASSISTANT and text.kind in (MemoryKind.MESSAGE, MemoryKind.NOTE)


def draw(text: Text) -> list[Drawn]:
    """What the text states of its speaker, and of theirs."""
    if not may_state(text):
        return []
    found: dict[tuple[object, ...], Drawn] = {}
    for clause in stated(text.text):
        for drawn in _telling(list(_of_clause(clause, text))):
            lane = _lane(drawn)
            if lane in found or len(found) < MOST_OF_A_TEXT:
                found[lane] = drawn
    return [replace(drawn, mark=str(place)) for place, drawn in enumerate(found.values())]


def _lane(drawn: Drawn) -> tuple[object, ...]:
    """Of what can be but one at a time, the last that a text says counts."""
    alone = is_single(drawn.attribute) and not drawn.ended
    told = drawn.at if alone else value_key(drawn.value)
    return (drawn.subject, drawn.attribute, drawn.ended, told)


def _telling(drawn: list[Drawn]) -> list[Drawn]:
    """Without what says in general what another says exactly: a sport is a hobby too."""
    exact = [one for one in drawn if not _is_general(one)]
    return exact + [one for one in drawn if _is_general(one) and not any(_says_more(other, one) for other in exact)]


def _is_general(drawn: Drawn) -> bool:
    return not drawn.ended and (drawn.attribute in _GENERAL or drawn.attribute.startswith("detail."))


def _says_more(exact: Drawn, general: Drawn) -> bool:
    same = (exact.subject, exact.ended) == (general.subject, general.ended)
    return same and bool(general.value) and set(value_key(general.value)) <= set(value_key(exact.value))


def _of_clause(clause: str, text: Text) -> Iterator[Drawn]:
    subject = USER if text.speaker == USER else text.speaker
    lowered = clause.lower()
    for rule in ALL:
        for parts in rule.matches(clause, lowered):
            about, attribute = _about(rule, parts, subject)
            if attribute is None or not is_known(attribute):
                continue
            on_top = not rule.ended and _ON_TOP.search(fold(clause)) is not None
            for value in _values(rule, parts, attribute):
                if on_top:
                    attribute, value = _besides(attribute, value, parts)
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
                    version=text.version,
                )


def _about(rule: Rule, parts: dict[str, str], subject: str) -> tuple[str, str | None]:
    """Whom it is about, and what it tells: of somebody whom the clause names, by that name."""
    attribute = _attribute(rule, parts)
    relation = _RELATIONS.get(fold(parts.get("rel", "")))
    if "rel" in parts and relation is None:
        return subject, None
    named = parts.get("named")
    if named is not None and not (relation and attribute == NAME):
        person = _person(named)
        called = _RELATIONS.get(fold(person))
        if called is None:
            return person, attribute if person else None
        relation = called
    return subject, attribute if relation is None else f"{relation}.{attribute}"


def _besides(attribute: str, value: str, parts: dict[str, str]) -> tuple[str, str]:
    """Of what somebody tells to have on top of what they have: it ends nothing."""
    if attribute in PRINCIPAL:
        return f"other_{attribute}", value
    if attribute.startswith("pet."):
        return "pet", f"{parts['animal']} {value}"
    return attribute, value


def _attribute(rule: Rule, parts: dict[str, str]) -> str:
    if "{thing}" in rule.attribute:
        thing = _thing(parts["thing"])
        alias = _ALIASES.get(thing) if rule.attribute.startswith("detail.") else None
        return alias or rule.attribute.format(thing=thing)
    if "{animal}" in rule.attribute:
        return rule.attribute.format(animal=_ANIMALS[fold(parts["animal"])])
    return rule.attribute


def _person(named: str) -> str:
    """The name without what only begins the sentence; empty when nothing of a name is left."""
    words = re.sub(r"['’]s$", "", named).split()
    while words and fold(words[0]).strip(".'") in _NO_NAMES:
        words = words[1:]
    return " ".join(words)


def _thing(said: str) -> str:
    """A thing's name, the same however it is spelled."""
    return " ".join(_SPELLINGS.get(word, word) for word in fold(said).split() if word not in _OF)


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
    """The long past time that a clause tells, else when it was said.

    Who moved last week tells what holds now, whatever was said in between; who moved in 2019 may have moved again.
    """
    times, _ = dates.find(fold(clause), said_at)
    now = said_at.timestamp()
    starts = [start for time in times for start, _ in time.latest(now, 1) if start <= now - RECENT_S]
    return datetime.fromtimestamp(max(starts), UTC) if starts else said_at
