"""The comparison of subsets for reading: one html page that needs no other file.

Numbers come from ``contrast.tally``; nothing is counted here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from clip_assets.contrast import charts
from clip_assets.contrast.tally import CHARACTERS, SIDE, SIMILARITY, SubsetTally

SHOWN = 12
"""Names of a table."""

_STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#171717, #ededed);
  --muted: light-dark(#5c5c5c, #a6a6a6); --line: light-dark(#e2e2e2, #343434);
  --paper: light-dark(#fff, #121212); --soft: light-dark(#f5f6f6, #1c1d1d);
  --c0: light-dark(#16807a, #4cc2b6); --c1: light-dark(#c8641b, #f0995a);
  --c2: light-dark(#6a50c7, #a693f2); --c3: light-dark(#2468b4, #74ace6);
  --c4: light-dark(#b0356e, #ec86b4); --c5: light-dark(#67740f, #b9c65a) }
* { box-sizing: border-box }
body { font: 15px/1.5 Inter, system-ui, sans-serif; max-width: 74rem; margin: 2.5rem auto;
  padding: 0 1.2rem; color: var(--ink); background: var(--paper) }
h1 { margin: 0 0 .2rem; font-size: 2rem; letter-spacing: -.02em; line-height: 1.15;
  overflow-wrap: anywhere }
h2 { margin: 2.8rem 0 .8rem; font-size: 1.1rem; letter-spacing: -.01em; overflow-wrap: anywhere }
h3 { margin: 0 0 .3rem; font-size: .95rem; font-weight: 600 }
.note { color: var(--muted); margin: 0 0 .9rem }
.cards { display: flex; flex-wrap: wrap; gap: 1.2rem 2.6rem; margin: 1.4rem 0 }
.cards b { display: block; font-size: 1.7rem; line-height: 1.2; letter-spacing: -.02em }
.cards div { color: var(--muted) } .cards b { color: var(--ink) }
.dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .45em;
  background: var(--c) }
.k0 { --c: var(--c0) } .k1 { --c: var(--c1) } .k2 { --c: var(--c2) } .k3 { --c: var(--c3) }
.k4 { --c: var(--c4) } .k5 { --c: var(--c5) }
.split { display: flex; height: 2.6rem; border-radius: 6px; overflow: hidden; gap: 2px }
.split i { background: var(--c); min-width: 2px }
.split i.both { background: repeating-linear-gradient(135deg, var(--c0) 0 8px, var(--c1) 8px 16px) }
.keys { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: .6rem 0 0; padding: 0;
  list-style: none; color: var(--muted) }
.keys b { color: var(--ink); font-weight: 600 }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr));
  gap: 1.8rem 2rem }
svg { width: 100%; height: auto; display: block; overflow: visible }
svg text { font-size: 11px; fill: var(--muted); font-variant-numeric: tabular-nums }
svg line { stroke: var(--line) } polyline { fill: none; stroke-width: 2; stroke-linejoin: round }
.c0 { stroke: var(--c0) } .c1 { stroke: var(--c1) } .c2 { stroke: var(--c2) }
.c3 { stroke: var(--c3) } .c4 { stroke: var(--c4) } .c5 { stroke: var(--c5) }
rect.c0 { fill: var(--c0) } rect.c1 { fill: var(--c1) } rect.c2 { fill: var(--c2) }
rect.c3 { fill: var(--c3) } rect.c4 { fill: var(--c4) } rect.c5 { fill: var(--c5) }
rect { stroke: none }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
td, th { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid var(--line) }
th { color: var(--muted); font-weight: 500 }
td:first-child, th:first-child { text-align: left; padding-left: 0; overflow-wrap: anywhere }
td[style] { background: linear-gradient(color-mix(in srgb, var(--c) 22%, transparent) 0 0)
  no-repeat left / var(--share, 0) 100% }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.2rem, 1fr)); gap: .7rem;
  padding: 0; margin: 0; list-style: none }
figure { margin: 0; min-width: 0 }
figure a, .gone { display: grid; place-items: center; aspect-ratio: 1; border-radius: 6px;
  overflow: hidden; background: var(--soft); color: var(--muted); font-size: .8rem;
  text-decoration: none }
figure a:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px }
figure img { width: 100%; height: 100%; object-fit: contain }
figcaption { font-size: .78rem; line-height: 1.35; margin-top: .3rem; color: var(--muted);
  display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical; overflow: hidden }
figcaption b { color: var(--ink); font-weight: 600 }
details { margin: 1rem 0 } summary { cursor: pointer; font-weight: 600; padding: .35rem 0 }
summary span { color: var(--muted); font-weight: 400 }
"""


