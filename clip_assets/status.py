"""Where a pool stands: states by asset and key, counts, what the index lacks.

Read from manifests alone; nothing is changed and no orchestrator is asked.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from clip_assets import layout
from clip_assets.download.reasons import Reason, kept_by_owners, most_frequent
from clip_assets.errors import ClipAssetsError
from clip_assets.index import versions
from clip_assets.layout import WHOLE, Key
from clip_assets.masking import masked
from clip_assets.pool.pool import Pool
from clip_assets.pool.published import Damage
from clip_assets.storage.expected import REPAIR
from clip_assets.storage.manifests import State, named
from clip_assets.terminal import shown
from clip_assets.verification import served

SHOWN = 20
"""Partitions listed one by one as text; the json has all."""

NO_VECTORS = "and holds no vectors: a search finds nothing until there are images"

Report = dict[str, Any]


def report(pool: Pool) -> Report:
    """The pool's state.

    Returns:
        ``root``; ``partitions``: state by asset for each key; ``subsets``: state of each;
        ``subset_shards``: of each whose shards are asked for;
        ``pool``: state of each asset that is made once; ``rows``: rows out by asset over all
        partitions; ``success_rate`` of downloads; ``without_image``: the most frequent reasons;
        ``kept_by_owners``: urls that an opt-out refused, by error class;
        ``index``: the served version, its vectors, and partitions behind it; ``failures``;
        ``damaged``: published files that are gone or of another size, see ``served.noticed``.
    """
    states = {
        name: asset.states(pool, pool.keys(asset.axis)) for name, asset in pool.assets.items()
    }
    by_axis = {
        axis: [name for name, asset in pool.assets.items() if asset.axis == axis]
        for axis in ("partition", "subset", "pool")
    }
    rows = {name: _rows_out(pool, name, pool.partitions) for name in by_axis["partition"]}
    return {
        "root": masked(pool.store.uri()),
        "partitions": {
            key: {name: states[name][key] for name in by_axis["partition"]}
            for key in pool.partitions
        },
        "subsets": dict(states[layout.SUBSETS]),
        layout.SUBSET_SHARDS: {
            key: state
            for key, state in states[layout.SUBSET_SHARDS].items()
            if key in pool.settings.subset_shards
        },
        "pool": {name: states[name][WHOLE] for name in by_axis["pool"]},
        "rows": rows,
        "success_rate": _success_rate(pool),
        "without_image": [asdict(reason) for reason in most_frequent(pool, pool.partitions)],
        "kept_by_owners": kept_by_owners(pool, pool.partitions),
        "index": {
            "served": versions.current(pool.store),
            "vectors": served_vectors(pool),
            "partitions_behind": _behind(pool, states[layout.INDEX_SEGMENTS]),
        },
        "failures": {
            named(name, key): failure.message
            for name, of_asset in states.items()
            for key, state in of_asset.items()
            if state == "failed" and (failure := pool.catalog.failure(name, key))
        },
        "damaged": [asdict(damage) for damage in served.noticed(pool)],
    }


def as_text(told: Report) -> str:
    """The report for a terminal."""
    partitions: dict[str, dict[str, str]] = told["partitions"]
    if not partitions:
        return f"{told['root']}: no partitions yet. Next: clip-assets add SOURCE..."
    lines = [f"pool {told['root']}: {len(partitions)} partitions", ""]
    for asset, rows in told["rows"].items():
        counts = Counter(states[asset] for states in partitions.values())
        summary = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        lines.append(f"  {asset:<16} {rows:>12,} rows   {summary}")
    by_subset = ((name, told.get(name, {})) for name in (layout.SUBSETS, layout.SUBSET_SHARDS))
    once = told["pool"] | {
        named(name, key): state for name, states in by_subset for key, state in states.items()
    }
    lines += [f"  {name:<24} {state}" for name, state in once.items()]
    lines.append("")
    if told["success_rate"] is not None:
        lines.append(f"downloads: {told['success_rate']:.1%} of urls gave an image")
    lines += [Reason(**reason).as_text() for reason in told["without_image"]]
    if kept := told["kept_by_owners"]:
        counts = ", ".join(f"{name} {count:,}" for name, count in kept.items())
        lines.append(f"opt-outs: {sum(kept.values()):,} urls were refused for them ({counts})")
    lines.append(f"index: {told['index']['served'] or 'none'} is served")
    if told["index"]["vectors"] == 0:
        lines[-1] += f", {NO_VECTORS}"
    unfinished = {
        key: states for key, states in partitions.items() if {*states.values()} != {"done"}
    }
    for key, states in list(unfinished.items())[:SHOWN]:
        behind = ", ".join(f"{asset} {state}" for asset, state in states.items() if state != "done")
        lines.append(f"  {key}: {behind}")
    if len(unfinished) > SHOWN:
        lines.append(f"  ... and {len(unfinished) - SHOWN} more")
    lines += [f"failed: {name}: {message}" for name, message in told["failures"].items()]
    damage = damage_lines([Damage(**damage) for damage in told["damaged"]])
    lines += damage
    if not damage and (unfinished or {*once.values()} != {"done"}):
        lines.append("next: clip-assets run")
    return "\n".join(shown(line) for several in lines for line in several.split("\n"))


def damage_lines(damaged: Sequence[Damage]) -> list[str]:
    """Damaged files one by one, and what to type; nothing where there are none."""
    if not damaged:
        return []
    lines = [f"damaged: {damage.as_text()}" for damage in damaged[:SHOWN]]
    if len(damaged) > SHOWN:
        lines.append(f"damaged: ... and {len(damaged) - SHOWN:,} more files")
    return [*lines, f"next: clip-assets verify, then {REPAIR}"]


def served_vectors(pool: Pool) -> int | None:
    """Vectors of each side of the served index; None without one, or if it cannot be read."""
    try:
        served = versions.current(pool.store)
        return versions.read(pool.store, served).vectors if served else None
    except ClipAssetsError:
        return None


def _behind(pool: Pool, segments: Mapping[Key, State]) -> list[Key]:
    """Partitions that the served version does not hold as they are today, or at all."""
    served = versions.current(pool.store)
    held = set(versions.read(pool.store, served).partitions_used) if served else set[Key]()
    return [key for key, state in segments.items() if state != "done" or key not in held]


def _rows_out(pool: Pool, asset: str, keys: Sequence[Key]) -> int:
    manifests = (pool.catalog.get(asset, key) for key in keys)
    return sum(manifest.report.rows_out for manifest in manifests if manifest)


def _success_rate(pool: Pool) -> float | None:
    """Share of urls that gave an image, of partitions whose images were fetched."""
    fetched = [key for key, plan in pool.plans.items() if plan.adopted is None]
    done = [made for key in fetched if (made := pool.catalog.get(layout.IMAGE_SHARDS, key))]
    attempts = sum(made.report.rows_in for made in done)
    return round(sum(made.report.rows_out for made in done) / attempts, 4) if attempts else None
