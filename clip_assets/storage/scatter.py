"""Pictures of what is gained against what it costs: named points, and curves."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from clip_assets.storage.pictures import BARS, INK, LINES

Point = tuple[str, float, float]
"""Its name, its place to the right, and its height."""

Curve = Sequence[tuple[float, float]]
"""Places to the right and heights."""

SHADES = (BARS, "#d06f2f", "#2f9f6f", "#9f4fb0")
"""Of curves whose name begins alike one; further words of it are told by dashes."""

DASHES = ("-", "--", ":", "-.")

MARGINS = {"left": 0.095, "right": 0.985, "bottom": 0.13, "top": 0.89}
"""Where the axes end, in shares of the picture."""


def scatter(title: str, points: Sequence[Point], right: str, up: str) -> bytes:
    """Points with their names, as a PNG; the same points give the same bytes.

    Args:
        title: above them.
        points: to be drawn.
        right: what grows to the right, on a scale of logarithms.
        up: what grows upwards.
    """
    figure, axes = _empty(title, right, up)
    axes.scatter([x for _, x, _ in points], [y for _, _, y in points], color=BARS, zorder=3)
    for name, x, y in points:
        axes.annotate(name, (x, y), (5, 4), textcoords="offset points", fontsize=8, color=INK)
    axes.margins(x=0.2, y=0.15)
    return _png(figure)


def curves(title: str, named: Mapping[tuple[str, str], Curve], right: str, up: str) -> bytes:
    """Curves with a legend, as a PNG; the same curves give the same bytes.

    Args:
        title: above them.
        named: by two words each, of which the first gives the colour and the second the dashes.
        right: what grows to the right, on a scale of logarithms.
        up: what grows upwards.
    """
    figure, axes = _empty(title, right, up)
    firsts, seconds = (list(dict.fromkeys(name[place] for name in named)) for place in (0, 1))
    for (first, second), points in named.items():
        shade = SHADES[firsts.index(first) % len(SHADES)]
        dash = DASHES[seconds.index(second) % len(DASHES)]
        places, heights = [x for x, _ in points], [y for _, y in points]
        label = f"{first}, {second}"
        axes.plot(places, heights, dash, color=shade, marker="o", markersize=3, label=label)
    axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    return _png(figure)


def _empty(title: str, right: str, up: str) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Margins are told: to seek those that fit took two thirds of the time of drawing.
    figure = Figure(figsize=(7, 3.8), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.subplots(gridspec_kw=MARGINS)
    axes.set_xscale("log")
    axes.set_title(title, loc="left", fontsize=11, color=INK, pad=12, parse_math=False)
    axes.set_xlabel(right, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.grid(color=LINES, linewidth=0.6)
    axes.tick_params(which="both", color=LINES, labelcolor=INK, labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure, axes


def _png(figure: Any) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
