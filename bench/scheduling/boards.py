"""The boards of a simulated fleet: how fast each reads and writes with a model of 1.2 billion parameters in 4 bits.

Writing is bound by the memory's bandwidth, so that tokens a second fall in proportion to a model's size; figures for
other sizes are brought to 1.2 billion by that rule.

- Raspberry Pi 4: Qwen 1.8 B at 3.05 tokens/s with Ollama (pull request 9 of aidatatools/ollama-benchmark, 2024).
- Raspberry Pi 5: Llama 3.2 3 B at 5.55 tokens/s with Ollama (issue 24 of geerlingguy/ai-benchmarks, 2025).
- Jetson Orin Nano Super, 25 W: LFM2.5 1.2 B at 54.1 tokens/s with llama.cpp ("Tiny LLM benchmark", smolhub.com, 2026).

Reading is bound by arithmetic. On the Raspberry Pis it is taken as four times as fast as writing (28.0 against 6.7
tokens/s measured on a Pi 5 with another model), on the Orin as twenty times: **an assumption**, for which no source was
found. ``--reading`` changes both to see what hangs on them.
"""

from __future__ import annotations

from dataclasses import dataclass

PARAMETERS = 1.2


@dataclass(frozen=True)
class Board:
    """Tokens a second; ``slots`` requests at the same time."""

    name: str
    read_per_s: float
    write_per_s: float
    slots: int = 1


def boards(reading: float = 1.0) -> dict[str, Board]:
    """The kinds; ``reading`` makes every one read so many times faster."""
    speeds = {
        "pi4": (4.0, 3.05 * 1.8 / PARAMETERS),
        "pi5": (4.0, 5.55 * 3.2 / PARAMETERS),
        "orin": (20.0, 54.1),
    }
    return {name: Board(name, ratio * reading * write, write) for name, (ratio, write) in speeds.items()}


def fleet(nodes: int, reading: float = 1.0) -> list[Board]:
    """Three Pi 4, three Pi 5 and two Orin of every eight."""
    kinds = boards(reading)
    eight = [kinds[name] for name in ("pi4", "pi5", "orin", "pi4", "pi5", "orin", "pi4", "pi5")]
    return [eight[place % 8] for place in range(nodes)]
