"""What this machine has for a model, as it is now."""

from __future__ import annotations

from pathlib import Path

from cli.models.catalogue import Machine


def look_at(folder: Path) -> Machine:
    """Memory within the limits of this process's group, and the disk of ``folder``."""
    from libs.shared.hardware import Sensors

    sample = Sensors(folder).sample()
    return Machine(
        total_mib=sample.memory.total_mib,
        available_mib=sample.memory.available_mib,
        free_disk_mib=sample.free_disk_mib,
        gpu_mib=max((gpu.vram_total_mib or 0.0 for gpu in sample.gpus), default=0.0),
    )
