"""The vectors behind an index, as they were embedded, by vector id.

An index holds codes; the whole vectors lie in the partitions' embeddings. They are the same as
long as a partition was not embedded anew since its segment was made, which its manifests tell.
"""

from contextlib import ExitStack

import numpy as np

from clip_assets import layout
from clip_assets.index import vectors_in
from clip_assets.index.ann import Floats, Ids
from clip_assets.index.slots import Slot
from clip_assets.layout import PartitionKey
from clip_assets.pool.pool import Pool
from clip_assets.storage import vectors
from clip_assets.storage.vectors import Vectors


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
        distinct, where = np.unique(ids, return_inverse=True)
        rows = self.rows(distinct, queries.shape[1])
        # One query at a time: k rows of float32, never q * k of them.
        places = where.reshape(ids.shape)
        # By einsum, which has no threads: so few rows are done before BLAS' have begun, and
        # these wait for each other wherever several processes search.
        products = [
            np.einsum("kd,d->k", rows[own], query)
            for own, query in zip(places, queries, strict=True)
        ]
        return np.stack(products) if products else np.empty(ids.shape, np.float32)

    def rows(self, ids: Ids, dim: int) -> Floats:
        """(len(ids), dim) vectors of ascending ids, NaN where there is none."""
        rows = np.full((len(ids), dim), np.nan, np.float32)
        owners = np.searchsorted(self._starts, ids, side="right") - 1
        for number in np.unique(owners[ids >= 0]).tolist():
            stored = self._vectors(number)
            own = (owners == number) & (ids >= 0)
            if stored is not None:
                rows[own] = stored[ids[own] - self._starts[number]]
        return rows

    def _vectors(self, number: int) -> Vectors | None:
        """The embeddings of a range, None where they are others by now."""
        if number not in self._opened:
            self._opened[number] = self._open(self._slots[number])
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
