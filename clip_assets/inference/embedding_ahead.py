"""Tars embedded as soon as they are published, while their stage makes further ones.

What is made are chunks of the stage ``embeddings``, from the bytes that were written: so what is
done stays done after a kill, and the stage, which joins the chunks, gives the files that it would
give alone. Whatever fails here is left to that stage, which tries again and says what is wrong.
"""

import logging
import threading
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import chain
from typing import BinaryIO

from clip_assets import layout
from clip_assets.encoders.identity import check_model
from clip_assets.inference import chunks
from clip_assets.inference.earlier import LastRun
from clip_assets.inference.embeddings import EMBEDDINGS
from clip_assets.inference.pipeline import END, Pace, embedded
from clip_assets.inference.samples import Sample
from clip_assets.inference.tar_chunks import chunk_of, chunk_path, read_source, source_of
from clip_assets.layout import Key
from clip_assets.pool.pool import Onlooker, Pool
from clip_assets.storage.manifests import Output, named

logger = logging.getLogger(__name__)

TARS = 2
"""In work or waiting; who publishes one more waits, and so do, in the end, the sockets."""


@contextmanager
def embedding_ahead(pool: Pool) -> Generator[Mapping[Key, Pace]]:
    """For the time of the block, embed the tars that the pool's stages publish.

    A partition that was embedded before is left to the stage, which keeps what still holds of it.

    Args:
        pool: the pool; it has no other onlooker meanwhile.

    Yields:
        How fast each partition's tars were embedded; complete when the block has ended.
    """
    lane = _Lane(pool)
    pool.onlooker = Onlooker(layout.shard_tar, lane.take)
    try:
        yield lane.paces
    except BaseException:
        lane.stop.set()
        raise
    finally:
        pool.onlooker = None
        lane.threads.shutdown()


class _Lane:
    """Tars on their way to chunks, one after the other."""

    def __init__(self, pool: Pool) -> None:
        self.paces: dict[Key, Pace] = {}
        self.stop = threading.Event()
        self.threads = ThreadPoolExecutor(1, "clip-assets-ahead")
        self._pool = pool
        self._places = threading.BoundedSemaphore(TARS)
        self._given_up: set[Key] = set()

    def take(self, key: Key, tar: Output, file: BinaryIO) -> None:
        """Take a published tar as soon as there is a place for it."""
        if key in self._given_up or self._pool.catalog.get(EMBEDDINGS.name, key) is not None:
            file.close()
            return
        self._places.acquire()
        self.threads.submit(self._work, key, tar, file)

    def _work(self, key: Key, tar: Output, file: BinaryIO) -> None:
        try:
            with file:
                if key not in self._given_up and not self.stop.is_set():
                    self._embed(key, tar, file)
        except Exception as error:  # whatever it is, the stage meets it again and tells of it
            self._given_up.add(key)
            if not self.stop.is_set():
                told = f"{type(error).__name__}: {error}"
                logger.warning("%s: not embedded ahead: %s", named(EMBEDDINGS.name, key), told)
        finally:
            self._places.release()

    def _embed(self, key: Key, tar: Output, file: BinaryIO) -> None:
        pool = self._pool
        encoder = pool.encoder()
        check_model(pool.store, encoder.identity)
        source = source_of(tar, encoder, EMBEDDINGS.version)
        pace = self.paces.setdefault(key, Pace(encoder.workers))
        none_before = LastRun({})
        read = self._until_stopped(read_source(file, source, pool.store.uri(tar.path), none_before))
        with closing(embedded(chain(read, [END]), encoder, pool.settings.inference, pace)) as done:
            for piece in done:
                chunk = chunk_of(source, piece, none_before)
                chunks.write(pool.store, chunk_path(key, tar), source, chunk)
        pace.finish()

    def _until_stopped(self, samples: Iterable[Sample]) -> Generator[Sample]:
        for sample in samples:
            if self.stop.is_set():
                raise InterruptedError
            yield sample
