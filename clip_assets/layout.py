"""Where every artifact lives and what it holds.

The only module that spells a directory, a file name, a column or a column type. Paths
are relative to the store's root, with forward slashes. Nothing here touches a disk, and
nothing here imports another module of the package. ``docs/layout.md`` is generated from
this module.
"""

from typing import NewType

VERSION = 1
"""Raised when a path or a schema changes; a store written by another version is refused."""

PartitionKey = NewType("PartitionKey", str)
"""A batch of source rows: five zero-padded digits, ``"00042"``; also the Dagster partition key."""


SHARD_DIGITS = 5
"""Digits of a shard's number inside its partition; img2dataset's ``oom_shard_count``."""


def partition_key(number: int) -> PartitionKey:
    """Key of the ``number``-th partition of a pool, in order of arrival."""
    return PartitionKey(f"{number:05d}")


# --- the store itself -------------------------------------------------------------------

STORE = "store.json"
"""Layout version of the store."""

MODEL = "model.json"
"""Identity of the model whose embeddings the store holds."""

POOL = "pool.yaml"
"""Settings of the pool, written by its user."""

TEMPORARY = ".tmp"
"""Files being written; nothing under it was ever published."""


def lock(name: str) -> str:
    """Lock of one writer, for example ``lock("embeddings/00000")``."""
    return f"locks/{name}.lock"


def plan(partition: PartitionKey) -> str:
    """Which source rows belong to a partition."""
    return f"partitions/{partition}.json"


PLANS = "partitions"
"""Folder of all plans: the ledger."""


def manifest(asset: str, partition: PartitionKey | None = None) -> str:
    """Record of one finished asset or partition, written last."""
    return f"manifests/{asset}/{partition}.json" if partition else f"manifests/{asset}.json"


def failure(asset: str, partition: PartitionKey | None = None) -> str:
    """Record of the last failure of one asset or partition, removed by a success."""
    return f"failures/{asset}/{partition}.json" if partition else f"failures/{asset}.json"


def work(asset: str, partition: PartitionKey | None = None) -> str:
    """Folder of finished chunks of an unfinished partition."""
    return f"work/{asset}/{partition}" if partition else f"work/{asset}"


def picture(asset: str, partition: PartitionKey | None, name: str) -> str:
    """A picture for people: contact sheets and histograms."""
    return f"pictures/{asset}/{partition}/{name}" if partition else f"pictures/{asset}/{name}"


# --- pairs ------------------------------------------------------------------------------


def raw(partition: PartitionKey) -> str:
    """Every pair of a partition in canonical columns, in source order."""
    return f"raw/{partition}.parquet"


def rejects(partition: PartitionKey) -> str:
    """Source rows of a partition that could not be read as pairs."""
    return f"rejects/{partition}.parquet"


def pair_keys(partition: PartitionKey) -> str:
    """Deduplication keys of every pair of a partition."""
    return f"pair_keys/{partition}.parquet"


def owners(partition: PartitionKey) -> str:
    """What a pass over the keys of many partitions found for one that is still to be run."""
    return f"{work('unique_pairs', partition)}/owners.parquet"


def unique(partition: PartitionKey) -> str:
    """The pairs of a partition that no earlier row of the pool has."""
    return f"unique/{partition}.parquet"


# --- images -----------------------------------------------------------------------------


def shard_name(number: int) -> str:
    """Name of the ``number``-th shard of a partition, without extension."""
    return f"{number:0{SHARD_DIGITS}d}"


def shard_folder(partition: PartitionKey) -> str:
    """Folder of a partition's shards."""
    return f"shards/{partition}"


def shard_tar(partition: PartitionKey, number: int) -> str:
    """Images, captions and json of one shard, in webdataset form."""
    return f"shards/{partition}/{shard_name(number)}.tar"


def shard_rows(partition: PartitionKey, number: int) -> str:
    """One row for every pair of one shard."""
    return f"shards/{partition}/{shard_name(number)}.parquet"


def shard_stats(partition: PartitionKey, number: int) -> str:
    """img2dataset's counts of one shard; written last, so a shard counts as done by it."""
    return f"shards/{partition}/{shard_name(number)}_stats.json"


# --- embeddings -------------------------------------------------------------------------


EMBEDDINGS = "embeddings"
"""Folder that ``clip-retrieval index`` takes as input."""


def img_emb(partition: PartitionKey) -> str:
    """Image embeddings of a partition, (n, dim) float16."""
    return f"{EMBEDDINGS}/img_emb/img_emb_{partition}.npy"


def text_emb(partition: PartitionKey) -> str:
    """Text embeddings of a partition, (n, dim) float16, row-aligned with ``img_emb``."""
    return f"{EMBEDDINGS}/text_emb/text_emb_{partition}.npy"


def embedding_rows(partition: PartitionKey) -> str:
    """What each row of a partition's embeddings is."""
    return f"{EMBEDDINGS}/metadata/metadata_{partition}.parquet"


# --- pool metadata and subsets ----------------------------------------------------------


def pool_rows(partition: PartitionKey) -> str:
    """DataComp's metadata of a partition, with outcome and scores."""
    return f"metadata/{partition}.parquet"


def subset(name: str) -> str:
    """Sorted uids of a subset, (n,) of ``UID_PAIR``."""
    return f"subsets/{name}.npy"


def partition_stats(partition: PartitionKey) -> str:
    """Counts and distributions of one partition, which add up to the pool's."""
    return f"stats/partitions/{partition}.json"


STATS_REPORT = "stats/report.html"
"""Counts and distributions of the pool, for reading: one page with its pictures in it."""

STATS = "stats/stats.json"
"""Counts and distributions of the pool, for programs."""


# --- index ------------------------------------------------------------------------------

SIDES = ("image", "text")
"""The two vector spaces' names in index files."""

CURRENT = "index/CURRENT"
"""Name of the index version that is served."""

VERSIONS = "index"
"""Folder of all index versions."""


def recipe(side: str) -> str:
    """Trained, empty faiss index of one side."""
    return f"recipe/{side}.index"


RECIPE = "recipe/recipe.json"
"""The factory key of each side's index and why it was chosen."""


def segment(side: str, partition: PartitionKey) -> str:
    """Encoded vectors of one partition and side, ids 0..n-1."""
    return f"segments/{side}/{partition}.index"


def version_folder(version: str) -> str:
    """Folder of one index version; never changed once complete."""
    return f"index/{version}"


def index(version: str, side: str) -> str:
    """Merged faiss index of one side."""
    return f"index/{version}/{side}.index"


def index_manifest(version: str) -> str:
    """Partitions used, missing and stale, and the id range of each."""
    return f"index/{version}/manifest.json"


def index_rows(version: str, slot: int) -> str:
    """Metadata of one id range, in id order; what ``clip-retrieval back`` reads."""
    return f"index/{version}/metadata/metadata_{slot:05d}.parquet"


def id_mapping(version: str, slot: int) -> str:
    """Vector ids of one id range."""
    return f"index/{version}/id_mapping/part-{slot:08d}.parquet"
