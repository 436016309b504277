"""Where the files of a pool lie, and which asset makes each: the table of artifacts.

The only module that defines a folder, a file name or an asset's name that another module
reads. Paths are relative to the store's root, with forward slashes; columns are in ``schemas``.
Nothing here touches a disk. ``docs/layout.md`` is generated from this module.
"""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Generic, NewType, ParamSpec, TypeAlias

import pyarrow as pa

from clip_assets import schemas

VERSION = 1
"""Raised when a file that older releases read comes to mean something else; a new path or a new
nullable column does not count. See docs/decisions/0015-layout-versions.md."""

OLDEST = 1
"""The oldest layout whose stores this release reads and writes."""

LEAST_READER = 1
"""The oldest layout whose releases may work on the stores that this one makes."""

Key = NewType("Key", str)
"""One part of an asset: a partition, a subset's name, or ``WHOLE``."""

PartitionKey: TypeAlias = Key
"""A batch of source rows: five zero-padded digits, ``"00042"``; also the Dagster partition key."""

WHOLE = Key("")
"""The only key of an asset that is made once, from the whole pool."""

SHARD_DIGITS = 5
"""Digits of a shard's number inside its partition; img2dataset's ``oom_shard_count``."""

SIDES = ("image", "text")
"""The two vector spaces."""


def partition_key(number: int) -> PartitionKey:
    """Key of the ``number``-th partition of a pool, in order of arrival."""
    return Key(f"{number:05d}")


# --- assets -----------------------------------------------------------------------------
# Each name stands here once. How it is made says the record beside its stage, see ``graph``.

RAW_PAIRS = "raw_pairs"
UNIQUE_PAIRS = "unique_pairs"
IMAGE_SHARDS = "image_shards"
EMBEDDINGS = "embeddings"
POOL_METADATA = "pool_metadata"
SUBSETS = "subsets"
SUBSET_SHARDS = "subset_shards"
METADATA_STATS = "metadata_stats"
INDEX_RECIPE = "index_recipe"
INDEX_SEGMENTS = "index_segments"
FAISS_INDEX = "faiss_index"
ID_MAPPING = "id_mapping"
HUB_DATASET = "hub_dataset"

P = ParamSpec("P")

_TEXT, _NUMBER = "\0", 987654321
# Stand-ins for the values of a path: no path has them.


