"""Seeded dialogues with gold evidence: facts that are told once, facts that change, things that happened, and chatter.

The same seed makes the same life in each language, so that probes in two languages ask for the same turns. Nothing is
drawn from data: any size can be made, and each user's people have names that other users' people have too.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from bench.wordings import Wordings, listed
from bench.wordings_en import ENGLISH
from bench.wordings_fr import FRENCH

LANGUAGES = {"en": ENGLISH, "fr": FRENCH}
FIRST_NAMES = listed("""
    Ada | Odile | Bruno | Nadia | Victor | Chloé | Samir | Ingrid | Paul | Yuki | Marta | Hugo | Lena | Tomas |
    Aïcha | Pierre | Greta | Omar | Sofia | Kenji | Rosa | Emil | Fatou | Luc | Vera | Idris | Clara | Mateo |
    Noor | Felix | Jeanne | Pavel | Carmen | Anton | Zoé | Ravi | Helga | Diego | Mina
""")
LAST_NAMES = listed("""
    Fortin | Okafor | Lindqvist | Moreau | Tanaka | Castellano | Berg | Diallo | Novak | Tremblay | Haas |
    Petrov | Gagnon | Silva | Murphy | Sørensen | Abbott | Keller | Rossi | Lavoie | Dubois | Ferreira |
    Nakamura | Brandt | Ouellet | Kowalski | Vidal | Hassan | Jansen | Pelletier | Romero | Weiss | Côté
""")
USER = "user"
FIRST_DAY = datetime(2023, 1, 2, 8, tzinfo=UTC)
LAST_DAY = datetime(2025, 12, 20, 20, tzinfo=UTC)
NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
"""When the probes are asked."""
TURNS_A_CONVERSATION = 16
FACTS_SHARE, EVENTS_SHARE, CHANGING_SHARE = 0.05, 0.04, 0.5
"""Of all turns: first tellings of facts, events; and of the facts those that change."""


class Kind(StrEnum):
    """What a probe asks for."""

    CURRENT = "changed fact"
    """The newest of several tellings, which has to come before the older ones."""
    BEFORE = "what was before"
    """One of the older tellings."""
    FACT = "fact told once"
    EVENT = "event"


@dataclass(frozen=True)
class Turn:
    """As the import takes it."""

    id: str
    conversation_id: str
    speaker: str
    text: str
    at: datetime


@dataclass(frozen=True)
class Probe:
    """A question; any turn of ``gold`` answers it, none of ``stale`` may come before the first of them."""

    kind: Kind
    question: str
    gold: frozenset[str]
    stale: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Dialogue:
    """All that one user said in three years, and what to ask of it."""

    turns: tuple[Turn, ...]
    probes: tuple[Probe, ...]


@dataclass(frozen=True)
class _Fact:
    """Its values in the order in which they were true, by place in the attribute's list."""

    who: str
    attribute: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class _Event:
    who: str
    activity: int
    place: int


@dataclass(frozen=True)
class _Telling:
    """A fact's value, or an event, in a turn."""

    of: _Fact | _Event
    version: int


def dialogue(name: str, memories: int, *, seed: int, language: str = "en") -> Dialogue:
    """``memories`` turns whose ids begin with ``name``. Other languages with the same seed say the same."""
    words = LANGUAGES[language]
    chance = random.Random(f"{seed} {memories}")
    facts = _facts(chance, round(memories * FACTS_SHARE))
    events = _events(chance, round(memories * EVENTS_SHARE))
    places = _places(chance, [*facts, *events], memories)
    turns = tuple(_turns(chance, words, name, memories, places))
    ids: dict[_Fact | _Event, list[str]] = {}
    for place, telling in sorted(places.items()):
        ids.setdefault(telling.of, []).append(turns[place].id)
    return Dialogue(turns, tuple(_probes(chance, words, ids)))


def _facts(chance: random.Random, count: int) -> list[_Fact]:
    """The user's own first, then other people's; no two of one person and attribute."""
    attributes = list(ENGLISH.attributes)
    keys = [(USER, attribute) for attribute in attributes]
    people = chance.sample([f"{a} {b}" for a in FIRST_NAMES for b in LAST_NAMES], len(FIRST_NAMES) * len(LAST_NAMES))
    keys += [(who, attribute) for who in people for attribute in chance.sample(attributes, 4)]
    if count > len(keys):
        raise ValueError(f"there are {len(keys)} facts to tell, and {count} are wanted")
    facts = []
    for who, attribute in keys[:count]:
        tellings = 1 if chance.random() >= CHANGING_SHARE else chance.choice((2, 2, 3))
        values = chance.sample(range(len(ENGLISH.attributes[attribute].values)), tellings)
        facts.append(_Fact(who, attribute, tuple(values)))
    return facts


