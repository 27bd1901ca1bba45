"""The metrics of several processes of cognition on one machine, told as one service's."""

from __future__ import annotations

import asyncio
from functools import partial

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty
from libs.shared.contracts.scaling import MOST_HERE, WORKER_METRICS
from libs.shared.contracts.telemetry import MetricsText
from libs.shared.errors import ServiceError
from libs.shared.service import ServiceContext


async def share_metrics(context: ServiceContext) -> None:
    """One of several processes tells the first its metrics, which tells all of them: a question reaches only one."""
    if context.settings.worker == 1:
        context.more_metrics(partial(metrics_of_others, context.bus))
        return

    async def own(_: Empty) -> MetricsText:
        return MetricsText(text=await context.metrics())

    await context.bus.serve(WORKER_METRICS, own, worker=str(context.settings.worker))


async def metrics_of_others(bus: Bus) -> list[str]:
    """Of those that there are: the broker says at once where nobody is."""

    async def ask(number: int) -> str | None:
        try:
            return (await bus.request(WORKER_METRICS, Empty(), worker=str(number))).text
        except ServiceError:
            return None

    found = await asyncio.gather(*(ask(number) for number in range(2, MOST_HERE + 1)))
    return [text for text in found if text is not None]
