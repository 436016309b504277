"""Searching an index folder of clip-retrieval: indices and metadata, read where they lie.

The folder does not say which model its vectors are of. Indices are ``index.folder.foreign``, rows
``folder_rows``.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, cast

import numpy as np

from clip_assets import layout
from clip_assets.encoders.encoder import Encoder
from clip_assets.errors import (
    AlignmentError,
    ConfigurationError,
    ModelMismatchError,
    SourceMissingError,
)
from clip_assets.index.slots import Content, Slot
from clip_assets.index.versions import Version
from clip_assets.pool.pool import Pool
from clip_assets.retrieval import folder_columns, queries
from clip_assets.retrieval.folder_rows import ONLY, FolderRows
from clip_assets.retrieval.queries import Uid, Vector
from clip_assets.retrieval.rows import Ids, Rows
from clip_assets.retrieval.search import Searcher
from clip_assets.retrieval.served_side import Floats, Nearest
from clip_assets.retrieval.unfound import TakenDownIds

if TYPE_CHECKING:
    from clip_assets.index.engine.ann import Index


class FolderSearcher(Searcher):
    """An index folder, opened for searching.

    Args:
        pool: whose store is the folder; its model is that of the vectors, if one is named.
        form: of its metadata, one of ``folder_columns.FORMS``.

    Attributes:
        metadata: its rows.

    Raises:
        SourceMissingError: it has no index, or no metadata.
        SchemaError: something of it is damaged.
        AlignmentError: there are more or fewer rows than vectors.
    """

    def __init__(self, pool: Pool, form: str = "") -> None:
        from clip_assets.index.folder import foreign

        folder = Path(pool.store.base)
        paths = {side: folder / f"{side}.index" for side in layout.SIDES}
        self._indices: dict[str, Index] = {
            side: foreign.read(path) for side, path in paths.items() if path.exists()
        }
        if not self._indices:
            raise SourceMissingError(
                str(folder), "no index", "image.index or text.index", "Check the spelling."
            )
        index = next(iter(self._indices.values()))
        columns = folder_columns.opened(folder, form, partial(foreign.places_in_lists, index))
        self.metadata = FolderRows(columns, str(folder))
        rows = len(self.metadata)
        counts = {side: one.ntotal + _left_out(folder, side) for side, one in self._indices.items()}
        if {*counts.values()} != {rows}:
            raise AlignmentError(
                str(folder),
                f"vectors {counts}, {rows:,} rows of metadata",
                "one row for each vector",
                "Make the index again from all embeddings and their metadata.",
            )
        digest = state(folder)
        slot = Slot(0, rows, Content(ONLY, digest, rows))
        super().__init__(pool, _version(digest, index, slot))
        self._stack = ExitStack()
        self._mapping = Lock()
        # They answer as the rows of a version do.
        self._rows = cast("Rows", self.metadata)
        self._taken_down = TakenDownIds(pool.store, self.version, self._rows)

    @property
    def sides(self) -> Sequence[str]:
        """Those that it has an index of."""
        return list(self._indices)

    def search_many(
        self,
        vectors: Floats,
        k: int = 10,
        side: str = "image",
        *,
        kind: str | None = None,
        recall_target: float | None = None,
        allowed: Ids | None = None,
    ) -> Nearest:
        """See ``Searcher``; how far it looks is said by the index, whatever recall is asked for."""
        from clip_assets.index.effort.second_look import best
        from clip_assets.index.folder import foreign

        del kind, recall_target
        queries.check_asked(k, side)
        queries.check_vectors(vectors, self.version.dim)
        index, gone, rows = self._index(side), self.taken_down, len(self.metadata)
        allowed = None if allowed is None else queries.checked_ids(allowed, rows)
        if len(gone):
            every = np.arange(rows) if allowed is None else allowed
            allowed = np.setdiff1d(every, gone, assume_unique=True)
        size = min(k, index.ntotal if allowed is None else len(allowed))
        if not size or not len(vectors):
            shape = (len(vectors), size)
            return Nearest(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32))
        similarities, ids = best(*foreign.search(index, vectors, size, allowed), size)
        return Nearest(ids, np.where(ids < 0, np.float32(-np.inf), similarities))

    def vectors(self, ids: Ids, side: str = "image") -> Floats:
        """See ``Searcher``; of an index of codes, what these stand for; NaN of what it has not."""
        from clip_assets.index.folder import foreign

        with self._mapping:
            return foreign.vectors(self._index(side), ids)

    def _encoder(self) -> Encoder:
        """The model that is named; that it has the vectors' width is all that can be told."""
        encoder = self.pool.encoder()
        if encoder.dim != self.version.dim:
            raise ModelMismatchError(
                self.pool.store.uri(),
                f"vectors of {self.version.dim} dimensions",
                f"{encoder.dim}, as {encoder.identity.describe()} has",
                "Name the model of the vectors: inference.model.",
            )
        return encoder

    def _image_vector(self, pair: Uid) -> Vector:
        [vector_id] = self.ids([pair.value]).tolist()
        if vector_id < 0:
            raise ConfigurationError(
                "query", f"uid {pair.value!r}", "a pair of the index", "Take one of a result."
            )
        vector = self.vectors(np.array([vector_id]), self.sides[0])[0]
        if np.isnan(vector).any():
            raise ConfigurationError(
                "query", f"uid {pair.value!r}, which has no vector", "one of the index", "Another."
            )
        return queries.unit(vector, self.version.dim)

    def _index(self, side: str) -> "Index":
        if side not in self._indices:
            has = " and ".join(self._indices)
            raise ConfigurationError("side", repr(side), has, "The folder has no other index.")
        return self._indices[side]


def state(folder: Path) -> str:
    """What changes when the files of a folder do, as far as sizes and times say so."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    told = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _left_out(folder: Path, side: str) -> int:
    """Rows that ``index build`` left out of the index, which keep their ids; others leave none."""
    try:
        told = json.loads((folder / f"{side}.json").read_bytes())
        return sum(told["left_out"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return 0


def _version(digest: str, index: "Index", slot: Slot) -> Version:
    return Version(
        name=f"folder-{digest[:8]}",
        previous=None,
        is_renumbered=False,
        model="",
        model_name="",
        dim=index.d,
        key="",
        recipe="",
        vectors=index.ntotal,
        slots=[slot],
        partitions_used=[],
        partitions_missing=[],
        partitions_stale=[],
    )
