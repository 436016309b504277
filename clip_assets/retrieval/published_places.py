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
from clip_assets.index.far.far_vectors import Ids, Lying
from clip_assets.index.slots import Slot
from clip_assets.publishing.vector_places import GROUP_IDS, hub_places
from clip_assets.publishing.version_file import as_published
from clip_assets.storage.store import Store

MOST_BYTES = 64 << 20
"""Of the file, and of what is in it; it is read whole."""

KEPT_BYTES = 10 << 20
"""Of what stays of it in memory; beside the centres of an index there is no room for more."""

GROUPS_AT_ONCE = 1_024
"""Of ids whose bits are in memory as bytes."""


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
        holes = _holes(arrays["held"], [slot.count for slot in slots])
        self._held: npt.NDArray[np.uint8] | None = arrays["held"] if holes is None else None
        self._holes = np.empty(0, np.uint32) if holes is None else holes

    @property
    def size_bytes(self) -> int:
        """That they take in memory."""
        own = [self._firsts, self._before, self._sizes, self._holes, *self._begins.values()]
        return sum(array.nbytes for array in own) + (0 if self._held is None else self._held.nbytes)

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
        starts = self._begins[side][group]
        is_held, before = self._rank(group, inside)
        return Lying(np.where(is_held & (starts >= 0), owners, -1), starts + before * width)

    def _rank(self, group: Ids, inside: Ids) -> tuple[npt.NDArray[np.bool_], Ids]:
        """Whether ids are published, and how many of their group before them are."""
        if self._held is not None:
            held = np.unpackbits(self._held[group], axis=1, bitorder="little")
            is_before = np.arange(GROUP_IDS) < inside[:, None]
            is_held = held[np.arange(len(group)), inside].astype(np.bool_)
            return is_held, (held * is_before).sum(axis=1, dtype=np.int64)
        first = group * GROUP_IDS
        begins, here, ends = (
            np.searchsorted(self._holes, at.astype(np.uint32))
            for at in (first, first + inside, first + inside + 1)
        )
        return here == ends, inside - (here - begins)

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


def _holes(held: npt.NDArray[np.uint8], counts: Sequence[int]) -> npt.NDArray[np.uint32] | None:
    """Ids that are not published, counted as if each group were full; ascending.

    None where that is more memory than ``held``: a stranger may publish next to nothing.

    Args:
        held: (groups, ids / 8) which of a group's ids are.
        counts: of ids in each range, whose groups follow each other.
    """
    holes = [np.empty(0, np.uint32)]
    start, most = 0, held.nbytes // holes[0].itemsize
    for count in counts:
        stop = start + -(-count // GROUP_IDS)
        for first in range(start, stop, GROUPS_AT_ONCE):
            some = held[first : min(first + GROUPS_AT_ONCE, stop)].reshape(-1)
            own = np.unpackbits(some, bitorder="little")[: count - (first - start) * GROUP_IDS]
            holes.append((np.flatnonzero(own == 0) + first * GROUP_IDS).astype(np.uint32))
            most -= len(holes[-1])
            if most <= 0:
                return None
        start = stop
    return np.concatenate(holes)


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
