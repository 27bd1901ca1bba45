"""The life of a service process: connect, register, serve, drain on SIGTERM, stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from libs.shared.bus.micro import ServiceRegistration
from libs.shared.bus.nats import NatsBus
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.scaling import SEVERAL
from libs.shared.contracts.telemetry import HEALTH, METRICS, DependencyHealth, Health, MetricsText
from libs.shared.errors import ServiceError, Unavailable
from libs.shared.metrics_port import serve_metrics
from libs.shared.settings import ServiceSettings
from libs.shared.telemetry import get_logger, merge_metrics, metrics_text, setup
from libs.shared.worker import tell_how_busy

log = get_logger(__name__)

CHECK_TIMEOUT_S = 1.0
_RETRY_S = (0.1, 0.2, 0.5, 1.0)
"""Pauses between attempts to reach the broker; the last repeats."""
Check = Callable[[], Awaitable[DependencyHealth]]
MetricsSource = Callable[[], Awaitable[list[str]]]
Wire = Callable[["ServiceContext"], Awaitable[None]]


@dataclass
class ServiceContext:
    """What a service's wiring works with."""

    bus: NatsBus
    settings: ServiceSettings
    stack: AsyncExitStack
    """Closed at stop, after the bus is drained."""
    tasks: asyncio.TaskGroup
    """Background work, cancelled at stop; one that fails stops the service, which its supervisor starts again."""
    _checks: dict[str, tuple[Check, bool]] = field(default_factory=dict)
    _degraded: set[str] = field(default_factory=set)
    _more_metrics: list[MetricsSource] = field(default_factory=list)

    def more_metrics(self, source: MetricsSource) -> None:
        """``source`` gives the texts of other processes that belong to this service."""
        self._more_metrics.append(source)

    async def metrics(self) -> str:
        """This process's metrics, and those of every source."""
        more = await asyncio.gather(*(source() for source in self._more_metrics))
        return merge_metrics([metrics_text(), *(text for texts in more for text in texts)]) if more else metrics_text()

    def check(self, name: str, check: Check, required: bool = True) -> None:
        """``check`` is asked for each readiness request; a required dependency that isn't well makes it unready."""
        self._checks[name] = (check, required)

    def degraded(self, name: str, on: bool) -> None:
        """Notes that something works less well than it could, and why."""
        (self._degraded.add if on else self._degraded.discard)(name)

    async def health(self, service: Principal) -> Health:
        """Every dependency as it is now."""
        found = await asyncio.gather(*(_look(check) for check, _ in self._checks.values()))
        dependencies = dict(zip(self._checks, found, strict=True))
        ready = all(dependencies[name].ok for name, (_, required) in self._checks.items() if required)
        return Health(
            service=service,
            version=version("mongars"),
            ready=ready,
            dependencies=dependencies,
            degraded=tuple(sorted(self._degraded)),
        )


class Ending:
    """That this process was told to end: with all the others, or alone and with the time that an answer may take."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.with_others = asyncio.Event()

    def stop(self) -> None:
        """SIGTERM: what is in flight has ``drain_timeout_s``."""
        self.with_others.set()
        self.asked.set()

    def retire(self) -> None:
        """SIGUSR1: fewer of the service are needed; what is in flight has ``retire_timeout_s``."""
        self.asked.set()

    def is_set(self) -> bool:
        return self.asked.is_set()

    async def wait(self) -> None:
        await self.asked.wait()

    async def drained(self, bus: NatsBus, settings: ServiceSettings) -> None:
        """Takes nothing more and ends what was begun; told to hurry meanwhile, as a stop does."""
        if self.with_others.is_set():
            await bus.finish(settings.drain_timeout_s)
            return
        log.info("service_retiring", patience_s=settings.retire_timeout_s)
        finishing = asyncio.create_task(bus.finish(settings.retire_timeout_s))
        hurry = asyncio.create_task(self.with_others.wait())
        try:
            await asyncio.wait((finishing, hurry), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((finishing,), timeout=settings.drain_timeout_s)
        finally:
            hurry.cancel()
            finishing.cancel()
            await asyncio.gather(finishing, return_exceptions=True)


class _Stop(Exception):
    """Ends the task group once the service is told to stop."""


def run(
    service: Principal, settings: ServiceSettings, wire: Wire, *, description: str, node: str | None = None
) -> None:
    """Runs ``service`` until SIGTERM or SIGINT; returns when it has drained, and exits with 1 when it can't go on."""
    flush_telemetry = setup(service, settings)
    # each inference node has a key of its own; its settings say which it is
    where = node or (getattr(settings, "node_id", None) if service is Principal.INFERENCE else None)
    failed = True
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(service, settings, wire, description, where))
        failed = False
    except* ServiceError as group:
        for error in _leaves(group):
            log.error("service_failed", code=getattr(error, "code", ""), detail=getattr(error, "detail", ""))
    except* Exception as group:
        for error in _leaves(group):
            log.error("service_failed", exc_info=error)
    finally:
        flush_telemetry()
    if failed:
        sys.exit(1)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


