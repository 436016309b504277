"""Where every artifact lives and what it holds.

The only module that spells a directory, a file name, a column or a column type. Paths
are relative to the store's root, with forward slashes. Nothing here touches a disk, and
nothing here imports another module of the package. ``docs/layout.md`` is generated from
this module.
"""

from typing import NewType

import numpy as np
import numpy.typing as npt
import pyarrow as pa

VERSION = 1
"""Raised when a path or a schema changes; a store written by another version is refused."""

PartitionKey = NewType("PartitionKey", str)
"""A batch of source rows: five zero-padded digits, ``"00042"``; also the Dagster partition key."""

EMBEDDING = np.dtype(np.float16)
"""Embeddings on disk: unit rows, normalised in float32 before rounding."""

UID_PAIR: npt.DTypeLike = np.dtype("u8,u8")
"""A uid in a subset file: (first 16 hex digits, last 16 hex digits) as unsigned integers."""

UID_SEPARATOR = "\x1f"
"""Between url and caption when a uid is computed: md5(url + separator + caption), UTF-8."""

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

PAIRS = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("caption", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("similarity", pa.float64()),
        pa.field("nsfw", pa.string()),
        pa.field("punsafe", pa.float64()),
        pa.field("pwatermark", pa.float64()),
        pa.field("aesthetic", pa.float64()),
        pa.field("license", pa.string()),
        pa.field("language", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("md5", pa.string()),
        pa.field("clip_b32_similarity_score", pa.float64()),
        pa.field("clip_l14_similarity_score", pa.float64()),
        pa.field("face_bboxes", pa.list_(pa.list_(pa.float64()))),
    ]
)
"""Canonical columns of ``raw`` and ``unique``; source columns without a canonical name follow."""

CAPTIONS = pa.field("captions", pa.list_(pa.string()))
"""Further column of ``raw`` and ``unique`` where the url alone makes duplicates: in the first
row of a url every caption that its partition has for it, sorted."""

REJECTS = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("line", pa.int64()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("text", pa.string()),
    ]
)
"""Source rows that are no pairs; ``line`` counts from 1, null where the format has no lines."""

PAIR_KEYS = pa.schema(
    [
        pa.field("hi", pa.uint64(), nullable=False),
        pa.field("lo", pa.uint64(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
    ]
)
"""md5 of url and caption as two integers, sorted and distinct: what later partitions compare.
``row`` counts from 0 and is the first row of ``raw`` that has the key."""


def raw(partition: PartitionKey) -> str:
    """Every pair of a partition in canonical columns, in source order."""
    return f"raw/{partition}.parquet"


def rejects(partition: PartitionKey) -> str:
    """Source rows of a partition that could not be read as pairs."""
    return f"rejects/{partition}.parquet"


def pair_keys(partition: PartitionKey) -> str:
    """Deduplication keys of every pair of a partition."""
    return f"pair_keys/{partition}.parquet"


OWNERS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("owner", pa.int64(), nullable=False),
    ]
)
"""A row of ``raw`` whose key an earlier partition has, and that partition's number."""


def owners(partition: PartitionKey) -> str:
    """What a pass over the keys of many partitions found for one that is still to be run."""
    return f"{work('unique_pairs', partition)}/owners.parquet"


def unique(partition: PartitionKey) -> str:
    """The pairs of a partition that no earlier row of the pool has."""
    return f"unique/{partition}.parquet"


# --- images -----------------------------------------------------------------------------

