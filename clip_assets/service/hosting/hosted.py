"""Indices that are hosted: their versions change under running queries, and no query fails.

A query borrows the version that is served when it begins, and a version is closed when it was
replaced and its last query has ended. Searching in one is ``retrieval.search``.
"""

import asyncio
import logging
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Self

import numpy as np

from clip_assets import layout
from clip_assets.encoders.encoder import Encoder
from clip_assets.errors import ClipAssetsError, ConfigurationError, ModelMismatchError
from clip_assets.pool.pool import Pool
from clip_assets.retrieval.images import Images
from clip_assets.retrieval.search import Searcher
from clip_assets.service.hosting.aligned import AlignedColumns
from clip_assets.service.limits.refusals import RefusalError

logger = logging.getLogger(__name__)

FOLLOW_S = 1.0
"""Seconds between two glances at which version is served."""

FOLLOW_REMOTE_S = 10.0
"""The same on an object store, where each costs a request."""


MOST_READ = 5_000_000
"""Vectors up to which what clip-retrieval's answers tell of the metadata is read beforehand."""


class OpenVersion:
    """A version that queries search, and how many do.

    Args:
        searcher: of it; it is closed when it was replaced and its last query has ended.

    Attributes:
        returned: columns of a folder's own that ``/knn-service`` returns; None: those of pools.
    """

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self.columns = AlignedColumns(searcher)
        self.returned: Sequence[str] | None = None
        self.users = 0
        self.is_replaced = False

    def warm_up(self) -> None:
        """Do what a query does, so that none waits for what is loaded when first needed.

        Raises:
            StoreError: the version is damaged.
        """
        version = self.searcher.version
        if not version.vectors:
            return
        middle = np.full((1, version.dim), version.dim**-0.5, np.float32)
        for side in self.searcher.sides:
            ids = self.searcher.search_many(middle, 1, side).ids[0]
            self.searcher.rows(ids)
        if version.vectors <= MOST_READ:
            firsts = [slot.start for slot, _ in version.used]
            self.columns.table(np.array(firsts, np.int64), ["nsfw"])


class HostedIndex:
    """The served version of a pool's index, and the model of its queries.

    Args:
        name: that requests call it by.
        pool: whose index it is.

    Attributes:
        images: the pool's stored images.
        problem: why the version that is named by now is not served, if so.

    Raises:
        StoreError: the pool serves no version, or a damaged one.
    """

    def __init__(self, name: str, pool: Pool) -> None:
        self.name = name
        self.pool = pool
        self.images = Images(pool.store)
        self.problem: Exception | None = None
        self._model: Future[Encoder] = Future()
        self._lock = threading.Lock()
        # What is named before the version is opened: a later one is seen as new.
        is_named = pool.store.exists(layout.CURRENT)
        self._named = pool.store.read_bytes(layout.CURRENT) if is_named else b""
        self._opened = OpenVersion(Searcher.open(pool))

    @property
    def version(self) -> str:
        """Name of the version that new queries get."""
        return self._opened.searcher.version.name

    @contextmanager
    def opened(self) -> Generator[OpenVersion]:
        """The version that is served, until the block ends."""
        with self._lock:
            opened = self._opened
            opened.users += 1
        try:
            yield opened
        finally:
            with self._lock:
                opened.users -= 1
                is_last = opened.is_replaced and not opened.users
            if is_last:
                opened.searcher.close()

    def follow(self) -> None:
        """Serve the version that is named by now; one that cannot be opened changes nothing."""
        try:
            self._renew()
            self.problem = None
        except Exception as error:  # each store has its own; none may end the following
            if str(error) != str(self.problem):
                logger.warning("%s goes on with version %s: %s", self.name, self.version, error)
            self.problem = error

    def _renew(self) -> None:
        """Open the version that is named by now, if it is another one, and serve it."""
        named = self.pool.store.read_bytes(layout.CURRENT)
        if named != self._named:
            opened = OpenVersion(Searcher.open(self.pool.renewed()))
            opened.warm_up()
            self._replace(opened)
            self._named = named

    def _replace(self, opened: OpenVersion) -> None:
        with self._lock:
            before, self._opened = self._opened, opened
            before.is_replaced = True
            is_unused = not before.users
        if is_unused:
            before.searcher.close()
        logger.info("%s serves version %s", self.name, self.version)

    def warm_up(self) -> None:
        """Have the served version's files and libraries at hand."""
        try:
            with self.opened() as opened:
                opened.warm_up()
        except Exception as error:  # each store has its own; requests are told so themselves
            logger.warning("%s: %s", self.name, error)

    def load_model(self) -> None:
        """Load the model of queries; ``encoder`` has it or says why it is not there."""
        try:
            encoder = self.pool.encoder()
            encoder.encode_text(["the first one takes longer"])
            self._model.set_result(encoder)
        except Exception as error:  # whatever it is, it keeps no other index from its model
            is_odd = not isinstance(error, ClipAssetsError)
            told = "%s takes no texts and no images: %s"
            logger.warning(told, self.name, error, exc_info=is_odd)
            self._model.set_exception(error)

    @property
    def model_state(self) -> str:
        """``loading``, ``loaded`` or ``failed``."""
        if not self._model.done():
            return "loading"
        return "failed" if self._model.exception() else "loaded"

    async def encoder(self, digest: str) -> Encoder:
        """The model of queries, as soon as it is loaded.

        Args:
            digest: of the model of the version that is searched.

        Raises:
            ModelLoadError: it cannot be loaded.
            ModelMismatchError: the version is of another model.
        """
        # Whoever no longer waits leaves it to others.
        encoder = await asyncio.shield(asyncio.wrap_future(self._model))
        if encoder.identity.digest() != digest:
            raise ModelMismatchError(
                f"index {self.name}",
                f"vectors of another model than {encoder.identity.describe()}",
                "the model that the pool's settings name",
                "Search by uid or embedding, or start the service with the index's model.",
            )
        return encoder

    def close(self) -> None:
        """Close it; queries that still run finish first."""
        with self._lock:
            self._opened.is_replaced = True
            is_unused = not self._opened.users
        if is_unused:
            self._opened.searcher.close()


