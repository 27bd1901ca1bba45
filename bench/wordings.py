"""What a language has to say for the made-up dialogues: the same things in the same places in each language."""

from __future__ import annotations

from dataclasses import dataclass


def listed(text: str) -> tuple[str, ...]:
    """The parts between the bars, each on one line."""
    return tuple(" ".join(part.split()) for part in text.split("|"))


@dataclass(frozen=True)
class Attribute:
    """Something that is true of a person for a time. ``{who}`` is the person, ``{v}`` the value; ``{of_who}`` has its
    preposition. ``own`` sentences are of the user, ``now`` sentences tell that it changed."""

    values: tuple[str, ...]
    others: tuple[str, ...]
    others_now: tuple[str, ...]
    others_asked: tuple[str, ...]
    others_before: str
    own: tuple[str, ...]
    own_now: tuple[str, ...]
    own_asked: tuple[str, ...]
    own_before: str


@dataclass(frozen=True)
class Wordings:
    """One language."""

    attributes: dict[str, Attribute]
    openings: tuple[str, ...]
    endings: tuple[str, ...]
    activities: tuple[str, ...]
    """As told."""
    activities_asked: tuple[str, ...]
    """The same, as asked for."""
    places: tuple[str, ...]
    event_told: tuple[str, ...]
    event_where: str
    event_who: str
    chatter: tuple[str, ...]
    things: tuple[str, ...]
    spots: tuple[str, ...]
    deeds: tuple[str, ...]
    times: tuple[str, ...]
    replies: tuple[str, ...]
    elides: bool = False
    """``of`` loses its vowel before a name that begins with one."""

    def of(self, name: str) -> str:
        """The name with the preposition of possession, where the language has one."""
        if not self.elides:
            return f"of {name}"
        return f"d'{name}" if name[0].lower() in "aeiouyéèh" else f"de {name}"
