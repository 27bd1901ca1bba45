"""What machine this is, how many workers it carries, and how it does right now."""

from __future__ import annotations

from libs.shared.hardware.boards import Board, Family, read_board
from libs.shared.hardware.sensors import Sample, Sensors
from libs.shared.hardware.workers import Capacity, read_capacity, recommended_worker_count

__all__ = [
    "Board",
    "Capacity",
    "Family",
    "Sample",
    "Sensors",
    "read_board",
    "read_capacity",
    "recommended_worker_count",
]
