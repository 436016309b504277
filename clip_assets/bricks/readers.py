"""Where data come from: tables of urls, tars, folders of images, pools, queries, vectors.

Each is a generator: what nobody takes is not read. What a stranger's table or tar may look like is
known to the stages' own readers, which are used here.
"""

import hashlib
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack

import numpy as np
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.bricks.datum import Datum
from clip_assets.bricks.flow import reader
from clip_assets.errors import AlignmentError, ConfigurationError
from clip_assets.files.opening import opened
from clip_assets.inference import samples
from clip_assets.inference.sources import MemberNames, input_of
from clip_assets.inference.standalone import rows_path, vectors_path
from clip_assets.layout import Key
from clip_assets.pairs.columns import column_map
from clip_assets.pool import takedowns
from clip_assets.pool.pool import Pool
from clip_assets.retrieval.queries import Query
from clip_assets.retrieval.search import Searcher
from clip_assets.storage import tables, uid_files, uids, vectors
from clip_assets.storage.store import Store
from clip_assets.webdataset.read import read_tar

ROWS_AT_ONCE = 10_000

KEY_DIGITS = 9


@reader
def from_table(where: str) -> Generator[Datum]:
    """Pairs of a parquet file: url, caption and the other columns as fields.

    The columns are found by their names, as those of a pool's sources; a pair without a uid gets
    the one that a pool would give it, by its url and caption as they stand there.

    Args:
        where: a path or url.

    Raises:
        SourceMissingError: there is no such file.
        SourceFormatError: no column holds urls.
    """
    with opened(where) as file, pq.ParquetFile(file) as table:
        names = column_map(table.schema_arrow.names, {}, where)
        said = {name: column for column, name in {**names.extras, **names.canonical}.items()}
        number = 0
        for batch in table.iter_batches(ROWS_AT_ONCE):
            for row in batch.to_pylist():
                fields = {said.get(name, name): value for name, value in row.items()}
                caption = fields.pop("caption", None)
                fields["uid"] = fields.get("uid") or _uid(fields.get("url"), caption)
                yield Datum(f"{number:0{KEY_DIGITS}d}", caption, fields)
                number += 1


@reader
def from_tars(where: str, image: str = "", caption: str = "txt") -> Generator[Datum]:
    """Samples of tars, from front to back.

    Args:
        where: a path, url, glob, brace pattern, or a folder of tars.
        image: extension of the image's member; empty for the first known one.
        caption: extension of the caption's member, or a field of the json.

    Raises:
        SourceMissingError: nothing is there.
        SchemaError: one is damaged.
    """
    for piece in input_of(where, MemberNames(image, caption)).pieces:
        for sample in piece.samples():
            yield Datum.of(sample)


@reader
def from_images(where: str, caption: str = "txt") -> Generator[Datum]:
    """Images of a folder and below it; captions and json lie beside them under the same name.

    Raises:
        SourceMissingError: there are none.
    """
    yield from from_tars(where, caption=caption)


@reader
def from_pool(pool: Pool, subset: str | None = None) -> Generator[Datum]:
    """Samples of a pool, or those of a subset of it, in the pool's order.

    What was taken down is left out.

    Args:
        pool: the pool.
        subset: one of its names.

    Raises:
        MissingArtifactError: the subset is not made.
        SchemaError: a tar is damaged.
    """
    wanted = None
    if subset is not None:
        pool.catalog.require(layout.SUBSETS, Key(subset))
        stored = pool.store.read_bytes(layout.subset(subset))
        wanted = set(uids.texts(uid_files.read(stored, subset)))
    taken_down = takedowns.read(pool.store)
    gone, gone_urls = set(uids.texts(taken_down.pairs)), set(taken_down.urls.to_pylist())
    for key in pool.partitions:
        made = pool.catalog.get(layout.IMAGE_SHARDS, key)
        tars = made.of_kind(layout.shard_tar) if made else []
        # Manifests of earlier releases name them in the order in which they were finished.
        for tar in sorted(tars, key=lambda tar: tar.path):
            with pool.store.local(tar.path) as path, path.open("rb") as file:
                for members in read_tar(file, pool.store.uri(tar.path), samples.MEMBERS):
                    datum = Datum.of(samples.parse(members))
                    if datum.uid in gone or datum.fields.get("url") in gone_urls:
                        continue
                    if wanted is None or datum.uid in wanted:
                        yield datum


@reader
def from_queries(
    searcher: Searcher, queries: Iterable[Query], k: int, side: str = "image"
) -> Generator[Datum]:
    """Pairs that a search finds, query by query, the nearest first; each with its ``url``.

    Args:
        searcher: of an index.
        queries: texts, images, vectors or uids.
        k: of each.
        side: which vectors the queries are compared with.
    """
    for number, query in enumerate(queries):
        for hit in searcher.search(query, k=k, side=side):
            fields = {"uid": hit.uid, "url": hit.url, "query": number, "similarity": hit.similarity}
            yield Datum(hit.uid, hit.caption, fields)


@reader
def from_vectors(where: str, sides: Sequence[str] = layout.SIDES) -> Generator[Datum]:
    """Vectors with their rows: of a folder that ``ToVectors`` or ``clip-assets embed`` wrote.

    Args:
        where: a path or url.
        sides: which vectors.

    Raises:
        ConfigurationError: there are none.
        AlignmentError: vectors and rows of a set are not alike in number.
    """
    store = Store(where)
    names = sorted(
        path.rpartition("_")[2].removesuffix(".parquet")
        for path in store.list("metadata")
        if path.endswith(".parquet")
    )
    if not names:
        raise ConfigurationError(where, "no metadata", "embeddings with rows", "Embed with rows.")
    for name in names:
        table = tables.read(store, rows_path(name), schemas.STANDALONE_ROWS)
        with ExitStack() as stack:
            by_side = {
                side: stack.enter_context(vectors.opened(store, vectors_path(side, name)))
                for side in sides
            }
            for side, array in by_side.items():
                if len(array) != len(table):
                    raise AlignmentError(
                        store.uri(vectors_path(side, name)),
                        f"{len(array):,} vectors",
                        f"{len(table):,}, one for a row",
                        "Embed again.",
                    )
            for number, row in enumerate(table.to_pylist()):
                own = {side: np.array(array[number]) for side, array in by_side.items()}
                caption = row.pop("caption")
                yield Datum(row.pop("key") or str(number), caption, row, vectors=own)


def _uid(url: object, caption: str | None) -> str:
    told = f"{url or ''}{schemas.UID_SEPARATOR}{caption or ''}"
    return hashlib.md5(told.encode(), usedforsecurity=False).hexdigest()
