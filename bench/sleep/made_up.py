"""A made-up memory in which things are told again, nearly again, and otherwise: by rule, from a seed.

What people say again is seldom word for word. Each item is told on one day and again on another, in one of the ways
below; beside it stand its near misses, which differ in one thing that counts. Facts that change, and chatter, are
those of ``bench.dialogues``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from bench.dialogues import FIRST_DAY, FIRST_NAMES, LAST_DAY, USER, Probe, dialogue
from bench.locomo.data import Conversation, Turn

NUMBERS = ("two", "three", "five", "7", "12")
PLACES = ("Lyon", "Nantes", "Graz", "Ghent", "Turin", "Porto")
FRAMES = (
    ("I keep {n} bees' nests", "in {place}", "There are {n} bees' nests of mine in {place}"),
    ("I meet {who}", "at the pool in {place}", "The pool of {place} is where {who} sees me"),
    ("I have {n} apple trees", "in the garden of {who}", "{n} of the apple trees at {who}'s belong to me"),
    ("I call {who}", "every Monday at {n}", "Mondays at {n} I am on the phone to {who}"),
    ("I am allowed {n} cups of tea", "before lunch", "Before lunch no more than {n} teas are good for me"),
    ("I lend {n} books to {who}", "every month", "{who} borrows {n} of my books a month"),
)
"""What is told, its adjunct, and the whole in other words."""
OPENINGS = ("By the way, ", "Hey, ", "As I said, ", "Well, ", "Actually, ")
ENDINGS = (", you know.", ", thanks.", "!", ", as I told you.")


@dataclass(frozen=True)
class Told:
    """A sentence of an item."""

    turn: Turn
    item: int
    way: str
    """How it is told: ``first``, a way of telling it again, or ``not: `` and what differs."""
    tells: str
    """In plain words: equal where the same is told, whichever items it is of."""


@dataclass(frozen=True)
class MadeUp:
    """One user's memory, what is told again in it, and questions for what changed."""

    conversation: Conversation
    told: tuple[Told, ...]
    probes: tuple[Probe, ...]


WAYS = ("word for word", "other courtesies", "another order", "other courtesies and order", "other words")
MISSES = ("another number", "another name", "not", "the past")


def made_up(name: str, memories: int, items: int, *, seed: int) -> MadeUp:
    """``memories`` turns of a dialogue, and so many items beside."""
    chance = random.Random(f"{seed} {name} repeated")
    said = dialogue(name, memories, seed=seed)
    told = tuple(one for item in range(items) for one in _told(chance, name, item))
    turns = [Turn(one.id, one.conversation_id, one.speaker, one.text, one.at) for one in said.turns]
    ordered = sorted([*turns, *(one.turn for one in told)], key=lambda turn: turn.at)
    return MadeUp(Conversation((), tuple(ordered), ()), told, said.probes)


def _told(chance: random.Random, name: str, item: int) -> Iterator[Told]:
    """An item's first telling, one again, and two near misses, on different days."""
    said, adjunct, otherwise = FRAMES[item % len(FRAMES)]
    who, place, n = chance.choice(FIRST_NAMES), chance.choice(PLACES), chance.choice(NUMBERS)
    fill = {"who": who, "place": place, "n": n}
    said, adjunct, otherwise = (part.format(**fill) for part in (said, adjunct, otherwise))
    way = WAYS[item % len(WAYS)]
    misses = [miss for miss in MISSES if changed(said, adjunct, miss, fill) != f"{said} {adjunct}."]
    plain = f"{said} {adjunct}."
    differing = [(f"not: {miss}", changed(said, adjunct, miss, fill)) for miss in chance.sample(misses, 2)]
    texts = [
        ("first", plain, plain),
        (way, retold(chance, said, adjunct, otherwise, way), plain),
        *((miss, text, text) for miss, text in differing),
    ]
    days = chance.sample(range((LAST_DAY - FIRST_DAY).days), len(texts))
    for number, ((told, text, tells), day) in enumerate(zip(texts, days, strict=True)):
        at = FIRST_DAY + timedelta(days=day, minutes=item)
        turn = Turn(f"{name}-item{item}-{number}", f"{name}-i{item}-{number}", USER, text[0].upper() + text[1:], at)
        yield Told(turn, item, told, tells)


def retold(chance: random.Random, said: str, adjunct: str, otherwise: str, way: str) -> str:
    """The same once more."""
    opening, ending = chance.choice(OPENINGS), chance.choice(ENDINGS)
    if way == "word for word":
        return f"{said} {adjunct}."
    if way == "other words":
        return f"{otherwise}."
    turned = f"{adjunct} {said}" if "order" in way else f"{said} {adjunct}"
    return f"{opening}{turned}{ending}" if "courtesies" in way else f"{turned}."


def changed(said: str, adjunct: str, miss: str, fill: dict[str, str]) -> str:
    """What differs in one thing; as it was, where it has nothing of the kind."""
    whole = f"{said} {adjunct}."
    if miss == "another number":
        return whole.replace(f" {fill['n']}", f" {NUMBERS[NUMBERS.index(fill['n']) - 1]}", 1)
    if miss == "another name":
        other = FIRST_NAMES[FIRST_NAMES.index(fill["who"]) - 1]
        return whole.replace(fill["who"], other).replace(fill["place"], PLACES[PLACES.index(fill["place"]) - 1])
    if miss == "the past":
        return whole.replace("I keep", "I kept").replace("I meet", "I met").replace("I have", "I had")
    verb = "am not" if whole.startswith("I am ") else "do not " + whole.split(" ", 2)[1]
    return f"I {verb} {whole.split(' ', 2)[2]}"
