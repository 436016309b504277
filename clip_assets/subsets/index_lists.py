"""Lists of the pool's own index as clusters: which list the image of each row is in."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.errors import ConfigurationError, NotReadyError
from clip_assets.layout import Key
from clip_assets.subsets.candidates import PoolRows
from clip_assets.subsets.numbered import Numbered
from clip_assets.subsets.selection import Judge, Selection

Ids = npt.NDArray[np.int32]


def by_index(selection: Selection, candidates: Judge) -> tuple[Numbered, Ids]:
    """The images of candidates, and the list of the index that each is in.

    Memory: 8 bytes for each.

    Returns:
        Which they are, and (n,) the list of each.

    Raises:
        ConfigurationError: there is no index, or it is exact and has no lists.
        NotReadyError: a partition has no segment of today's recipe.
    """
    rows, ids = Numbered(), [np.empty(0, np.int32)]
    for piece, table in selection.tables(candidates.columns | selection.rows.vector_columns):
        kept = candidates.decide(piece, table).kept
        with selection.rows.vectors(piece, table, "own") as of_piece:
            rows.add(piece, some := np.flatnonzero(kept & (of_piece.places >= 0)))
            places = of_piece.places[some]
        if len(places):
            ids.append(_lists(selection.rows, Key(piece))[places])
    return rows, np.concatenate(ids)


def _lists(rows: object, partition: Key) -> Ids:
    """(m,) the list of each of a partition's image vectors, by its place."""
    if not isinstance(rows, PoolRows):
        raise ConfigurationError(
            "clusters: index", "metadata without an index", "a pool", "Say how many clusters."
        )
    pool = rows.pool
    segment, record = pool.catalog.get(layout.INDEX_SEGMENTS, partition), pool.assets
    state = record[layout.INDEX_SEGMENTS].state(pool, partition)
    if segment is None or state != "done":
        raise NotReadyError(
            f"{layout.INDEX_SEGMENTS} {partition}",
            f"a segment that is {state}",
            "one of today's vectors and recipe, as clusters: index looks into its lists",
            f"Run: clip-assets run --select '*{layout.INDEX_SEGMENTS}'",
        )
    if not segment.of_kind(layout.segment_lists):
        raise ConfigurationError(
            "clusters: index",
            "an exact index, which has no lists",
            "an index with lists",
            "Say how many clusters, or leave it out. Small pools have an exact index, see "
            "index.flat_limit.",
        )
    with pool.store.local(layout.segment_lists(partition)) as file:
        return np.load(Path(file), allow_pickle=False)
