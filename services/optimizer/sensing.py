"""What the optimizer hears: nodes' telemetry and requests; and what it knows of the week from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic

from pydantic import BaseModel

from libs.shared.contracts.scheduling import Preempt
from libs.shared.contracts.telemetry import NodeTelemetry
from services.optimizer.energy import Account, Told, heard
from services.optimizer.idleness import forecast as weeks_of
from services.optimizer.idleness.deciding import WINDOW_S, Reading, Readings
from services.optimizer.idleness.forecast import HOURS, VISIT_GAP_S, Forecast, Weeks
from services.optimizer.kept_files import read_kept, write_kept

NODE_SILENT_S = 10.0
MOST_NODES = 64
_MOST_REQUESTS = 4096
_DISTRUSTED = 1e6


class WeeksFile(BaseModel):
    """As it is kept: 168 numbers each."""

    visits: tuple[float, ...] = (0.0,) * HOURS
    quiet_h: tuple[float, ...] = (0.0,) * HOURS
    at_s: float = 0.0


@dataclass
class _Node:
    told: NodeTelemetry
    at_s: float
    account: Account


def waiting(told: NodeTelemetry) -> int:
    """Requests in flight and queued for which somebody waits."""
    return max(0, told.in_flight + told.queued - sum(replica.background for replica in told.replicas))


class Sensing:
    """``own_cores``: how many processors idle work of this process uses now. Requests are what the gateway announces:
    of a burst within a tenth of a second, one."""

    def __init__(
        self,
        node_id: str | None,
        own_cores: Callable[[], float],
        path: Path,
        *,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._node_id = node_id
        self._own_cores = own_cores
        self._path = path
        self._clock = clock
        self._wall = wall
        self._nodes: dict[str, _Node] = {}
        self._requests: deque[float] = deque(maxlen=_MOST_REQUESTS)
        self._last_request = clock()
        """Nothing is known of the time before; it counts as if there had been one."""
        self._noted_at = clock()
        self.answers = 0
        """Chats that were announced."""
        kept = read_kept(path, WeeksFile, WeeksFile())
        whole = len(kept.visits) == len(kept.quiet_h) == HOURS
        self._weeks = Weeks(kept.visits, kept.quiet_h, kept.at_s) if whole else Weeks()

    # ------------------------------------------------------------------ hearing

    async def node(self, told: NodeTelemetry) -> None:
        """NODE."""
        known = self._nodes.get(told.node_id)
        if known is None and len(self._nodes) >= MOST_NODES:
            return
        if known is not None and known.told.boot_id == told.boot_id and told.sequence <= known.told.sequence:
            return
        now = self._clock()
        here = told.node_id == self._node_id
        drawn = Told(
            at_s=now,
            watts=told.power_w or 0.0,
            measured=told.power_measured,
            working=here and self._own_cores() > 0.0,
            answering=waiting(told) > 0,
        )
        account = known.account if known is not None else Account()
        if told.power_w is not None:
            account = heard(account, drawn)
        self._nodes[told.node_id] = _Node(told, now, account)

    def request(self, told: Preempt) -> None:
        """PREEMPT."""
        now = self._clock()
        self.answers += told.kind == "chat"
        if now - self._last_request >= VISIT_GAP_S:
            self._note(visits=1)
        self._note()
        self._requests.append(now)
        self._last_request = now

    # ------------------------------------------------------------------ telling

    def readings(self) -> Readings:
        """Now."""
        now = self._clock()
        self._forget_silent(now)
        recent = sum(now - at < WINDOW_S for at in self._requests)
        return Readings(tuple(self._reading(node) for node in self._nodes.values()), now - self._last_request, recent)

    def forecast(self) -> Forecast:
        """From now on."""
        return weeks_of.forecast(self._weeks, _hour(self._wall()))

    def account(self) -> Account:
        """Of this machine."""
        node = self._nodes.get(self._node_id or "")
        return node.account if node is not None else Account()

    def accounts(self) -> list[Account]:
        return [node.account for node in self._nodes.values()]

    def save(self) -> None:
        """What is known of the week, with the quiet until now."""
        self._note()
        weeks = self._weeks
        write_kept(self._path, WeeksFile(visits=weeks.visits, quiet_h=weeks.quiet_h, at_s=weeks.at_s))

    def _reading(self, node: _Node) -> Reading:
        told, here = node.told, node.told.node_id == self._node_id
        own = self._own_cores() / max(1.0, told.cpu.cores) if here else 0.0
        return Reading(
            node_id=told.node_id,
            here=here,
            in_flight=waiting(told),
            cpu_others=max(0.0, told.cpu.utilisation - own),
            temperature_c=told.temperature_c,
            throttled=bool(told.throttled),
            on_battery=told.power_source == "battery",
            battery_share=told.battery_share,
            power_w=told.power_w,
        )

    def _forget_silent(self, now: float) -> None:
        for node_id in [name for name, node in self._nodes.items() if now - node.at_s > NODE_SILENT_S]:
            del self._nodes[node_id]

    def _note(self, visits: int = 0) -> None:
        """Quiet is what lies more than a visit's gap after the last request."""
        now, wall = self._clock(), self._wall()
        quiet_from = max(self._noted_at, self._last_request + VISIT_GAP_S)
        quiet_s = min(max(0.0, now - quiet_from), _DISTRUSTED)
        self._weeks = weeks_of.observed(self._weeks, int(_hour(wall)), wall.timestamp(), quiet_s=quiet_s, visits=visits)
        self._noted_at = now


def _hour(wall: datetime) -> float:
    return wall.weekday() * 24 + wall.hour + wall.minute / 60
