"""Where a pool stands: states by asset and partition, counts, what the index lacks.

Read from manifests alone; nothing is changed and no orchestrator is asked.
"""

from collections import Counter
from typing import Any

from clip_assets import planning
from clip_assets.index import versions
from clip_assets.settings import Settings
from clip_assets.storage.manifests import Catalog, read_failure
from clip_assets.storage.store import Store

SHOWN = 20
"""Partitions listed one by one as text; the json has all."""

Report = dict[str, Any]


def report(store: Store, settings: Settings) -> Report:
    """The pool's state.

    Returns:
        ``root``; ``partitions``: state by asset for each key; ``pool``: state of each
        unpartitioned asset; ``rows``: rows out by asset over all partitions; ``success_rate``
        of downloads; ``index``: the served version and partitions behind it; ``failures``.
    """
    catalog = Catalog(store)
    keys = planning.partitions_of(catalog)
    nodes = planning.graph(catalog, settings)
    states = {node.asset: node.states(catalog, keys) for node in nodes}
    partitioned = [node.asset for node in nodes if node.inputs is not None]
    rows = {
        asset: sum(
            manifest.report.rows_out for key in keys if (manifest := catalog.get(asset, key))
        )
        for asset in partitioned
    }
    return {
        "root": store.uri(),
        "partitions": {key: {asset: states[asset][key] for asset in partitioned} for key in keys},
        "pool": {asset: found[None] for asset, found in states.items() if asset not in partitioned},
        "rows": rows,
        "success_rate": _rate(rows["image_shards"], _rows_in(catalog, keys)),
        "index": {
            "served": versions.current(store),
            "partitions_behind": [key for key in keys if states["index_segments"][key] != "done"],
        },
        "failures": {
            f"{asset} {key}" if key else asset: failure.message
            for asset, found in states.items()
            for key, state in found.items()
            if state == "failed" and (failure := read_failure(store, asset, key))
        },
    }


def as_text(found: Report) -> str:
    """The report for a terminal."""
    partitions: dict[str, dict[str, str]] = found["partitions"]
    if not partitions:
        return f"{found['root']}: no partitions yet. Next: clip-assets add SOURCE..."
    lines = [f"pool {found['root']}: {len(partitions)} partitions", ""]
    for asset, rows in found["rows"].items():
        counts = Counter(states[asset] for states in partitions.values())
        summary = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        lines.append(f"  {asset:<16} {rows:>12,} rows   {summary}")
    lines += [f"  {asset:<24} {state}" for asset, state in found["pool"].items()]
    lines.append("")
    if found["success_rate"] is not None:
        lines.append(f"downloads: {found['success_rate']:.1%} of urls gave an image")
    lines.append(f"index: {found['index']['served'] or 'none'} is served")
    unfinished = {
        key: states for key, states in partitions.items() if {*states.values()} != {"done"}
    }
    for key, states in list(unfinished.items())[:SHOWN]:
        behind = ", ".join(f"{asset} {state}" for asset, state in states.items() if state != "done")
        lines.append(f"  {key}: {behind}")
    if len(unfinished) > SHOWN:
        lines.append(f"  ... and {len(unfinished) - SHOWN} more")
    lines += [f"failed: {name}: {message}" for name, message in found["failures"].items()]
    if unfinished or {*found["pool"].values()} != {"done"}:
        lines.append("next: clip-assets run")
    return "\n".join(lines)


def _rows_in(catalog: Catalog, keys: list[Any]) -> int:
    manifests = (catalog.get("image_shards", key) for key in keys)
    return sum(manifest.report.rows_in for manifest in manifests if manifest)


def _rate(successes: int, attempts: int) -> float | None:
    return round(successes / attempts, 4) if attempts else None