async def _serve(service: Principal, settings: ServiceSettings, wire: Wire, description: str, node: str | None) -> None:
    stopping = _on_signals()
    bus = await connect_until(service, settings, node, stopping)
    if bus is None:
        return
    async with AsyncExitStack() as stack:
        stack.push_async_callback(bus.close)
        try:
            async with asyncio.TaskGroup() as tasks:
                context = ServiceContext(bus, settings, stack, tasks)
                await _start(context, service, wire, description)
                await _until_stopped(bus, stopping)
                await stopping.drained(bus, settings)
                raise _Stop
        except* _Stop:
            log.info("service_stopped")


async def _start(context: ServiceContext, service: Principal, wire: Wire, description: str) -> None:
    bus = context.bus

    async def health(request: Empty) -> Health:
        return await context.health(service)

    async def metrics(request: Empty) -> MetricsText:
        return MetricsText(text=await context.metrics())

    await wire(context)
    if not context.settings.joined:  # such a node answers for itself, and its installation's own for the service
        await bus.serve(HEALTH[service], health)
        if context.settings.worker == 1:
            await bus.serve(METRICS[service], metrics)
    # registered last: whoever sees the service in a listing can use it
    registration = ServiceRegistration(
        bus.transport, f"mongars-{service}", version("mongars"), description, lambda: bus.endpoints
    )
    bus.on_stop_taking(*await registration.open())
    if context.settings.metrics_port is not None:
        context.tasks.create_task(serve_metrics(context.settings.metrics_port, metrics_text))
    if service in SEVERAL:
        context.tasks.create_task(tell_how_busy(bus, service, lambda: bus.stopping))
    log.info("service_started", endpoints=len(bus.endpoints))


async def connect_until(
    service: Principal, settings: ServiceSettings, node: str | None, stopping: Ending
) -> NatsBus | None:
    """The bus, as soon as the broker is there; None when told to stop before. Raises Forbidden."""
    seed_file = seed_path(settings, service, node)
    attempt = 0
    while not stopping.is_set():
        try:
            return await NatsBus.connect(
                settings.nats_url,
                principal=service,
                seed_file=seed_file,
                ca_file=settings.nats_ca_file,
                node=node,
                tls_name=settings.nats_tls_name,
            )
        except Unavailable as error:
            if attempt == 0:
                log.warning("broker_awaited", detail=error.detail)
            await _pause(stopping, _RETRY_S[min(attempt, len(_RETRY_S) - 1)])
            attempt += 1
    return None


def seed_path(settings: ServiceSettings, service: Principal, node: str | None = None) -> Path:
    """Where the key lies with which ``service`` (of ``node``, when each node has its own) goes to the broker."""
    return settings.nats_seed_file or settings.folder.nkey(service if node is None else f"{service}-{node}")


async def _until_stopped(bus: NatsBus, stopping: Ending) -> None:
    """Returns when told to stop. Raises Unavailable when the broker has closed the connection for good."""
    told = asyncio.create_task(stopping.wait())
    closed = asyncio.create_task(bus.wait_closed())
    try:
        await asyncio.wait((told, closed), return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()
        closed.cancel()
    if not stopping.is_set():
        raise Unavailable("the broker closed the connection for good")


async def _pause(stopping: Ending, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return


async def _look(check: Check) -> DependencyHealth:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check()
    except TimeoutError:
        return DependencyHealth(ok=False, detail="no answer in time")
    except ServiceError as error:
        return DependencyHealth(ok=False, detail=error.code)
    except Exception as error:
        log.error("check_failed", exc_info=error)
        return DependencyHealth(ok=False, detail=type(error).__name__)


def _on_signals() -> Ending:
    ending, loop = Ending(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.stop)
    loop.add_signal_handler(signal.SIGUSR1, ending.retire)
    return ending


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it runs; the standard loop elsewhere."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
