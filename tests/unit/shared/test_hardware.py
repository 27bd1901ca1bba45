"""Boards, limits and sensors, read from the files of a dozen kinds of machines (tests/data/boards)."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.telemetry import Cpu, Gpu, Memory
from libs.shared.hardware import (
    Board,
    Capacity,
    Family,
    Sensors,
    boards,
    cgroups,
    gpus,
    read_board,
    read_capacity,
    recommended_worker_count,
    sensors,
    thermal,
    workers,
)
from libs.shared.hardware.cgroups import MemoryLimit
from libs.shared.hardware.thermal import Throttling
from libs.shared.hardware.workers import Recommendation, recommend
from tests.support import machines

MACHINES = sorted(path.stem for path in machines.BOARDS.glob("*.yaml"))
_ARM = ("raspberry", "jetson", "k3s")


@dataclass
class Machine:
    """A recorded machine laid out in a folder; its files can be changed as time goes on."""

    root: Path
    architecture: str
    now: float = 100.0

    def write(self, path: str, text: str) -> None:
        machines.write(self.root, path, text)

    def sensors(self) -> Sensors:
        return Sensors(self.root, root=self.root, clock=lambda: self.now, machine=self.architecture)

    def board(self) -> Board:
        return read_board(self.root, self.architecture)


Machines = Callable[[str], Machine]


@pytest.fixture
def machine_of(tmp_path: Path) -> Machines:
    def lay_out(name: str) -> Machine:
        machine = Machine(tmp_path, "aarch64" if name.startswith(_ARM) else "x86_64")
        machines.lay_out(name, tmp_path)
        return machine

    return lay_out


@pytest.mark.parametrize(
    ("name", "family", "told"),
    [
        ("raspberry-pi-4", Family.PI_4, "Raspberry Pi 4 Model B Rev 1.4"),
        ("raspberry-pi-5", Family.PI_5, "Raspberry Pi 5 Model B Rev 1.0"),
        (
            "jetson-orin-nano",
            Family.JETSON_ORIN_NANO,
            "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        ),
        ("jetson-agx-orin", Family.JETSON_AGX_ORIN, "NVIDIA Jetson AGX Orin Developer Kit"),
        ("jetson-xavier-nx", Family.JETSON_XAVIER_NX, "NVIDIA Jetson Xavier NX Developer Kit"),
        ("jetson-nano", Family.JETSON_NANO, "NVIDIA Jetson Nano Developer Kit"),
        ("x86-workstation", Family.X86_64, "Precision 3660"),
    ],
)
def test_a_board_is_known_by_its_device_tree_or_firmware(
    machine_of: Machines, name: str, family: Family, told: str
) -> None:
    assert machine_of(name).board() == Board(name=told[:64], family=family)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("Raspberry Pi 3 Model B Plus Rev 1.3", Family.PI_3),
        ("Raspberry Pi Compute Module 4 Rev 1.1", Family.PI_4),
        ("Raspberry Pi 400 Rev 1.0", Family.PI_4),
        ("Raspberry Pi 500 Rev 1.0", Family.PI_5),
        ("Raspberry Pi Compute Module 5 Rev 1.0", Family.PI_5),
        ("NVIDIA Orin NX Developer Kit", Family.JETSON_ORIN_NX),
        ("NVIDIA Jetson Nano Developer Kit", Family.JETSON_NANO),
        ("Jetson-AGX", Family.JETSON_AGX_XAVIER),
        ("Radxa ROCK 5B", Family.ARM_64),
        ("", Family.ARM_64),
    ],
)
def test_models_belong_to_families(model: str, family: Family) -> None:
    assert boards.family_of(model, "aarch64") is family


def test_every_family_has_a_profile() -> None:
    assert set(boards.PROFILES) == set(Family)
    assert all(0 < profile.idle_w < profile.busy_w and profile.source for profile in boards.PROFILES.values())


@pytest.mark.parametrize(
    ("name", "cores", "logical", "quota", "memory_mib"),
    [
        ("raspberry-pi-4", 4, 4, None, 3793.3),
        ("jetson-xavier-nx", 4, 4, None, 7766.8),
        ("jetson-agx-orin", 12, 12, None, 62841.7),
        ("x86-workstation", 8, 16, None, 64149.6),
        ("container-cgroup-v2", 8, 16, 1.5, 2048),
        ("container-cgroup-v1", 4, 8, 3.0, 4096),
        ("k3s-pod-on-pi-4", 4, 4, 2.0, 768),
        ("recorded-virtual-machine", 2, 2, None, 24105.6),
    ],
)
def test_capacity_counts_physical_cores_within_the_control_groups(
    machine_of: Machines, name: str, cores: int, logical: int, quota: float | None, memory_mib: float
) -> None:
    found = read_capacity(machine_of(name).root)
    assert (found.physical_cores, found.logical_cores, found.cpu_quota) == (cores, logical, quota)
    assert found.memory_mib == pytest.approx(memory_mib, abs=0.1)


@pytest.mark.parametrize(
    ("name", "per_worker_mib", "workers_"),
    [
        ("raspberry-pi-4", 512, 3),
        ("raspberry-pi-4", 1500, 1),
        ("raspberry-pi-5", 512, 3),
        ("jetson-orin-nano", 512, 5),
        ("jetson-orin-nano", 2048, 1),
        ("jetson-agx-orin", 4096, 7),
        ("jetson-xavier-nx", 512, 3),
        ("x86-workstation", 512, 7),
        ("container-cgroup-v2", 512, 1),
        ("container-cgroup-v1", 512, 3),
        ("container-cgroup-v1", 2048, 1),
        ("k3s-pod-on-pi-4", 256, 2),
        ("k3s-pod-on-pi-4", 4096, 1),
    ],
)
def test_the_recommended_workers_fit_the_machine(
    machine_of: Machines, name: str, per_worker_mib: int, workers_: int
) -> None:
    machine = machine_of(name)
    found = recommend(machine.board(), read_capacity(machine.root), per_worker_mib)
    assert found.workers == workers_
    assert recommended_worker_count(per_worker_mib, root=machine.root) >= 1


_CAPACITIES = st.builds(
    Capacity,
    physical_cores=st.integers(1, 256),
    logical_cores=st.integers(1, 512),
    cpu_quota=st.none() | st.floats(0.05, 300),
    memory_mib=st.floats(64, 1e6),
)


@given(st.sampled_from(Family), _CAPACITIES, st.integers(1, 100_000))
def test_workers_never_exceed_cores_quota_or_memory(family: Family, capacity: Capacity, each_mib: int) -> None:
    found = recommend(Board("b", family), capacity, each_mib)
    assert 1 <= found.workers <= capacity.physical_cores
    if found.workers > 1:
        assert found.workers * each_mib <= capacity.memory_mib
        assert capacity.cpu_quota is None or found.workers <= capacity.cpu_quota + 0.05


def test_a_recommendation_says_what_bound_it(machine_of: Machines) -> None:
    board = Board("b", Family.PI_4)
    assert recommend(board, Capacity(4, 4, None, 4096), 100) == Recommendation(3, "cores")
    assert recommend(board, Capacity(4, 4, 2.0, 4096), 100) == Recommendation(2, "cpu_quota")
    assert recommend(board, Capacity(4, 4, None, 400), 100) == Recommendation(3, "cores")
    assert recommend(board, Capacity(4, 4, None, 300), 100) == Recommendation(2, "memory")
    assert recommend(board, Capacity(4, 4, 0.5, 4096), 100) == Recommendation(1, "minimum")


def test_this_machine_s_own_recommendation_respects_its_affinity() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert read_capacity().logical_cores == 1
        assert recommended_worker_count() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_a_machine_that_tells_nothing_still_has_one_worker(tmp_path: Path) -> None:
    assert recommended_worker_count(root=tmp_path) == 1
    sample = Sensors(tmp_path, root=tmp_path).sample()
    assert (sample.temperature_c, sample.throttled, sample.gpus) == (None, None, ())
    assert sample.memory == Memory(total_mib=0, available_mib=0)


def test_of_the_test__counting_hyper_threads_is_noticed(machine_of: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_physical", lambda root, cpus: len(cpus))
    with pytest.raises(AssertionError):
        test_the_recommended_workers_fit_the_machine(machine_of, "x86-workstation", 512, 7)


def test_of_the_test__overlooking_the_pod_s_limit_is_noticed(
    machine_of: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cgroups._lineage
    monkeypatch.setattr(cgroups, "_lineage", lambda mount, path: real(mount, path)[:1])
    with pytest.raises(AssertionError):
        test_the_recommended_workers_fit_the_machine(machine_of, "k3s-pod-on-pi-4", 256, 2)


@pytest.mark.parametrize(
    ("name", "celsius"),
    [
        ("raspberry-pi-4", 48.686),
        ("raspberry-pi-5", 61.3),
        ("jetson-orin-nano", 52.406),
        ("jetson-xavier-nx", 39.5),
        ("jetson-nano", 33.0),
        ("x86-workstation", 54.0),
        ("x86-laptop-amd", 46.75),
        ("container-cgroup-v2", None),
    ],
)
def test_the_temperature_is_the_processor_s(machine_of: Machines, name: str, celsius: float | None) -> None:
    assert machine_of(name).sensors().sample().temperature_c == celsius


@pytest.mark.parametrize(
    ("name", "throttled"),
    [
        ("raspberry-pi-4", False),
        ("raspberry-pi-5", False),
        ("jetson-orin-nano", False),
        ("jetson-xavier-nx", True),
        ("jetson-nano", False),
        ("raspberry-pi-5-firmware", True),
        ("x86-workstation", False),
        ("container-cgroup-v2", None),
    ],
)
def test_throttling_is_that_of_now(machine_of: Machines, name: str, throttled: bool | None) -> None:
    assert machine_of(name).sensors().sample().throttled is throttled


@pytest.mark.parametrize(
    ("name", "path", "text"),
    [
        ("raspberry-pi-4", "sys/devices/platform/soc/soc:firmware/get_throttled", "50004"),
        ("raspberry-pi-4", "sys/devices/platform/soc/soc:firmware/get_throttled", "50001"),
        ("raspberry-pi-5", "sys/class/hwmon/hwmon2/in0_lcrit_alarm", "1"),
        ("raspberry-pi-5", "sys/class/thermal/cooling_device1/cur_state", "2"),
        ("jetson-orin-nano", "sys/class/hwmon/hwmon3/oc2_event_cnt", "1"),
        ("jetson-orin-nano", "sys/class/thermal/cooling_device1/cur_state", "1"),
        ("x86-workstation", "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "13"),
    ],
)
def test_a_machine_that_begins_to_throttle_says_so(machine_of: Machines, name: str, path: str, text: str) -> None:
    machine = machine_of(name)
    watching = machine.sensors()
    assert watching.sample().throttled is False
    machine.write(path, text)
    assert watching.sample().throttled is True


def test_a_count_of_throttlings_is_told_once(machine_of: Machines) -> None:
    machine = machine_of("x86-workstation")
    watching = machine.sensors()
    machine.write("sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "41")
    assert [watching.sample().throttled for _ in range(2)] == [True, False]


@pytest.mark.parametrize(
    ("name", "reasons", "since_boot"),
    [
        ("raspberry-pi-4", (), ("throttled", "under-voltage")),
        ("raspberry-pi-5-firmware", ("under-voltage",), ("throttled", "under-voltage")),
        ("jetson-xavier-nx", ("heat",), ()),
        ("x86-workstation", (), ("heat",)),
        ("container-cgroup-v2", (), ()),
    ],
)
def test_why_it_is_held_back_now_is_told_from_why_it_once_was(
    machine_of: Machines, name: str, reasons: tuple[str, ...], since_boot: tuple[str, ...]
) -> None:
    sample = machine_of(name).sensors().sample()
    assert (sample.throttle_reasons, sample.throttled_since_boot) == (reasons, since_boot)


def test_of_the_test__taking_what_once_was_for_now_is_noticed(
    machine_of: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thermal, "_PI_BITS", ("",) * 16 + thermal._PI_BITS)
    with pytest.raises(AssertionError):
        test_throttling_is_that_of_now(machine_of, "raspberry-pi-4", False)


@pytest.mark.parametrize(
    ("name", "watts", "source"),
    [
        ("jetson-orin-nano", 4.952 * 1.096, "board"),
        ("jetson-agx-orin", 19.928 * 0.28 + 4.992 * 0.81, "board"),
        ("jetson-nano", 3.181, "board"),
        ("raspberry-pi-5-firmware", 10.7999 * 1.1451 + 0.5879, "board"),
        ("x86-laptop-amd", 8.431, "battery"),
        ("raspberry-pi-4", 2.7, "estimate"),
        ("raspberry-pi-5", 3.0, "estimate"),
    ],
)
def test_power_is_measured_where_something_measures_it(
    machine_of: Machines, name: str, watts: float, source: str
) -> None:
    sample = machine_of(name).sensors().sample()
    assert (sample.power_source, sample.power_measured) == (source, source != "estimate")
    assert sample.power_w == pytest.approx(watts, abs=0.002)


def test_what_hides_behind_a_program_is_asked_every_few_seconds_and_a_mute_one_seldom(machine_of: Machines) -> None:
    machine = machine_of("raspberry-pi-5-firmware")
    watching = machine.sensors()
    assert watching.sample().throttle_reasons == ("under-voltage",)
    machine.write("usr/bin/vcgencmd", "#!/bin/sh\necho throttled=0x50000")
    assert watching.sample().throttled is True, "the last answer is still good"
    machine.now += 5
    sample = watching.sample()
    assert (sample.throttled, sample.power_measured) == (False, False), "a board without a power chip estimates"
    for answer in ("exit 1", "echo 'error=1 error_msg=\"Command not registered\"'"):
        machine.write("usr/bin/vcgencmd", f"#!/bin/sh\n{answer}")
        machine.now += 5
        assert watching.sample().throttled is False, "the brakes of the kernel still tell"
        machine.write("usr/bin/vcgencmd", "#!/bin/sh\necho throttled=0x1")
        machine.now += 59
        assert watching.sample().throttled is False
        machine.now += 1
        assert watching.sample().throttled is True


def test_a_gpu_s_own_watts_are_added_where_the_machine_s_meter_can_not_see_them(
    machine_of: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Gpu(name="card", power_w=200.0)
    for name, expected in (("x86-workstation", 215.0), ("x86-laptop-amd", 8.431)):
        watching = machine_of(name).sensors()
        monkeypatch.setattr(watching, "_gpus", lambda: (card,))
        assert watching.sample().power_w == pytest.approx(expected, abs=0.002), "a battery feeds the card as well"


def test_watts_come_from_the_energy_used_between_two_looks(machine_of: Machines) -> None:
    machine = machine_of("x86-workstation")
    watching = machine.sensors()
    assert watching.sample().power_measured is False  # no time has passed, so nothing is measured yet
    machine.now += 2
    machine.write("sys/class/powercap/intel-rapl:0/energy_uj", "91000000")
    assert (watching.sample().power_w, machine.now) == (45.0, 102)
    machine.now += 1
    machine.write("sys/class/powercap/intel-rapl:0/energy_uj", "1000000")  # the counter began anew
    assert watching.sample().power_w == pytest.approx(262143.328850 - 91 + 1, abs=0.001)
    (machine.root / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    machine.now += 1
    assert watching.sample().power_measured is False


def test_an_estimate_grows_with_the_load(machine_of: Machines) -> None:
    machine = machine_of("raspberry-pi-4")
    watching = machine.sensors()
    machine.now += 1
    machine.write("proc/stat", "cpu  1100 0 200 9300 40 0 10 0 0 0")
    sample = watching.sample()
    assert sample.cpu.utilisation == 0.25
    assert sample.power_measured is False
    assert sample.power_w == pytest.approx(2.7 + 0.25 * 3.7, abs=0.001)


def test_utilisation_is_the_share_since_the_last_look(machine_of: Machines) -> None:
    machine = machine_of("x86-workstation")
    watching = machine.sensors()
    machine.now += 1
    machine.write("proc/stat", "cpu  1300 100 300 9300 140 50 60 100 999 999")
    # of 1,100 ticks (guests are in user already) 400 were idle or waited for a disk
    assert watching.sample().cpu == Cpu(cores=16, utilisation=round(1 - 400 / 1100, 4), load_1m=3.2)
    machine.now += 0.001
    machine.write("proc/stat", "cpu  1301 100 300 9300 140 50 60 100 0 0")
    assert watching.sample().cpu.utilisation == round(1 - 400 / 1100, 4)


@pytest.mark.parametrize(
    ("name", "path", "used", "share", "cores"),
    [
        ("container-cgroup-v2", "sys/fs/cgroup/cpu.stat", "usage_usec 13000000", 1.0, 1.5),
        ("container-cgroup-v2", "sys/fs/cgroup/cpu.stat", "usage_usec 10750000", 0.25, 1.5),
        ("container-cgroup-v1", "sys/fs/cgroup/cpuacct/cpuacct.usage", "8000000000", 0.5, 3.0),
    ],
)
def test_in_a_limited_group_utilisation_is_the_share_of_its_limit(
    machine_of: Machines, name: str, path: str, used: str, share: float, cores: float
) -> None:
    machine = machine_of(name)
    watching = machine.sensors()
    machine.now += 2
    machine.write(path, used)
    sample = watching.sample()
    assert (sample.cpu.cores, sample.cpu.utilisation) == (cores, share)


@pytest.mark.parametrize(
    ("name", "total_mib", "available_mib"),
    [
        ("raspberry-pi-4", 3793.3, 2881.0),
        ("container-cgroup-v2", 2048.0, 1280.0),
        ("container-cgroup-v1", 4096.0, 2048.0),
        ("k3s-pod-on-pi-4", 768.0, 568.0),
    ],
)
def test_memory_is_what_the_control_groups_leave(
    machine_of: Machines, name: str, total_mib: float, available_mib: float
) -> None:
    assert machine_of(name).sensors().sample().memory == Memory(total_mib=total_mib, available_mib=available_mib)


_LIMITS = st.lists(st.builds(MemoryLimit, st.floats(1, 1e5), st.floats(0, 1e5)), max_size=4)


@given(st.floats(1, 1e5), st.floats(0, 1e5), _LIMITS)
def test_available_memory_is_never_negative_and_never_more_than_any_bound(
    total: float, available: float, limits: list[MemoryLimit]
) -> None:
    found = sensors.memory_within(total, available, tuple(limits))
    assert 0 <= found.available_mib <= available + 0.1
    assert found.total_mib <= min([total, *(limit.limit_mib for limit in limits)]) + 0.1


@pytest.mark.parametrize(
    ("name", "load", "celsius"),
    [("jetson-orin-nano", 0.372, 50.937), ("jetson-xavier-nx", 0.99, 38.5), ("jetson-nano", 0.125, 31.5)],
)
def test_a_jetson_s_gpu_is_read_from_its_files(machine_of: Machines, name: str, load: float, celsius: float) -> None:
    (gpu,) = machine_of(name).sensors().sample().gpus
    assert (gpu.utilisation, gpu.temperature_c, gpu.vram_total_mib) == (load, celsius, None)


def test_the_free_disk_is_that_of_the_folder(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)
    told = Sensors(tmp_path, root=tmp_path).sample().free_disk_mib
    assert told == pytest.approx(free.f_bavail * free.f_frsize / 2**20, rel=0.05)
    assert Sensors(tmp_path / "gone", root=tmp_path).sample().free_disk_mib == 0.0


@pytest.mark.parametrize("name", MACHINES)
def test_no_file_of_a_machine_is_indispensable_and_none_may_break_a_look(machine_of: Machines, name: str) -> None:
    machine = machine_of(name)
    watching = machine.sensors()
    for path in sorted(p for p in machine.root.rglob("*") if p.is_file()):
        kept = path.read_bytes()
        for broken in (b"", b"\xff\x00garbage", b"-1", b"99999999999999999999999"):
            path.write_bytes(broken)
            machine.now += 1
            watching.sample()
            machine.sensors().sample()
            assert recommended_worker_count(root=machine.root) >= 1
        path.write_bytes(kept)


class FakeNvml:
    """The library's calls for one GPU; those in ``refused`` answer with an error code."""

    def __init__(self, *refused: str, missing: tuple[str, ...] = ()) -> None:
        self._refused = refused
        self._missing = missing

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name in self._missing:
            raise AttributeError(name)
        return lambda *arguments: 3 if name in self._refused else self._answer(name, *arguments)

    @staticmethod
    def _answer(name: str, *arguments: Any) -> int:
        target: Any = getattr(arguments[-1], "_obj", None)
        match name:
            case "nvmlDeviceGetCount_v2":
                target.value = 1
            case "nvmlDeviceGetName":
                arguments[1].value = b"NVIDIA H200"
            case "nvmlDeviceGetUtilizationRates":
                target.gpu = 87
            case "nvmlDeviceGetMemoryInfo":
                target.total, target.free = 143_771 * 2**20, 100_000 * 2**20
            case "nvmlDeviceGetTemperature":
                target.value = 41
            case "nvmlDeviceGetPowerUsage":
                target.value = 312_500
            case "nvmlDeviceGetCurrentClocksThrottleReasons":
                target.value = 0x20 | 0x01
        return 0


