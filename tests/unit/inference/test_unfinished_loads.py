"""What is known of a load that ended the process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from libs.shared.errors import ModelBroken
from services.inference import unfinished_loads
from services.inference.adapter_shelf import AdapterShelf
from services.inference.adapters import Adapter
from services.inference.models import ModelSpec
from services.inference.unfinished_loads import MOST_TRIES, UnfinishedLoads
from tests.unit.inference.test_adapters import put

ADA = Adapter("ada", "tiny", "peft", Path("ada/weights"), (("ada/weights", 7, 1),), 7)
BEA = Adapter("bea", "tiny", "peft", Path("bea/weights"), (("bea/weights", 7, 1),), 7)


@pytest.fixture
def loads(tmp_path: Path) -> UnfinishedLoads:
    return UnfinishedLoads(tmp_path / "loads", "tiny")


def die_while_loading(loads: UnfinishedLoads, *adapters: Adapter) -> None:
    """In a process of its own, which is gone at once."""
    child = os.fork()
    if not child:
        with loads.marked(adapters):
            os._exit(11)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 11


def test_a_load_that_ended_the_process_is_known_by_the_next(loads: UnfinishedLoads, tmp_path: Path) -> None:
    die_while_loading(loads, ADA)
    assert (loads.tries(ADA), loads.tries(BEA)) == (1, 0)
    die_while_loading(loads, ADA, BEA)
    assert (loads.tries(ADA), loads.tries(BEA)) == (2, 1)
    assert UnfinishedLoads(tmp_path / "loads", "other").tries(ADA) == 0


def test_what_the_process_outlives_leaves_nothing(loads: UnfinishedLoads) -> None:
    die_while_loading(loads, ADA)
    with pytest.raises(ModelBroken), loads.marked((ADA, BEA)):
        raise ModelBroken("it can't be loaded")
    assert (loads.tries(ADA), loads.tries(BEA)) == (0, 0)


def test_other_files_under_the_same_name_are_another_s(loads: UnfinishedLoads) -> None:
    die_while_loading(loads, ADA)
    mended = Adapter("ada", "tiny", "peft", ADA.path, (("ada/weights", 7, 2),), 7)
    assert loads.tries(mended) == 0


def test_who_stops_the_process_on_purpose_blames_nobody(loads: UnfinishedLoads) -> None:
    with loads.marked((ADA,)):
        assert loads.tries(ADA) == 1
        loads.end()
        assert loads.tries(ADA) == 0
        with loads.marked((BEA,)):
            assert loads.tries(BEA) == 0, "what goes on in a thread after the end is not begun anew"


def test_a_folder_that_can_not_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "loads").write_text("a file where the folder should be")
    loads = UnfinishedLoads(tmp_path / "loads", "tiny")
    with loads.marked((ADA,)):
        pass
    assert loads.tries(ADA) == 0


def test_old_marks_make_room(loads: UnfinishedLoads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished_loads, "MOST_MARKS", 2)
    for number in range(4):
        die_while_loading(loads, Adapter("a", "tiny", "peft", ADA.path, (("a", number, 1),), 7))
        assert len(list((tmp_path / "loads").iterdir())) <= 2


async def test_one_that_ended_the_process_each_time_is_refused_until_its_files_change(
    tmp_path: Path, loads: UnfinishedLoads
) -> None:
    put(tmp_path, "ada")
    put(tmp_path, "bea")
    shelf = AdapterShelf(
        tmp_path, ModelSpec(name="tiny", backend="transformers", path=tmp_path), lambda adapter: None, loads
    )
    await shelf.look()
    for _ in range(MOST_TRIES):
        die_while_loading(loads, shelf.adapters["ada"])
    shelf = AdapterShelf(
        tmp_path, ModelSpec(name="tiny", backend="transformers", path=tmp_path), lambda adapter: None, loads
    )
    await shelf.look()
    assert (shelf.names, shelf.troubles()) == (("bea",), ("ada: adapter_broken",))
    (tmp_path / "adapters" / "ada" / "adapter_model.safetensors").write_bytes(b"others")
    assert await shelf.look()
    assert (shelf.names, shelf.troubles()) == (("ada", "bea"), ())
