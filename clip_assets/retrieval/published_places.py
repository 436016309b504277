"""Where the whole vectors of a published data set lie, for the second look at what codes find.

Data sets of earlier releases do not tell: their vectors are compressed, and are read by row groups,
see ``published_rows``. Written by ``publishing.vector_places``.
"""

import io
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_assets import layout, schemas
from clip_assets.errors import SchemaError, SourceMissingError
from clip_assets.files.identity import looked_at
from clip_assets.files.opening import content
from clip_assets.index.far_vectors import Ids, Lying
from clip_assets.index.slots import Slot
from clip_assets.publishing.vector_places import GROUP_IDS, hub_places
from clip_assets.publishing.version_file import as_published
from clip_assets.storage.store import Store

MOST_BYTES = 64 << 20
"""Of the file, and of what is in it; it is read whole."""

KEPT_BYTES = 10 << 20
"""Of what stays of it in memory; beside the centres of an index there is no room for more."""


class PublishedPlaces:
    """The published vectors of each side.

    Args:
        store: of the data set.
        slots: its ranges of ids.
        arrays: what the file has.
    """

    def __init__(
        self, store: Store, slots: Sequence[Slot], arrays: dict[str, npt.NDArray[Any]]
    ) -> None:
        self._store = store
        self._firsts = np.array([slot.start for slot in slots], np.int64)
        groups = [-(-slot.count // GROUP_IDS) for slot in slots]
        self._before = np.cumsum(groups) - groups
        self._sizes = arrays["sizes"]
        self._begins = {side: arrays[side] for side in layout.SIDES}
        # Most groups are published whole, and so alike.
        self._held, alike = np.unique(arrays["held"], axis=0, return_inverse=True)
        self._alike = alike.reshape(-1).astype(np.int32)

    @property
    def size_bytes(self) -> int:
        """That they take in memory."""
        own = self._firsts, self._before, self._sizes, self._held, self._alike
        return sum(array.nbytes for array in (*own, *self._begins.values()))

    @classmethod
    def of(cls, store: Store, slots: Sequence[Slot]) -> "PublishedPlaces | None":
        """Read them; None where the data set does not tell, or takes too many bytes to.

        Raises:
            SchemaError: the file is damaged.
            SourceError: it cannot be read.
        """
        where = store.uri(as_published(hub_places()))
        try:
            if looked_at(where).size_bytes > MOST_BYTES:
                return None
            arrays = _arrays(content(where), where)
        except SourceMissingError:
            return None
        if arrays is None:
            return None
        groups = sum(-(-slot.count // GROUP_IDS) for slot in slots)
        expected = {
            "sizes": ((len(slots),), np.int64),
            "held": ((groups, GROUP_IDS // 8), np.uint8),
            **dict.fromkeys(layout.SIDES, ((groups,), np.int64)),
        }
        told = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        if told != expected:
            raise _wrong(where, ", ".join(f"{name} {shape}" for name, (shape, _) in told.items()))
        places = cls(store, slots, arrays)
        return places if places.size_bytes <= KEPT_BYTES else None

    def has(self, side: str) -> bool:
        """Whether vectors of a side are published."""
        return bool((self._begins[side] >= 0).any())

    def find(self, ids: Ids, side: str, width: int) -> Lying:
        """Where vectors lie.

        Args:
            ids: of the version.
            side: ``image`` or ``text``.
            width: bytes of a vector.
        """
        owners = np.searchsorted(self._firsts, ids, side="right") - 1
        group, inside = np.divmod(ids - self._firsts[owners], GROUP_IDS)
        group += self._before[owners]
        held = np.unpackbits(self._held[self._alike[group]], axis=1, bitorder="little")
        is_before = np.arange(GROUP_IDS) < inside[:, None]
        starts = self._begins[side][group]
        is_there = held[np.arange(len(ids)), inside].astype(np.bool_) & (starts >= 0)
        places = starts + (held * is_before).sum(axis=1, dtype=np.int64) * width
        return Lying(np.where(is_there, owners, -1), places)

    def file(self, number: int) -> tuple[str, int]:
        """Url of a range's rows, and how many bytes they should have."""
        uri = self._store.uri(as_published(layout.hub_rows(number)))
        return uri, int(self._sizes[number])


class PublishedSidePlaces:
    """Those of one side; see ``Whereabouts``.

    Args:
        places: of both.
        side: ``image`` or ``text``.
        dim: of the vectors.
    """

    def __init__(self, places: PublishedPlaces, side: str, dim: int) -> None:
        self._places, self._side = places, side
        self._width = dim * schemas.EMBEDDING.itemsize

    def find(self, ids: Ids) -> Lying:
        """See ``Whereabouts``."""
        return self._places.find(ids, self._side, self._width)

    def file(self, number: int) -> tuple[str, int]:
        """See ``Whereabouts``."""
        return self._places.file(number)

    def is_replaced(self, number: int) -> bool:
        """No: who publishes anew replaces the index, too."""
        del number
        return False


def _arrays(stored: bytes, where: str) -> dict[str, npt.NDArray[Any]] | None:
    """What the file has; None if that is too much."""
    try:
        with zipfile.ZipFile(io.BytesIO(stored)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
                return None
        with np.load(io.BytesIO(stored), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _wrong(where, f"no npz file ({error})") from error


def _wrong(where: str, found: str) -> SchemaError:
    return SchemaError(
        where,
        found,
        f"what {layout.HUB_DATASET} writes of the ranges of ids beside it",
        "Publish the data set anew, or open it again if that was just done.",
    )