class Hosting:
    """All hosted indices; the first one is what a request gets that names none.

    Args:
        indices: at least one, each with a name of its own.
    """

    def __init__(self, indices: Sequence[HostedIndex]) -> None:
        self.indices = {index.name: index for index in indices}
        self._first = indices[0]
        self._ends = threading.Event()
        self._threads = [
            threading.Thread(target=self._load, name="clip-assets-models", daemon=True),
            threading.Thread(target=self._follow, name="clip-assets-versions", daemon=True),
        ]

    @classmethod
    def of(cls, places: "Sequence[str | HostedIndex]", settings_file: str | None = None) -> Self:
        """Host pools, and what is hosted already.

        Args:
            places: roots of pools or published data sets, or ``name=root``; none: the pool that
                other commands take.
            settings_file: of the only one.

        Raises:
            ConfigurationError: two have one name.
            StoreError: one serves no version.
        """
        from clip_assets.service.hosting.hosted_published import hosted

        indices = [
            place if isinstance(place, HostedIndex) else hosted(place, settings_file)
            for place in places or [None]
        ]
        names = [index.name for index in indices]
        for name in names:
            if names.count(name) > 1:
                raise ConfigurationError(
                    "pools", f"two called {name!r}", "a name for each", "Say NAME=ROOT of each."
                )
        return cls(indices)

    def get(self, name: str | None) -> HostedIndex:
        """An index by its name, the first one where none is given.

        Raises:
            RefusalError: there is none of this name.
        """
        if not name:
            return self._first
        if name not in self.indices:
            known = ", ".join(self.indices)
            raise RefusalError(
                404, "index", repr(name), f"one of {known}", "See /v1/indices for all of them."
            )
        return self.indices[name]

    def start(self) -> None:
        """Load models, and follow the served versions, in the background."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop following, and close all."""
        self._ends.set()
        for index in self.indices.values():
            index.close()

    def _load(self) -> None:
        for index in self.indices.values():
            index.warm_up()
        for index in self.indices.values():
            index.load_model()

    def _follow(self) -> None:
        is_local = all(index.pool.store.is_local for index in self.indices.values())
        while not self._ends.wait(FOLLOW_S if is_local else FOLLOW_REMOTE_S):
            for index in self.indices.values():
                index.follow()


def named(place: str) -> tuple[str, str]:
    """What ``name=root`` says; the name is empty where it says none."""
    name, sign, root = place.partition("=")
    return (name, root) if sign and "/" not in name else ("", place)


def last_part(place: str) -> str:
    """Of a path or url, which names what is there."""
    return PurePosixPath(place.rstrip("/")).name or "pool"
