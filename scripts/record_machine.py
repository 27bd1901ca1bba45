"""Records the files by which a machine describes itself, in the form of tests/data/boards: run it on a board.

Nothing else is read: no serial numbers, no host name, no addresses, no processes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from libs.shared.hardware.cgroups import read_groups
from libs.shared.hardware.sysfs import read_text

WHOLE = (
    "proc/device-tree/model",
    "proc/loadavg",
    "proc/self/cgroup",
    "sys/bus/i2c/drivers/ina3221x/*/iio:device*/in_power[0-9]_input",
    "sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_[0-9]",
    "sys/class/dmi/id/product_name",
    "sys/class/hwmon/hwmon*/curr[0-9]_input",
    "sys/class/hwmon/hwmon*/in0_lcrit_alarm",
    "sys/class/hwmon/hwmon*/in[0-9]_input",
    "sys/class/hwmon/hwmon*/in[0-9]_label",
    "sys/class/hwmon/hwmon*/name",
    "sys/class/hwmon/hwmon*/oc*_event_cnt",
    "sys/class/hwmon/hwmon*/temp1_input",
    "sys/class/power_supply/BAT*/current_now",
    "sys/class/power_supply/BAT*/power_now",
    "sys/class/power_supply/BAT*/status",
    "sys/class/power_supply/BAT*/voltage_now",
    "sys/class/powercap/intel-rapl:*/energy_uj",
    "sys/class/powercap/intel-rapl:*/max_energy_range_uj",
    "sys/class/powercap/intel-rapl:*/name",
    "sys/class/thermal/cooling_device*/cur_state",
    "sys/class/thermal/cooling_device*/type",
    "sys/class/thermal/thermal_zone*/temp",
    "sys/class/thermal/thermal_zone*/type",
    "sys/devices/gpu.0/load",
    "sys/devices/platform/*/*firmware/get_throttled",
    "sys/devices/platform/*/*gpu/load",
    "sys/devices/platform/gpu.0/load",
    "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count",
    "sys/devices/system/cpu/cpu[0-9]*/topology/core_cpus_list",
    "sys/devices/system/cpu/online",
    "sys/fs/cgroup/cgroup.controllers",
)
FIRST_LINES = {"proc/stat": 1, "proc/meminfo": 3}
OF_GROUPS = (
    *("cpu.max", "cpu.stat", "cpuset.cpus.effective", "memory.current", "memory.high", "memory.max", "memory.stat"),
    *("cpu.cfs_period_us", "cpu.cfs_quota_us", "cpuacct.usage", "cpuset.cpus"),
    *("memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def _paths(root: Path) -> Iterator[Path]:
    for pattern in (*WHOLE, *FIRST_LINES):
        yield from sorted(root.glob(pattern))
    groups = read_groups(root)
    folders = {*groups.cpu, *groups.cpu_usage, *groups.cpuset, *groups.memory}
    yield from sorted(folder / name for folder in folders for name in OF_GROUPS if (folder / name).is_file())


def record(root: Path) -> dict[str, str]:
    """Path below ``root`` → text, of every file that the sensors may read."""
    found: dict[str, str] = {}
    for path in _paths(root):
        name, text = str(path.relative_to(root)), read_text(path)
        if text:
            found[name] = "\n".join(text.splitlines()[: FIRST_LINES.get(name)])
    return found


if __name__ == "__main__":
    # JSON is YAML too, and needs no library on the board
    json.dump(record(Path("/")), sys.stdout, indent=1)
    print()
