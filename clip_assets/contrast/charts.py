"""Distributions of several subsets in one drawing, as svg that follows the page's colours.

Shares and not counts are drawn, so that subsets of any size can be compared.
"""

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 520, 190
LEFT, BOTTOM, TOP = 36, 22, 8

TICKS = 6


def lines(names: Sequence[str], labels: Sequence[str], counts: npt.NDArray[np.int64]) -> str:
    """A line for each subset over bins.

    Args:
        names: of subsets.
        labels: (bins,) of what the bins begin with.
        counts: (subsets, bins).
    """
    shares, labels = _shown(labels, counts)
    top = max(float(shares.max(initial=0)), 1e-9)
    step = (WIDTH - LEFT) / max(shares.shape[1], 1)
    drawn: list[str] = []
    for number, share in enumerate(shares):
        points: list[str] = []
        for place, value in enumerate(share.tolist()):
            height = _height(value, top)
            left = LEFT + place * step
            points += [f"{left:.1f},{height:.1f}", f"{left + step:.1f},{height:.1f}"]
        drawn.append(f'<polyline class="c{number}" points="{" ".join(points)}"/>')
    return _frame(drawn, labels, step, top, _told(names, labels, shares))


def bars(names: Sequence[str], labels: Sequence[str], counts: npt.NDArray[np.int64]) -> str:
    """A bar for each subset and class, beside each other; arguments as of ``lines``."""
    shares, labels = _shown(labels, counts)
    top = max(float(shares.max(initial=0)), 1e-9)
    step = (WIDTH - LEFT) / max(shares.shape[1], 1)
    width = step * 0.8 / len(names)
    drawn: list[str] = []
    for number, share in enumerate(shares):
        for place, value in enumerate(share.tolist()):
            height = _height(value, top)
            left = LEFT + place * step + step * 0.1 + number * width
            drawn.append(
                f'<rect class="c{number}" x="{left:.1f}" y="{height:.1f}" width="{width:.1f}" '
                f'height="{HEIGHT - BOTTOM - height:.1f}" rx="1.5"><title>'
                f"{escape(names[number])}, {escape(labels[place])}: {value:.1%}</title></rect>"
            )
    return _frame(drawn, labels, step, top, _told(names, labels, shares))


def _shown(
    labels: Sequence[str], counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], Sequence[str]]:
    """Shares of each subset, without the empty bins at both ends."""
    used = np.flatnonzero(counts.any(axis=0))
    some = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return (counts / totals)[:, some], labels[some]


def _height(value: float, top: float) -> float:
    return TOP + (1 - value / top) * (HEIGHT - BOTTOM - TOP)


def _told(names: Sequence[str], labels: Sequence[str], shares: npt.NDArray[np.float64]) -> str:
    """What the drawing shows, for those who do not see it."""
    most = (labels[int(share.argmax())] for share in shares)
    return "; ".join(f"{name}: most at {label}" for name, label in zip(names, most, strict=True))


def _frame(drawn: Sequence[str], labels: Sequence[str], step: float, top: float, told: str) -> str:
    every = max(1, -(-len(labels) // TICKS)) if len(labels) > 2 * TICKS else 1
    ticks = "".join(
        f'<text x="{LEFT + (place + 0.5) * step:.1f}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{escape(labels[place])}</text>"
        for place in range(0, len(labels), every)
    )
    marks = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{_height(share, top):.1f}" '
        f'y2="{_height(share, top):.1f}"/>'
        f'<text x="{LEFT - 5}" y="{_height(share, top) + 4:.1f}" text-anchor="end">'
        f"{share:.0%}</text>"
        for share in (0.0, top / 2, top)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(told)}">'
        f"{marks}{''.join(drawn)}{ticks}</svg>"
    )