def test_an_nvidia_gpu_is_read_by_the_driver_s_library() -> None:
    library: Any = FakeNvml()
    (gpu,) = gpus.Nvml(library).gpus()
    assert gpu.model_dump() == {
        "name": "NVIDIA H200",
        "utilisation": 0.87,
        "vram_total_mib": 143_771.0,
        "vram_free_mib": 100_000.0,
        "temperature_c": 41.0,
        "power_w": 312.5,
        "throttled": True,
    }


def test_what_a_gpu_refuses_to_tell_is_none() -> None:
    library: Any = FakeNvml("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetName")
    (gpu,) = gpus.Nvml(library).gpus()
    assert (gpu.name, gpu.utilisation, gpu.power_w, gpu.temperature_c) == ("NVIDIA", None, None, 41.0)
    library = FakeNvml(missing=("nvmlDeviceGetCurrentClocksThrottleReasons",))
    assert gpus.Nvml(library).gpus()[0].throttled is None
    library = FakeNvml("nvmlDeviceGetCount_v2")
    assert gpus.Nvml(library).gpus() == ()


@pytest.mark.parametrize(
    ("processor", "gpu", "whole"),
    [
        (Throttling(None), None, Throttling(None)),
        (Throttling(None), False, Throttling(False)),
        (Throttling(False), True, Throttling(True, ("gpu",))),
        (Throttling(True, ("heat",)), False, Throttling(True, ("heat",))),
        (Throttling(True, ("heat",)), True, Throttling(True, ("heat", "gpu"))),
    ],
)
def test_a_gpu_that_is_held_back_holds_its_node_back(
    processor: Throttling, gpu: bool | None, whole: Throttling
) -> None:
    assert sensors.with_gpus(processor, (Gpu(name="card", throttled=gpu),)) == whole


def test_a_machine_without_a_driver_has_no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ctypes.CDLL:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    gpus.nvml.cache_clear()
    try:
        assert gpus.nvml() is None
    finally:
        gpus.nvml.cache_clear()


def test_a_look_at_this_machine_is_whole_and_costs_little() -> None:
    watching = Sensors(Path("/tmp"))
    sample = watching.sample()
    assert sample.memory.total_mib > 0
    assert sample.cpu.cores >= 1
    assert sample.free_disk_mib > 0
    started = time.process_time()
    for _ in range(20):
        watching.sample()
    assert (time.process_time() - started) / 20 < 0.010  # 1 % of one core at one look a second
