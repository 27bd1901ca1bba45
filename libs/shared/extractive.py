"""An answer without a language model: what is remembered, quoted with its dates, in the asker's language. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from libs.shared import text
from libs.shared.contracts.common import Speaker

Why = Literal["no-model", "out-of-reach", "asked"]
"""Because there is no language model, because none answers now, or because the asker named ``extractive``."""
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
    out_of_reach: str
    asked: str
    found: str
    nothing: str
    off: str
    unreachable: str
    kept: str
    remedy: str
    patience: str
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
        no_model="No language model is installed here, so I can only quote my memory.",
        out_of_reach="No language model can be reached right now, so I can only quote my memory.",
        asked="These are quotes from my memory, without a language model.",
        found="This is what I remember that fits your question:",
        nothing="I found nothing in it that fits your question.",
        off="This request doesn't use the memory, so there is nothing to quote.",
        unreachable="The memory can't be reached right now; please try again in a moment.",
        kept="What you just told me is remembered for later.",
        remedy="For written answers, whoever runs this installation can bring a language model that suits its machine: "
        "`mongars models pull`.",
        patience="Ask again in a moment; if that lasts, `mongars status` says why.",
        you="On {date} you said: “{text}”",
        me="On {date} I answered: “{text}”",
        other="On {date} {name} said: “{text}”",
        document="In “{name}”{page}, added on {date}: “{text}”",
        page=", p. {page}",
        months=tuple(_ENGLISH_MONTHS.split()),
    ),
    "fr": _Phrases(
        no_model="Aucun modèle de langue n'est installé ici ; je ne peux que citer ma mémoire.",
        out_of_reach="Aucun modèle de langue n'est joignable pour l'instant ; je ne peux que citer ma mémoire.",
        asked="Voici des citations de ma mémoire, sans modèle de langue.",
        found="Voici ce dont je me souviens à ce sujet :",
        nothing="Je n'y ai rien trouvé à ce sujet.",
        off="Cette requête n'utilise pas la mémoire : il n'y a rien à citer.",
        unreachable="La mémoire n'est pas joignable pour l'instant ; réessayez dans un moment.",
        kept="Ce que vous venez de me dire est retenu pour plus tard.",
        remedy="Pour des réponses rédigées, la personne qui gère cette installation peut y apporter un modèle de "
        "langue adapté à la machine : `mongars models pull`.",
        patience="Reposez la question dans un moment ; si cela dure, `mongars status` dit pourquoi.",
        you="Le {date}, vous avez dit : « {text} »",
        me="Le {date}, j'ai répondu : « {text} »",
        other="Le {date}, {name} a dit : « {text} »",
        document="Dans « {name} »{page}, ajouté le {date} : « {text} »",
        page=", p. {page}",
        months=tuple(_FRENCH_MONTHS.split()),
    ),
}
_OPENINGS = tuple(opening for p in _PHRASES.values() for opening in (p.no_model, p.out_of_reach, p.asked))


_EARLIER_OPENINGS = (
    "No language model is configured or reachable, so I can only quote my memory.",
    "Aucun modèle de langue n'est configuré ou joignable ; je ne peux que citer ma mémoire.",
)
"""Of version 0.1: what was kept then begins so."""


def is_extractive(answer: str) -> bool:
    """Whether a text is such an answer: it repeats memories, and must not become one itself."""
    return answer.startswith((*_OPENINGS, *_EARLIER_OPENINGS))


def answer(
    question: str,
    quotes: Sequence[Quote],
    *,
    why: Why,
    memory: Memory,
    kept: bool = False,
    earlier: Sequence[str] = (),
) -> tuple[str, ...]:
    """The answer in pieces of a sentence each; joined they are the whole text. Never empty.

    ``kept`` says that what was asked will itself be remembered. The language is the question's; where that tells none
    ("Rex?"), that of what the asker said ``earlier``, newest first, and then of what is quoted.
    """
    phrases = _PHRASES[text.language(question, *earlier, *(quote.text for quote in quotes))]
    pieces = [{"no-model": phrases.no_model, "out-of-reach": phrases.out_of_reach, "asked": phrases.asked}[why]]
    told = worth_telling(question, quotes) if memory == "searched" else ()
    if told:
        pieces.append(" " + phrases.found)
        pieces += ["\n- " + _line(phrases, quote, question) for quote in told]
    else:
        pieces.append(" " + {"searched": phrases.nothing, "off": phrases.off}.get(memory, phrases.unreachable))
        if kept:
            pieces.append(" " + phrases.kept)
    if why != "asked":
        pieces.append(("\n\n" if told else " ") + (phrases.remedy if why == "no-model" else phrases.patience))
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
        return phrases.document.format(name=quote.source, page=page, text=said, date=_date(quote.at.date(), phrases))
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