def page(told: SubsetTally, images: Mapping[str, str | None]) -> str:
    """The comparison.

    Args:
        told: what was counted.
        images: data urls by image path; None for one that cannot be had.
    """
    title = f"{', '.join(told.names[:-1])} and {told.names[-1]}"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>"
        f'<p class="note">Subsets of {told.rows:,} pairs, side by side.</p>{_cards(told)}'
        f"<h2>What they have in common</h2>{_common(told)}"
        f'<h2>How they differ</h2><p class="note">Shares of each subset\'s own pairs.</p>'
        f"{_charts(told)}{_frequent('Hosts', told.names, told.hosts, told.pairs)}"
        f"{_frequent('Languages', told.names, told.languages, told.pairs)}"
        f"<h2>What one has and another lacks</h2>{_sheets(told, images)}</html>\n"
    )


def _dot(number: int) -> str:
    return f'<span class="dot k{number}"></span>'


def _cards(told: SubsetTally) -> str:
    cards: list[str] = []
    for number, name in enumerate(told.names):
        pairs, listed = int(told.pairs[number]), told.listed[number]
        more = f", {listed:,} listed" if listed != pairs else ""
        share = pairs / max(told.rows, 1)
        cards.append(
            f"<div><b>{pairs:,}</b>{_dot(number)}{escape(name)}, "
            f"{share:.1%} of the pool{more}</div>"
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _common(told: SubsetTally) -> str:
    if len(told.names) == 2:
        return _split(told)
    head = "".join(f"<th>{_dot(number)}{escape(name)}" for number, name in enumerate(told.names))
    rows: list[str] = []
    for one, name in enumerate(told.names):
        cells: list[str] = []
        for other in range(len(told.names)):
            count = int(told.common[one, other])
            share = count / max(int(told.pairs[one]), 1)
            cells.append(
                f'<td class="k{one}" style="--share:{share:.1%}">{count:,}'
                f"{'' if one == other else f' ({share:.0%})'}"
            )
        rows.append(f"<tr><td>{_dot(one)}{escape(name)}{''.join(cells)}")
    return (
        f'<p class="note">{told.all_common:,} pairs are in all, {told.any_common:,} in any. '
        "A row tells how many of its subset's pairs the others have.</p>"
        f'<div class="wide"><table><tr><th>subset{head}{"".join(rows)}</table></div>'
    )


def _split(told: SubsetTally) -> str:
    both = told.all_common
    alone = [int(pairs) - both for pairs in told.pairs]
    total = max(told.any_common, 1)
    parts = ((alone[0], "k0"), (both, "both"), (alone[1], "k1"))
    shown = "".join(
        f'<i class="{kind}" style="flex:{count / total:.6f}"></i>' for count, kind in parts if count
    )
    names = [escape(name) for name in told.names]
    keys = (
        f"<li>{_dot(0)}<b>{alone[0]:,}</b> in {names[0]} alone",
        f"<li><b>{both:,}</b> in both, {both / total:.1%} of all that either has",
        f"<li>{_dot(1)}<b>{alone[1]:,}</b> in {names[1]} alone",
    )
    label = f"{alone[0]:,}, {both:,} in both, {alone[1]:,}"
    return (
        f'<div class="split" role="img" aria-label="{label}">{shown}</div>'
        f'<ul class="keys">{"".join(keys)}</ul>'
    )


def _charts(told: SubsetTally) -> str:
    drawn = (
        (
            "Similarity of image and caption",
            charts.lines(told.names, [f"{edge:.2f}" for edge in SIMILARITY], told.similarity),
            told.similarity,
        ),
        (
            "Shorter side of the images, from so many pixels on",
            charts.bars(told.names, _classes(SIDE.tolist()), told.side),
            told.side,
        ),
        (
            "Length of the captions, from so many characters on",
            charts.bars(told.names, _classes(CHARACTERS.tolist()), told.characters),
            told.characters,
        ),
    )
    keys = "".join(f"<li>{_dot(n)}{escape(name)}" for n, name in enumerate(told.names))
    shown = "".join(
        f"<div><h3>{title}</h3>{drawing}</div>" for title, drawing, counts in drawn if counts.any()
    )
    return f'<ul class="keys">{keys}</ul><br><div class="charts">{shown}</div>'


def _classes(edges: Sequence[int]) -> list[str]:
    return [f"{edge:,}" for edge in edges[:-1]] + [f"{edges[-1]:,}+"]


def _frequent(
    title: str, names: Sequence[str], counters: Sequence[Counter[str]], pairs: Any
) -> str:
    totals = np.maximum(np.asarray(pairs), 1)
    best: Counter[str] = Counter()
    for counter, total in zip(counters, totals.tolist(), strict=True):
        for name, count in counter.most_common(SHOWN):
            best[name] = max(best[name], round(1e9 * count / total))
    if not best:
        return ""
    head = "".join(f"<th>{_dot(number)}{escape(name)}" for number, name in enumerate(names))
    rows: list[str] = []
    for name, _ in best.most_common(SHOWN):
        cells = "".join(
            f'<td class="k{number}" style="--share:{counter[name] / total:.2%}">'
            f"{counter[name] / total:.1%}"
            for number, (counter, total) in enumerate(zip(counters, totals.tolist(), strict=True))
        )
        rows.append(f"<tr><td>{escape(name)}{cells}")
    return (
        f'<h2>{title}</h2><div class="wide"><table><tr><th>{title[:-1].lower()}{head}'
        f"{''.join(rows)}</table></div>"
    )


def _sheets(told: SubsetTally, images: Mapping[str, str | None]) -> str:
    shown: list[str] = []
    for (one, other), rows in told.only.items():
        count = int(told.pairs[one] - told.common[one, other])
        names = escape(told.names[one]), escape(told.names[other])
        figures = "".join(_figure(row, images.get(f"{row['shard']}/{row['key']}")) for row in rows)
        note = f"{count:,} pairs" + (f", {len(rows):,} drawn" if 0 < len(rows) < count else "")
        sheet = f'<ul class="sheet">{figures}</ul>' if figures else ""
        shown.append(
            f"<details{' open' if len(told.names) == 2 else ''}><summary>{_dot(one)}in {names[0]}, "
            f"not in {names[1]} <span>{note}</span></summary>{sheet}</details>"
        )
    return "".join(shown)


def _figure(row: Mapping[str, Any], image: str | None) -> str:
    caption = escape(row["text"] or "")
    similarity = row["clip_similarity_score"]
    told = "" if similarity is None else f"<b>{similarity:.3f}</b> "
    pixels = f'<img src="{image}" alt="{caption}" loading="lazy">' if image else "not to be had"
    url = row["url"] if str(row["url"]).lower().startswith(("http://", "https://")) else ""
    link = f' href="{escape(url)}" rel="noreferrer nofollow"' if url else ""
    return (
        f'<li><figure><a{link} title="{caption}">{pixels}</a>'
        f"<figcaption>{told}{caption}</figcaption></figure>"
    )