class Artifact(Generic[P]):
    """A kind of file that an asset publishes; called with a file's values, it gives its path.

    Args:
        path: from values to a path.
        made_by: name of the asset.
        schema: its columns, None where it is no table.
        needs_rows: whether it is a table that is left out where it would have no rows.
    """

    def __init__(
        self,
        path: Callable[P, str],
        made_by: str,
        schema: pa.Schema | None,
        *,
        needs_rows: bool = False,
    ) -> None:
        functools.update_wrapper(self, path)
        self._path = path
        self.made_by = made_by
        self.schema = schema
        self.needs_rows = needs_rows

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The path of one file."""
        return self._path(*args, **kwargs)

    def holds(self, path: str) -> bool:
        """Whether a path is one of its files."""
        return self._pattern.fullmatch(path) is not None

    @property
    def name(self) -> str:
        """What it is called here, such as ``raw``."""
        return self._path.__name__

    @property
    def template(self) -> str:
        """Its path for people, such as ``raw/<partition>.parquet``."""
        return self._filled({name: f"<{name}>" for name in self._values})

    @functools.cached_property
    def _values(self) -> dict[str, object]:
        """A stand-in for each value of the path, by name."""
        parameters = inspect.signature(self._path).parameters.values()
        return {p.name: _NUMBER if p.annotation is int else f"{_TEXT}{p.name}" for p in parameters}

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self._filled(dict.fromkeys(self._values, "[^/]+"), re.escape))

    def _filled(self, values: dict[str, str], rest: Callable[[str], str] = str) -> str:
        """The path with each value replaced, and what stands between them."""
        path = rest(self._path(**self._values))  # pyright: ignore[reportCallIssue]
        for name, stand_in in self._values.items():
            path = path.replace(rest(str(stand_in)), values[name])
        return path


ARTIFACTS: list[Artifact[...]] = []
"""Every kind of file that an asset publishes and that another module reads, as they stand here."""


def artifact(
    made_by: str, schema: pa.Schema | None = None, *, also_empty: bool = False
) -> Callable[[Callable[P, str]], Artifact[P]]:
    """Put a path into the table."""

    def entered(path: Callable[P, str]) -> Artifact[P]:
        needs_rows = schema is not None and not also_empty
        ARTIFACTS.append(kind := Artifact(path, made_by, schema, needs_rows=needs_rows))
        return kind

    return entered


def made_by(path: str) -> str:
    """The asset that publishes a file, empty where the table does not say."""
    return next((kind.made_by for kind in ARTIFACTS if kind.holds(path)), "")


def needs_rows(path: str) -> bool:
    """Whether a file is a table that is left out where it would have no rows."""
    return any(kind.needs_rows and kind.holds(path) for kind in ARTIFACTS)


# --- the store itself -------------------------------------------------------------------

STORE = "store.json"
"""Layout version of the store, and the oldest one whose releases may work on it."""

MODEL = "model.json"
"""Identity of the model whose embeddings the store holds."""

SETTINGS_FILE = "pool.yaml"
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


def adopted(partition: PartitionKey) -> str:
    """Rows that came with what a partition takes over; a source like any other."""
    return f"adopted/{partition}.parquet"


def store_wide(name: str) -> str:
    """What the whole pool has to heed, such as takedowns, for the assets that say so."""
    return f"store_wide/{name}.parquet"


def manifest(asset: str, key: Key = WHOLE) -> str:
    """Record of one finished asset or partition, written last."""
    return f"manifests/{asset}/{key}.json" if key else f"manifests/{asset}.json"


def failure(asset: str, key: Key = WHOLE) -> str:
    """Record of the last failure of one asset or partition, removed by a success."""
    return f"failures/{asset}/{key}.json" if key else f"failures/{asset}.json"


def work(asset: str, key: Key = WHOLE) -> str:
    """Folder of finished chunks of an unfinished partition."""
    return f"work/{asset}/{key}" if key else f"work/{asset}"


def picture(asset: str, key: Key, name: str) -> str:
    """A picture for people: contact sheets and histograms."""
    return f"{PICTURES}/{asset}/{key}/{name}" if key else f"{PICTURES}/{asset}/{name}"


PICTURES = "pictures"
"""Folder of all pictures; nothing is made from them."""


# --- pairs ------------------------------------------------------------------------------


@artifact(RAW_PAIRS, schemas.PAIRS)
def raw(partition: PartitionKey) -> str:
    """Every pair of a partition in canonical columns, in source order."""
    return f"raw/{partition}.parquet"


@artifact(RAW_PAIRS, schemas.REJECTS, also_empty=True)
def rejects(partition: PartitionKey) -> str:
    """Source rows of a partition that could not be read as pairs; there also where none is."""
    return f"rejects/{partition}.parquet"


@artifact(RAW_PAIRS, schemas.PAIR_KEYS)
def pair_keys(partition: PartitionKey) -> str:
    """Deduplication keys of every pair of a partition."""
    return f"pair_keys/{partition}.parquet"


def owners(partition: PartitionKey) -> str:
    """What a pass over the keys of many partitions found for one that is still to be run."""
    return f"{work(UNIQUE_PAIRS, partition)}/owners.parquet"


@artifact(UNIQUE_PAIRS, schemas.PAIRS)
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


@artifact(IMAGE_SHARDS)
def shard_tar(partition: PartitionKey, number: int) -> str:
    """Images, captions and json of one shard, in webdataset form."""
    return f"shards/{partition}/{shard_name(number)}.tar"


@artifact(IMAGE_SHARDS, schemas.SHARD_ROWS)
def shard_rows(partition: PartitionKey, number: int) -> str:
    """One row for every pair of one shard."""
    return f"shards/{partition}/{shard_name(number)}.parquet"


@artifact(IMAGE_SHARDS)
def shard_stats(partition: PartitionKey, number: int) -> str:
    """img2dataset's counts of one shard; written last, so a shard counts as done by it."""
    return f"shards/{partition}/{shard_name(number)}_stats.json"


