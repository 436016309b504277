"""The asset graph: the one table from which everything about it is derived.

An asset is added by its record beside its stage, by its declaration in ``defs``, and by one line
here. Order, Dagster's dependencies, states, and the pictures in the documents follow.
"""

from graphlib import TopologicalSorter
from types import MappingProxyType

from clip_assets import settings
from clip_assets.dedup.unique_pairs import UNIQUE_PAIRS
from clip_assets.download.image_shards import IMAGE_SHARDS
from clip_assets.index.faiss_index import FAISS_INDEX
from clip_assets.index.id_mapping import ID_MAPPING
from clip_assets.index.index_recipe import INDEX_RECIPE
from clip_assets.index.index_segments import INDEX_SEGMENTS
from clip_assets.inference.embeddings import EMBEDDINGS
from clip_assets.metadata.aesthetic import AESTHETIC
from clip_assets.metadata.pool_metadata import POOL_METADATA
from clip_assets.pairs.raw_pairs import RAW_PAIRS
from clip_assets.pool.asset import Asset
from clip_assets.pool.pool import Pool
from clip_assets.publishing.hub_dataset import HUB_DATASET
from clip_assets.reshard.subset_shards import SUBSET_SHARDS
from clip_assets.stats.metadata_stats import METADATA_STATS
from clip_assets.storage.store import Store
from clip_assets.subsets.subset_files import SUBSETS

TABLE = (
    RAW_PAIRS,
    UNIQUE_PAIRS,
    IMAGE_SHARDS,
    EMBEDDINGS,
    AESTHETIC,
    POOL_METADATA,
    SUBSETS,
    SUBSET_SHARDS,
    METADATA_STATS,
    INDEX_RECIPE,
    INDEX_SEGMENTS,
    FAISS_INDEX,
    ID_MAPPING,
    HUB_DATASET,
)


def _in_order(table: tuple[Asset, ...]) -> dict[str, Asset]:
    """Assets by name, upstream first; of those that may come next, the first of the table."""
    by_name = {asset.name: asset for asset in table}
    sorter = TopologicalSorter({asset.name: asset.deps for asset in table})
    return {name: by_name[name] for name in sorter.static_order()}


ASSETS = MappingProxyType(_in_order(TABLE))
"""Every asset by its name, upstream first."""


def open_pool(
    root: str | None = None, settings_file: str | None = None, *, create: bool = False
) -> Pool:
    """Open a pool.

    Args:
        root: path or url; by default ``CLIP_ASSETS_ROOT``, then ``data``.
        settings_file: by default ``CLIP_ASSETS_POOL``, then ``pool.yaml`` in the root.
        create: whether to make it if there is none.

    Raises:
        ConfigurationError: the root or a setting cannot be.
        StoreError: there is none and none shall be made, or it cannot be read.
    """
    read = settings.load(root, settings_file)
    return Pool(Store.open(read.root, create=create), read, ASSETS)
