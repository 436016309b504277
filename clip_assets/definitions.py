"""What Dagster loads: the assets, their resource, executor and automation.

Assembly only; assets, conditions and executors are in ``clip_assets.defs``.
"""

import dagster as dg

from clip_assets.defs import images, index, pairs, subsets
from clip_assets.orchestration import automation
from clip_assets.orchestration.executors import executor
from clip_assets.orchestration.resources import Pool


def build_defs(pool: Pool | None = None) -> dg.Definitions:
    """Assemble the graph; tests pass their own pool."""
    return dg.Definitions(
        assets=[
            pairs.raw_pairs,
            pairs.unique_pairs,
            images.image_shards,
            images.embeddings,
            subsets.pool_metadata,
            index.index_recipe,
            index.index_segments,
            index.faiss_index,
            index.id_mapping,
            *subsets.SUBSETS,
            subsets.metadata_stats,
        ],
        resources={"pool": pool or Pool()},
        executor=executor(),
        sensors=[automation.new_sources, automation.AUTOMATION],
        schedules=[automation.catch_up],
    )


defs = build_defs()
