"""A pool's summary for reading: one html page of tables and histograms.

Numbers come from ``summary``; nothing is counted here. The page needs no other file, so it can
be opened wherever the store is.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from clip_assets.stats.summary import (
    CAPTION_CLASSES,
    OTHER_VALUES,
    SCORE_BINS,
    SCORES,
    SIZE_CLASSES,
    Summary,
    frequent,
)

_LISTED = 30

NONE = "(none)"
"""What ``count`` calls a value that is not there."""

_FOLDED_FROM = 15
# Rows of a table that its picture shows better, or its first ones.

_FIRST = 5

STANDS_OUT = 0.1
"""A domain with this share of the pairs, or a partition so far below the pool, is worth a line."""

_WORDS = {
    "image size": "Shorter side of the images, pixels",
    "caption length": "Length of the captions, characters",
    "nsfw": "The sources' NSFW tags",
    "language": "Languages, as the sources tell them",
    "clip_similarity_score": "Similarity of image and caption by the pool's model",
    "clip_b32_similarity_score": "Similarity by ViT-B/32, from the sources",
    "clip_l14_similarity_score": "Similarity by ViT-L/14, from the sources",
    "similarity": "Similarity, from the sources",
    "punsafe": "Unsafe, estimated by the sources",
    "pwatermark": "Watermark, estimated by the sources",
    "aesthetic": "Aesthetic score, from the sources",
}

_STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#171717, #ededed);
  --muted: light-dark(#5c5c5c, #a6a6a6); --line: light-dark(#e2e2e2, #343434);
  --bar: light-dark(#cfe6e2, #1d4740) }
body { font: 15px/1.5 Inter, system-ui, sans-serif; max-width: 66rem; margin: 2.5rem auto;
  padding: 0 1.2rem; color: var(--ink); background: light-dark(#fff, #121212) }
h1 { margin: 0 0 .2rem; font-size: 2rem; letter-spacing: -.02em; line-height: 1.15 }
h2 { margin: 2.6rem 0 .7rem; font-size: 1.1rem; letter-spacing: -.01em }
.cards { display: flex; flex-wrap: wrap; gap: 1.2rem 2.6rem; margin: 1.4rem 0 }
.cards b { display: block; font-size: 1.7rem; line-height: 1.2; letter-spacing: -.02em;
  color: var(--ink) }
.cards, .note { color: var(--muted) } ul { padding-left: 1.1rem } li { margin: .2rem 0 }
section { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr));
  gap: 1.5rem; align-items: start }
img { width: 100%; border-radius: 6px; background: #fff }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
td, th { padding: .18rem .8rem; text-align: right; border-bottom: 1px solid var(--line) }
th { color: var(--muted); font-weight: 500 }
td:first-child, th:first-child { text-align: left; padding-left: 0; overflow-wrap: anywhere }
td:last-child { background: linear-gradient(var(--bar) 0 0) no-repeat left / var(--share, 0) 100%;
  min-width: 6rem }
summary { cursor: pointer; color: var(--muted); padding: .4rem 0 }
"""


def page(
    summary: Summary,
    partitions: Sequence[tuple[str, Summary]],
    stale: Sequence[str],
    missing: Sequence[str],
    pictures: Mapping[str, bytes],
) -> str:
    """The report: what there is, what stands out, then each distribution with its picture.

    Args:
        summary: of the pool.
        partitions: key and summary of each partition that was counted.
        stale: those of them whose metadata is not made from what there is today.
        missing: keys of partitions without metadata.
        pictures: png files by title.
    """
    counted = f"{summary.rows:,} pairs in {len(partitions):,} partitions"
    behind = f"{len(missing):,} partitions have no metadata yet, {len(stale):,} are stale."
    notes = "".join(f"<li>{escape(line)}" for line in stands_out(summary, partitions))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<title>Pool statistics</title>"
        f'<style>{_STYLE}</style><h1>Pool statistics</h1><p class="note">{counted}. {behind}</p>'
        f"{_cards(summary, len(partitions))}"
        f"{f'<h2>What stands out</h2><ul>{notes}</ul>' if notes else ''}"
        f"{_sections(summary, pictures)}{_partitions(partitions, stale)}</html>\n"
    )


def _sections(summary: Summary, pictures: Mapping[str, bytes]) -> str:
    """Each distribution with its picture."""
    rows = summary.rows
    return "".join(
        [
            _section("Outcome", "status", frequent(summary.status, _LISTED), rows),
            _section("Failures", "class", frequent(_failures(summary), _LISTED), rows),
            _section(
                "Image size",
                "shorter side, pixels",
                sizes(summary),
                sum(summary.size),
                pictures.get("image size"),
            ),
            _section(
                "Caption length",
                "characters",
                captions(summary),
                rows,
                pictures.get("caption length"),
            ),
            *(
                _section(in_words(name), "from", score(name, bins), sum(bins), pictures.get(name))
                for name, bins in summary.scores.items()
            ),
            _section("Domains", "domain", frequent(summary.domains, _LISTED), rows),
            _section(
                "Language",
                "language",
                frequent(summary.language, _LISTED),
                rows,
                pictures.get("language"),
            ),
            _section(
                "NSFW tag", "tag", frequent(summary.nsfw, _LISTED), rows, pictures.get("nsfw")
            ),
            _section("License", "license", frequent(summary.license, _LISTED), rows),
        ]
    )


