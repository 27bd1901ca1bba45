"""A recorded machine reads like the machine itself, and the record holds nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from libs.shared.hardware import Sample, Sensors, read_board, read_capacity
from scripts.record_machine import record

DATA = Path(__file__).parents[2] / "data" / "boards"


def lay_out(files: dict[str, str], root: Path) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text + "\n")
    return root


def look_at(root: Path) -> Sample:
    """Without the free disk, which is the testing machine's own."""
    return replace(Sensors(root, root=root, clock=lambda: 1.0).sample(), free_disk_mib=0)


@pytest.mark.parametrize("path", sorted(DATA.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_record_reads_like_the_machine(path: Path, tmp_path: Path) -> None:
    machine = lay_out(yaml.safe_load(path.read_text()), tmp_path / "machine")
    copy = lay_out(record(machine), tmp_path / "copy")
    assert read_board(copy) == read_board(machine)
    assert read_capacity(copy) == read_capacity(machine)
    assert look_at(copy) == look_at(machine)


def test_a_record_leaves_out_what_names_the_machine_or_its_people(tmp_path: Path) -> None:
    secrets = ("etc/hostname", "sys/class/dmi/id/product_serial", "proc/device-tree/serial-number", "proc/version")
    machine = lay_out(dict.fromkeys(secrets, "QUILLIVERE-77"), tmp_path)
    lay_out({"proc/stat": "cpu  1 2 3 4\ncpu0 QUILLIVERE-77", "proc/loadavg": "0.1 0.1 0.1 1/1 1"}, tmp_path)
    assert record(machine) == {"proc/loadavg": "0.1 0.1 0.1 1/1 1", "proc/stat": "cpu  1 2 3 4"}
