"""A picture of named points: what is gained against what it costs."""

import io
from collections.abc import Sequence

from clip_assets.storage.pictures import BARS, INK, LINES

Point = tuple[str, float, float]
"""Its name, its place to the right, and its height."""


def scatter(title: str, points: Sequence[Point], right: str, up: str) -> bytes:
    """Points with their names, as a PNG; the same points give the same bytes.

    Args:
        title: above them.
        points: to be drawn.
        right: what grows to the right, on a scale of logarithms.
        up: what grows upwards.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.scatter([x for _, x, _ in points], [y for _, _, y in points], color=BARS, zorder=3)
    for name, x, y in points:
        axes.annotate(name, (x, y), (5, 4), textcoords="offset points", fontsize=8, color=INK)
    axes.margins(x=0.2, y=0.15)
    axes.set_title(title, loc="left", fontsize=11, color=INK, pad=12, parse_math=False)
    axes.set_xlabel(right, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.grid(color=LINES, linewidth=0.6)
    axes.tick_params(which="both", color=LINES, labelcolor=INK, labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
