"""What the files of a pool hold: columns, their types, and the types of numbers.

The only module that defines a column or a type; where the files lie is said by ``layout``.
Nothing here touches a disk, and nothing here imports another module of the package.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

EMBEDDING = np.dtype(np.float16)
"""Embeddings on disk: unit rows, normalised in float32 before rounding."""

UID_PAIR: npt.DTypeLike = np.dtype("u8,u8")
"""A uid in a subset file: (first 16 hex digits, last 16 hex digits) as unsigned integers."""

UID_SEPARATOR = "\x1f"
"""Between url and caption when a uid is computed: md5(url + separator + caption), UTF-8."""


# --- pairs ------------------------------------------------------------------------------

CANONICAL = pa.schema(
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
"""What sources say of pairs, by the names that this project has for it."""

CAPTIONS = pa.field("captions", pa.list_(pa.string()))
"""Where the url alone makes duplicates: in the first row of a url every caption that its partition
has for it, sorted."""

FURTHER = pa.field("further", pa.string())
"""Values that have no column of their own, as a json object of texts by name; a value that is null
is left out, and a row without any is null."""

PAIRS = pa.schema([*CANONICAL, CAPTIONS, FURTHER])
"""Columns of ``raw`` and ``unique``: those of every source, all ``captions`` of a url where the url
alone makes duplicates, and in ``further`` what else the source says of the row, as a json object of
texts by name. ``sources.promoted`` puts some of these into columns of their own, before it. Tables
of earlier releases have a column for each of them, and neither ``captions`` nor ``further``."""


def pairs(promoted: Sequence[str] = ()) -> pa.Schema:
    """``PAIRS`` with some further columns of sources as columns of their own."""
    return pa.schema([*PAIRS][:-1] + [pa.field(name, pa.string()) for name in promoted] + [FURTHER])


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

OWNERS = pa.schema(
    [pa.field("row", pa.int64(), nullable=False), pa.field("owner", pa.int64(), nullable=False)]
)
"""A row of ``raw`` whose key an earlier partition has, and that partition's number."""

ADOPTED_ROW = "adopted_row"
"""Column of rows that came with what others made: their number, by which that is found."""


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
        # What was said when it was fetched, each column named after where.
        pa.field("robots", pa.string()),
        pa.field("robots_content_usage", pa.string()),
        pa.field("robots_content_signal", pa.string()),
        pa.field("tdmrep_json", pa.string()),
        pa.field("x_robots_tag", pa.string()),
        pa.field("content_usage", pa.string()),
        pa.field("tdm_reservation", pa.string()),
        pa.field("data_mining", pa.string()),
        pa.field("c2pa_training", pa.string()),
        pa.field("site_asked_at", pa.timestamp("ms", tz="UTC")),
        pa.field("opt_outs", pa.list_(pa.string())),
    ]
)
"""One row for every pair of a shard, failed ones too; ``sha256`` is of the original bytes, and
``is_placeholder`` says that many urls of the partition gave these same bytes. With another
``compute_hash`` its column stands in the place of ``sha256``, which moves to ours; so does
``exif`` when it is not extracted.

What was said of the image's use is null where nothing was said or nobody asked. ``robots``,
the others named after it and ``tdmrep_json`` are of the site's files, as they were at
``site_asked_at``; the headers and the file are of ``fetched_at``. ``opt_outs`` names the columns
that reserve the use, and is null where nothing was heard or an earlier release fetched."""


TAR_INDEX = pa.schema(
    [
        pa.field("uid", pa.string()),
        pa.field("key", pa.string(), nullable=False),
        pa.field("extension", pa.string(), nullable=False),
        pa.field("offset", pa.int64()),
        pa.field("size", pa.int64()),
    ]
)
"""One row for every member of a tar, those of a sample one after the other. ``offset`` and ``size``
are null for a member whose content is not in one piece of its own, a link for example. The file's
metadata say how many bytes the tar has."""


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
        FURTHER,
    ]
)
"""Row i describes row i of ``img_emb`` and ``text_emb``; ``similarity`` is their cosine and
``image_path`` is ``<partition>/<shard>/<key>``. ``further`` is a json object of what else samples
keep of their pairs (``download.save_additional_columns``)."""

EMBEDDING_INPUTS = pa.schema(
    [pa.field("digest", pa.binary(16), nullable=False), pa.field("is_caption_cut", pa.bool_())]
)
"""Row i is about row i of ``EMBEDDING_ROWS``: the start of the sha256 of what its vectors were made
from, image file, caption, model and precision. A sample of the next run with the same digest keeps
them. ``is_caption_cut`` is null for vectors of others and of earlier releases. The file's metadata
name the tars, and what was dropped of each."""

STANDALONE_ROWS = pa.schema(
    [field.with_nullable(nullable=True) for field in EMBEDDING_ROWS if field != FURTHER]
    + [pa.field("json", pa.string())]
)
"""Like ``EMBEDDING_ROWS``, for inputs that are no partition: what a sample does not have is null,
``image_path`` is the sample's key or file and ``json`` all that was said of it."""


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
        pa.field("opt_outs", pa.list_(pa.string())),
        pa.field("is_caption_cut", pa.bool_()),
        pa.field("taken_at", pa.timestamp("us")),
    ]
)
"""One row for every unique pair; ``clip_similarity_score`` is by the store's own model, null where
there is no image; ``similarity`` and the three scores after it are the source's. Sizes and hash are
of the original; ``opt_outs`` and, from its ``exif``, ``taken_at`` are of its row in the shard."""

SUBSET_GROUPS = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("list", pa.int32(), nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),
    ]
)
"""A row for each image, list by list; those whose uid is their group represent the others of it."""


# --- index ------------------------------------------------------------------------------

ID_MAPPING = pa.schema(
    [
        pa.field("url", pa.string()),
        pa.field("uid", pa.string()),
        pa.field("i", pa.int64(), nullable=False),
    ]
)
"""Vector id to pair; a row with null uid is an id no longer in use."""

INDEX_ROWS = pa.schema([field.with_nullable(nullable=True) for field in EMBEDDING_ROWS])
"""Row i describes vector id i of an index version; all null where the id is not in use."""

RETRIEVED = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("query_row", pa.int64(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("uid", pa.string(), nullable=False),
        pa.field("id", pa.int64(), nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("caption", pa.string()),
    ]
)
"""A row for each result of each query, the best of a query first."""


# --- what the whole pool heeds ---------------------------------------------------------

TAKEDOWNS = pa.schema(
    [
        pa.field("uid", pa.string()),
        pa.field("url", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("time", pa.timestamp("ms", tz="UTC"), nullable=False),
    ]
)
"""What was taken down: a pair by its uid, or by a url every pair of it, whose uid is null. The
pairs of a url that the pool had when it was named stand there too, with the url and their uids."""


# --- hub --------------------------------------------------------------------------------

HUB_ROWS = pa.schema(
    [
        ID_MAPPING.field("i"),
        *(field for field in INDEX_ROWS if field.name not in ("image_path", "key", FURTHER.name)),
        *(POOL_ROWS.field(name) for name in ("license", "language", "nsfw")),
    ]
)
"""Columns that may be published, beside the vectors of each side in ``<side>_embedding``."""
