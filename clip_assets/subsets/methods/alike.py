"""Rows by how far their images lie from others: SemDeDup's representatives, and their groups.

Of images of a list in order, each has its distance to the nearest earlier one; those that are at
least so far from all earlier ones are kept (SemDeDup, arXiv 2303.09540), and each other one belongs
to the group of the nearest that is kept. Lists are read one after the other.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets import schemas
from clip_assets.settings.curation import INDEX, SemDeDup
from clip_assets.storage import uids
from clip_assets.storage.pictures import histogram
from clip_assets.subsets.buckets import Buckets, Records, records_of
from clip_assets.subsets.clusters import clustered
from clip_assets.subsets.cuts import by_score
from clip_assets.subsets.grouping import Groups
from clip_assets.subsets.index_lists import Ids, by_index
from clip_assets.subsets.numbered import CHUNK_ROWS, Numbered
from clip_assets.subsets.selection import UID, Account, Floats, Judge, Score, Selection
from clip_assets.subsets.vector_scores import Rows32, unit

BLOCK_CELLS = 2**24
"""Similarities that are in memory at once."""

ALONE = 2.0
"""The distance of an image before which there is none: the greatest there is."""

THRESHOLDS = 40
"""Bars of the picture of what each threshold keeps."""

SHOWN_SHARE = 0.9
"""Of images with an earlier one: those with the greatest distances are no matter of thresholds."""

Number = TypeVar("Number", np.float32, np.int64)

Order = npt.NDArray[np.intp]


def score(selection: Selection, settings: SemDeDup, candidates: Judge) -> Score:
    """The distance of each image to the nearest earlier one of its list.

    Cost: for each image half the size of its list x dim multiplications. Memory: 8 bytes for each
    image (12 with clusters of the subset's own), ``buckets.BUCKET_BYTES`` and a list in float32;
    of images with perceptual hashes, what a 64th of them takes. The disk has a copy of all
    vectors, and 48 bytes for each.

    Raises:
        ConfigurationError: there are no vectors, or no lists.
        NotReadyError: the lists are of an index that is not there yet.
    """
    if settings.clusters == INDEX:
        rows, ids = by_index(selection, candidates)
    else:
        clusters = clustered(selection, candidates, settings.arch, settings.clusters, settings.seed)
        rows, ids = clusters.rows, clusters.ids
    folder = selection.new_folder()
    heads, copies = _heads(selection, rows, folder, by_hash=settings.hashes)
    ids = _with_heads(ids, heads)
    buckets = _sorted_by_list(selection, rows, settings.arch, (ids, heads), folder)
    distances = _file(folder / "distances.f4", np.float32, rows.count)
    is_typical = settings.keep == "typical"
    for records, images in buckets.lists():
        order, is_copy = in_order(records, rows_of := unit(images), is_typical=is_typical)
        of_list = np.zeros(len(records), np.float32)
        of_list[order[~is_copy]] = nearest_earlier(rows_of[order[~is_copy]])
        distances[records["number"]] = of_list
    sizes = np.bincount(ids)
    figures = {
        "lists": int(np.count_nonzero(sizes)),
        "lists_of": "the index" if settings.clusters == INDEX else "the subset",
        "largest_list": int(sizes.max(initial=0)),
        "images": rows.count,
        "copies_by_perceptual_hash": copies,
    }
    selection.told.append(lambda: Account({"semdedup of": figures}))

    def of(piece: str, table: pa.Table) -> Floats:
        return rows.to_rows(piece, distances, len(table))

    def groups(threshold: float) -> Iterator[pa.RecordBatch]:
        for records, images in buckets.lists():
            order, _ = in_order(records, rows_of := unit(images), is_typical=is_typical)
            is_kept = distances[records["number"]] >= np.float32(threshold)
            yield grouped(records, rows_of, order, is_kept)

    def told(threshold: float) -> Account:
        return Account({}, pictures(distances, threshold), partial(groups, threshold))

    return Score("semdedup", frozenset([UID]), of, told)


def in_order(
    records: Records, images: Rows32, *, is_typical: bool
) -> tuple[Order, npt.NDArray[np.bool_]]:
    """The images of a list in order, and which of them in that order are a copy of an earlier one.

    Args:
        records: (n,) of the list, by number.
        images: (n, dim) of length 1.
        is_typical: the nearest to the middle first; else the farthest.
    """
    near = np.nan_to_num(images @ unit(images.sum(axis=0, keepdims=True))[0])
    order = np.argsort(-near if is_typical else near, kind="stable")
    is_copy = np.ones(len(order), np.bool_)
    is_copy[np.unique(records["head"][order], return_index=True)[1]] = False
    return order, is_copy


def nearest_earlier(images: Rows32) -> Rows32:
    """(n,) cosine distance of each image to the nearest of those before it.

    Args:
        images: (n, dim) of length 1.
    """
    distances = np.full(len(images), ALONE, np.float32)
    start = 0
    while start < len(images):
        stop = min(start + max(1, BLOCK_CELLS // len(images)), len(images))
        similar = images[start:stop] @ images[:stop].T
        similar[np.arange(stop) >= np.arange(start, stop)[:, None]] = -1
        distances[start:stop] = 1 - np.minimum(similar.max(axis=1), 1)
        start = stop
    return distances


def grouped(
    records: Records, images: Rows32, order: Order, is_kept: npt.NDArray[np.bool_]
) -> pa.RecordBatch:
    """The groups of a list, in its order: rows of ``schemas.SUBSET_GROUPS``.

    Args:
        records: (n,) of the list.
        images: (n, dim) of length 1.
        order: (n,) of them.
        is_kept: (n,) those that represent others. Where none is, no image has a group.
    """
    kept = order[is_kept[order]]
    if not len(kept):
        return pa.RecordBatch.from_pylist([], schemas.SUBSET_GROUPS)
    # Copies go where the first of them goes, whatever else they are like.
    heads, firsts, twin = np.unique(records["head"][order], return_index=True, return_inverse=True)
    leaders = order[firsts]
    of_leader = leaders.copy()
    block = max(1, BLOCK_CELLS // len(kept))
    for start in range(0, len(heads), block):
        some = np.arange(start, min(start + block, len(heads)))
        some = some[~is_kept[leaders[some]]]
        of_leader[some] = kept[(images[leaders[some]] @ images[kept].T).argmax(axis=1)]
    group = np.where(is_kept[order], order, of_leader[twin])
    similar = np.minimum(np.einsum("nd,nd->n", images[order], images[group]), 1)
    similar[group == order] = 1
    columns = (uids.texts(records[order]), uids.texts(records[group]), records["list"][order])
    return pa.record_batch(
        [*(pa.array(column) for column in columns), pa.array(similar.astype(np.float32))],
        schema=schemas.SUBSET_GROUPS,
    )


def pictures(distances: Rows32, threshold: float) -> dict[str, Callable[[], bytes]]:
    """What each threshold would keep, by which one is chosen; nothing where all are alone."""
    sample = np.asarray(distances[:: max(1, len(distances) // 2**20)])
    others = sample[sample < ALONE]
    if not len(others):
        return {}
    most = float(np.quantile(others, SHOWN_SHARE)) or 1.0
    kept = {
        f"{at:.3g}": round(100 * float(np.mean(sample >= np.float32(at))), 1)
        for at in np.linspace(0, most, THRESHOLDS)
    }
    place = min(max(threshold / most, 0.0), 1.0) * (THRESHOLDS - 1)
    share = f"{float(np.mean(sample >= np.float32(threshold))):.1%} at {threshold:.3g}"
    title = "semdedup: share kept by threshold"
    return {title: partial(histogram, title, kept, "% of images", line=(place, share))}


def _heads(
    selection: Selection, rows: Numbered, folder: Path, *, by_hash: bool
) -> tuple[npt.NDArray[np.int64], int]:
    """(n,) for each image the first one with its perceptual hash; and how many have an earlier."""
    heads = _file(folder / "heads.i8", np.int64, rows.count)
    for start in range(0, rows.count, CHUNK_ROWS):
        stop = min(start + CHUNK_ROWS, rows.count)
        heads[start:stop] = np.arange(start, stop)
    if not by_hash or not selection.rows.has_outcomes:
        return heads, 0
    groups = Groups(selection.new_folder())
    for piece, table in selection.tables([UID]):
        hashes, known = selection.rows.hashes(piece, table)
        own = rows.pieces[piece][1]
        of_piece = rows.numbers(piece)
        numbers = np.arange(of_piece.start, of_piece.stop)[known[own]]
        none = np.zeros(len(numbers))
        groups.add(hashes[own][known[own]], none, numbers.astype(np.float64), numbers)
    return heads, groups.put_firsts(heads)


def _with_heads(ids: Ids, heads: npt.NDArray[np.int64]) -> Ids:
    """(n,) lists, copies in that of the first of them."""
    moved = ids.copy()
    for start in range(0, len(ids), CHUNK_ROWS):
        moved[start : start + CHUNK_ROWS] = ids[heads[start : start + CHUNK_ROWS]]
    return moved


def _sorted_by_list(
    selection: Selection,
    rows: Numbered,
    arch: str,
    of_each: tuple[Ids, npt.NDArray[np.int64]],
    folder: Path,
) -> Buckets:
    """Vectors of images, where those of a list can be had."""
    ids, heads = of_each
    buckets: Buckets | None = None
    for piece, table in selection.tables({UID} | selection.rows.vector_columns):
        start, own = rows.pieces[piece]
        pairs = uids.pairs(table[UID])
        with selection.rows.vectors(piece, table, arch) as of_piece:
            for first in range(0, len(own), CHUNK_ROWS):
                some = own[first : first + CHUNK_ROWS]
                numbers = np.arange(start + first, start + first + len(some))
                images = of_piece.images[of_piece.places[some]].astype(np.float16)
                if buckets is None:
                    buckets = Buckets(folder / "lists", np.bincount(ids), images.shape[1])
                buckets.add(records_of(ids[numbers], numbers, heads[numbers], pairs[some]), images)
    return buckets or Buckets(folder / "lists", np.zeros(0, np.int64), 1)


def _file(path: Path, dtype: type[Number], count: int) -> npt.NDArray[Number]:
    """(count,) in a file."""
    return np.memmap(path, dtype, "w+", shape=(count,)) if count else np.zeros(0, dtype)


METHOD = by_score(SemDeDup, score)
