"""Where models run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from services.inference.models import ModelSpec
from services.inference.plan import EXTRACTIVE, Plan, make_plan

LOCAL = ModelSpec(name="local", backend="llama_cpp", path=Path("/m/local.gguf"))
UPSTREAM = ModelSpec(backend="ollama", url="http://127.0.0.1:11434")


def plan(
    wanted: Literal["auto", "ray", "inline"],
    *specs: ModelSpec,
    ray: bool = True,
    memory_mib: float = 16_000,
) -> Plan:
    return make_plan(wanted, specs, ray_installed=ray, memory_mib=memory_mib, memory_floor_mib=7600)


def test_auto_uses_ray_for_local_models_alone() -> None:
    chosen = plan("auto", LOCAL, UPSTREAM)
    assert (chosen.runtime, chosen.inline, chosen.deployed) == ("ray", (EXTRACTIVE, UPSTREAM), (LOCAL,))


def test_auto_without_a_local_model_needs_no_ray_and_says_nothing() -> None:
    assert plan("auto", UPSTREAM, ray=False) == Plan("inline", (EXTRACTIVE, UPSTREAM))


@pytest.mark.parametrize(
    ("ray", "memory_mib", "warning"), [(False, 16_000, "ray-not-installed"), (True, 4000, "ray-needs-memory")]
)
def test_auto_falls_back_with_one_warning(ray: bool, memory_mib: float, warning: str) -> None:
    chosen = plan("auto", LOCAL, ray=ray, memory_mib=memory_mib)
    assert (chosen.runtime, chosen.warning, chosen.inline) == ("inline", warning, (EXTRACTIVE, LOCAL))


def test_ray_is_used_when_asked_for_even_without_a_model() -> None:
    chosen = plan("ray", UPSTREAM, memory_mib=2000)
    assert (chosen.runtime, chosen.inline, chosen.deployed) == ("ray", (UPSTREAM,), (EXTRACTIVE,))


def test_inline_never_uses_ray() -> None:
    assert plan("inline", LOCAL).runtime == "inline"


@pytest.mark.parametrize("wanted", ["auto", "ray", "inline"])
@pytest.mark.parametrize("ray", [True, False])
@pytest.mark.parametrize("specs", [(), (LOCAL,), (UPSTREAM,), (LOCAL, UPSTREAM)])
def test_every_model_runs_somewhere_once(
    wanted: Literal["auto", "ray", "inline"], ray: bool, specs: tuple[ModelSpec, ...]
) -> None:
    chosen = plan(wanted, *specs, ray=ray)
    assert sorted((*chosen.inline, *chosen.deployed), key=str) == sorted((EXTRACTIVE, *specs), key=str)
