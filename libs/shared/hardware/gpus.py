"""The accelerators of this machine: NVIDIA's by the driver's own library (NVML), a Jetson's by its sysfs file."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from libs.shared.contracts.telemetry import Gpu
from libs.shared.hardware.boards import Board
from libs.shared.hardware.sysfs import read_int
from libs.shared.telemetry import get_logger

log = get_logger(__name__)

_MIB = 1 << 20
_TEMPERATURE_OF_GPU = 0
_NAME_BYTES = 96
_HELD_BACK = 0x08 | 0x20 | 0x40 | 0x80
"""Of NVML's clock reasons: hardware slowdown, thermal slowdown by software and by hardware, power brake. The others say
that it idles, or keeps to a limit that somebody set."""


class _Utilisation(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Nvml:
    """The few calls of ``libnvidia-ml`` that are needed; a call that the device refuses gives None."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._devices = self._handles()

    def _handles(self) -> list[ctypes.c_void_p]:
        count = ctypes.c_uint()
        if self._library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return []
        handles = [ctypes.c_void_p() for _ in range(count.value)]
        get = self._library.nvmlDeviceGetHandleByIndex_v2
        return [h for index, h in enumerate(handles) if get(ctypes.c_uint(index), ctypes.byref(h)) == 0]

    def _ask(self, name: str, device: ctypes.c_void_p, answer: Any, *arguments: Any) -> Any:
        try:
            call = getattr(self._library, name)
        except AttributeError:  # a driver older, or newer, than this call
            return None
        return answer if call(device, *arguments, ctypes.byref(answer)) == 0 else None

    def _name(self, device: ctypes.c_void_p) -> str:
        text = ctypes.create_string_buffer(_NAME_BYTES)
        code = self._library.nvmlDeviceGetName(device, text, ctypes.c_uint(_NAME_BYTES))
        return text.value.decode("utf-8", "replace") if code == 0 else "NVIDIA"

    def _read(self, device: ctypes.c_void_p) -> Gpu:
        load = self._ask("nvmlDeviceGetUtilizationRates", device, _Utilisation())
        memory = self._ask("nvmlDeviceGetMemoryInfo", device, _Memory())
        heat = self._ask("nvmlDeviceGetTemperature", device, ctypes.c_uint(), ctypes.c_int(_TEMPERATURE_OF_GPU))
        power_mw = self._ask("nvmlDeviceGetPowerUsage", device, ctypes.c_uint())
        reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", device, ctypes.c_ulonglong())
        return Gpu(
            name=self._name(device),
            utilisation=load.gpu / 100 if load else None,
            vram_total_mib=memory.total / _MIB if memory else None,
            vram_free_mib=memory.free / _MIB if memory else None,
            temperature_c=float(heat.value) if heat else None,
            power_w=power_mw.value / 1000 if power_mw else None,
            throttled=bool(reasons.value & _HELD_BACK) if reasons else None,
        )

    def gpus(self) -> tuple[Gpu, ...]:
        return tuple(self._read(device) for device in self._devices)


@cache
def nvml() -> Nvml | None:
    """NVML, if this machine has an NVIDIA driver: the one place that looks."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    code = library.nvmlInit_v2()
    if code != 0:
        log.warning("nvml_unusable", nvml_code=code, remedy="check the NVIDIA driver; GPUs are not reported until then")
        return None
    return Nvml(library)


_JETSON_LOADS = (
    "sys/devices/platform/gpu.0/load",
    "sys/devices/gpu.0/load",
    "sys/devices/platform/bus@0/17000000.gpu/load",
    "sys/devices/platform/17000000.gpu/load",
    "sys/devices/platform/17000000.ga10b/load",
)


def jetson_reader(root: Path, board: Board, temperature_c: Callable[[], float | None]) -> Callable[[], tuple[Gpu, ...]]:
    """Reads a Jetson's GPU: its load in thousandths. Its memory is the machine's, so no VRAM is told."""
    path = next((root / name for name in _JETSON_LOADS if (root / name).exists()), None)
    if path is None:
        return lambda: ()

    def read() -> tuple[Gpu, ...]:
        load = read_int(path)
        utilisation = load / 1000 if load is not None else None
        return (Gpu(name=board.name, utilisation=utilisation, temperature_c=temperature_c()),)

    return read
