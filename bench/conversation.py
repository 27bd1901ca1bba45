"""How long a model takes to begin its answer as a conversation grows: memories with the question, or before everything.

The same conversation, each turn with memories of its own, is asked of the same model twice over: with prompts as
``services/cognition/prompt.py`` makes them, and with the same memories in the first message, as is usual. A decoder of
random weights answers in this process through the product's own backend (``transformers``), and reads as long as a
trained one of that size would.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from bench.report import Aim, finish, table
from libs.shared.contracts.chat import ChatMessage, Sampling
from libs.shared.contracts.inference import GenerateRequest
from libs.shared.contracts.memory import MemoryItem, MemoryKind
from services.cognition.prompt import Material, Prompt, assemble, budget
from services.cognition.selection import Hit
from services.inference.backends.transformers import TransformersBackend
from services.inference.models import ModelSpec
from tests.support.language_model import write_untrained

CONTEXT_TOKENS = 4096
ANSWER_TOKENS = 4
"""Written a turn; what then stands in the history is a usual answer's length."""
OURS, PEER = "with the question", "first"
TODAY = date(2026, 11, 2)
WARM_UP = 5
"""Turns at the beginning that don't count: a short conversation is read quickly anyway."""
RATIO_AIM = 0.5
TEXT = (
    "the harvest of last year was small and the cellar is dry while the neighbours mend their roof before the winter "
    "comes and the children gather apples under the old tree near the river where the boats lie"
)
WORDS = TEXT.split()


@dataclass(frozen=True)
class Row:
    """One way of putting prompts together: medians over the turns that count."""

    way: str
    first_token_ms: float
    last_turn_ms: float
    read_tokens: float
    prompt_tokens: float
    cpu_s: float

    def cells(self) -> tuple[object, ...]:
        return (self.way, self.first_token_ms, self.last_turn_ms, self.read_tokens, self.prompt_tokens, self.cpu_s)


def words(count: int, start: int) -> str:
    """So many words, other ones for another start."""
    return " ".join(WORDS[(start * 7 + n * (1 + start % 5)) % len(WORDS)] for n in range(count))


def memories(turn: int) -> tuple[Hit, ...]:
    """One to eight that no other turn has."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return tuple(
        Hit(
            MemoryItem(
                id=f"{turn}-{n}",
                conversation_id="c",
                source_id="c",
                kind=MemoryKind.MESSAGE,
                speaker="user",
                at=at + timedelta(days=turn * 3 + n),
                text=f"In matter {turn}-{n}: {words(20, turn * 8 + n)}.",
                score=1.0,
                parts={},
            ),
        )
        for n in range(1 + turn * 5 % 8)
    )


def memories_first(made: Prompt) -> tuple[ChatMessage, ...]:
    """The same prompt with the memories in a first message of the system's."""
    fence, _, asked = made.messages[-1].text.rpartition("\n\n")
    question = made.messages[-1].model_copy(update={"content": asked})
    return (ChatMessage(role="system", content=fence), *made.messages[:-1], question)


@dataclass
class Held:
    """A conversation whose prompts are put together in one ``way``, as far as it has come."""

    way: str
    backend: TransformersBackend
    first_token_ms: list[float] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    cpu_s: float = 0.0
    bytes_per_token: float = 1.5
    """Measured with each turn, as a replica does."""

    async def turn(self, said: Sequence[ChatMessage], question: ChatMessage, turn: int) -> None:
        """One more question."""
        (model,) = self.backend.models()
        material = Material(tuple(said), (question,), memories(turn), TODAY)
        rate = self.bytes_per_token
        made = assemble(material, tokens=budget(model, 256), bytes_per_token=rate, memory_share=0.35, most=8)
        messages = made.messages if self.way == OURS else memories_first(made)
        request = GenerateRequest(
            request_id=f"r{turn}",
            model=model.name,
            messages=messages,
            session="bench",
            sampling=Sampling(max_tokens=ANSWER_TOKENS, temperature=0.0),
        )
        began_cpu, began = time.process_time(), time.perf_counter()
        first, usage = None, None
        async for chunk in self.backend.generate(request):
            first = first or (time.perf_counter() - began) * 1000
            usage = chunk.usage or usage
        if first is None or usage is None:
            raise RuntimeError("the model gave no answer")
        self.cpu_s += time.process_time() - began_cpu
        self.bytes_per_token = 0.97 * sum(len(message.text) for message in messages) / usage.prompt_tokens
        self.first_token_ms.append(first)
        self.given.append(usage.prompt_tokens)
        self.read.append(usage.prompt_tokens - (usage.cached_tokens or 0))

    def row(self) -> Row:
        kept = slice(WARM_UP, None)
        return Row(
            self.way,
            statistics.median(self.first_token_ms[kept]),
            self.first_token_ms[-1],
            statistics.median(self.read[kept]),
            statistics.median(self.given[kept]),
            self.cpu_s,
        )


async def both(folder: Path, turns: int, threads: int) -> list[Held]:
    """Turn by turn, each way with a model of its own, so that neither finds what the other has read."""
    ways = []
    for way in (OURS, PEER):
        spec = ModelSpec(name="random", backend="transformers", path=folder)
        backend = TransformersBackend(
            spec,
            folder=folder,
            loads=folder / "loads",
            default_context_tokens=CONTEXT_TOKENS,
            threads=threads,
            available_mib=lambda: 16384.0,
        )
        await backend.load(lambda: None)
        ways.append(Held(way, backend))
    said: list[ChatMessage] = []
    for turn in range(turns):
        question = ChatMessage(role="user", content=f"And in matter {turn}, {words(25, turn)}?")
        for held in ways:
            await held.turn(said, question, turn)
        said += [question, ChatMessage(role="assistant", content=words(60, turn + 3))]
        told = "; ".join(f"{h.way} {h.first_token_ms[-1]:.0f} ms, read {h.read[-1]} of {h.given[-1]}" for h in ways)
        print(f"turn {turn + 1}: memories {told}", flush=True)
    for held in ways:
        await held.backend.close()
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="12 turns and a smaller model instead of 40")
    parser.add_argument("--threads", type=int, default=1, help="of the model's (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    args = parser.parse_args()
    turns, hidden, layers = (12, 256, 4) if args.quick else (40, 512, 8)
    with tempfile.TemporaryDirectory(prefix="mongars-conversation-") as name:
        parameters = write_untrained(Path(name), hidden=hidden, layers=layers, context_tokens=CONTEXT_TOKENS)
        found = asyncio.run(both(Path(name), turns, args.threads))
    rows = [held.row() for held in found]
    columns = ("memories", "first token ms", "last turn's ms", "tokens read", "tokens given", "CPU s")
    print(f"{parameters / 1e6:.0f} million parameters, {turns} turns, medians from turn {WARM_UP + 1} on")
    print(table(columns, [row.cells() for row in rows]))
    ratio = rows[0].first_token_ms / rows[1].first_token_ms
    aim = Aim("time to the first token, of that with memories first", ratio, RATIO_AIM)
    figures = {"rows": [*map(asdict, rows)], "first_token_ms": {held.way: held.first_token_ms for held in found}}
    finish([aim], figures, args.json)


if __name__ == "__main__":
    main()
