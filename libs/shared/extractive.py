"""An answer without a language model: what is remembered, quoted with its dates, in the asker's language. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from libs.shared import text
from libs.shared.contracts.common import Speaker

Why = Literal["no-model", "asked"]
"""Because no language model answers, or because the asker named ``extractive``."""
Memory = Literal["searched", "off", "unreachable"]
QUOTES = 5
QUOTE_CHARACTERS = 320


@dataclass(frozen=True)
class Quote:
    """Something remembered, best first in any list."""

    text: str
    at: datetime
    speaker: str = Speaker.USER
    """``user``, ``assistant``, or the name of whoever said it."""
    source: str | None = None
    """The document that it stands in."""
    page: int | None = None


@dataclass(frozen=True)
class _Phrases:
    no_model: str
    asked: str
    found: str
    nothing: str
    off: str
    unreachable: str
    kept: str
    remedy: str
    you: str
    me: str
    other: str
    document: str
    page: str
    months: tuple[str, ...]


_ENGLISH_MONTHS = "January February March April May June July August September October November December"
_FRENCH_MONTHS = "janvier février mars avril mai juin juillet août septembre octobre novembre décembre"
_PHRASES: dict[str, _Phrases] = {
    "en": _Phrases(
        no_model="No language model is configured or reachable, so I can only quote my memory.",
        asked="These are quotes from my memory, without a language model.",
        found="This is what I remember that fits your question:",
        nothing="I found nothing in it that fits your question.",
        off="This request doesn't use the memory, so there is nothing to quote.",
        unreachable="The memory can't be reached right now; please try again in a moment.",
        kept="What you just told me is remembered for later.",
        remedy="For written answers, an administrator can add a language model.",
        you="On {date} you said: “{text}”",
        me="On {date} I answered: “{text}”",
        other="On {date} {name} said: “{text}”",
        document="In “{name}”{page}: “{text}”",
        page=", p. {page}",
        months=tuple(_ENGLISH_MONTHS.split()),
    ),
    "fr": _Phrases(
        no_model="Aucun modèle de langue n'est configuré ou joignable ; je ne peux que citer ma mémoire.",
        asked="Voici des citations de ma mémoire, sans modèle de langue.",
        found="Voici ce dont je me souviens à ce sujet :",
        nothing="Je n'y ai rien trouvé à ce sujet.",
        off="Cette requête n'utilise pas la mémoire : il n'y a rien à citer.",
        unreachable="La mémoire n'est pas joignable pour l'instant ; réessayez dans un moment.",
        kept="Ce que vous venez de me dire est retenu pour plus tard.",
        remedy="Pour des réponses rédigées, un administrateur peut ajouter un modèle de langue.",
        you="Le {date}, vous avez dit : « {text} »",
        me="Le {date}, j'ai répondu : « {text} »",
        other="Le {date}, {name} a dit : « {text} »",
        document="Dans « {name} »{page} : « {text} »",
        page=", p. {page}",
        months=tuple(_FRENCH_MONTHS.split()),
    ),
}
_OPENINGS = tuple(opening for p in _PHRASES.values() for opening in (p.no_model, p.asked))


def is_extractive(answer: str) -> bool:
    """Whether a text is such an answer: it repeats memories, and must not become one itself."""
    return answer.startswith(_OPENINGS)


def answer(question: str, quotes: Sequence[Quote], *, why: Why, memory: Memory, kept: bool = False) -> tuple[str, ...]:
    """The answer in pieces of a sentence each; joined they are the whole text. Never empty.

    ``kept`` says that what was asked will itself be remembered.
    """
    phrases = _PHRASES[text.language(question)]
    pieces = [phrases.no_model if why == "no-model" else phrases.asked]
    told = worth_telling(question, quotes) if memory == "searched" else ()
    if told:
        pieces.append(" " + phrases.found)
        pieces += ["\n- " + _line(phrases, quote, question) for quote in told]
    else:
        pieces.append(" " + {"searched": phrases.nothing, "off": phrases.off}.get(memory, phrases.unreachable))
        if kept:
            pieces.append(" " + phrases.kept)
    if why == "no-model":
        pieces.append(("\n\n" if told else " ") + phrases.remedy)
    return tuple(pieces)


def worth_telling(question: str, quotes: Sequence[Quote]) -> tuple[Quote, ...]:
    """Those that tell something: a question asked before answers none, and is quoted only where nothing else is there.

    Never the question itself, nor an earlier quotation.
    """
    asked = text.words(question)
    others = [q for q in quotes if not is_extractive(q.text) and text.words(q.text) != asked]
    telling = [q for q in others if any(not _asks(part) for part in text.sentences(q.text))]
    return tuple((telling or others)[:QUOTES])


def _asks(sentence: str) -> bool:
    return sentence.rstrip(" \"'”»)").endswith("?")


def _line(phrases: _Phrases, quote: Quote, question: str) -> str:
    said = excerpt(quote.text, question)
    if quote.source is not None:
        page = phrases.page.format(page=quote.page) if quote.page is not None else ""
        return phrases.document.format(name=quote.source, page=page, text=said)
    forms: dict[str, str] = {Speaker.USER: phrases.you, Speaker.ASSISTANT: phrases.me}
    form = forms.get(quote.speaker, phrases.other)
    return form.format(date=_date(quote.at.date(), phrases), text=said, name=quote.speaker)


def _date(day: date, phrases: _Phrases) -> str:
    ordinal = "1er" if day.day == 1 and phrases.months[0] == "janvier" else str(day.day)
    return f"{ordinal} {phrases.months[day.month - 1]} {day.year}"


def excerpt(said: str, question: str, limit: int = QUOTE_CHARACTERS) -> str:
    """The text on one line when it is short, else its sentences from the best for the question on, up to ``limit``."""
    parts = text.sentences(said)
    whole = " ".join(" ".join(parts).split())
    if len(whole) <= limit:
        return whole
    wanted = set(text.terms(question))
    best = max(range(len(parts)), key=lambda i: (len(wanted & set(text.terms(parts[i]))), not _asks(parts[i]), -i))
    kept = " ".join(" ".join(parts[best:]).split())
    if len(kept) > limit:
        kept = kept[:limit].rsplit(" ", 1)[0] + " …"
    return kept if best == 0 else "… " + kept
