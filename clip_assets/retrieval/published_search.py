"""Searching what a pool published, where it lies: a folder, a bucket, a web server, a hub.

Lists of the index and rows are read by byte ranges, see ``index.far.far_lists`` and
``published_rows``. Images are not published: results have urls. What the data set's own folder has
of settings is not read, since it is of strangers; a model that it names is taken where the name is
one that everybody has.
"""

import re
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import NoReturn, Self

from clip_assets import layout, settings
from clip_assets.errors import (
    ConfigurationError,
    ModelLoadError,
    SourceMissingError,
)
from clip_assets.files.hub_files import HUB, web_address
from clip_assets.files.kept import Kept
from clip_assets.files.opening import content, need_ranges
from clip_assets.index.far.far_vectors import VectorsElsewhere
from clip_assets.index.versions import Version
from clip_assets.pool.pool import Pool
from clip_assets.publishing.version_file import as_published, hub_version
from clip_assets.retrieval.published_places import PublishedPlaces, PublishedSidePlaces
from clip_assets.retrieval.published_rows import PublishedRows
from clip_assets.retrieval.rows import Ids
from clip_assets.retrieval.search import Searcher
from clip_assets.retrieval.served_side import NONE, Floats, ServedSide
from clip_assets.settings import InferenceSettings, Settings
from clip_assets.storage.control import parsed
from clip_assets.storage.store import Store

_PLAIN = re.compile(r"[\w.-]+")
# No path and no repository of a stranger's.


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """The content of ``hub_version``.

    Args:
        version: the index version, without what is not published.
        model: name of the model of its vectors.
        pretrained: and of its weights.
    """

    version: Version
    model: str
    pretrained: str | None = None


class PublishedSearcher(Searcher):
    """A published data set, opened for searching; open it by ``at``.

    Attributes:
        published_rows: its rows.
    """

    def __init__(self, pool: Pool, version: Version) -> None:
        super().__init__(pool, version)
        self._stack.close()
        self._stack = ExitStack()
        self._rows = self.published_rows = PublishedRows(
            pool.store, version, self._stack, self._kept
        )
        places = _Places(pool.store, version, self._kept)
        self._sides = {
            side: _PublishedSide(pool, version, side, self._stack, self._kept, places)
            for side in layout.SIDES
        }

    @classmethod
    def at(cls, root: str, settings_file: str | None = None) -> Self:
        """Open a data set as it is now.

        Args:
            root: ``hf://datasets/ORGANISATION/NAME``, or path or url of such a folder.
            settings_file: names the model of queries; by default the one that the data set names.

        Raises:
            ConfigurationError: it is no data set that ``hub_dataset`` published.
            SourceError: its server fails, refuses or knows no ranges.
        """
        place = _place(root)
        where = f"{place}/{as_published(hub_version())}"
        published = _read(root, where)
        store = Store(place)
        if not store.is_local:
            need_ranges(where)
        return cls(_pool(store, root, settings_file, published), published.version)

    def vectors(self, ids: Ids, side: str = "image") -> Floats:
        """See ``Searcher``; NaN of those that are not published."""
        if self._sides[side].whole is not None:
            return self._sides[side].vectors(ids)
        return self.published_rows.vectors(ids, side, self.version.dim)

    @property
    def taken_down(self) -> Ids:
        """None: what was taken down before it was published is not in it."""
        return NONE


def told_by(root: str) -> PublishedVersion:
    """What a published data set says of its index.

    Args:
        root: see ``PublishedSearcher.at``.

    Raises:
        ConfigurationError: it is no data set that ``hub_dataset`` published.
        SourceError: it cannot be read.
    """
    return _read(root, f"{_place(root)}/{as_published(hub_version())}")


def _place(root: str) -> str:
    place = web_address(root) if root.startswith(HUB) else settings.absolute(root)
    return place.rstrip("/")


def _read(root: str, where: str) -> PublishedVersion:
    try:
        told = content(where)
    except SourceMissingError:
        raise ConfigurationError(
            root,
            f"no {as_published(hub_version())}",
            f"a data set that {layout.HUB_DATASET} of this release published",
            "Publish one's own anew: clip-assets publish; adopt the vectors of others: "
            f"clip-assets adopt {layout.EMBEDDINGS}",
        ) from None
    return parsed(told, PublishedVersion, where, "Publish the data set anew.")


def is_published(root: str) -> bool:
    """Whether a root is that of a published data set, and of no pool."""
    if root.startswith(HUB):
        return True
    store = Store(root)
    return not store.exists(layout.STORE) and store.exists(as_published(hub_version()))


class _Places:
    """Where vectors of both sides lie, read when asked for and not kept."""

    def __init__(self, store: Store, version: Version, kept: Kept) -> None:
        self._store, self._version, self._kept = store, version, kept
        self._lock = Lock()
        self._has_none = False

    @property
    def known(self) -> PublishedPlaces | None:
        """They; None where the data set does not tell."""
        with self._lock:
            known: PublishedPlaces | None = self._kept.get("places")
            if known is None and not self._has_none:
                known = PublishedPlaces.of(self._store, self._version.slots)
                if known is None:
                    self._has_none = True
                else:
                    self._kept.put("places", known, known.size_bytes, is_dear=True)
            return known


class _PublishedSide(ServedSide):
    """One of its indices."""

    def __init__(
        self,
        pool: Pool,
        version: Version,
        side: str,
        stack: ExitStack,
        kept: Kept,
        places: _Places,
    ) -> None:
        super().__init__(pool, version, side, stack, kept)
        self._places = places

    @property
    def whole(self) -> VectorsElsewhere | None:
        """The vectors as they were published; None where they are not, or only compressed."""
        places = self._places.known
        if places is None or not places.has(self._side):
            return None
        own = PublishedSidePlaces(places, self._side, self._version.dim)
        return VectorsElsewhere(own, self._kept, self._side)

    @property
    def file(self) -> str:
        """Where the index lies in the folder."""
        return as_published(layout.hub_index(self._side))


def _pool(store: Store, root: str, settings_file: str | None, published: PublishedVersion) -> Pool:
    """What stands for a pool: a store and the model of its vectors."""
    if settings_file:
        return Pool(store, settings.load(root, settings_file), {})
    read = Settings(root=root)
    if "inference" in read.model_fields_set:
        return Pool(store, read, {})
    names = [published.model, *([published.pretrained] if published.pretrained else [])]
    if not all(_PLAIN.fullmatch(name) for name in names):

        def unnamed() -> NoReturn:
            raise ModelLoadError(
                root,
                f"vectors of {'/'.join(names)!r}, which is not everybody's",
                "a model that everybody has by this name",
                "Name the model of its vectors in a settings file: --pool FILE. Embeddings and "
                "uids are searched without.",
            )

        return Pool(store, read, {}, unnamed)
    inference = InferenceSettings(model=published.model, pretrained=published.pretrained)
    return Pool(store, read.model_copy(update={"inference": inference}), {})
