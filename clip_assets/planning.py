"""What is done, what is not, and in which order it is made.

The store's manifests are the truth; nothing here imports the orchestrator. ``graph`` lists
the assets in dependency order with what each is made from today, so that missing, stale and
failed work is found with a look at manifests only.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clip_assets.dedup import unique_pairs
from clip_assets.download import image_shards
from clip_assets.encoders.identity import expected_identity
from clip_assets.errors import ConfigurationError
from clip_assets.index import faiss_index, id_mapping, index_recipe, index_segments
from clip_assets.inference import embeddings
from clip_assets.layout import PartitionKey
from clip_assets.metadata import pool_metadata
from clip_assets.pairs import raw_pairs
from clip_assets.partitions import ledger
from clip_assets.pool.stages import Stage
from clip_assets.settings import Settings
from clip_assets.stats import metadata_stats as pool_stats
from clip_assets.storage.manifests import Catalog, State
from clip_assets.subsets import baselines

Inputs = dict[str, str]


@dataclass(frozen=True, slots=True)
class Node:
    """One asset of the graph.

    Args:
        stage: what makes it.
        inputs: what it is made from today, by partition; None for an unpartitioned asset.
        pool_inputs: the same for an unpartitioned asset; None for a partitioned one.
    """

    stage: Stage
    inputs: Callable[[PartitionKey], Inputs] | None = None
    pool_inputs: Callable[[], Inputs] | None = None

    @property
    def asset(self) -> str:
        """The asset's name, with ``/`` between the parts of its key."""
        return self.stage.asset

    def states(
        self, catalog: Catalog, partitions: Sequence[PartitionKey]
    ) -> Mapping[PartitionKey | None, State]:
        """State of every partition, or of the asset under the key None."""
        version = self.stage.version
        if self.pool_inputs is not None:
            return {None: catalog.state(self.asset, None, version, self.pool_inputs())}
        assert self.inputs is not None
        catalog.preload(self.asset, partitions)
        return {
            key: catalog.state(self.asset, key, version, self.inputs(key)) for key in partitions
        }


def partitions_of(catalog: Catalog) -> list[PartitionKey]:
    """Every partition of the pool, in order of arrival."""
    return [plan.partition for plan in ledger.plans(catalog.store)]


def graph(catalog: Catalog, settings: Settings) -> list[Node]:
    """Every asset, upstream first."""
    plans = {plan.partition: plan for plan in ledger.plans(catalog.store)}
    keys = list(plans)
    earlier = {key: keys[:number] for number, key in enumerate(keys)}
    identity = expected_identity(catalog.store, settings.inference)
    return [
        Node(raw_pairs.RAW_PAIRS, lambda p: raw_pairs.raw_pairs_inputs(plans[p], settings.sources)),
        Node(
            unique_pairs.UNIQUE_PAIRS,
            lambda p: unique_pairs.unique_pairs_inputs(catalog, p, earlier[p]),
        ),
        Node(
            image_shards.IMAGE_SHARDS,
            lambda p: image_shards.image_shards_inputs(catalog, p, settings.download),
        ),
        Node(
            embeddings.EMBEDDINGS,
            lambda p: embeddings.embeddings_inputs(catalog, p, settings.inference, identity),
        ),
        Node(pool_metadata.POOL_METADATA, lambda p: pool_metadata.pool_metadata_inputs(catalog, p)),
        Node(
            index_recipe.INDEX_RECIPE,
            pool_inputs=lambda: index_recipe.index_recipe_inputs(catalog, keys, settings.index),
        ),
        Node(
            index_segments.INDEX_SEGMENTS,
            lambda p: index_segments.index_segments_inputs(catalog, p),
        ),
        Node(
            faiss_index.FAISS_INDEX,
            pool_inputs=lambda: faiss_index.faiss_index_inputs(catalog, keys, settings.index),
        ),
        Node(
            id_mapping.ID_MAPPING, pool_inputs=lambda: id_mapping.id_mapping_inputs(catalog, keys)
        ),
        *(
            Node(
                baselines.stage(name),
                pool_inputs=lambda name=name: baselines.subset_inputs(catalog, name, keys),
            )
            for name in baselines.NAMES
        ),
        Node(
            pool_stats.METADATA_STATS,
            pool_inputs=lambda: pool_stats.metadata_stats_inputs(
                catalog, pool_metadata.look(catalog, keys)
            ),
        ),
    ]


def unfinished(
    catalog: Catalog, nodes: Sequence[Node], partitions: Sequence[PartitionKey]
) -> list[PartitionKey]:
    """Partitions for which at least one of the partitioned assets is not done."""
    open_ones: set[PartitionKey] = set()
    for node in nodes:
        if node.inputs is not None:
            states = node.states(catalog, partitions)
            open_ones |= {key for key, state in states.items() if key and state != "done"}
    return [key for key in partitions if key in open_ones]


def failed(
    catalog: Catalog, nodes: Sequence[Node], partitions: Sequence[PartitionKey]
) -> list[PartitionKey]:
    """Partitions for which at least one of the partitioned assets failed."""
    found = [node.states(catalog, partitions) for node in nodes if node.inputs is not None]
    return [key for key in partitions if any(states[key] == "failed" for states in found)]


def ranges(
    keys: Sequence[PartitionKey], order: Sequence[PartitionKey]
) -> list[tuple[PartitionKey, PartitionKey]]:
    """The keys as first and last of runs that are contiguous in ``order``."""
    place = {key: number for number, key in enumerate(order)}
    found: list[tuple[PartitionKey, PartitionKey]] = []
    for key in sorted(keys, key=place.__getitem__):
        if found and place[found[-1][1]] + 1 == place[key]:
            found[-1] = (found[-1][0], key)
        else:
            found.append((key, key))
    return found


def chosen(spec: str, catalog: Catalog, nodes: Sequence[Node]) -> list[PartitionKey]:
    """The partitions that a ``--partitions`` argument means.

    Args:
        spec: ``missing`` (everything not done), ``failed``, ``all``, keys ``a,b`` or ranges
            ``a..b``, also mixed.
        catalog: the pool.
        nodes: the assets that count.

    Raises:
        ConfigurationError: a key that the pool does not have.
    """
    every = partitions_of(catalog)
    match spec:
        case "missing":
            return unfinished(catalog, nodes, every)
        case "failed":
            return failed(catalog, nodes, every)
        case "all":
            return every
        case _:
            named = {key for part in spec.split(",") for key in _named(part.strip(), every)}
            return [key for key in every if key in named]


def _named(part: str, every: Sequence[PartitionKey]) -> list[PartitionKey]:
    first, dots, last = part.partition("..")
    ends = [first, last] if dots else [first]
    unknown = [end for end in ends if end not in every]
    if unknown or not re.fullmatch(r"\d+", first):
        known = f"{every[0]}..{every[-1]}" if every else "no partition yet"
        raise ConfigurationError(
            "--partitions",
            repr(part),
            f"missing, failed, all, or keys of the pool ({known})",
            "See: clip-assets status",
        )
    return [key for key in every if ends[0] <= key <= ends[-1]]
