"""Where the whole vectors of a pool in a bucket lie: in the embeddings of its partitions.

Like ``index.exact`` for a pool on a disk, without opening a file.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from clip_assets import layout, schemas
from clip_assets.index import vectors_in
from clip_assets.index.exact import is_unchanged
from clip_assets.index.far_vectors import AT_ONCE, Ids, Lying
from clip_assets.index.versions import Version
from clip_assets.pool.pool import Pool

MOST_HEAD = 4_096
"""Bytes before the vectors of a npy file; that of a pool has 128."""


class FarEmbeddings:
    """The embeddings of one side, of those partitions whose vectors are still those of the version.

    Args:
        pool: whose embeddings they are.
        version: whose ids.
        side: ``image`` or ``text``.
    """

    def __init__(self, pool: Pool, version: Version, side: str) -> None:
        self._pool, self._slots, self._side = pool, version.slots, side
        self._starts = np.array([slot.start for slot in self._slots], np.int64)
        self._width = version.dim * schemas.EMBEDDING.itemsize
        self._known: dict[int, tuple[str, int] | None] = {}

    def find(self, ids: Ids) -> Lying:
        """See ``Whereabouts``; what is known of a partition is read when it is first asked for."""
        owners = np.searchsorted(self._starts, ids, side="right") - 1
        new = [number for number in np.unique(owners).tolist() if number not in self._known]
        if new:
            with ThreadPoolExecutor(min(AT_ONCE, len(new))) as threads:
                self._known |= dict(zip(new, threads.map(self._look, new), strict=True))
        heads = {number: self._head(number) for number in np.unique(owners).tolist()}
        head = np.array([heads[number] for number in owners.tolist()], np.int64)
        places = ids - self._starts[owners]
        return Lying(np.where(head < 0, -1, owners), head + places * self._width)

    def file(self, number: int) -> tuple[str, int]:
        """See ``Whereabouts``."""
        known = self._known[number]
        assert known is not None
        return known

    def is_replaced(self, number: int) -> bool:
        """Whether a partition was embedded anew since it was asked for."""
        if is_unchanged(self._pool.renewed(), self._slots[number]):
            return False
        self._known[number] = None
        return True

    def _head(self, number: int) -> int:
        """Bytes before the vectors of a partition; -1 if it has none any more."""
        known = self._known[number]
        return -1 if known is None else known[1] - self._slots[number].count * self._width

    def _look(self, number: int) -> tuple[str, int] | None:
        slot = self._slots[number]
        if slot.content is None or not is_unchanged(self._pool, slot):
            return None
        partition = slot.content.partition
        path = vectors_in.path(self._side, partition)
        made = self._pool.catalog.get(layout.EMBEDDINGS, partition)
        outputs = made.outputs if made else []
        sizes = [output.size_bytes for output in outputs if output.path == path]
        if not sizes or not 0 < sizes[0] - slot.count * self._width <= MOST_HEAD:
            return None
        return self._pool.store.uri(path), sizes[0]
