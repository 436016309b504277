"""A pool's summary for reading: one html page of tables and histograms.

Numbers come from ``summary``; nothing is counted here. The page needs no other file, so it can
be opened wherever the store is.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from clip_assets.stats.summary import (
    CAPTION_CLASSES,
    SCORE_BINS,
    SCORES,
    SIZE_CLASSES,
    Summary,
    frequent,
)

_LISTED = 30


_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.2rem; border-bottom: 1px solid #ccc } img { width: 49% }
table { border-collapse: collapse; min-width: 24rem }
td, th { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #eee }
td:first-child, th:first-child { text-align: left; overflow-wrap: anywhere; max-width: 30rem }
"""


def page(
    summary: Summary,
    partitions: Sequence[tuple[str, Summary]],
    stale: Sequence[str],
    missing: Sequence[str],
    pictures: Mapping[str, bytes],
) -> str:
    """The report.

    Args:
        summary: of the pool.
        partitions: key and summary of each partition that was counted.
        stale: those of them whose metadata is not made from what there is today.
        missing: keys of partitions without metadata.
        pictures: png files by title.
    """
    tables = [
        _section("Outcome", "status", frequent(summary.status, _LISTED), summary.rows),
        _section("Failures", "class", frequent(summary.error_class, _LISTED), summary.rows),
        _section("Image size", "shorter side, pixels", sizes(summary), sum(summary.size)),
        _section("Caption length", "characters", captions(summary), summary.rows),
        _section("Language", "language", frequent(summary.language, _LISTED), summary.rows),
        _section("NSFW tag", "tag", frequent(summary.nsfw, _LISTED), summary.rows),
        _section("License", "license", frequent(summary.license, _LISTED), summary.rows),
        _section("Domains", "domain", frequent(summary.domains, _LISTED), summary.rows),
        *(
            _section(f"Scores: {name}", "score from", score(name, bins), sum(bins))
            for name, bins in summary.scores.items()
        ),
        _partitions(partitions, stale),
    ]
    images = "".join(
        f'<img alt="{escape(title)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        for title, png in pictures.items()
    )
    counted = f"{summary.rows:,} pairs in {len(partitions):,} partitions"
    behind = f"{len(missing):,} partitions have no metadata yet, {len(stale):,} are stale."
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Pool statistics</title>'
        f"<style>{_STYLE}</style><h1>Pool statistics</h1><p>{counted}. {behind}</p>"
        f"{images}{''.join(tables)}</html>\n"
    )


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
    filled = [place for place, count in enumerate(bins) if count]
    # Empty bins between others are part of the distribution.
    shown = range(filled[0], filled[-1] + 1) if filled else range(0)
    return {f"{low + place * width:.2f}": bins[place] for place in shown}


def _section(title: str, value: str, counts: dict[str, int], total: int) -> str:
    rows = [[name, f"{count:,}", f"{count / max(total, 1):.1%}"] for name, count in counts.items()]
    return f"<h2>{escape(title)}</h2>{_table([value, 'rows', 'share'], rows)}"


def _partitions(partitions: Sequence[tuple[str, Summary]], stale: Sequence[str]) -> str:
    behind = set(stale)
    rows = [
        [
            f"{key} (stale)" if key in behind else key,
            f"{summary.rows:,}",
            f"{summary.status.get('success', 0):,}",
            f"{summary.status.get('success', 0) / max(summary.rows, 1):.1%}",
        ]
        for key, summary in partitions
    ]
    return f"<h2>Partitions</h2>{_table(['partition', 'pairs', 'images', 'share'], rows)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # Values come from strangers.
    cells = [f"<td>{'<td>'.join(map(escape, row))}" for row in rows]
    return f"<table><tr><th>{'<th>'.join(head)}<tr>{'<tr>'.join(cells)}</table>"


def _class_names(ends: Sequence[int]) -> list[str]:
    """``(1, 6)`` as ``0``, ``1-5``, ``6 or more``."""
    starts = (0, *ends)
    names = [
        f"{low}" if high == low + 1 else f"{low}-{high - 1}"
        for low, high in zip(starts, ends, strict=False)
    ]
    return [*names, f"{ends[-1]} or more"]
