"""The GPUs that are in this machine, which builds of which library can use them, and whether any lies idle."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from libs.shared.hardware.boards import ROOT, Board, read_board
from libs.shared.hardware.sysfs import read_int, read_text

_PCI_VENDORS = {0x10DE: "nvidia", 0x1002: "amd", 0x8086: "intel"}
_LEAST_VRAM = 2 << 30
"""Bytes; an AMD chip with less is part of a processor, and gains little."""
_FIRST_BUS = re.compile(r"PCI_SLOT_NAME=0000:00:")
"""Where Intel's processors have their own graphics."""
_EVERYTHING = frozenset({"nvidia", "amd", "intel", "jetson"})
_LIBRARIES = {
    b"libcudart.so": frozenset({"nvidia", "jetson"}),
    b"libcuda.so": frozenset({"nvidia", "jetson"}),
    b"libamdhip64.so": frozenset({"amd"}),
    b"libvulkan.so": frozenset({"nvidia", "amd", "intel"}),
}
"""What a build of llama.cpp is linked with → whose GPUs it can use."""
_REMEDIES = {
    "nvidia": "start Ollama here, which uses it and is found unasked (https://ollama.com), or install a llama.cpp "
    "built for CUDA",
    "amd": "start Ollama here, which uses it and is found unasked (https://ollama.com), or install a llama.cpp built "
    "for Vulkan",
    "intel": "serve a model with a llama.cpp built for Vulkan, and add it: mongars upstreams add URL",
    "jetson": "start Ollama here, which uses it and is found unasked (https://ollama.com), or add another server of "
    "this board that does: mongars upstreams add URL",
}
_NO_DRIVER = "install NVIDIA's driver, and restart the machine; then start Ollama here"


class Found(StrEnum):
    """What is to be said of a GPU that nothing uses."""

    IDLE = "gpu-idle"
    NO_DRIVER = "gpu-without-driver"


@dataclass(frozen=True)
class Accelerator:
    """A GPU that is worth using for models."""

    vendor: str
    """``nvidia``, ``amd``, ``intel`` or ``jetson``."""
    name: str
    driver: bool = True
    """Whether the kernel has the driver that libraries need."""


@dataclass(frozen=True)
class Idle:
    """A GPU that nothing here uses, and what to do."""

    accelerator: Accelerator
    found: Found
    remedy: str


def read_accelerators(root: Path = ROOT, board: Board | None = None) -> tuple[Accelerator, ...]:
    """Those of the machine below ``root``; graphics that are part of a processor are left out, but for a Jetson's."""
    board = board or read_board(root)
    if board.is_jetson:
        return (Accelerator("jetson", board.name),)
    by_driver = tuple(_by_nvidia_s_driver(root))
    cards = [card for card in _cards(root) if not (by_driver and card.vendor == "nvidia")]
    return (*by_driver, *cards)


def _by_nvidia_s_driver(root: Path) -> Iterator[Accelerator]:
    for information in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        told = re.search(r"^Model:\s*(.+)$", read_text(information) or "", re.MULTILINE)
        yield Accelerator("nvidia", _name(told[1] if told else "NVIDIA"))


def _cards(root: Path) -> Iterator[Accelerator]:
    """By the kernel's list of graphics cards, then by the bus, where a card without a driver shows alone."""
    seen: set[str] = set()
    folders = (*_below(root / "sys/class/drm", "card[0-9]*/device"), *_below(root / "sys/bus/pci/devices", "*"))
    for folder in folders:
        slot = read_text(folder / "uevent") or str(folder)
        vendor = _PCI_VENDORS.get(read_int(folder / "vendor", 16) or 0)
        if vendor is None or slot in seen or not _is_display(folder) or _is_integrated(vendor, folder, slot):
            continue
        seen.add(slot)
        name = read_text(folder / "product_name") or f"{vendor.upper()} {read_text(folder / 'device') or 'GPU'}"
        yield Accelerator(vendor, _name(name), driver=vendor != "nvidia")


def _below(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern)) if folder.is_dir() else []


def _is_display(folder: Path) -> bool:
    """PCI classes 0x03xxxx; graphics cards that tell no class are listed as such."""
    told = read_int(folder / "class", 16)
    return told >> 16 == 0x03 if told is not None else folder.name == "device"


def _is_integrated(vendor: str, folder: Path, slot: str) -> bool:
    if vendor == "intel":
        return _FIRST_BUS.search(slot) is not None
    vram = read_int(folder / "mem_info_vram_total")
    return vendor == "amd" and vram is not None and vram < _LEAST_VRAM


def _name(told: str) -> str:
    return " ".join(told.replace(":", " ").split())[:64]


def read_builds(packages: Mapping[str, Path | None] | None = None) -> dict[str, frozenset[str]]:
    """Whose GPUs each backend's library was built for; loads none of them. ``packages``: its name → its folder."""
    where = {name: _folder(name) for name in ("xllamacpp", "torch", "onnxruntime")} if packages is None else packages
    found = {
        "llama_cpp": _linked(where.get("xllamacpp")),
        "transformers": _of_torch(where.get("torch")),
        "onnxruntime": _of_onnxruntime(where.get("onnxruntime")),
    }
    return {library: vendors for library, vendors in found.items() if vendors is not None}


def _folder(package: str) -> Path | None:
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))) if places else None


def _linked(folder: Path | None) -> frozenset[str] | None:
    """By the names of libraries inside its own: a loader finds them there too."""
    if folder is None:
        return None
    vendors: frozenset[str] = frozenset()
    for path in folder.glob("*.so"):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary:
            vendors |= frozenset().union(*(v for name, v in _LIBRARIES.items() if binary.find(name) >= 0))
    return vendors


def _of_torch(folder: Path | None) -> frozenset[str] | None:
    if folder is None:
        return None
    told = read_text(folder / "version.py") or ""
    cuda = re.search(r"^cuda\b[^=]*=\s*['\"]", told, re.MULTILINE)
    hip = re.search(r"^hip\b[^=]*=\s*['\"]", told, re.MULTILINE)
    return frozenset({"nvidia", "jetson"} if cuda else ()) | frozenset({"amd"} if hip else ())


def _of_onnxruntime(folder: Path | None) -> frozenset[str] | None:
    if folder is None:
        return None
    cuda = (folder / "capi" / "libonnxruntime_providers_cuda.so").exists()
    return frozenset({"nvidia", "jetson"}) if cuda else frozenset()


def idle(
    accelerators: Iterable[Accelerator], builds: Mapping[str, frozenset[str]], backends: Iterable[str]
) -> tuple[Idle, ...]:
    """The GPUs that none of ``backends`` can use: those that models are served with here. Pure.

    A server that is asked (``ollama``, ``openai``) is taken to use whatever there is.
    """
    used = frozenset().union(*(_EVERYTHING if b in ("ollama", "openai") else builds.get(b, ()) for b in backends))
    return tuple(
        Idle(one, Found.IDLE, _REMEDIES[one.vendor]) if one.driver else Idle(one, Found.NO_DRIVER, _NO_DRIVER)
        for one in accelerators
        if one.vendor not in used or not one.driver
    )
