"""Samples of many tars, each read by byte range.

Here indices are in memory, and are read again when their tar was replaced. Where an index
comes from is said by ``indices``.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock

from clip_assets.files.faults import translated
from clip_assets.files.identity import File, looked_at
from clip_assets.webdataset.index import CHANGED, Places, damaged
from clip_assets.webdataset.indices import Tar, index_of_file
from clip_assets.webdataset.ranges import read_places
from clip_assets.webdataset.tar_index import TarIndex

MEMORY_BYTES = 256 << 20
"""Of indices that are in memory, by default: those of some 100 tars of 10,000 samples."""

Find = Callable[[TarIndex], Places | None]
"""Says which sample is meant."""

Wanted = Callable[[Places], list[str]]
"""Says which members of a sample are read, by extension."""


@dataclass(frozen=True, slots=True)
class _Indexed:
    """An index, and what told its tar from others."""

    file: File
    index: TarIndex

    def is_known_to_be_old(self) -> bool:
        """Whether the tar was replaced since; no server is asked for that."""
        return self.file.uri.startswith("/") and looked_at(self.file.uri) != self.file


class TarReader:
    """Samples of tars. Threads may share one.

    Args:
        memory_bytes: what indices may take together; the one used longest ago goes first.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._limit = memory_bytes
        self._lock = Lock()
        self._entries: dict[Tar, Future[_Indexed]] = {}

    def index(self, tar: Tar) -> TarIndex:
        """The index of a tar; threads that ask for the same one wait for the first.

        Raises:
            SourceMissingError: there is no such tar.
            SourceError: it cannot be read.
            SchemaError: it is damaged.
        """
        return self._entry(tar).index

    def read(self, tar: Tar, find: Find, wanted: Wanted) -> dict[str, bytes] | None:
        """Members of one sample; raises as ``index`` does.

        Args:
            tar: where it is.
            find: ``lambda index: index.sample(key)`` or of a uid.
            wanted: which of its members.

        Returns:
            Contents by extension; None if there is no such sample.
        """
        entry = self._entry(tar)
        for anew in (False, True):
            places = find(entry.index)
            if places is not None and not entry.is_known_to_be_old():
                contents = _read(tar, places, wanted(places))
                if contents is not None:
                    return contents
            elif places is None and looked_at(tar.uri) == entry.file:
                return None
            # The tar was replaced since its index was read, and perhaps not yet the one beside it.
            entry = self._renewed(tar, entry, anew=anew)
        places = find(entry.index)
        contents = {} if places is None else _read(tar, places, wanted(places))
        if contents is None:
            raise damaged(tar.uri, CHANGED)
        return contents or None

    def _entry(self, tar: Tar) -> _Indexed:
        with self._lock:
            future = self._entries.pop(tar, None)
            is_first = future is None
            future = future or Future[_Indexed]()
            self._entries[tar] = future
        if is_first:
            self._load(tar, future, anew=False)
        return future.result()

    def _renewed(self, tar: Tar, before: _Indexed, *, anew: bool) -> _Indexed:
        """The index of a tar that was replaced; of threads that see it at once, one reads."""
        with self._lock:
            now = self._entries.pop(tar, None)
            is_first = now is None or (now.done() and now.result() is before)
            future = Future[_Indexed]() if now is None or is_first else now
            self._entries[tar] = future
        if is_first:
            self._load(tar, future, anew=anew)
        return future.result()

    def _load(self, tar: Tar, future: Future[_Indexed], *, anew: bool) -> None:
        try:
            file = looked_at(tar.uri)
            future.set_result(_Indexed(file, index_of_file(tar, file, anew=anew)))
        except BaseException as error:
            with self._lock:
                if self._entries.get(tar) is future:
                    del self._entries[tar]
            future.set_exception(error)
            return
        with self._lock:
            self._shrink()

    def _shrink(self) -> None:
        sizes = {
            tar: entry.result().index.members.nbytes
            for tar, entry in self._entries.items()
            if entry.done()
        }
        total = sum(sizes.values())
        for tar in list(sizes)[:-1]:
            if total <= self._limit:
                break
            del self._entries[tar]
            total -= sizes[tar]


def _read(tar: Tar, places: Places, wanted: list[str]) -> dict[str, bytes] | None:
    names = {f"{places.key}.{name}": places.members[name] for name in wanted}
    with translated(tar.uri):
        contents = read_places(tar.uri, names)
    if contents is None:
        return None
    return {name[len(places.key) + 1 :]: content for name, content in contents.items()}
