"""An experiment as one html file that needs no other: the table, and curves drawn as svg."""

from collections.abc import Mapping, Sequence
from html import escape

from clip_assets.experiment.report import SubsetLine, Table, cell

Points = Sequence[tuple[float, float]]

COLOURS = ("#0f766e", "#b45309", "#6d28d9", "#be123c", "#1d4ed8", "#4d7c0f", "#a21caf", "#475569")

WIDTH, HEIGHT, EDGE = 460, 260, 44

_STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#171717, #ededed);
  --muted: light-dark(#5c5c5c, #a6a6a6); --line: light-dark(#e2e2e2, #343434) }
body { font: 15px/1.5 Inter, system-ui, sans-serif; max-width: 66rem; margin: 2.5rem auto;
  padding: 0 1.2rem; color: var(--ink); background: light-dark(#fff, #121212) }
h1 { margin: 0 0 .4rem; font-size: 2rem; letter-spacing: -.02em }
h2 { margin: 2.4rem 0 .6rem; font-size: 1.1rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .3rem .9rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap }
td:first-child, th:first-child { text-align: left }
th, .note { color: var(--muted); font-weight: 500 }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr));
  gap: 1.5rem }
svg { width: 100%; height: auto } svg text { font-size: 11px; fill: var(--muted) }
i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .4em }
"""


def page(table: Table) -> str:
    """The whole page."""
    plan = table.plan
    legend = "".join(
        f'<span><i style="background:{_colour(n)}"></i>{escape(line.subset)}</span> &nbsp; '
        for n, line in enumerate(table.lines)
    )
    figures = [_figure("loss", [_losses(line) for line in table.lines])]
    figures += [
        _figure(f"{metric}, percent", [_curves(line, metric) for line in table.lines])
        for metric in table.metrics
    ]
    told = "".join(f"<li>{escape(sentence)}</li>" for sentence in table.sentences())
    missing = (
        f"<p class=note>Not done yet: {escape(', '.join(table.missing))}</p>"
        if table.missing
        else ""
    )
    about = (
        f"{plan['samples']:,} samples seen by {plan['model']} for each subset, in batches of "
        f"{plan['batch_size']:,}; seeds {', '.join(map(str, plan['seeds']))}. Intervals hold 95 %."
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Subsets compared</title>'
        f"<style>{_STYLE}</style></head><body><h1>Subsets compared</h1>"
        f'<p class="note">{escape(about)}</p>{missing}<div class="scroll">{_rows(table)}</div>'
        f"<ul>{told}</ul><h2>On the way</h2><p>{legend}</p>"
        f'<div class="curves">{"".join(figures)}</div></body></html>\n'
    )


def _rows(table: Table) -> str:
    heads = ["subset", "samples", "times seen", *table.metrics]
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    rows: list[str] = []
    for line in table.lines:
        cells = [
            line.subset,
            "?" if line.samples is None else f"{line.samples:,}",
            "?" if line.seen is None else f"{line.seen:g}",
            *(cell(line.shares[name]) for name in table.metrics),
        ]
        rows.append("<tr>" + "".join(f"<td>{escape(one)}</td>" for one in cells) + "</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _losses(line: SubsetLine) -> dict[str, Points]:
    return {seed: [(seen, loss) for seen, loss in points] for seed, points in line.losses.items()}


def _curves(line: SubsetLine, metric: str) -> dict[str, Points]:
    return {
        seed: [(one["samples"], 100 * one[metric]) for one in looks if metric in one]
        for seed, looks in line.curves.items()
    }


def _figure(title: str, lines: Sequence[Mapping[str, Points]]) -> str:
    """Curves of all subsets in one picture."""
    points = [point for line in lines for curve in line.values() for point in curve]
    if not points:
        return ""
    across = max(x for x, _ in points) or 1
    low, high = min(y for _, y in points), max(y for _, y in points)
    high = high if high > low else low + 1

    def place(x: float, y: float) -> str:
        left = EDGE + x / across * (WIDTH - EDGE - 8)
        return f"{left:.1f},{HEIGHT - EDGE - (y - low) / (high - low) * (HEIGHT - EDGE - 14):.1f}"

    drawn = "".join(
        f'<polyline fill="none" stroke="{_colour(number)}" stroke-width="1.8" points="'
        + " ".join(place(x, y) for x, y in curve)
        + '"/>'
        for number, line in enumerate(lines)
        for curve in line.values()
    )
    floor = HEIGHT - EDGE
    texts = (
        f'<text x="{EDGE - 6}" y="16" text-anchor="end">{high:.4g}</text>'
        f'<text x="{EDGE - 6}" y="{floor}" text-anchor="end">{low:.4g}</text>'
        f'<text x="{WIDTH - 8}" y="{floor + 18}" text-anchor="end">{across:,.0f} samples</text>'
    )
    axes = (
        f'<path d="M{EDGE},8V{floor}H{WIDTH - 8}" fill="none" stroke="currentColor" '
        'stroke-opacity=".25"/>'
    )
    return (
        f'<figure style="margin:0"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{axes}{drawn}{texts}</svg></figure>"
    )


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
