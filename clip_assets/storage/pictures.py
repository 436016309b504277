"""Pictures for people: one histogram and one contact sheet for everything that is drawn.

The same content gives the same bytes.
"""

import io
from collections.abc import Iterable, Mapping

from PIL import Image

SHEET_SIDE = 8
"""Images in a row and in a column of the contact sheet."""

THUMBNAIL = 96
"""Side of an image on the contact sheet in pixels."""

SHEET_BYTES = 150_000
"""A contact sheet is smaller than this; its quality gives way."""

LABELS = 13
"""Up to so many bars all have their name and count; more have as many names and no counts."""

LABEL_CHARACTERS = 20


def histogram(title: str, counts: Mapping[str, int], quantity: str = "rows") -> bytes:
    """Counts as bars, in their order, as a PNG.

    Args:
        title: above the bars.
        counts: by the name of a class or the lower end of a bin; strangers' text is fine.
        quantity: what is counted.
    """
    # Slow to import, and only steps draw.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = range(len(counts))
    bars = axes.bar(places, list(counts.values()), width=0.9)
    step = max(1, -(-len(counts) // LABELS))
    if step == 1:
        total = max(1, sum(counts.values()))
        told = [f"{count:,}\n{count / total:.1%}" for count in counts.values()]
        axes.bar_label(bars, told, fontsize=7)
        axes.margins(y=0.2)
    # A dollar of a stranger's is no mathematics.
    labels = [name[:LABEL_CHARACTERS] for name in counts]
    axes.set_xticks(list(places)[::step], labels[::step], rotation=30, ha="right", parse_math=False)
    axes.set_title(title, parse_math=False)
    axes.set_ylabel(quantity)
    content = io.BytesIO()
    # Without the library's version, which is in the picture otherwise, its bytes stay the same.
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def contact_sheet(images: Iterable[bytes]) -> bytes:
    """A grid of images as one JPEG.

    Args:
        images: image files, ``SHEET_SIDE`` squared at most.
    """
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
