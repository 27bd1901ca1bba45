"""Sets a model's thinking apart from its answer, whichever way its backend brings it."""

from __future__ import annotations

from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.thinking import Splitter
from services.inference.backends.base import wants_schema


class Apart:
    """Reads the chunks of one answer: tags in the text, and what the backend itself calls reasoning."""

    def __init__(self, request: GenerateRequest) -> None:
        self._splitter = Splitter(only_at_start=wants_schema(request))

    def read(self, chunk: GenerateChunk) -> list[GenerateChunk]:
        """The chunks to pass on; the last keeps what ``chunk`` says beside its text."""
        splits = self._splitter.feed(chunk.text) if chunk.text else []
        if chunk.finish_reason is not None:
            splits += self._splitter.rest()
        if len(splits) == 1 and splits[0].text == chunk.text and not (splits[0].thought or splits[0].retracts):
            return [chunk]
        told = [GenerateChunk(text=s.text, reasoning=s.thought, retracts=s.retracts) for s in splits]
        if chunk.finish_reason is not None or chunk.reasoning or chunk.tool_calls:
            told.append(chunk.model_copy(update={"text": ""}))
        return told
