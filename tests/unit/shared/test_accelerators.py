"""GPUs by what the kernel says of them, and whether anything here could use them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from libs.shared.hardware.accelerators import Accelerator, Found, idle, read_accelerators, read_builds

BOARDS = Path(__file__).parents[2] / "data" / "boards"
GPUS = Path(__file__).parents[2] / "data" / "gpus"
CPU_BUILDS: dict[str, frozenset[str]] = {
    "llama_cpp": frozenset(),
    "transformers": frozenset(),
    "onnxruntime": frozenset(),
}


def lay_out(root: Path, recorded: Path) -> Path:
    for name, text in yaml.safe_load(recorded.read_text()).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nvidia-with-driver", (Accelerator("nvidia", "NVIDIA GeForce RTX 3060"),)),
        ("nvidia-without-driver", (Accelerator("nvidia", "NVIDIA 0x2504", driver=False),)),
        ("amd-card-and-processor", (Accelerator("amd", "AMD Radeon RX 7900 XTX"),)),
        ("intel-processor", ()),
        ("intel-arc", (Accelerator("intel", "INTEL 0x56a0"),)),
        ("virtual-machine", ()),
    ],
)
def test_gpus_are_known_by_what_the_kernel_says(tmp_path: Path, name: str, found: tuple[Accelerator, ...]) -> None:
    assert read_accelerators(lay_out(tmp_path, GPUS / f"{name}.yaml")) == found


@pytest.mark.parametrize("recorded", sorted(BOARDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_of_the_recorded_boards_only_a_jetson_has_one(tmp_path: Path, recorded: Path) -> None:
    found = read_accelerators(lay_out(tmp_path, recorded))
    assert [one.vendor for one in found] == (["jetson"] if recorded.stem.startswith("jetson") else [])


CARD = Accelerator("nvidia", "RTX")


def test_a_gpu_that_no_build_can_use_is_idle_and_the_remedy_is_named() -> None:
    (one,) = idle((CARD,), CPU_BUILDS, {"llama_cpp", "extractive"})
    assert one.found is Found.IDLE
    assert "Ollama" in one.remedy
    (one,) = idle((Accelerator("nvidia", "RTX", driver=False),), CPU_BUILDS, {"ollama"})
    assert one.found is Found.NO_DRIVER
    assert "driver" in one.remedy


def test_a_gpu_that_is_used_is_not_idle() -> None:
    assert idle((CARD,), CPU_BUILDS, {"ollama"}) == ()
    assert idle((CARD,), CPU_BUILDS | {"llama_cpp": frozenset({"nvidia"})}, {"llama_cpp"}) == ()
    assert idle((), CPU_BUILDS, ()) == ()


def test_a_build_that_serves_nothing_uses_nothing() -> None:
    assert idle((CARD,), CPU_BUILDS | {"llama_cpp": frozenset({"nvidia"})}, {"extractive"}) != ()


def test_builds_are_known_by_their_files(tmp_path: Path) -> None:
    for name in ("xllamacpp", "torch", "onnxruntime/capi"):
        (tmp_path / name).mkdir(parents=True)
    packages: dict[str, Path | None] = {name: tmp_path / name for name in ("xllamacpp", "torch", "onnxruntime")}
    library = tmp_path / "xllamacpp" / "xllamacpp.abi3.so"
    library.write_bytes(b"\x7fELF libc.so.6")
    version = tmp_path / "torch" / "version.py"
    version.write_text("cuda: Optional[str] = None\nhip: Optional[str] = None\n")
    assert read_builds(packages) == CPU_BUILDS
    library.write_bytes(b"\x7fELF libvulkan.so.1 libcudart.so.12")
    version.write_text("cuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n")
    (tmp_path / "onnxruntime" / "capi" / "libonnxruntime_providers_cuda.so").touch()
    assert read_builds(packages) == {
        "llama_cpp": frozenset({"nvidia", "jetson", "amd", "intel"}),
        "transformers": frozenset({"nvidia", "jetson"}),
        "onnxruntime": frozenset({"nvidia", "jetson"}),
    }
    assert read_builds({}) == {}


def test_the_libraries_installed_here_are_built_for_processors() -> None:
    """As the pinned wheels are: what the detection is for."""
    assert read_builds().get("llama_cpp", frozenset()) == frozenset()
