"""Texts and images of queries to vectors: in batches, once each, and in bounded time.

Queries that come while a batch is computed are the next batch; under load none waits for others
longer than one batch takes. What was encoded lately is not encoded again. How a model computes is
the matter of ``encoders``.
"""

import asyncio
import hashlib
import os
import queue
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from clip_assets.encoders.encoder import Encoder, Pixels, Vectors
from clip_assets.service import refusals
from clip_assets.service.turns import Turns

WINDOW_S = 0.001
"""For which a batch waits for more, when the one before it had more than one query."""

MOST_WAITING = 512
"""Queries; beyond it a client is asked to come again later."""

KEPT = 20_000
"""Vectors that are remembered."""

Key = tuple[str, str, bytes]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A query that waits: its kind, a text or pixels, and where the vector goes."""

    encoder: Encoder
    kind: str
    content: Any
    vector: "asyncio.Future[Vectors]"


class Encoding:
    """Encodes queries in one thread, batch by batch."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[_Wanted | None] = queue.Queue()
        self._kept: OrderedDict[Key, Vectors] = OrderedDict()
        self._lock = threading.Lock()
        self._begun = threading.local()
        self._decoding = Turns(os.cpu_count() or 1, MOST_WAITING, "clip-assets-decoding")
        self.batches = 0
        self.encoded = 0
        self.remembered = 0
        threading.Thread(target=self._run, name="clip-assets-encoding", daemon=True).start()

    @property
    def waiting(self) -> int:
        """Queries that wait for a batch."""
        return self._waiting.qsize()

    def close(self) -> None:
        """End the thread after what waits."""
        self._waiting.put(None)
        self._decoding.close()

    async def text(self, encoder: Encoder, text: str) -> Vectors:
        """The embedding of a text: (dim,) float16.

        Raises:
            RefusalError: too many queries wait.
        """
        key = (encoder.identity.digest(), "text", text.encode(errors="surrogatepass"))
        kept = self._remembered(key)
        return kept if kept is not None else await self._encoded(encoder, key, text)

    async def image(self, encoder: Encoder, content: bytes) -> Vectors:
        """The embedding of an image file: (dim,) float16.

        Raises:
            ImageError: it cannot be decoded.
            RefusalError: too many queries wait.
        """
        key = (encoder.identity.digest(), "image", hashlib.sha256(content).digest())
        kept = self._remembered(key)
        if kept is not None:
            return kept
        # Decoded beside the thread that encodes.
        pixels = await self._decoding.do(partial(self._decoded, encoder, content))
        return await self._encoded(encoder, key, pixels)

    async def texts(self, encoder: Encoder, texts: Sequence[str]) -> Vectors:
        """The embeddings of many texts: (len(texts), dim) float16."""
        rows = await asyncio.gather(*(self.text(encoder, text) for text in texts))
        return np.stack(rows) if rows else np.empty((0, encoder.dim), np.float16)

    async def _encoded(self, encoder: Encoder, key: Key, content: Any) -> Vectors:
        if self.waiting >= MOST_WAITING:
            raise _busy()
        wanted = _Wanted(encoder, key[1], content, asyncio.get_running_loop().create_future())
        self._waiting.put(wanted)
        vector = await wanted.vector
        with self._lock:
            self._kept[key] = vector
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return vector

    def _remembered(self, key: Key) -> Vectors | None:
        with self._lock:
            vector = self._kept.get(key)
            if vector is not None:
                self.remembered += 1
                self._kept.move_to_end(key)
            return vector

    def _decoded(self, encoder: Encoder, content: bytes) -> Pixels:
        self._begin(encoder)
        return encoder.preprocess(content)

    def _begin(self, encoder: Encoder) -> None:
        """Let the calling thread compute with one core; others decode, search and answer."""
        begun = self._begun.__dict__.setdefault("encoders", weakref.WeakSet[Encoder]())
        if encoder not in begun:
            encoder.begin_work()
            begun.add(encoder)

    def _run(self) -> None:
        size = 0
        while (first := self._waiting.get()) is not None:
            batch = self._batch(first, WINDOW_S if size > 1 else 0)
            size = len(batch)
            self.batches += 1
            self.encoded += size
            for kind in ("text", "image"):
                for encoder in {id(one.encoder): one.encoder for one in batch}.values():
                    self._begin(encoder)
                    _encode(
                        encoder,
                        kind,
                        [one for one in batch if (one.encoder, one.kind) == (encoder, kind)],
                    )

    def _batch(self, first: _Wanted, window_s: float) -> list[_Wanted]:
        """What waits, and what comes within a window."""
        batch = [first]
        end_s = time.monotonic() + window_s
        while len(batch) < first.encoder.batch_size:
            try:
                left_s = end_s - time.monotonic()
                following = (
                    self._waiting.get(timeout=left_s)
                    if left_s > 0
                    else (self._waiting.get_nowait())
                )
            except queue.Empty:
                break
            if following is None:
                self._waiting.put(None)
                break
            batch.append(following)
        return batch


def _encode(encoder: Encoder, kind: str, batch: Sequence[_Wanted]) -> None:
    """Encode queries of one kind by one model; each hears of its vector, or of the fault."""
    running = [one for one in batch if not one.vector.cancelled()]
    if not running:
        return
    told: Sequence[Vectors | Exception]
    try:
        contents = [one.content for one in running]
        told = [*(encoder.encode_text if kind == "text" else encoder.encode_images)(contents)]
    except Exception as error:
        told = [error] * len(running)
    # One call of each event loop, whose waking costs more than a result.
    loops = {id(loop): loop for one in running if (loop := one.vector.get_loop())}
    for loop in loops.values():
        own = [
            (one.vector, what)
            for one, what in zip(running, told, strict=True)
            if one.vector.get_loop() is loop
        ]
        with suppress(RuntimeError):  # it was closed meanwhile
            loop.call_soon_threadsafe(_tell, own)


def _tell(results: "Sequence[tuple[asyncio.Future[Vectors], Vectors | Exception]]") -> None:
    """Hand out vectors, or faults, to who still waits."""
    for future, what in results:
        if future.done():
            continue
        if isinstance(what, Exception):
            future.set_exception(what)
        else:
            future.set_result(what)


def _busy() -> refusals.RefusalError:
    return refusals.later("the model", f"{MOST_WAITING} queries that wait for it", "fewer")
