"""What a question asks for, read before anything is looked up: whom and when it names, what it wants. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from libs.shared import dates
from libs.shared import text as words_
from services.cognition import anchors
from services.cognition.anchors import Anchor

USER, ASSISTANT = "user", "assistant"
SHORTEST_NICKNAME = 3
LONGEST_NAME = 3
"""Words."""
MOST_TERMS = 256
MOST_TIMES = 8
"""Each is held against every candidate."""

_ME = re.compile(r"\b(?:i|me|my|mine|myself|we|our|je|moi|mon|ma|mes|nous|notre|nos)\b|\b[jm]'")
_SAY = r"(?:sa(?:y|id)|t(?:ell|old)|recommend|suggest|advise|mention|answer|propose)"
_DIT = r"(?:dit|conseille|recommande|propose|suggere|repondu|mentionne)"
_YOU_SAID = re.compile(
    rf"\b(?:did|had|have) you (?:just |already |ever )?{_SAY}|\byou {_SAY}(?:e?d)?\b"
    rf"|\b(?:tu|vous) (?:m'|nous )?(?:as|avez|avais|aviez) {_DIT}|\b(?:as-tu|avez-vous) {_DIT}"
)
_OPENING = r"(?:so|and|now|please|hey|ok|et|alors|s'il (?:te|vous) pla[iî]t)"
_RECALLS = r"(?:souviens|souvenez|rappelles|rappelez|sais|savez)"
_TELLS = r"(?:parler?|parlez|dis|dites|raconter?|racontez|rappelle|rappelez)"
_ASKING = re.compile(
    rf"^\W*(?:{_OPENING}\b\W*)*(?:"
    r"what (?:else )?(?:do|can|did) you (?:still |already )?(?:remember|recall|know)"
    r"|do you (?:still |already )?(?:remember|recall|know)(?: (?:anything|something|much))?"
    r"|(?:(?:can|could|would|will) you )?(?:please )?(?:tell|remind) me(?: (?:everything|anything|something|more|all))?"
    r"(?: (?:that )?you (?:still )?(?:remember|recall|know))?"
    rf"|(?:qu'est-ce que |que |qu')?(?:tu (?:te )?|vous (?:vous )?){_RECALLS}(?: encore)?"
    rf"|(?:qu'est-ce que |que )?(?:te |vous )?{_RECALLS}-(?:tu|vous)(?: encore)?"
    rf"|(?:(?:peux-tu|pouvez-vous) )?(?:me )?{_TELLS}(?:[- ]moi)?(?: (?:tout|quelque chose))?"
    r"(?: ce que (?:tu|vous) (?:sais|savez))?"
    r") (?=(?:about|of|on|de|du|des|sur|[aà] propos)\b|d')",
    re.IGNORECASE,
)
"""What only asks the memory to speak: « What do you remember of … », « Parle-moi de … »."""
_TOGETHER = re.compile(r"\b(?:both|and|et|with|avec|deux)\b")
_TIME = re.compile(
    r"^(?:when|how long|since when|what (?:day|date|time|month|year)|which (?:day|date|month|year|week))\b"
    r"|\b(?:quand|combien de temps|depuis combien|quelle? (?:jour|date|mois|annee|heure|semaine))\b"
)
_NUMBER = re.compile(
    r"\bhow (?:many|much|long|old|often|tall|far|big)\b|\b(?:combien|quel age|quelle (?:taille|distance))\b"
)
_NAME = re.compile(
    r"^(?:who|whom|whose|which)\b|\bname|\bcalled\b|\b(?:qui|quels?|quelles?|appel\w+|nom|prenom|surnom)\b"
)
_PAST = re.compile(
    r"\b(?:before|previous(?:ly)?|formerly|former|earlier|used to|back then|at first|initially|originally|in the past"
    r"|no longer|anymore|any more|ex|avant(?!-hier)|auparavant|autrefois|jadis|naguere|ancien(?:ne)?s?|anciennement"
    r"|precedente?s?|precedemment|a l'epoque|au debut|a l'origine|initialement|dans le passe|plus tot)\b"
)


@dataclass(frozen=True)
class Question:
    """A question, read."""

    text: str
    """What to embed: named speakers put in the first person, as they speak of themselves."""
    terms: tuple[str, ...]
    """What to look up: without the speakers' names and without the dates."""
    named: frozenset[str] = frozenset()
    """The speakers that it is about; none: anyone."""
    subject: str | None = None
    """Of several named, the one that it is about first."""
    times: tuple[dates.Time, ...] = ()
    anchor: Anchor | None = None
    """A time that hangs on an event, which has to be looked up first."""
    wants_time: bool = False
    wants_number: bool = False
    wants_name: bool = False
    past: bool = False
    """It asks for what was before: nothing newer is put above the older then."""

    @property
    def wants(self) -> tuple[str, ...]:
        """The kinds of answer that it asks for."""
        kinds = (("time", self.wants_time), ("number", self.wants_number), ("name", self.wants_name))
        return tuple(kind for kind, wanted in kinds if wanted)

    def at(self, time: dates.Time) -> Question:
        """The same question once its event is found: the time counts, the event's own words no longer do."""
        bare = tuple(term for term in self.terms if self.anchor is None or term not in self.anchor.terms)
        return replace(self, times=(*self.times, time), terms=bare or self.terms, past=True)


