"""A run from its request to its weights: it makes way at once, and is the same run whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter, sleep

import psutil
import pytest

from libs.shared.background.yielding import Yielding
from libs.shared.contracts.base import Principal
from libs.shared.contracts.training import MntpOptions, RunState
from libs.shared.errors import Unavailable
from libs.shared.layout import StateFolder
from services.trainer import process
from services.trainer.service import serve
from services.trainer.settings import TrainerSettings
from services.trainer.spec import RunSpec
from tests.support.broker import TestBroker
from tests.support.rated_pairs import write_pairs_that_it_gets_wrong
from tests.support.training_house import BUSY, ROOM, SHORT, House, burning, child_of, processor_ns, state_folder

WATCHED_S = 0.6
YIELDS_WITHIN_S = 0.1
"""Guarantee 3."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    (tmp_path / "broker").mkdir()
    async with TestBroker(tmp_path / "broker") as broker:
        made = House(state_folder(tmp_path / "state"), broker.connect)
        await made.open(broker)
        bus = await broker.connect(Principal.TRAINER)
        await serve(bus, TrainerSettings(state=made.folder.root, node_id="here", training_threads=1))
        yield made
        await bus.drain(5)

    assert child_of(os.getpid(), made.folder) is None


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that only use the processor: what is looked at is how they are held."""
    monkeypatch.setattr(process, "command", burning)


def begun(house: House) -> psutil.Process:
    found = child_of(os.getpid(), house.folder)
    assert found is not None
    return found


def stands_still_after(running: psutil.Process, begun_at: float) -> float:
    """Seconds from ``begun_at`` until it was last seen to have used any of the processor."""
    used, last = processor_ns(running), begun_at
    while perf_counter() - begun_at < WATCHED_S:
        now = processor_ns(running)
        if now != used:
            used, last = now, perf_counter()
        sleep(0.001)
    return last - begun_at


async def yielded(house: House) -> float:
    """Seconds from a request's announcement until the run used no processor any more."""
    running, at = begun(house), perf_counter()
    watching = asyncio.create_task(asyncio.to_thread(stands_still_after, running, at))
    await house.preempt()
    return await watching


@pytest.mark.alone
@pytest.mark.usefixtures("cheap")
async def test_a_run_makes_way_within_a_tenth_of_a_second_and_goes_on_when_it_is_quiet(
    house: House, record_property: Callable[[str, object], None]
) -> None:
    run_id = await house.start()
    await house.stands("mntp", step=1)
    house.room = BUSY
    took = await yielded(house)
    record_property("yielded_s", took)
    print(f"stood still after {1000 * took:.1f} ms")
    running = begun(house)
    assert running.status() == psutil.STATUS_STOPPED
    assert took < YIELDS_WITHIN_S
    await house.until(lambda: house.progress is not None and house.progress.held_by == ("busy",))

    house.room = ROOM
    before = processor_ns(running)
    await house.until(lambda: processor_ns(running) > before + 10**7)
    assert (await house.cancel(run_id)).state is RunState.CANCELLED
    assert not running.is_running()