def in_words(title: str) -> str:
    """What a picture shows, for its heading."""
    return _WORDS.get(title, title)


def stands_out(summary: Summary, partitions: Sequence[tuple[str, Summary]]) -> list[str]:
    """What a person would want to be told first, in sentences; empty for a pool without pairs."""
    if not summary.rows:
        return []
    lines = [f"{_images(summary):.1%} of the pairs have an image."]
    if failures := frequent(_failures(summary), 3):
        told = ", ".join(f"{name} {n / summary.rows:.1%}" for name, n in failures.items())
        lines.append(f"The others lack one mostly for these reasons: {told} of all pairs.")
    for domain, count in frequent(summary.domains, 3).items():
        share = count / summary.rows
        if domain not in (NONE, OTHER_VALUES) and share >= STANDS_OUT:
            lines.append(f"{share:.1%} of the pairs come from one domain, {domain}.")
    if summary.caption[0]:
        lines.append(f"{summary.caption[0] / summary.rows:.1%} of the pairs have no caption.")
    low = [(key, _images(one)) for key, one in partitions if one.rows]
    key, share = min(low, key=lambda item: item[1])
    if share < _images(summary) - STANDS_OUT:
        lines.append(f"Fewest images has partition {key}: {share:.1%} of its pairs.")
    for name, values in (("language", summary.language), ("license", summary.license)):
        if values.keys() <= {NONE}:
            lines.append(f"No source tells a {name}.")
    return lines


def _images(summary: Summary) -> float:
    """Share of the rows that have an image."""
    return summary.status.get("success", 0) / max(summary.rows, 1)


def _failures(summary: Summary) -> dict[str, int]:
    return {name: count for name, count in summary.error_class.items() if name != NONE}


def _cards(summary: Summary, partitions: int) -> str:
    told = {
        "pairs": f"{summary.rows:,}",
        "images": f"{summary.status.get('success', 0):,}",
        "of the pairs have an image": f"{_images(summary):.1%}",
        "domains": f"{'at least ' if OTHER_VALUES in summary.domains else ''}"
        f"{len(summary.domains.keys() - {NONE, OTHER_VALUES}):,}",
        "partitions": f"{partitions:,}",
    }
    cards = "".join(f"<div><b>{value}</b>{name}</div>" for name, value in told.items())
    return f'<div class="cards">{cards}</div>'


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


def _section(
    title: str, value: str, counts: dict[str, int], total: int, picture: bytes | None = None
) -> str:
    if counts.keys() <= {NONE}:
        text = '<p class="note">No pair has one.</p>' if total else ""
        return f"<h2>{escape(title)}</h2>{text}"
    rows = [[name, f"{count:,}", f"{count / max(total, 1):.1%}"] for name, count in counts.items()]
    image = ""
    if picture:
        encoded = base64.b64encode(picture).decode()
        image = f'<img alt="{escape(title)}" src="data:image/png;base64,{encoded}">'
    table = _table([value, "rows", "share"], rows)
    if len(rows) > _FOLDED_FROM:
        first = "" if picture else _table([value, "rows", "share"], rows[:_FIRST])
        told = f"{'All ' if first else ''}{len(rows)} rows"
        table = f"<div>{first}<details><summary>{told}</summary>{table}</details></div>"
    return f"<h2>{escape(title)}</h2><section>{image}{table}</section>"


def _partitions(partitions: Sequence[tuple[str, Summary]], stale: Sequence[str]) -> str:
    behind = set(stale)
    rows = [
        [
            f"{key} (stale)" if key in behind else key,
            f"{summary.rows:,}",
            f"{summary.status.get('success', 0):,}",
            f"{_images(summary):.1%}",
        ]
        for key, summary in partitions
    ]
    return f"<h2>Partitions</h2>{_table(['partition', 'pairs', 'images', 'share'], rows)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose last column is a share, drawn as a bar behind its number."""
    # Values come from strangers.
    cells = [
        f'<td>{"<td>".join(map(escape, row[:-1]))}<td style="--share:{row[-1]}">{row[-1]}'
        for row in rows
    ]
    return f"<table><tr><th>{'<th>'.join(head)}<tr>{'<tr>'.join(cells)}</table>"


def _class_names(ends: Sequence[int]) -> list[str]:
    """``(1, 6)`` as ``0``, ``1-5``, ``6 or more``."""
    starts = (0, *ends)
    names = [
        f"{low}" if high == low + 1 else f"{low}-{high - 1}"
        for low, high in zip(starts, ends, strict=False)
    ]
    return [*names, f"{ends[-1]} or more"]
