"""Which way workers are run, and that what is missing is said once and stops nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cli.supervision import workers
from libs.shared.contracts.scaling import MOST_HERE
from services.optimizer.scaling import choosing
from services.optimizer.scaling.choosing import chosen
from services.optimizer.scaling.kubernetes import Deployments
from services.optimizer.scaling.process import SupervisedProcesses
from services.optimizer.settings import OptimizerSettings


def settings(folder: Path, **about: Any) -> OptimizerSettings:
    return OptimizerSettings(state=folder, **about)


def test_under_a_supervisor_it_is_processes_and_elsewhere_nothing(tmp_path: Path) -> None:
    assert chosen(settings(tmp_path)) is None
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "supervisor.sock").touch()
    assert isinstance(chosen(settings(tmp_path)), SupervisedProcesses)
    assert chosen(settings(tmp_path, scaling="off")) is None


def test_deployments_need_names(tmp_path: Path) -> None:
    assert chosen(settings(tmp_path, scaling="kubernetes")) is None
    made = chosen(settings(tmp_path, scaling="kubernetes", scaling_workers="cognition=1-3"))
    assert isinstance(made, Deployments)


@pytest.mark.parametrize(
    ("about", "missing"),
    [
        ({"scaling": "docker"}, "names no workers"),
        ({"scaling": "docker", "scaling_workers": "cognition=1-3"}, "names no compose project"),
    ],
)
def test_what_is_missing_is_a_warning_and_nothing_is_scaled(
    tmp_path: Path, about: dict[str, Any], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(choosing.log, "warning", lambda event, **more: warned.append(f"{event} {more['reason']}"))
    assert chosen(settings(tmp_path, **about)) is None
    (said,) = warned
    assert said.startswith("scaling_unavailable")
    assert missing in said


def test_a_library_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "find_spec", lambda _: None)
    about = {"scaling": "docker", "scaling_workers": "cognition=1-3", "scaling_project": "home"}
    assert chosen(settings(tmp_path, **about)) is None


def test_bounds_that_make_no_sense_are_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="LEAST-MOST"):
        settings(tmp_path, scaling_workers="cognition")


def test_the_supervisor_and_the_contracts_agree_on_how_many_there_may_be() -> None:
    assert workers.MOST == MOST_HERE
    assert {workers.numbered(workers.worker_name("cognition", n)) for n in range(1, MOST_HERE + 1)} == {
        ("cognition", n) for n in range(1, MOST_HERE + 1)
    }
