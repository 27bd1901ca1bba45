"""Makes a dataset of exchanges: chosen, scrubbed, each said once, split by conversation, with a card. Pure."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from datetime import date

from pydantic import BaseModel, ConfigDict, Field

from libs.shared.errors import InvalidRequest
from libs.shared.text import language_told
from services.trainer.curation.choosing import LeftOut, answers_known, repeated, unfit
from services.trainer.curation.exchanges import SPLITS, Example, Exchange, Split
from services.trainer.curation.scrubbing import Scrubber, totals
from services.trainer.curation.splitting import held_out, refilled

FORMAT = 1


class Curation(BaseModel):
    """How a dataset is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    held_out_share: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Of conversations; few are divided so that something can be measured (``splitting.held_out``)."""
    likeness: float = Field(default=0.8, gt=0.0, le=1.0)
    """From which Jaccard likeness of three-word runs two exchanges count as one."""
    longest_characters: int = Field(default=20_000, ge=1)
    """Of question and answer together."""


class Card(BaseModel):
    """What a dataset is, for whoever decides whether to train on it; it names nobody and quotes nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    version: str
    """SHA-256 of the examples and of the rest of this card."""
    data: str
    """SHA-256 of the examples alone."""
    given: int
    """Exchanges that it was made from."""
    examples: dict[str, int]
    """Split → how many."""
    conversations: dict[str, int]
    """Split → of how many conversations."""
    owners: int
    left_out: dict[str, int]
    """Reason → how many exchanges."""
    personal: dict[str, int]
    """Kind → how often something was replaced."""
    languages: dict[str, int]
    """Language of the question → how many; ``unknown`` where small words tell nothing."""
    first_day: date
    last_day: date
    configuration: Curation


@dataclass(frozen=True)
class Dataset:
    """Examples in the order of their time, and their card."""

    examples: tuple[Example, ...]
    card: Card

    @property
    def sources(self) -> frozenset[str]:
        """Ids of the conversations that it was made of; what is forgotten of these taints what was trained on it."""
        return frozenset(example.conversation_id for example in self.examples)

    @property
    def members(self) -> list[tuple[str, int]]:
        """Turn and version of its text, of each example: what a record of the dataset holds."""
        return [(example.turn_id, example.version) for example in self.examples]

    @property
    def owners(self) -> frozenset[str]:
        """Ids of those whose words it holds."""
        return frozenset(example.owner_id for example in self.examples)

    def of(self, split: str) -> list[Example]:
        """Those on one side."""
        return [example for example in self.examples if example.split == split]


def curate(exchanges: Iterable[Exchange], configuration: Curation | None = None) -> Dataset:
    """The dataset of ``exchanges``, whatever order they come in.

    Raises InvalidRequest when nothing is left to train on, with the reasons' counts.
    """
    chosen_by = configuration or Curation()
    given = sorted(set(exchanges), key=lambda one: (one.at.timestamp(), one.conversation_id, one.turn_id, astuple(one)))
    left_out: Counter[str] = Counter()
    fit = []
    for exchange in given:
        why = unfit(exchange, chosen_by.longest_characters)
        left_out.update([why] if why else [])
        if why is None:
            fit.append(exchange)
    pairs, scrubbers = _scrubbed(fit)
    kept = []
    for at, why in enumerate(repeated(pairs, chosen_by.likeness)):
        left_out.update([why] if why else [])
        if why is None:
            kept.append(at)
    examples = _split([(fit[at], *pairs[at]) for at in kept], chosen_by, left_out)
    if not any(example.split == "train" for example in examples):
        raise InvalidRequest(
            f"of {len(given)} exchanges none is left to train on; rate or allow more conversations",
            left_out=_sorted(left_out),
        )
    return Dataset(examples, _card(examples, given, left_out, totals(scrubbers), chosen_by))


def _scrubbed(exchanges: Sequence[Exchange]) -> tuple[list[tuple[str, str]], dict[str, Scrubber]]:
    scrubbers: dict[str, Scrubber] = {}
    for exchange in exchanges:
        scrubber = scrubbers.setdefault(exchange.conversation_id, Scrubber(exchange.names))
        scrubber.learn([exchange.question, exchange.answer])
    pairs = []
    for exchange in exchanges:
        scrubber = scrubbers[exchange.conversation_id]
        pairs.append((scrubber.scrub(exchange.question.strip()), scrubber.scrub(exchange.answer.strip())))
    return pairs, scrubbers


def _split(
    kept: Sequence[tuple[Exchange, str, str]], configuration: Curation, left_out: Counter[str]
) -> tuple[Example, ...]:
    conversations = {exchange.conversation_id for exchange, _, _ in kept}
    said = [(exchange.conversation_id, answer) for exchange, _, answer in kept]

    def left(apart: frozenset[str]) -> set[str]:
        measured = [one for one, _ in said if one in apart]
        known = _known(said, apart, configuration.likeness)
        return {one for one, told in zip(measured, known, strict=True) if not told}

    apart = refilled(conversations, held_out(conversations, configuration.held_out_share), left)
    known = iter(_known(said, apart, configuration.likeness))
    examples = []
    for exchange, question, answer in kept:
        if exchange.conversation_id in apart and next(known):
            left_out[LeftOut.ANSWER_IN_TRAINING] += 1
            continue
        side: Split = "held_out" if exchange.conversation_id in apart else "train"
        ids = (exchange.conversation_id, exchange.turn_id, exchange.version, exchange.owner_id)
        examples.append(Example(question, answer, *ids, side))
    return tuple(examples)


def _known(said: Sequence[tuple[str, str]], apart: frozenset[str], likeness: float) -> list[bool]:
    """Of the (conversation, answer) that are held out, in their order, whether nearly the same is trained on."""
    trained = [answer for conversation, answer in said if conversation not in apart]
    return answers_known(trained, [answer for conversation, answer in said if conversation in apart], likeness)


def _card(
    examples: Sequence[Example],
    given: Sequence[Exchange],
    left_out: Counter[str],
    personal: dict[str, int],
    configuration: Curation,
) -> Card:
    turns = {(example.conversation_id, example.turn_id) for example in examples}
    days = [one.at.date() for one in given if (one.conversation_id, one.turn_id) in turns]
    told: Counter[str] = Counter(language_told(example.question) or "unknown" for example in examples)
    card = Card(
        version="",
        data=data_hash(examples),
        given=len(given),
        examples={split: sum(one.split == split for one in examples) for split in SPLITS},
        conversations={split: len({one.conversation_id for one in examples if one.split == split}) for split in SPLITS},
        owners=len({example.owner_id for example in examples}),
        left_out=_sorted(left_out),
        personal=personal,
        languages=_sorted(told),
        first_day=min(days),
        last_day=max(days),
        configuration=configuration,
    )
    return card.model_copy(update={"version": version_of(card)})


def line(example: Example) -> bytes:
    """One example as a line of JSON, the same for the same example."""
    return json.dumps(asdict(example), ensure_ascii=False, sort_keys=True).encode() + b"\n"


def data_hash(examples: Iterable[Example]) -> str:
    """SHA-256 of the examples in their order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(line(example))
    return digest.hexdigest()


def version_of(card: Card) -> str:
    """Of the card but for its version, and through it of the examples."""
    return hashlib.sha256(card.model_copy(update={"version": ""}).model_dump_json().encode()).hexdigest()


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return {str(name): counts[name] for name in sorted(counts)}
