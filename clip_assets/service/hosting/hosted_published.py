"""Published data sets as hosted indices, followed while others publish them anew.

Searching one is ``retrieval.published_search``. Images are not published, so none is served.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future

import pyarrow as pa

from clip_assets import graph, schemas
from clip_assets.encoders.encoder import Encoder
from clip_assets.files.hub_files import HUB, web_address
from clip_assets.files.identity import looked_at
from clip_assets.publishing.version_file import as_published, hub_version
from clip_assets.retrieval.published_search import PublishedSearcher, is_published
from clip_assets.retrieval.served_side import Ids
from clip_assets.service.hosting.aligned import AlignedColumns
from clip_assets.service.hosting.hosted import HostedIndex, OpenVersion, last_part, named
from clip_assets.service.hosting.hosted_folders import NoImages

_ELSEWHERE = {"text": "caption", "clip_similarity_score": "similarity"}
# What columns of a pool's metadata are called in the rows.


class HostedPublished(HostedIndex):
    """A published data set.

    Args:
        name: that requests call it by.
        root: ``hf://datasets/ORGANISATION/NAME``, or path or url of such a folder.
        settings_file: names the model of queries.

    Raises:
        ClipAssetsError: it cannot be opened.
    """

    def __init__(self, name: str, root: str, settings_file: str | None = None) -> None:
        self.name = name
        self._root, self._settings_file = root, settings_file
        self.problem: Exception | None = None
        self._model: Future[Encoder] = Future()
        self._lock = threading.Lock()
        self._state = self._now()
        self._opened = self._open()
        self.pool = self._opened.searcher.pool
        self.images = NoImages(self.pool.store)

    def _renew(self) -> None:
        """Open what is published by now, if it is something else, and serve it."""
        now = self._now()
        if now != self._state:
            opened = self._open()
            opened.warm_up()
            self._replace(opened)
            self._state = now

    def _now(self) -> str:
        """What changes when something is published: the commit of a hub, else the file's tag."""
        if self._root.startswith(HUB):
            return web_address(self._root)
        return looked_at(f"{self._root.rstrip('/')}/{as_published(hub_version())}").etag

    def _open(self) -> OpenVersion:
        searcher = PublishedSearcher.at(self._root, self._settings_file)
        opened = OpenVersion(searcher)
        opened.columns = _PublishedColumns(searcher)
        return opened


class _PublishedColumns(AlignedColumns):
    """Columns of the pool's metadata, as far as they are published."""

    def __init__(self, searcher: PublishedSearcher) -> None:
        super().__init__(searcher)
        self._rows = searcher.published_rows
        self._slots_of = searcher.version.slots

    def know(self, ids: Ids) -> bool:
        """They do: rows are published with their vectors."""
        del ids
        return True

    def _read(self, number: int, columns: Sequence[str]) -> dict[str, pa.ChunkedArray]:
        return {name: self._column(number, name) for name in columns}

    def _column(self, number: int, name: str) -> pa.ChunkedArray:
        field = schemas.POOL_ROWS.field(name).with_nullable(nullable=True)
        count = self._slots_of[number].count
        if name == "status":
            return pa.chunked_array([pa.repeat(pa.scalar("success", field.type), count)])
        # The similarity of a row there is that of the pair itself, which sources do not say.
        if name == "similarity":
            return pa.chunked_array([pa.nulls(count, field.type)])
        return self._rows.column(number, _ELSEWHERE.get(name, name), field.type)


def hosted(place: str | None, settings_file: str | None) -> HostedIndex:
    """The index of a pool, or of a published data set.

    Args:
        place: root of either, or ``name=root``; None: the pool that other commands take.
        settings_file: of it.

    Raises:
        ClipAssetsError: it cannot be opened.
    """
    name, root = ("", None) if place is None else named(place)
    if root and is_published(root):
        return HostedPublished(name or last_part(root), root, settings_file)
    pool = graph.open_pool(root, settings_file)
    return HostedIndex(name or last_part(pool.store.uri()), pool)
