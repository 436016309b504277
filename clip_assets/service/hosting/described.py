"""What an index is, for who chooses one; and whether the service is ready.

Versions are hosted by ``hosted``.
"""

from importlib.metadata import version as installed
from typing import Any

from clip_assets import layout, schemas
from clip_assets.index.effort.reach import Reaches
from clip_assets.meanings import meaning
from clip_assets.pool.pool import Pool
from clip_assets.service.hosting.hosted import HostedIndex, Hosting
from clip_assets.service.limits.offer import Offer
from clip_assets.service.limits.visible import Visible


def indices(hosting: Hosting, offer: Offer, visible: Visible) -> list[dict[str, Any]]:
    """Every hosted index, as ``/v1/indices`` tells it."""
    return [_index(index, offer, visible) for index in hosting.indices.values()]


def readiness(hosting: Hosting) -> dict[str, Any]:
    """Whether searches are answered, and by what."""
    return {
        "ready": True,
        "release": installed("clip-assets"),
        "indices": [
            {
                "name": index.name,
                "version": index.version,
                "model": index.model_state,
                "problem": str(index.problem) if index.problem else None,
            }
            for index in hosting.indices.values()
        ],
    }


def _index(index: HostedIndex, offer: Offer, visible: Visible) -> dict[str, Any]:
    with index.opened() as opened:
        searcher = opened.searcher
        version = searcher.version
        recall_target = index.pool.settings.index.recall_target
        return {
            "name": index.name,
            "version": version.name,
            "model": version.model_name,
            "dim": version.dim,
            "vectors": version.vectors - len(searcher.taken_down),
            "taken_down": len(searcher.taken_down),
            "sides": list(searcher.sides),
            "recall_target": recall_target,
            "recall": _recall(version.reach, is_afar=not searcher.pool.store.is_local),
            **_rows(searcher.pool, version.vectors),
            "partitions": [str(partition) for partition in version.partitions_used],
            "columns": [
                {
                    "name": field.name,
                    "type": str(field.type),
                    "words": meaning(schemas.POOL_ROWS, field.name),
                }
                for field in visible.schema
            ],
            "uploads": offer.uploads,
            "image_urls": offer.image_urls,
        }


def _recall(reach: Reaches, *, is_afar: bool) -> dict[str, Any]:
    """What searches of each side find by kind of query, as it was measured; null: not known."""
    kept = ("k", "target", "uncertainty", "scanned")
    return {
        side: {
            kind: [
                {name: getattr(known, name) for name in kept}
                | {"recall": known.recall_afar if is_afar else known.recall}
                for known in reaches
            ]
            for kind, reaches in kinds.items()
        }
        for side, kinds in reach.items()
    }


def _rows(pool: Pool, vectors: int) -> dict[str, Any]:
    """Pairs of the pool, and how many of them have an image; all of an index folder's have."""
    if not pool.partitions:
        return {"rows": vectors, "success": vectors}
    reports = [
        manifest.report
        for partition in pool.partitions
        if (manifest := pool.catalog.get(layout.IMAGE_SHARDS, partition))
    ]
    return {
        "rows": sum(report.rows_in for report in reports),
        "success": sum(report.rows_out for report in reports),
    }
