"""An adapter that is put into the folder of a running service answers, and is gone when it is taken away."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.inference import GenerateRequest
from libs.shared.contracts.telemetry import NodeTelemetry
from libs.shared.errors import AdapterNotFound
from tests.integration.inference.conftest import RunningService, ask, running
from tests.support import adapters, language_model
from tests.support.broker import TestBroker
from tests.support.kept_adapters import KeptAdapters

FOUND_S = 60.0


def offered(told: NodeTelemetry) -> tuple[str, ...]:
    """The adapters that the node says the tiny model can answer with."""
    return next((served.adapters for served in told.models if served.name == "tiny"), ())


def wanted(adapter: str | None) -> GenerateRequest:
    return ask("tiny", max_tokens=8, temperature=0.0).model_copy(update={"adapter": adapter})


async def answered(service: RunningService, replica: str, adapter: str | None) -> str:
    return "".join(chunk.text for chunk in await service.generate(replica, wanted(adapter)))


async def check_the_installations_own_comes_by_itself(
    persistence: Bus, service: RunningService, write: Callable[..., Path]
) -> None:
    """What persistence keeps is fetched and answers, what it keeps no more is gone, and a spoilt one is named."""
    replica, state = await service.replica_of("tiny"), Path(tempfile.mkdtemp())
    store = KeptAdapters(write(state, "bob", seed=1))
    store.keep("bob", owners=("u1",))
    store.keep("eve", seed=b"e" * 32)
    await store.serve(persistence)
    told = await service.until(lambda t: offered(t) == ("bob",) and "eve: artefact_foreign" in t.degraded, FOUND_S)
    assert next(served.restricted for served in told.models if served.name == "tiny") == ("bob",)
    assert await answered(service, replica, "bob") != await answered(service, replica, None)
    store.kept.clear()
    await store.tell(persistence, "bob")
    await service.until(lambda t: not offered(t) and not t.degraded, FOUND_S)
    shutil.rmtree(state)


@pytest.mark.parametrize(
    "kind", ["llama_cpp", pytest.param("transformers", marks=[pytest.mark.torch, pytest.mark.soak])]
)
async def test_one_that_comes_while_the_service_runs_answers_and_one_that_goes_is_gone(
    kind: str, broker: TestBroker, state: Path, models: Path
) -> None:
    folder = state / "models"
    folder.mkdir(parents=True)
    if kind == "llama_cpp":
        shutil.copy(models / language_model.GGUF_FILE, folder)
    else:
        shutil.copytree(models / language_model.FOLDER, folder / language_model.FOLDER)
    write = adapters.write_gguf if kind == "llama_cpp" else adapters.write
    async with running(broker, state) as service:
        replica = await service.replica_of("tiny")
        own = await answered(service, replica, None)
        with pytest.raises(AdapterNotFound):
            await answered(service, replica, "ada")
        write(folder, "ada", seed=0)
        (folder / "adapters" / "spoilt").mkdir()
        write(folder, "foreign", seed=0, base="another-model")
        refused = {"spoilt: adapter_broken", "foreign: adapter_mismatched"}
        await service.until(lambda t: offered(t) == ("ada",) and refused <= set(t.degraded), FOUND_S)
        assert await answered(service, replica, "ada") != own
        await service.until(lambda t: t.adapters == ("tiny:ada",), FOUND_S)
        assert await answered(service, replica, None) == own
        shutil.rmtree(folder / "adapters")
        await service.until(lambda t: not offered(t) and not t.adapters and not t.degraded, FOUND_S)
        with pytest.raises(AdapterNotFound):
            await answered(service, replica, "ada")
        assert await answered(service, replica, None) == own
        await check_the_installations_own_comes_by_itself(await broker.connect(Principal.PERSISTENCE), service, write)
