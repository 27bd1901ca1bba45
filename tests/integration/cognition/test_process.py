"""Cognition as a process: it answers without any other service, and drains on SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.chat import CHAT, ChatChunk
from libs.shared.contracts.common import MemoryMode
from libs.shared.contracts.telemetry import HEALTH, METRICS
from libs.shared.errors import Unavailable
from tests.support.broker import TestBroker
from tests.unit.cognition.conftest import request

LIMIT_S = 20


async def answered(api: Bus) -> list[ChatChunk]:
    while True:
        try:
            async with api.stream(CHAT, request(memory=MemoryMode.OFF)) as chunks:
                return [chunk async for chunk in chunks]
        except Unavailable:
            await asyncio.sleep(0.02)


async def test_it_answers_alone_says_that_it_is_degraded_and_stops_when_told(tmp_path: Path) -> None:
    async with TestBroker(tmp_path) as broker, asyncio.timeout(LIMIT_S):
        api = await broker.connect(Principal.API)
        environment = os.environ | {
            "MONGARS_NATS_URL": broker.url,
            "MONGARS_NATS_SEED_FILE": str(broker.seed_file(Principal.COGNITION)),
            "MONGARS_STATE": str(broker.folder),
        }
        running = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.cognition", env=environment)
        try:
            assert (await answered(api))[0].degraded == "no-model"
            health = await api.request(HEALTH[Principal.COGNITION], Empty())
            assert health.ready
            assert health.degraded == ("no-model",)
            assert not health.dependencies["language_model"].ok
            text = (await api.request(METRICS[Principal.COGNITION], Empty())).text
            assert 'llm_ray_fallbacks_total{reason="' in text or "llm_ray_fallbacks_total{" in text
            running.send_signal(signal.SIGTERM)
            assert await running.wait() == 0
        finally:
            if running.returncode is None:
                running.kill()
                await running.wait()
