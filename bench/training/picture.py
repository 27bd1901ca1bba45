"""The ablation as a picture: one SVG, a line from stage to stage for each seed and split."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.training.ablation import STAGES, Found

WIDTH, HEIGHT, MARGIN = 800, 400, 60
COLOURS = ("#4b7bec", "#fa8231", "#20bf6b", "#8854d0")


def picture(found: Sequence[Found], splits: Sequence[str]) -> str:
    """Spearman x 100 upwards, on a scale of the lowest to the highest; a fifth split has the first one's colour."""
    scores = [stage.spearman[split] for one in found for stage in one.stages.values() for split in splits]
    low, high = min(scores), max(scores)
    span = (high - low) or 1.0

    def place(at: int, score: float) -> tuple[float, float]:
        across = MARGIN + at * (WIDTH - 2 * MARGIN) / (len(STAGES) - 1)
        return across, HEIGHT - MARGIN - (score - low) * (HEIGHT - 2 * MARGIN) / span

    drawn = [
        *(_text(place(at, 0)[0], HEIGHT - 20, "middle", name) for at, name in enumerate(STAGES)),
        _text(MARGIN - 8, MARGIN, "end", f"{high:.1f}"),
        _text(MARGIN - 8, HEIGHT - MARGIN, "end", f"{low:.1f}"),
    ]
    for number, split in enumerate(splits):
        colour = COLOURS[number % len(COLOURS)]
        drawn.append(_text(MARGIN + 160 * number, 24, "start", split, colour))
        for one in found:
            points = (place(at, one.stages[name].spearman[split]) for at, name in enumerate(STAGES))
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            drawn.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    size = f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="13"'
    return "\n".join((f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', *drawn, "</svg>\n"))


def _text(x: float, y: float, anchor: str, said: str, colour: str = "#000") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}">{escape(said)}</text>'
