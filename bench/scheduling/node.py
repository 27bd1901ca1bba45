"""A simulated node: it works on its requests in the order of their coming, measures itself, and tells of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bench.scheduling.boards import Board
from bench.scheduling.workload import Request
from libs.shared.contracts.scheduling import Ticket
from libs.shared.contracts.telemetry import Cpu, Memory, NodeTelemetry, Replica, ServedModel
from services.inference.ahead import Work, slowest_pace
from services.inference.rates import Measured

MODEL = "llama"
SERVED = ServedModel(name=MODEL, backend="simulated", context_tokens=8192)


def _silent(name: str, board: Board) -> NodeTelemetry:
    """A node's telemetry, as far as it never changes."""
    return NodeTelemetry(
        node_id=name,
        sequence=0,
        boot_id="1",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        version="simulated",
        board=board.name,
        runtime="inline",
        cpu=Cpu(cores=4.0, utilisation=0.5, load_1m=1.0),
        memory=Memory(total_mib=8192.0, available_mib=4096.0),
        temperature_c=None,
        throttled=False,
        power_w=None,
        in_flight=0,
        queued=0,
        in_flight_tokens=0,
        queued_tokens=0,
        replicas=(),
        models=(),
        draining=False,
        free_disk_mib=1e6,
    )


@dataclass(eq=False)
class Job:
    """A request at a node. ``done_s`` of ``total_s`` were worked on until ``since``; both as of full speed."""

    request: Request
    read_s: float
    total_s: float
    begun: float | None = None
    done_s: float = 0.0
    since: float = 0.0
    version: int = 0
    """Of its planned end: an older plan's end is none."""
    spoke: bool = False
    """Whether its first token has come."""

    def advance(self, now: float, speed: float) -> None:
        """Works until ``now``."""
        self.done_s = min(self.total_s, self.done_s + (now - self.since) * speed)
        self.since = now


@dataclass(eq=False)
class Node:
    """``speed`` 1 is the board's own; 0.1 is ten times slower. It measures with the product's own code."""

    place: int
    board: Board
    speed: float = 1.0
    alive: bool = True
    boot: int = 1
    sequence: int = 0
    running: list[Job] = field(default_factory=list)
    waiting: deque[Job] = field(default_factory=deque)
    measured: Measured = field(default_factory=Measured)
    seen: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = f"n{self.place:04}"
        self._telemetry = _silent(self.name, self.board)
        self._model = SERVED
        self._replica = Replica(replica=f"{self.name}-0", models=(MODEL,), slots=self.board.slots)

    def job(self, request: Request) -> Job:
        """The work that ``request`` is here."""
        read_s = request.prompt_tokens / self.board.read_per_s
        return Job(request, read_s, read_s + request.answer_tokens / self.board.write_per_s)

    def take(self, job: Job, now: float, ticket: Ticket | None) -> list[Job]:
        """Queues ``job``; those that begin now."""
        if ticket is not None:
            self.seen[ticket.scheduler] = max(ticket.number, self.seen.get(ticket.scheduler, 0))
        self.waiting.append(job)
        return self.next(now)

    def next(self, now: float) -> list[Job]:
        """Begins what there is a slot for."""
        begun = []
        while self.waiting and len(self.running) < self.board.slots:
            job = self.waiting.popleft()
            job.begun = job.since = now
            self.running.append(job)
            begun.append(job)
        return begun

    def end(self, job: Job, now: float) -> None:
        """``job`` is done: the node has measured it."""
        self.running.remove(job)
        assert job.begun is not None
        spent = now - job.begun
        first_s = max(1e-6, spent * job.read_s / job.total_s)
        self.measured.note(
            size=0,
            prompt_tokens=job.request.prompt_tokens,
            completion_tokens=job.request.answer_tokens,
            first_token_s=first_s,
            rest_s=spent - first_s,
        )

    def learn(self, prompt_tokens: int, answer_tokens: int) -> None:
        """As if it had answered such a request."""
        self.measured.note(
            size=0,
            prompt_tokens=prompt_tokens,
            completion_tokens=answer_tokens,
            first_token_s=prompt_tokens / self.board.read_per_s,
            rest_s=answer_tokens / self.board.write_per_s,
        )

    def change_speed(self, speed: float, now: float) -> list[Job]:
        """From now on it works at ``speed``; the jobs whose end must be planned anew."""
        for job in self.running:
            job.advance(now, self.speed)
            job.version += 1
        self.speed = speed
        return list(self.running)

    def end_of(self, job: Job) -> float:
        """When a running job will be done if nothing changes."""
        return job.since + (job.total_s - job.done_s) / self.speed

    def first_of(self, job: Job) -> float:
        """When a running job's first token will come if nothing changes."""
        return job.since + max(0.0, job.read_s - job.done_s) / self.speed

    def cancel(self, job: Job, now: float) -> list[Job]:
        """``job`` is stopped, and teaches nothing; those that begin now."""
        job.version += 1
        if job in self.running:
            self.running.remove(job)
        elif job in self.waiting:
            self.waiting.remove(job)
        return self.next(now)

    def free_in_s(self, now: float) -> float:
        """True seconds until one more request would begin; of one slot or several."""
        if len(self.running) < self.board.slots:
            return 0.0
        free = sorted(self.end_of(job) - now for job in self.running)
        for job in self.waiting:
            free[0] += job.total_s / self.speed
            free.sort()
        return max(0.0, free[0])

    def load(self) -> int:
        """Requests in flight and queued."""
        return len(self.running) + len(self.waiting)

    def die(self) -> list[Job]:
        """Everything it had is lost."""
        lost = [*self.running, *self.waiting]
        self.running, self.waiting, self.alive = [], deque(), False
        return lost

    def come_back(self) -> None:
        """As a new process, which has measured nothing yet."""
        self.alive, self.boot, self.sequence = True, self.boot + 1, 0
        self.measured, self.seen = Measured(), {}

    def telemetry(self, now: float) -> NodeTelemetry:
        """What it tells now."""
        self.sequence += 1
        works = [*(self._work(job, now) for job in self.running), *(self._work(job, now) for job in self.waiting)]
        rate = self.measured.prompt_tokens_per_s
        lengths = self.measured.lengths
        rates = self.measured.rates(slowest_pace(works, now))
        replica = self._replica.model_copy(
            update={
                "in_flight": len(self.running),
                "queued": len(self.waiting),
                "to_read_tokens": round(sum(work.unread(now, rate) for work in works)),
                "to_write_tokens": round(sum(lengths.left(work.written, work.most) for work in works)),
                "seen": dict(self.seen),
            }
        )
        return self._telemetry.model_copy(
            update={
                "sequence": self.sequence,
                "boot_id": str(self.boot),
                "replicas": (replica,),
                "models": (self._model.model_copy(update={"rates": rates}),),
            }
        )

    def _work(self, job: Job, now: float) -> Work:
        work = Work(MODEL, job.request.prompt_tokens, job.request.max_tokens, begun=job.begun)
        if job.begun is not None:
            done_s = min(job.total_s, job.done_s + (now - job.since) * self.speed)
            if done_s >= job.read_s:
                work.written = (done_s - job.read_s) * self.board.write_per_s
                work.writing_s = (done_s - job.read_s) / self.speed
        return work