TAR_INDEX = "tar_index"
"""Folder of tar indices; also, in the user's cache, of those of tars that are in no pool."""


def tar_index_folder(partition: PartitionKey) -> str:
    """Folder of the tar indices of a partition."""
    return f"{TAR_INDEX}/{partition}"


@artifact(IMAGE_SHARDS, schemas.TAR_INDEX)
def tar_index(partition: PartitionKey, number: int) -> str:
    """Where every member of one shard's tar is; shards of earlier releases have none."""
    return f"{tar_index_folder(partition)}/{shard_name(number)}.parquet"


# --- embeddings -------------------------------------------------------------------------


@artifact(EMBEDDINGS)
def img_emb(partition: PartitionKey) -> str:
    """Image embeddings of a partition, (n, dim) float16."""
    return f"{EMBEDDINGS}/img_emb/img_emb_{partition}.npy"


@artifact(EMBEDDINGS)
def text_emb(partition: PartitionKey) -> str:
    """Text embeddings of a partition, (n, dim) float16, row-aligned with ``img_emb``."""
    return f"{EMBEDDINGS}/text_emb/text_emb_{partition}.npy"


@artifact(EMBEDDINGS, schemas.EMBEDDING_ROWS)
def embedding_rows(partition: PartitionKey) -> str:
    """What each row of a partition's embeddings is."""
    return f"{EMBEDDINGS}/metadata/metadata_{partition}.parquet"


@artifact(EMBEDDINGS, schemas.EMBEDDING_INPUTS)
def embedding_inputs(partition: PartitionKey) -> str:
    """What each of a partition's embeddings was made from: by it, the next run keeps vectors."""
    return f"{EMBEDDINGS}/inputs/inputs_{partition}.parquet"


# --- pool metadata and subsets ----------------------------------------------------------


@artifact(POOL_METADATA, schemas.POOL_ROWS)
def pool_rows(partition: PartitionKey) -> str:
    """DataComp's metadata of a partition, with outcome and scores."""
    return f"metadata/{partition}.parquet"


@artifact(SUBSETS)
def subset(subset: str) -> str:
    """Sorted uids of a subset, (n,) of ``UID_PAIR``."""
    return f"{SUBSETS}/{subset}.npy"


@artifact(SUBSETS)
def subset_version(subset: str, version: str) -> str:
    """An earlier version of a subset; the newest is the subset's own file."""
    return f"{SUBSETS}/{subset}/{version}.npy"


SUBSET_SHARD_DIGITS = 8
"""Digits of a shard's number among those of a subset; DataComp's."""


def subset_shard_folder(subset: str) -> str:
    """Folder of a subset's shards, in DataComp's layout."""
    return f"{SUBSET_SHARDS}/{subset}"


@artifact(METADATA_STATS)
def partition_stats(partition: PartitionKey) -> str:
    """Counts and distributions of one partition, which add up to the pool's."""
    return f"stats/partitions/{partition}.json"


@artifact(METADATA_STATS)
def stats_report() -> str:
    """Counts and distributions of the pool, for reading: one page with its pictures in it."""
    return "stats/report.html"


@artifact(METADATA_STATS)
def stats() -> str:
    """Counts and distributions of the pool, for programs."""
    return "stats/stats.json"


# --- index ------------------------------------------------------------------------------

CURRENT = "index/CURRENT"
"""Name of the index version that is served."""

VERSIONS = "index"
"""Folder of all index versions."""


@artifact(INDEX_RECIPE)
def recipe(side: str) -> str:
    """Trained, empty faiss index of one side."""
    return f"recipe/{side}.index"


