"""A run's losses as a picture: one SVG in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

FILE = "loss.svg"
WIDTH, HEIGHT, MARGIN = 800, 400, 50
POINTS = 400
"""At most so many are drawn; each is the mean of the steps that it stands for."""


def thinned(losses: Sequence[float]) -> list[tuple[float, float]]:
    """(step, loss) of at most ``POINTS`` points."""
    stride = max(1, -(-len(losses) // POINTS))
    starts = range(0, len(losses), stride)
    return [(fmean((at + 1, min(at + stride, len(losses)))), fmean(losses[at : at + stride])) for at in starts]


def loss_curve(losses: Sequence[float], title: str) -> str:
    """The SVG; ``losses`` are finite and of steps 1, 2, …"""
    points = thinned(losses)
    low, high = min(loss for _, loss in points), max(loss for _, loss in points)
    span = (high - low) or 1.0

    def place(step: float, loss: float) -> tuple[float, float]:
        across = (step - 1) / max(1, len(losses) - 1)
        return MARGIN + across * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - (loss - low) / span * (HEIGHT - 2 * MARGIN)

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
    labels = (
        (MARGIN, 30, "start", title),
        (MARGIN - 6, MARGIN + 4, "end", f"{high:.2f}"),
        (MARGIN - 6, HEIGHT - MARGIN + 4, "end", f"{low:.2f}"),
        (MARGIN, HEIGHT - MARGIN + 22, "middle", "1"),
        (WIDTH - MARGIN, HEIGHT - MARGIN + 22, "middle", str(len(losses))),
        (WIDTH // 2, HEIGHT - MARGIN + 22, "middle", "step"),
    )
    words = "\n".join(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{said}</text>' for x, y, anchor, said in labels)
    frame = f"M{MARGIN},{MARGIN} V{HEIGHT - MARGIN} H{WIDTH - MARGIN}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
        f'font-size="13">\n<path d="{frame}" fill="none" stroke="#888"/>\n'
        f'<polyline points="{line}" fill="none" stroke="#4b7bec" stroke-width="1.5"/>\n{words}\n</svg>\n'
    )
