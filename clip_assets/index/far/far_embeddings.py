"""Where the whole vectors of a pool in a bucket lie: in the embeddings of its partitions.

Like ``index.exact`` for a pool on a disk, without opening a file.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from clip_assets import layout, schemas
from clip_assets.index import vectors_in
from clip_assets.index.exact import is_unchanged
from clip_assets.index.far.far_vectors import AT_ONCE, Ids, Lying
from clip_assets.index.versions import Version
from clip_assets.pool.pool import Pool

MOST_HEAD = 4_096
"""Bytes before the vectors of a npy file; that of a pool has 128."""


_UNKNOWN, _NONE = -1, 0
# In place of the bytes of a file.


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
        self._sizes = np.full(len(self._slots), _UNKNOWN, np.int64)
        self._counts = np.array([slot.count for slot in self._slots], np.int64)

    def find(self, ids: Ids) -> Lying:
        """See ``Whereabouts``; what is known of a partition is read when it is first asked for."""
        owners = np.searchsorted(self._starts, ids, side="right") - 1
        new = [n for n in np.unique(owners).tolist() if self._sizes[n] == _UNKNOWN]
        if new:
            with ThreadPoolExecutor(min(AT_ONCE, len(new))) as threads:
                self._sizes[new] = list(threads.map(self._look, new))
        sizes = self._sizes[owners]
        starts = sizes + (ids - self._starts[owners] - self._counts[owners]) * self._width
        return Lying(np.where(sizes == _NONE, -1, owners), starts)

    def file(self, number: int) -> tuple[str, int]:
        """See ``Whereabouts``."""
        content = self._slots[number].content
        assert content is not None
        path = vectors_in.path(self._side, content.partition)
        return self._pool.store.uri(path), int(self._sizes[number])

    def is_replaced(self, number: int) -> bool:
        """Whether a partition was embedded anew since it was asked for."""
        if is_unchanged(self._pool.renewed(), self._slots[number]):
            return False
        self._sizes[number] = _NONE
        return True

    def _look(self, number: int) -> int:
        """Bytes of a partition's file, if it is still that of the version."""
        slot = self._slots[number]
        # What a manifest says is not kept.
        pool = self._pool.renewed()
        if slot.content is None or not is_unchanged(pool, slot):
            return _NONE
        partition = slot.content.partition
        path = vectors_in.path(self._side, partition)
        made = pool.catalog.get(layout.EMBEDDINGS, partition)
        outputs = made.outputs if made else []
        sizes = [output.size_bytes for output in outputs if output.path == path]
        if not sizes or not 0 < sizes[0] - slot.count * self._width <= MOST_HEAD:
            return _NONE
        return sizes[0]
