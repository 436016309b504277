"""The file that says where in the published rows each vector lies, for reading few of many.

Vectors stand in their parquet files as they are in memory: not compressed, those of a row group one
after the other. Who knows from which byte on reads a vector by its bytes, and no footer. It is read
by ``retrieval.published_places``.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.pool.stages import StageRun
from clip_assets.storage import tables

GROUP_IDS = 1_024
"""Ids of a row group, published or not: what is read of each column for one row of them."""

COLUMNS = {f"{side}_embedding": side for side in layout.SIDES}
"""Columns of vectors, and whose they are."""


@layout.artifact(layout.HUB_DATASET)
def hub_places() -> str:
    """From which byte on the published vectors of each row group lie."""
    return f"{layout.HUB}/faiss/places.npz"


class VectorPlaces:
    """Where the vectors of ranges of ids lie, range by range.

    Args:
        firsts: first id of each range.
    """

    def __init__(self, firsts: Sequence[int]) -> None:
        self.firsts = firsts
        self._sizes = np.zeros(len(firsts), np.int64)
        self._held: list[npt.NDArray[np.uint8]] = []
        self._starts: dict[str, list[npt.NDArray[np.int64]]] = {side: [] for side in layout.SIDES}

    def add(self, number: int, count: int, rows: pa.Table, file: Path | None) -> None:
        """The next range that has ids.

        Args:
            number: of the range.
            count: how many ids.
            rows: those that are published, by their ids.
            file: theirs, as ``write_rows`` wrote it; None: there is none.
        """
        groups = -(-count // GROUP_IDS)
        is_held = np.zeros(groups * GROUP_IDS, np.bool_)
        if file is not None:
            own = rows["i"].to_numpy() - self.firsts[number]
            is_held[own] = True
            self._sizes[number] = file.stat().st_size
        is_held = is_held.reshape(groups, GROUP_IDS)
        self._held.append(np.packbits(is_held, axis=1, bitorder="little"))
        begins = {} if file is None else _starts(file, rows.schema)
        for side, known in self._starts.items():
            starts = np.full(groups, -1, np.int64)
            starts[is_held.any(axis=1)] = begins.get(side, -1)
            known.append(starts)

    def publish(self, run: StageRun) -> None:
        """Publish the file."""
        held = np.concatenate([np.empty((0, GROUP_IDS // 8), np.uint8), *self._held])
        arrays: dict[str, Any] = {"sizes": self._sizes, "held": held}
        for side, known in self._starts.items():
            arrays[side] = np.concatenate([np.empty(0, np.int64), *known])
        with run.publish(hub_places()) as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays)


def write_rows(part: Path, first: int, rows: pa.Table) -> None:
    """Write published rows of a range so that ``VectorPlaces`` can tell where vectors lie.

    Args:
        part: where.
        first: id of the range.
        rows: with their ids, ``i``, ascending.
    """
    table = rows.combine_chunks()
    groups = (table["i"].to_numpy() - first) // GROUP_IDS
    bounds = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(table)]
    pieces = (
        batch
        for begin, end in pairwise(bounds)
        for batch in table.slice(begin, end - begin).to_batches()
    )
    plain = [name for name in table.column_names if name in COLUMNS]
    tables.write_batches(part, table.schema, pieces, plain=plain)


def _starts(stored: Path, schema: pa.Schema) -> dict[str, list[int]]:
    """By side, where the vectors of each row group begin: they end where their column does."""
    with pq.ParquetFile(stored) as file:
        told = file.metadata
    starts: dict[str, list[int]] = {}
    for name, side in COLUMNS.items():
        if name in schema.names:
            kind: Any = schema.field(name).type
            width = kind.list_size * schemas.EMBEDDING.itemsize
            number = schema.get_field_index(name)
            groups = [told.row_group(group) for group in range(told.num_row_groups)]
            starts[side] = [
                group.column(number).data_page_offset
                + group.column(number).total_compressed_size
                - group.num_rows * width
                for group in groups
            ]
    return starts