def understood(question: Question, now: datetime) -> dict[str, object]:
    """What was read out of a question, as it is told to who wants it explained."""
    spans = [span for time in question.times for span in time.latest(now.timestamp(), 1)]
    return {
        "terms": list(question.terms),
        "names": sorted(question.named),
        "times": [[datetime.fromtimestamp(moment, now.tzinfo).isoformat() for moment in span] for span in spans],
        "event": question.anchor.event if question.anchor else None,
        "wants": list(question.wants),
        "past": question.past,
    }


class Names:
    """Who speaks in a user's memory, by every part of their names."""

    def __init__(self, speakers: Iterable[str]) -> None:
        self._by_part: dict[str, list[str]] = {}
        self._folded: list[tuple[str, str]] = []
        self._whole: dict[str, str] = {}
        for speaker in speakers:
            if speaker in (USER, ASSISTANT):
                continue
            self._folded.append((words_.fold(speaker), speaker))
            self._whole[words_.fold(speaker)] = speaker
            for part in dict.fromkeys(words_.words(speaker)):
                self._by_part.setdefault(part, []).append(speaker)

    def whole(self, form: str) -> str | None:
        """Whose whole name of several words it is."""
        return self._whole.get(words_.fold(form))

    def speaker_of(self, word: str) -> str | None:
        """Whose name a word of a question is: a part of it, or a beginning that is no one else's."""
        folded = words_.fold(word)
        exact = self._by_part.get(folded)
        if exact:
            return exact[0] if len(exact) == 1 and (word[0].isupper() or not words_.is_stop(folded)) else None
        if len(folded) < SHORTEST_NICKNAME or not word[0].isupper() or words_.is_stop(folded):
            return None
        starting = [speaker for name, speaker in self._folded if name.startswith(folded)]
        return starting[0] if len(starting) == 1 else None


NO_NAMES = Names(())


def read(question: str, names: Names, now: datetime) -> Question:
    """Reads a question against the names of those who speak in the user's memory, and the asker's clock."""
    question = _ASKING.sub("", question.translate(words_.APOSTROPHES), count=1)
    folded = words_.fold(question)
    named = _named(question, names)
    spoken = [speaker for speaker, _ in named]
    anchor, unanchored = anchors.find(folded)
    times, undated = dates.find(unanchored, now, day_first=words_.language(question) == "fr")
    for _, form in named:
        undated = re.sub(rf"\b{re.escape(words_.fold(form))}\b(?:'s)?", " ", undated)
    lasting = _PAST.sub(" ", undated)
    return Question(
        text=_first_person(question, [form for _, form in named]),
        terms=words_.query_terms(lasting, MOST_TERMS) or words_.query_terms(folded, MOST_TERMS),
        named=frozenset(spoken) or _unnamed(folded),
        subject=spoken[0] if len(set(spoken)) > 1 and not _TOGETHER.search(_between(folded, named)) else None,
        times=times[:MOST_TIMES],
        anchor=anchor,
        wants_time=bool(_TIME.search(folded)),
        wants_number=bool(_NUMBER.search(folded)),
        wants_name=bool(_NAME.search(folded)),
        past=bool(_PAST.search(undated)) or any(time.ended(now.timestamp()) for time in times if not time.yearly),
    )


def _unnamed(folded: str) -> frozenset[str]:
    """Whom a question without names is about: the assistant for what it said, else the asker who says I."""
    if _YOU_SAID.search(folded):
        return frozenset({ASSISTANT})
    return frozenset({USER}) if _ME.search(folded) else frozenset()


def _named(question: str, names: Names) -> list[tuple[str, str]]:
    """(speaker, the form of the name in the question), in the order of the question; whole names before their parts."""
    words = list(re.finditer(r"[^\W_]+", question))
    found: list[tuple[str, str]] = []
    place = 0
    while place < len(words):
        for length in range(min(LONGEST_NAME, len(words) - place), 0, -1):
            form = question[words[place].start() : words[place + length - 1].end()]
            speaker = names.whole(form) if length > 1 else names.speaker_of(form)
            if speaker is not None:
                found.append((speaker, form))
                break
        place += length
    return found


def _between(folded: str, named: Sequence[tuple[str, str]]) -> str:
    first, last = (folded.find(words_.fold(form)) for form in (named[0][1], named[-1][1]))
    return folded[first:last]


def _first_person(question: str, forms: Sequence[str]) -> str:
    """As the speaker would say it. Of a French question the name only goes: its verbs would not agree."""
    mine, me = (" ", " ") if forms and words_.language(question) == "fr" else ("my", "I")
    for form in forms:
        name = re.escape(form)
        question = re.sub(rf"\b{name}['\u2019]s\b", mine, question)
        question = re.sub(rf"\b{name}\b", me, question)
    return question
