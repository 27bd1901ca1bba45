"""A run that is lost is noticed, one that is merely noisy isn't; arithmetic is counted as published."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import numpy as np
import pytest

from services.trainer.plot import POINTS, loss_curve, thinned
from services.trainer.progress import Work, peak_flops, trouble


def falling(steps: int) -> list[float]:
    """Noisy, from 8 to 3 nats."""
    noise = np.random.default_rng(0).normal(0.0, 0.4, steps)
    return [float(3.0 + 5.0 * math.exp(-at / 50) + noise[at]) for at in range(steps)]


@pytest.mark.parametrize("steps", [1, 19, 20, 400])
def test_a_noisy_run_that_learns_goes_on(steps: int) -> None:
    assert trouble(falling(steps)) is None


def test_a_loss_that_is_no_number_is_named_with_its_step() -> None:
    assert trouble([3.0, math.nan, 2.0]) == "the loss of step 2 is nan"
    assert trouble([3.0, 2.0, math.inf]) == "the loss of step 3 is inf"


def test_a_run_that_leaves_what_it_learnt_is_lost() -> None:
    risen = falling(400) + [7.0] * 20
    assert trouble(risen) is not None
    assert "the loss rose to 7.00 from " in str(trouble(risen))
    assert trouble(falling(400) + [7.0] * 3) is None, "three steps may be anything"


def test_small_losses_may_double() -> None:
    assert trouble([0.05] * 40 + [0.3] * 20) is None


def test_arithmetic_is_counted_as_published() -> None:
    llama_7b = Work(parameters=6_476_005_376, layers=32, width=4096)
    assert llama_7b.flops_per_token(512) == 4 * 6_476_005_376 + 12 * 32 * 4096 * 512


def test_peaks_are_known_by_name() -> None:
    assert peak_flops("NVIDIA H200") == 989e12
    assert peak_flops("a toaster") is None


@pytest.mark.parametrize("steps", [1, 2, 399, 400, 401, 5000])
def test_a_curve_has_every_step_in_it(steps: int) -> None:
    losses = falling(steps)
    points = thinned(losses)
    assert len(points) <= POINTS
    assert points[0][0] >= 1
    assert points[-1][0] <= steps
    root = ElementTree.fromstring(loss_curve(losses, "a run"))
    line = root.find("{http://www.w3.org/2000/svg}polyline")
    assert line is not None
    assert len(line.attrib["points"].split()) == len(points)


def test_a_curve_that_falls_is_drawn_falling() -> None:
    root = ElementTree.fromstring(loss_curve([8.0, 5.0, 3.0], "a run"))
    line = root.find("{http://www.w3.org/2000/svg}polyline")
    assert line is not None
    heights = [float(point.split(",")[1]) for point in line.attrib["points"].split()]
    assert heights == sorted(heights), "down is larger"