@artifact(INDEX_RECIPE)
def recipe_choice() -> str:
    """The factory key of each side's index and why it was chosen."""
    return "recipe/recipe.json"


@artifact(INDEX_RECIPE)
def recipe_queries(kind: str) -> str:
    """Embeddings of one kind by which recall is measured, (q, dim) float16."""
    return f"recipe/queries_{kind}.npy"


@artifact(INDEX_SEGMENTS)
def segment_neighbours(side: str, kind: str, partition: PartitionKey) -> str:
    """What an exact search of the partition finds for the recipe's queries of one kind."""
    return f"segments/neighbours/{side}_{kind}/{partition}.npy"


@artifact(INDEX_SEGMENTS)
def segment_lists(partition: PartitionKey) -> str:
    """The inverted list of each image of one partition, (n,) int32; of an exact index none."""
    return f"segments/lists/{partition}.npy"


@artifact(INDEX_SEGMENTS)
def segment(side: str, partition: PartitionKey) -> str:
    """Encoded vectors of one partition and side, ids 0..n-1."""
    return f"segments/{side}/{partition}.index"


def version_folder(version: str) -> str:
    """Folder of one index version; never changed once complete."""
    return f"index/{version}"


@artifact(FAISS_INDEX)
def index(version: str, side: str) -> str:
    """Merged faiss index of one side."""
    return f"index/{version}/{side}.index"


@artifact(FAISS_INDEX)
def index_manifest(version: str) -> str:
    """Partitions used, missing and stale, and the id range of each."""
    return f"index/{version}/manifest.json"


@artifact(FAISS_INDEX)
def index_neighbours(version: str, side: str, kind: str) -> str:
    """What an exact search of a version finds for the recipe's queries; of an exact index none."""
    return f"index/{version}/neighbours/{side}_{kind}.npy"


@artifact(ID_MAPPING, schemas.INDEX_ROWS)
def index_rows(version: str, slot: int) -> str:
    """Metadata of one id range, in id order; what ``clip-retrieval back`` reads."""
    return f"index/{version}/metadata/metadata_{slot:05d}.parquet"


@artifact(ID_MAPPING)
def mapped_rows(version: str, slot: int) -> str:
    """The same rows as an Arrow file, to be mapped."""
    return f"index/{version}/mapped/rows_{slot:05d}.arrow"


@artifact(ID_MAPPING)
def mapped_uids(version: str, slot: int) -> str:
    """Uids of one id range in order, (3, n) uint64: both halves, and the row in the range."""
    return f"index/{version}/mapped/uids_{slot:05d}.npy"


@artifact(ID_MAPPING, schemas.ID_MAPPING)
def id_mapping(version: str, slot: int) -> str:
    """Vector ids of one id range."""
    return f"index/{version}/id_mapping/part-{slot:08d}.parquet"


# --- hub --------------------------------------------------------------------------------

HUB = "hub"
"""Folder of all that is published on a hub, as it lies there."""


@artifact(HUB_DATASET)
def hub_card() -> str:
    """The card of the published data set."""
    return f"{HUB}/README.md"


@artifact(HUB_DATASET)
def hub_croissant() -> str:
    """The same for programs, in the words of croissant."""
    return f"{HUB}/croissant.json"


@artifact(HUB_DATASET)
def hub_rows(slot: int) -> str:
    """Published rows of one id range, with their vectors; ``schemas.HUB_ROWS`` says which."""
    return f"{HUB}/data/train-{slot:05d}.parquet"


@artifact(HUB_DATASET)
def hub_index(side: str) -> str:
    """The index of one side, without vectors of rows that are not published."""
    return f"{HUB}/faiss/{side}.index"


@artifact(HUB_DATASET)
def hub_mapping(slot: int) -> str:
    """Vector ids of the published rows of one id range."""
    return f"{HUB}/id_mapping/part-{slot:05d}.parquet"
