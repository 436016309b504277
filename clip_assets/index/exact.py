"""The vectors behind an index, as they were embedded, by vector id.

An index holds codes; the whole vectors lie in the partitions' embeddings. They are the same as
long as a partition was not embedded anew since its segment was made, which its manifests tell.
"""

from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.index import vectors_in
from clip_assets.index.engine.ann import Floats, Ids
from clip_assets.index.engine.halves import whole
from clip_assets.index.slots import Slot
from clip_assets.pool.pool import Pool
from clip_assets.storage import vectors
from clip_assets.storage.manifests import UNFINISHED
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
        from clip_assets.index.engine.half_products import products

        similar = np.empty(ids.shape, np.float32)
        # A few queries at a time: what is read of their rows stays near the processor.
        for start in range(0, len(ids), AT_ONCE):
            batch = slice(start, start + AT_ONCE)
            halves, places, is_there = self._found(ids[batch], queries.shape[1])
            for number, own in enumerate(places, start):
                rows = np.take(halves, own, axis=0, mode="clip")
                similar[number] = products(rows, queries[number])
            similar[batch][~is_there] = np.nan
        return similar

    def _found(self, ids: Ids, dim: int) -> tuple[Vectors, Ids, npt.NDArray[np.bool_]]:
        """Vectors, where among them those of (q, k) ids are, and which of them there are."""
        is_id = ids >= 0
        known = ids[is_id]
        if known.size:
            first, last = (
                self._starts.searchsorted(each, "right") - 1 for each in (known.min(), known.max())
            )
            stored = self._vectors(int(first)) if first == last else None
            if stored is not None:  # all in one range: its rows need not be gathered first
                return stored, ids - self._starts[first], is_id
        distinct, where = np.unique(ids, return_inverse=True)
        halves, is_there = self._halves(distinct, dim)
        places = where.reshape(ids.shape)
        return halves, places, is_there[places]

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
        if not slot.count or slot.content is None or not is_unchanged(self._pool.renewed(), slot):
            return None
        name = vectors_in.path(self._side, slot.content.partition)
        stored = self._stack.enter_context(vectors.opened(self._pool.store, name))
        # Who embeds anew says so before a file is replaced: what was opened is what was meant.
        is_same = len(stored) == slot.count and is_unchanged(self._pool.renewed(), slot)
        return stored if is_same else None


def is_unchanged(pool: Pool, slot: Slot) -> bool:
    """Whether a partition's embeddings are those that the segment of a range was made of.

    Those that are being made anew, or whose making was cut off, are not: some files may be new.
    """
    if slot.content is None:
        return False
    segment = pool.catalog.get(layout.INDEX_SEGMENTS, slot.content.partition)
    embeddings = pool.catalog.get(layout.EMBEDDINGS, slot.content.partition)
    if segment is None or embeddings is None or embeddings.code_version == UNFINISHED:
        return False
    made_of = segment.inputs[layout.EMBEDDINGS]
    is_own = vectors_in.content_digest(segment, embeddings) == slot.content.digest
    return is_own and made_of == embeddings.digest(layout.img_emb, layout.text_emb)
