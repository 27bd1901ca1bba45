"""The placement policy inside Ray Serve: three replicas of unequal speed, beside Serve's own router."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.scheduling.serve import BETTER

pytestmark = [pytest.mark.ray, pytest.mark.soak]
ROOT = Path(__file__).resolve().parents[3]


def test_the_placement_policy_beats_serves_own_router_on_p99(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "bench.scheduling.serve", "--json", str(tmp_path / "figures")]
    ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads((tmp_path / "figures").read_text())["ratio"] >= BETTER