SHARD_ROWS = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("caption", pa.string()),
        pa.field("url", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error_message", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("original_width", pa.int32()),
        pa.field("original_height", pa.int32()),
        pa.field("exif", pa.string()),
        pa.field("sha256", pa.string()),
        # Columns above are img2dataset's; those below are ours.
        pa.field("error_class", pa.string()),
        pa.field("http_status", pa.int32()),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("final_url", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("fetch_s", pa.float32()),
        pa.field("fetched_at", pa.timestamp("ms", tz="UTC")),
        pa.field("source_sha256", pa.string()),
        pa.field("hash_matches", pa.bool_()),
        pa.field("perceptual_hash", pa.string()),
        pa.field("is_placeholder", pa.bool_(), nullable=False),
    ]
)
"""One row for every pair of a shard, failed ones too; ``sha256`` is of the original bytes, and
``is_placeholder`` says that many urls of the partition gave these same bytes. With another
``compute_hash`` its column stands in the place of ``sha256``, which moves to ours; so does
``exif`` when it is not extracted."""


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

EMBEDDING_ROWS = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("caption", pa.string()),
        pa.field("image_path", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("original_width", pa.int32()),
        pa.field("original_height", pa.int32()),
        pa.field("sha256", pa.string()),
        pa.field("similarity", pa.float32()),
    ]
)
"""Row i describes row i of ``img_emb`` and ``text_emb``; ``similarity`` is their cosine and
``image_path`` is ``<partition>/<shard>/<key>``."""

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


EMBEDDED_ROWS = pa.schema(
    [field.with_nullable(nullable=True) for field in EMBEDDING_ROWS]
    + [pa.field("json", pa.string())]
)
"""Like ``EMBEDDING_ROWS``, for inputs that are no partition: what a sample does not have is null,
``image_path`` is the sample's key or file and ``json`` all that was said of it."""


def embedded_vectors(side: str, name: str) -> str:
    """Embeddings of one part of such an input, in clip-retrieval's layout."""
    folder = {"image": "img_emb", "text": "text_emb"}[side]
    return f"{folder}/{folder}_{name}.npy"


def embedded_rows(name: str) -> str:
    """What each row of one part's embeddings is."""
    return f"metadata/metadata_{name}.parquet"


def embedded_stats(name: str) -> str:
    """Counts of one part and what it was made from; written last."""
    return f"stats/{name}.json"


# --- pool metadata and subsets ----------------------------------------------------------

POOL_ROWS = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("original_width", pa.int32()),
        pa.field("original_height", pa.int32()),
        pa.field("clip_b32_similarity_score", pa.float32()),
        pa.field("clip_l14_similarity_score", pa.float32()),
        pa.field("face_bboxes", pa.list_(pa.list_(pa.float64()))),
        pa.field("sha256", pa.string()),
        # Columns above are DataComp's; those below are ours.
        pa.field("clip_similarity_score", pa.float32()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error_class", pa.string()),
        pa.field("nsfw", pa.string()),
        pa.field("license", pa.string()),
        pa.field("language", pa.string()),
        pa.field("similarity", pa.float32()),
        pa.field("punsafe", pa.float32()),
        pa.field("pwatermark", pa.float32()),
        pa.field("aesthetic", pa.float32()),
        pa.field("shard", pa.string()),
        pa.field("key", pa.string()),
    ]
)
"""One row for every unique pair; ``clip_similarity_score`` is by the store's own model and
null where there is no image; ``similarity`` and the three scores after it are the source's.
Sizes and hash are of the original image."""


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

ID_MAPPING = pa.schema(
    [
        pa.field("url", pa.string()),
        pa.field("uid", pa.string()),
        pa.field("i", pa.int64(), nullable=False),
    ]
)
"""Vector id to pair; a row with null uid is an id no longer in use."""


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


INDEX_ROWS = pa.schema([field.with_nullable(nullable=True) for field in EMBEDDING_ROWS])
"""Row i describes vector id i of an index version; all null where the id is not in use."""


def index_rows(version: str, slot: int) -> str:
    """Metadata of one id range, in id order; what ``clip-retrieval back`` reads."""
    return f"index/{version}/metadata/metadata_{slot:05d}.parquet"


def id_mapping(version: str, slot: int) -> str:
    """Vector ids of one id range."""
    return f"index/{version}/id_mapping/part-{slot:08d}.parquet"