def _events(chance: random.Random, count: int) -> list[_Event]:
    """Each activity with a person once, and each with a place by one person alone: a probe has one answer."""
    found: dict[tuple[str, int], _Event] = {}
    by_place: Counter[tuple[int, int]] = Counter()
    while len(found) < count:
        who = f"{chance.choice(FIRST_NAMES)} {chance.choice(LAST_NAMES)}"
        event = _Event(who, chance.randrange(len(ENGLISH.activities)), chance.randrange(len(ENGLISH.places)))
        if (who, event.activity) not in found:
            found[who, event.activity] = event
            by_place[event.activity, event.place] += 1
    return list(found.values())


def _places(chance: random.Random, told: list[_Fact | _Event], memories: int) -> dict[int, _Telling]:
    """Which turn tells what: anywhere in the three years, a fact's values in their order."""
    tellings = [one for one in told for _ in (one.values if isinstance(one, _Fact) else (None,))]
    chance.shuffle(tellings)
    # the user speaks in every other turn
    turns = sorted(chance.sample(range(0, memories, 2), len(tellings)))
    versions: Counter[_Fact | _Event] = Counter()
    placed: dict[int, _Telling] = {}
    for place, one in zip(turns, tellings, strict=True):
        placed[place] = _Telling(one, versions[one])
        versions[one] += 1
    return placed


def _turns(
    chance: random.Random, words: Wordings, name: str, memories: int, places: dict[int, _Telling]
) -> Iterator[Turn]:
    conversations = -(-memories // TURNS_A_CONVERSATION)
    pause = (LAST_DAY - FIRST_DAY) / max(1, conversations)
    for place in range(memories):
        conversation, within = divmod(place, TURNS_A_CONVERSATION)
        telling = places.get(place)
        text = _chatter(chance, words, place) if telling is None else _told(chance, words, telling)
        at = FIRST_DAY + conversation * pause + timedelta(seconds=min(40, pause.total_seconds() / 20) * within)
        speaker = "assistant" if place % 2 else USER
        yield Turn(f"{name}/{place}", f"{name}/c{conversation}", speaker, text, at.replace(microsecond=0))


def _told(chance: random.Random, words: Wordings, telling: _Telling) -> str:
    one = telling.of
    opening, ending = chance.choice(words.openings), chance.choice(words.endings)
    if isinstance(one, _Event):
        sentence = chance.choice(words.event_told).format(
            who=one.who, activity=words.activities[one.activity], place=words.places[one.place]
        )
    else:
        attribute = words.attributes[one.attribute]
        own = one.who == USER
        first, later = (attribute.own, attribute.own_now) if own else (attribute.others, attribute.others_now)
        value = attribute.values[one.values[telling.version]]
        sentence = chance.choice(later if telling.version else first)
        sentence = sentence.format(who=one.who, of_who=words.of(one.who), v=value)
    if opening and not sentence.startswith((one.who, "I ")):
        sentence = sentence[0].lower() + sentence[1:]
    return opening + sentence + ending


def _chatter(chance: random.Random, words: Wordings, place: int) -> str:
    shape = chance.choice(words.replies if place % 2 else words.chatter)
    text = shape.format(
        thing=chance.choice(words.things),
        spot=chance.choice(words.spots),
        deed=chance.choice(words.deeds),
        when=chance.choice(words.times),
        who=f"{chance.choice(FIRST_NAMES)} {chance.choice(LAST_NAMES)}",
        n=place,
    )
    return text[0].upper() + text[1:]


def _probes(chance: random.Random, words: Wordings, ids: dict[_Fact | _Event, list[str]]) -> Iterator[Probe]:
    places = Counter((one.activity, one.place) for one in ids if isinstance(one, _Event))
    for one, turns in ids.items():
        if isinstance(one, _Fact):
            yield from _fact_probes(chance, words, one, turns)
        else:
            yield _event_probe(chance, words, one, turns, places)


def _fact_probes(chance: random.Random, words: Wordings, fact: _Fact, turns: list[str]) -> Iterator[Probe]:
    attribute = words.attributes[fact.attribute]
    own = fact.who == USER
    asked = chance.choice(attribute.own_asked if own else attribute.others_asked)
    before = attribute.own_before if own else attribute.others_before
    where = {"who": fact.who, "of_who": words.of(fact.who)}
    older, newest = frozenset(turns[:-1]), frozenset(turns[-1:])
    yield Probe(Kind.CURRENT if older else Kind.FACT, asked.format(**where), newest, older)
    if older:
        yield Probe(Kind.BEFORE, before.format(**where), older)


def _event_probe(
    chance: random.Random, words: Wordings, event: _Event, turns: list[str], places: Counter[tuple[int, int]]
) -> Probe:
    """Asks where, or with whom when nobody else did the same there."""
    alone = places[event.activity, event.place] == 1
    shape = words.event_who if chance.random() < 0.5 and alone else words.event_where
    question = shape.format(
        who=event.who, activity=words.activities_asked[event.activity], place=words.places[event.place]
    )
    return Probe(Kind.EVENT, question, frozenset(turns))
