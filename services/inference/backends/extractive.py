"""Answers without a language model: quotes what fits the question best from the messages that came with it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from libs.shared import text
from libs.shared.contracts.chat import ChatMessage
from libs.shared.contracts.common import Usage
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import ServedModel
from services.inference.backends.base import Changed

NAME = "extractive"
CONTEXT_TOKENS = 32_768
QUOTES = 3
_FOUND = {
    "en": "This is quoted from what came with your question:",
    "fr": "Ceci est cité de ce qui accompagnait votre question :",
}
_NOTHING = {
    "en": "Nothing that came with your question answers it, and no language model is used here.",
    "fr": "Rien de ce qui accompagnait votre question n'y répond, et aucun modèle de langue n'est utilisé ici.",
}


class ExtractiveBackend:
    """Always there, and free: the model of last resort, and one to test an installation with."""

    name = NAME
    slots = 8

    async def load(self, changed: Changed) -> None:
        return None

    def models(self) -> tuple[ServedModel, ...]:
        return (ServedModel(name=NAME, backend=NAME, context_tokens=CONTEXT_TOKENS),)

    def troubles(self) -> tuple[str, ...]:
        return ()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        pieces = quote(request.messages)
        for piece in pieces:
            yield GenerateChunk(text=piece)
        usage = Usage(
            prompt_tokens=sum(len(text.words(message.text)) for message in request.messages),
            completion_tokens=sum(len(text.words(piece)) for piece in pieces),
        )
        yield GenerateChunk(finish_reason="stop", usage=usage)

    async def close(self) -> None:
        return None


def quote(messages: tuple[ChatMessage, ...]) -> list[str]:
    """Pieces of the answer: the sentences that share most terms with the last user message, best first."""
    asked = max((i for i, m in enumerate(messages) if m.role == "user"), default=len(messages) - 1)
    question = messages[asked].text
    language = text.language(question)
    wanted = set(text.terms(question))
    sentences = [s for i, m in enumerate(messages) if i != asked for s in text.sentences(m.text)]
    scored = [(len(wanted & set(text.terms(s))), -i, s) for i, s in enumerate(sentences)]
    best = [s for score, _, s in sorted(scored, reverse=True)[:QUOTES] if score]
    if not best:
        return [_NOTHING[language]]
    return [_FOUND[language], *(f"\n- {' '.join(sentence.split())}" for sentence in best)]
