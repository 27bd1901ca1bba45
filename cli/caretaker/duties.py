"""What a duty is, and how one turn at it went."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from libs.shared.layout import StateFolder

_LONGEST_DETAIL = 200


@dataclass(frozen=True)
class Duty:
    """Something to do every ``period_s`` seconds.

    ``run`` gets the state folder, and answers in a few words what came of it, which ``mongars status`` shows: nothing
    personal. What it raises is a failure of this turn alone; CommandError's words are kept, of others only their type.
    What is heavy or long runs as a command of its own (``cli.caretaker.child``): this process stays small.
    """

    name: str
    period_s: float
    run: Callable[[StateFolder], Awaitable[str]]
    timeout_s: float = 60.0
    first_after_s: float = 5.0
    """From the process's start: those who start an installation wait for something else first."""


@dataclass(frozen=True)
class Turn:
    """How the last turn at a duty went."""

    at_s: float
    """Seconds since 1970."""
    took_s: float
    ok: bool
    detail: str


async def taken(duty: Duty, folder: StateFolder, clock: Callable[[], float]) -> Turn:
    """One turn at ``duty``, whatever happens in it."""
    begun = clock()
    try:
        async with asyncio.timeout(duty.timeout_s):
            ok, detail = True, await duty.run(folder)
    except TimeoutError:
        ok, detail = False, f"not done within {duty.timeout_s:.0f} s"
    except Exception as error:
        ok, detail = False, getattr(error, "problem", "") or type(error).__name__
    return Turn(begun, max(0.0, clock() - begun), ok, " ".join(detail.split())[:_LONGEST_DETAIL])
