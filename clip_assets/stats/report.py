"""A pool's summary for reading: markdown tables and histograms.

Numbers come from ``summary``; nothing is counted here.
"""

import io
from collections.abc import Sequence

from clip_assets.stats.summary import (
    CAPTION_CLASSES,
    SCORE_BINS,
    SCORES,
    SIZE_CLASSES,
    Summary,
    frequent,
)

_LISTED = 30


def markdown(summary: Summary, partitions: Sequence[tuple[str, Summary]]) -> str:
    """The report.

    Args:
        summary: of the pool.
        partitions: key and summary of each partition.
    """
    parts = [
        "# Pool statistics",
        f"{summary.rows:,} pairs in {len(partitions):,} partitions.",
        _section("Outcome", "status", summary.status, summary.rows),
        _section("Failures", "class", summary.error_class, summary.rows),
        _section("Image size", "shorter side, pixels", sizes(summary), sum(summary.size)),
        _section("Caption length", "characters", captions(summary), summary.rows),
        _section("Language", "language", summary.language, summary.rows),
        _section("NSFW tag", "tag", summary.nsfw, summary.rows),
        _section("License", "license", summary.license, summary.rows),
        _section("Domains", "domain", summary.domains, summary.rows),
        *(
            _section(f"Scores: {name}", "score", score(name, bins), sum(bins))
            for name, bins in summary.scores.items()
        ),
        _partitions(partitions),
    ]
    return "\n\n".join(parts) + "\n"


def sizes(summary: Summary) -> dict[str, int]:
    """Images by class of their shorter side."""
    return dict(zip(_class_names(SIZE_CLASSES), summary.size, strict=True))


def captions(summary: Summary) -> dict[str, int]:
    """Rows by class of their caption's length."""
    return dict(zip(_class_names(CAPTION_CLASSES), summary.caption, strict=True))


def score(name: str, bins: Sequence[int]) -> dict[str, int]:
    """Rows by the lower end of a score's bin."""
    low, high = SCORES[name]
    width = (high - low) / SCORE_BINS
    return {f"{low + place * width:.2f}": count for place, count in enumerate(bins) if count}


def picture(title: str, counts: dict[str, int]) -> bytes:
    """A bar chart as png."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = range(len(counts))
    axes.bar(places, list(counts.values()), width=0.9)
    step = max(1, len(counts) // 12)
    axes.set_xticks(list(places)[::step], list(counts)[::step], rotation=30, ha="right")
    axes.set_title(title)
    axes.set_ylabel("rows")
    content = io.BytesIO()
    # Without the library's version, which is in the picture otherwise, its bytes stay the same.
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def _section(title: str, value: str, counts: dict[str, int], total: int) -> str:
    shown = frequent(counts, _LISTED) if len(counts) > _LISTED else counts
    lines = [f"## {title}", "", f"| {value} | rows | share |", "|---|---:|---:|"]
    lines += [
        f"| {_cell(name)} | {count:,} | {count / max(total, 1):.1%} |"
        for name, count in shown.items()
    ]
    return "\n".join(lines)


def _partitions(partitions: Sequence[tuple[str, Summary]]) -> str:
    lines = ["## Partitions", "", "| partition | pairs | images |", "|---|---:|---:|"]
    lines += [
        f"| {key} | {summary.rows:,} | {summary.status.get('success', 0):,} |"
        for key, summary in partitions
    ]
    return "\n".join(lines)


def _class_names(ends: Sequence[int]) -> list[str]:
    """``(1, 6)`` as ``0``, ``1-5``, ``6 or more``."""
    starts = (0, *ends)
    names = [
        f"{low}" if high == low + 1 else f"{low}-{high - 1}"
        for low, high in zip(starts, ends, strict=False)
    ]
    return [*names, f"{ends[-1]} or more"]


def _cell(text: str) -> str:
    # Values come from strangers; a table cell is one line without markup.
    return "".join(f"\\{sign}" if sign in "|<>`[]*_\\" else sign for sign in " ".join(text.split()))
