"""The vectors behind an index, as they were embedded, by vector id.

An index holds codes; the whole vectors lie in the partitions' embeddings. They are the same as
long as a partition was not embedded anew since its segment was made, which its manifests tell.
"""

from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.index import vectors_in
from clip_assets.index.ann import Floats, Ids
from clip_assets.index.halves import whole
from clip_assets.index.slots import Slot
from clip_assets.layout import PartitionKey
from clip_assets.pool.pool import Pool
from clip_assets.storage import vectors
from clip_assets.storage.vectors import Vectors

AT_ONCE = 8
"""Queries whose candidates are in memory together."""


class ExactVectors:
    """One side's vectors, mapped as they are asked for.

    Args:
        pool: whose embeddings they are.
        slots: ranges of ids, in id order, without a gap.
        side: ``image`` or ``text``.
        stack: what closes opened files.
    """

    def __init__(self, pool: Pool, slots: list[Slot], side: str, stack: ExitStack) -> None:
        self._pool, self._side, self._stack = pool, side, stack
        self._slots = slots
        self._starts = np.array([slot.start for slot in slots], np.int64)
        self._opened: dict[int, Vectors | None] = {}

    def similarities(self, queries: Floats, ids: Ids) -> Floats:
        """Of queries to vectors: (q, k); NaN where an id has no vector any more, or is -1.

        Args:
            queries: (q, dim).
            ids: (q, k).
        """
        similar = np.empty(ids.shape, np.float32)
        # A few queries at a time: what is read of their rows stays near the processor.
        for start in range(0, len(ids), AT_ONCE):
            batch = slice(start, start + AT_ONCE)
            distinct, where = np.unique(ids[batch], return_inverse=True)
            halves, is_there = self._halves(distinct, queries.shape[1])
            places = where.reshape(ids[batch].shape)
            for number, own in enumerate(places, start):
                rows = whole(np.take(halves, own, axis=0, mode="clip"))
                # By einsum, which has no threads: so few rows are done before BLAS' have begun,
                # and these wait for each other wherever several processes search.
                similar[number] = np.einsum("kd,d->k", rows, queries[number])
            similar[batch][~is_there[places]] = np.nan
        return similar

    def rows(self, ids: Ids, dim: int) -> Floats:
        """(len(ids), dim) vectors of ascending ids, NaN where there is none."""
        halves, is_there = self._halves(ids, dim)
        rows = whole(halves)
        rows[~is_there] = np.nan
        return rows

    def _halves(self, ids: Ids, dim: int) -> tuple[Vectors, npt.NDArray[np.bool_]]:
        """Vectors of ascending ids as they are stored, and which of them there are."""
        halves = np.zeros((len(ids), dim), np.float16)
        is_there = np.zeros(len(ids), np.bool_)
        first = int(np.searchsorted(ids, 0))
        bounds = [*np.searchsorted(ids, self._starts[1:]).tolist(), len(ids)]
        for number, stop in enumerate(bounds):
            if first < stop and (stored := self._vectors(number)) is not None:
                own = slice(first, stop)
                places = ids[own] - self._starts[number]
                # With a place for it, numpy copies whole rows; clipping is what lets it.
                np.take(stored, places, axis=0, out=halves[own], mode="clip")
                is_there[own] = True
            first = max(first, stop)
        return halves, is_there

    def _vectors(self, number: int) -> Vectors | None:
        """The embeddings of a range, None where they are others by now."""
        if number not in self._opened:
            stored = self._open(self._slots[number])
            # As a plain array: a memmap is slower to take rows from.
            self._opened[number] = None if stored is None else np.asarray(stored)
        return self._opened[number]

    def _open(self, slot: Slot) -> Vectors | None:
        if (
            not slot.count
            or slot.content is None
            or not self._is_unchanged(slot.content.partition, slot)
        ):
            return None
        name = vectors_in.path(self._side, slot.content.partition)
        stored = self._stack.enter_context(vectors.opened(self._pool.store, name))
        return stored if len(stored) == slot.count else None

    def _is_unchanged(self, partition: PartitionKey, slot: Slot) -> bool:
        """Whether the partition's embeddings are those that the range's segment was made of."""
        catalog = self._pool.catalog
        segment = catalog.get(layout.INDEX_SEGMENTS, partition)
        embeddings = catalog.get(layout.EMBEDDINGS, partition)
        if segment is None or embeddings is None or slot.content is None:
            return False
        made_of = segment.inputs[layout.EMBEDDINGS]
        is_own = vectors_in.content_digest(segment, embeddings) == slot.content.digest
        return is_own and made_of == embeddings.digest(layout.img_emb, layout.text_emb)
