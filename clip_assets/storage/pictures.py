"""Pictures for people: one histogram and one contact sheet for everything that is drawn.

The same content gives the same bytes.
"""

import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHEET_SIDE = 8
"""Images in a row and in a column of the contact sheet."""

THUMBNAIL = 96
"""Side of an image on the contact sheet in pixels."""

SHEET_BYTES = 150_000
"""A contact sheet is smaller than this; its quality gives way."""

LABELS = 13
"""Up to so many bars all have their name and count; more have as many names and no counts."""

LABEL_CHARACTERS = 20

LOG_FROM = 100
"""When the highest bar is so many times the lowest, their heights are logarithms: else the low
ones would not be seen."""

BARS, INK, LINES = "#2f6fd0", "#404040", "#d0d0d0"


def histogram(
    title: str,
    counts: Mapping[str, float],
    quantity: str = "rows",
    line: tuple[float, str] | None = None,
) -> bytes:
    """Counts as bars, in their order, as a PNG.

    Args:
        title: above the bars.
        counts: by the name of a class or the lower end of a bin; strangers' text is fine.
        quantity: what is counted.
        line: a place among the bars, the first one's middle being 0, and what it is; default: the
            median, where there are many bars.
    """
    # Slow to import, and only steps draw.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = range(len(counts))
    bars = axes.bar(places, list(counts.values()), width=0.9, color=BARS)
    is_log = _spread(counts) >= LOG_FROM
    if is_log:
        axes.set_yscale("log")
        # Room below a single one, and for the numbers above the highest.
        axes.set_ylim(0.5, 4 * max(counts.values()))
    step = max(1, -(-len(counts) // LABELS))
    if step == 1:
        total = max(1, sum(counts.values()))
        told = [f"{count:,}\n{count / total:.1%}" if count else "0" for count in counts.values()]
        axes.bar_label(bars, told, fontsize=7, color=INK, padding=2)
        axes.margins(y=0.2)
    elif line is None and any(counts.values()):
        place = _median(counts)
        line = (place, f"median {[*counts][place][:LABEL_CHARACTERS]}")
    if line:
        _draw(axes, *line, bars=len(counts))
    # A dollar of a stranger's is no mathematics.
    labels = [name[:LABEL_CHARACTERS] for name in counts]
    axes.set_xticks(list(places)[::step], labels[::step], rotation=30, ha="right", parse_math=False)
    axes.set_title(title, loc="left", fontsize=11, color=INK, pad=12, parse_math=False)
    axes.set_ylabel(f"{quantity}, log scale" if is_log else quantity, color=INK)
    _calm(axes)
    content = io.BytesIO()
    # Without the library's version, which is in the picture otherwise, its bytes stay the same.
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def _draw(axes: "Axes", place: float, told: str, bars: int) -> None:
    """A line among the bars with what it is."""
    axes.axvline(place, color=INK, linewidth=1, linestyle="--")
    above = axes.get_xaxis_transform()
    side = "right" if place > bars / 2 else "left"
    axes.text(place, 1.0, told, transform=above, ha=side, fontsize=8, color=INK, parse_math=False)


def _calm(axes: "Axes") -> None:
    """Thin lines, and numbers that can be read, so that the bars are what is seen."""
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(axis="y", color=LINES, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(color=LINES, labelcolor=INK, labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINES)


def _spread(counts: Mapping[str, float]) -> float:
    """How much higher the highest bar is than the lowest that is there."""
    there = [count for count in counts.values() if count]
    return max(there) / min(there) if there else 1


def _median(counts: Mapping[str, float]) -> int:
    """Place of the bar up to which half of all is counted."""
    half, reached = sum(counts.values()) / 2, 0
    for place, count in enumerate(counts.values()):
        reached += count
        if reached >= half:
            return place
    return 0


def contact_sheet(images: Iterable[bytes]) -> bytes:
    """A grid of images as one JPEG.

    Args:
        images: image files, ``SHEET_SIDE`` squared at most.
    """
    from PIL import Image

    side = SHEET_SIDE * THUMBNAIL
    sheet = Image.new("RGB", (side, side), "white")
    for position, content in enumerate(images):
        with Image.open(io.BytesIO(content)) as image:
            thumbnail = image.convert("RGB")
            thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
        row, column = divmod(position, SHEET_SIDE)
        sheet.paste(thumbnail, (column * THUMBNAIL, row * THUMBNAIL))
    for quality in (80, 60, 40, 20):
        encoded = io.BytesIO()
        sheet.save(encoded, "JPEG", quality=quality)
        if encoded.tell() < SHEET_BYTES:
            break
    return encoded.getvalue()