@pytest.mark.usefixtures("cheap")
async def test_the_bound_fails_a_trainer_that_hears_of_no_request(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Yielding, "_stop_at_once", lambda self: None)
    run_id = await house.start()
    await house.stands("mntp", step=1)
    assert await yielded(house) > YIELDS_WITHIN_S
    await house.cancel(run_id)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made before there is any connection that a loop which computes would lose."""
    path = tmp_path_factory.mktemp("rated") / "pairs.tsv"
    write_pairs_that_it_gets_wrong(path)
    return path


@pytest.mark.torch
async def test_a_run_makes_an_encoder_that_is_better_and_tells_how_it_went(pairs: Path, house: House) -> None:
    shutil.copy(pairs, house.folder.training_texts / "pairs.tsv")
    run_id = await house.start(SHORT.model_copy(update={"steps": 20, "contrast_steps": 5}), sts="pairs.tsv")
    run = await house.ended(run_id)
    assert (run.state, run.error, run.artefact) == (RunState.DONE, None, f"tiny-{run_id}"), run.detail
    assert run.detail is not None
    assert run.detail.startswith("accepted: Spearman on rated pairs, against the model untrained went from -1 to ")
    assert run.metrics["accepted"] == 1.0
    (manifest,) = house.kept
    assert (manifest.name, manifest.kind, manifest.base.name) == (run.artefact, "encoder", "tiny")
    assert run.metrics["mntp_loss_last"] < run.metrics["mntp_loss_first"]
    there = house.folder.training_runs / run_id
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {
        path.name for path in (there / "encoder").iterdir()
    }
    assert (there / "mntp" / "loss.svg").is_file()
    assert (there / "evaluation.json").is_file()
    await house.until(lambda: not (there / "exam").exists())
    assert "cat sat" not in "".join(report.model_dump_json() for report in house.reports), "no word of the text is told"


@pytest.mark.soak
@pytest.mark.torch
@pytest.mark.timeout(1200)  # beside other work a run of the lowest priority takes its time
async def test_a_run_whose_process_is_killed_ends_with_the_weights_that_it_would_have_had(
    house: House, tmp_path: Path
) -> None:
    run_id = await house.start()
    await house.stands("mntp", step=10)
    house.room = BUSY
    await house.preempt()
    os.kill(begun(house).pid, signal.SIGKILL)
    house.room = ROOM
    run = await house.ended(run_id)
    assert (run.state, run.error) == (RunState.DONE, None)
    assert run.metrics["mntp_loss_last"] < run.metrics["mntp_loss_first"]

    same_weights_as_never_killed(house, run_id, tmp_path)


def same_weights_as_never_killed(house: House, run_id: str, tmp_path: Path) -> None:
    """Bit by bit, beside the same run in this process."""
    from services.trainer.encoder import train_encoder

    there = house.folder.training_runs / run_id
    spec = RunSpec.model_validate_json((there / "run.json").read_bytes())
    assert train_encoder(spec, tmp_path / "again", tmp_path / "encoder", lambda phase, progress=None: None, bool)
    weights = "model.safetensors"
    assert (there / "encoder" / weights).read_bytes() == (tmp_path / "encoder" / weights).read_bytes()


@asynccontextmanager
async def trainer(broker: TestBroker, folder: StateFolder) -> AsyncIterator[Process]:
    """The service as a process."""
    environment = os.environ | {
        "MONGARS_NATS_URL": broker.url,
        "MONGARS_NATS_SEED_FILE": str(broker.seed_file(Principal.TRAINER)),
        "MONGARS_STATE": str(folder.root),
        "MONGARS_TRAINING_THREADS": "1",
    }
    running = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.trainer", env=environment)
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def started(house: House, options: MntpOptions) -> str:
    while True:
        try:
            return await house.start(options)
        except Unavailable:
            await asyncio.sleep(0.05)


@pytest.mark.soak
@pytest.mark.torch
@pytest.mark.timeout(1200)  # beside other work a run of the lowest priority takes its time
async def test_a_run_survives_its_trainer_and_its_broker_with_the_same_weights(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    longer = SHORT.model_copy(update={"steps": 400, "checkpoint_steps": 20})
    async with TestBroker(tmp_path / "broker") as broker:
        house = House(state_folder(tmp_path / "state"), broker.connect)
        await house.open(broker)
        async with trainer(broker, house.folder) as first:
            run_id = await started(house, longer)
            await house.stands("mntp", step=50)
            orphan = child_of(first.pid, house.folder)
            assert orphan is not None
            first.kill()
            await first.wait()
            await house.until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)
        house.progress = None
        async with trainer(broker, house.folder) as second:
            await house.stands("mntp", step=100)
            await broker.stop(signal.SIGKILL)
            await broker.start()
            run = await house.ended(run_id)
            assert child_of(second.pid, house.folder) is None
            second.terminate()
            assert await second.wait() == 0
    assert (run.state, run.error) == (RunState.DONE, None)
    same_weights_as_never_killed(house, run_id, tmp_path)
