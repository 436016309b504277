"""Texts and images of queries to vectors: in batches, once each, and in bounded number.

When batches are made, and what is done with their vectors, is the matter of ``rounds``; how a model
computes that of ``encoders``. What was encoded lately is not encoded again.
"""

import asyncio
import hashlib
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from clip_assets.encoders.encoder import Encoder, Pixels, Vectors
from clip_assets.retrieval.queries import Query
from clip_assets.service.limits import refusals
from clip_assets.service.limits.turns import Turns
from clip_assets.service.search.rounds import Next, Rounds, WaitingQuery

MOST_WAITING = 512
"""Queries; beyond it a client is asked to come again later."""

KEPT = 20_000
"""Vectors that are remembered."""

Key = tuple[str, str, bytes]


class Encoding:
    """Encodes queries, round by round.

    Args:
        threads: that compute rounds.
        begin: called in each of them before its first work.
    """

    def __init__(self, threads: int = 1, begin: Callable[[], object] | None = None) -> None:
        self._kept: OrderedDict[Key, Vectors] = OrderedDict()
        self._lock = threading.Lock()
        self._begun = threading.local()
        self._decoding = Turns(os.cpu_count() or 1, MOST_WAITING, "clip-assets-decoding")
        self._rounds = Rounds(self._vectors, threads, begin)
        self.batches = 0
        self.encoded = 0
        self.remembered = 0

    @property
    def waiting(self) -> int:
        """Queries that wait for a round."""
        return self._rounds.waiting

    def close(self) -> None:
        """End the threads after what waits."""
        self._rounds.close()
        self._decoding.close()

    async def text(self, encoder: Encoder, text: str) -> Vectors:
        """The embedding of a text: (dim,) float16; raises as ``followed``."""
        return await self.followed(encoder, text)

    async def image(self, encoder: Encoder, content: bytes) -> Vectors:
        """The embedding of an image file: (dim,) float16; raises as ``followed``."""
        return await self.followed(encoder, content)

    async def texts(self, encoder: Encoder, texts: Sequence[str]) -> Vectors:
        """The embeddings of many texts: (len(texts), dim) float16."""
        rows = await asyncio.gather(*(self.text(encoder, text) for text in texts))
        return np.stack(rows) if rows else np.empty((0, encoder.dim), np.float16)

    async def followed(
        self,
        encoder: Encoder | None,
        query: Query,
        following: Next | None = None,
        own: Any = None,
    ) -> Any:
        """What comes of a query's vector, computed together with what else waits.

        Args:
            encoder: of a text or an image file; None of a vector.
            query: one of these, no pair of an index.
            following: what is done with the vector; None: it is the result.
            own: handed to that.

        Raises:
            ImageError: an image cannot be decoded.
            RefusalError: too many queries wait.
            Exception: what ``following`` finds at fault.
        """
        kind, content, key = "vector", query, None
        if encoder is not None and isinstance(query, str | bytes):
            key = _key(encoder, query)
            kept = self._remembered(key)
            if kept is not None and following is None:
                return kept
            if kept is not None:
                content, key = kept, None
            else:
                kind = key[1]
            if kind == "image" and isinstance(query, bytes):
                # Decoded beside the thread that encodes.
                content = await self._decoding.do(partial(self._decoded, encoder, query))
        if self.waiting >= MOST_WAITING:
            raise _busy()
        result = asyncio.get_running_loop().create_future()
        self._rounds.add(WaitingQuery(encoder, kind, content, key, following, own, result))
        return await result

    def _remembered(self, key: Key) -> Vectors | None:
        with self._lock:
            vector = self._kept.get(key)
            if vector is not None:
                self.remembered += 1
                self._kept.move_to_end(key)
            return vector

    def _remember(self, wanted: Sequence[WaitingQuery], vectors: Sequence[Vectors]) -> None:
        with self._lock:
            for one, vector in zip(wanted, vectors, strict=True):
                if one.key is not None:
                    self._kept[one.key] = vector
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def _decoded(self, encoder: Encoder, content: bytes) -> Pixels:
        self._begin(encoder)
        return encoder.preprocess(content)

    def _begin(self, encoder: Encoder) -> None:
        """Let the calling thread compute with one core; others decode, search and answer."""
        begun = self._begun.__dict__.setdefault("encoders", weakref.WeakSet[Encoder]())
        if encoder not in begun:
            encoder.begin_work()
            begun.add(encoder)

    def _vectors(self, of_round: Sequence[WaitingQuery]) -> dict[int, Any]:
        """See ``rounds.Vectorise``."""
        told: dict[int, Any] = {}
        groups: dict[tuple[Encoder, str], list[int]] = {}
        for place, one in enumerate(of_round):
            if one.result.cancelled():
                continue
            if one.encoder is None or one.kind == "vector":
                told[place] = one.content
            else:
                groups.setdefault((one.encoder, one.kind), []).append(place)
        for (encoder, kind), places in groups.items():
            try:
                vectors = self._encode(encoder, kind, [of_round[place] for place in places])
                told.update(zip(places, vectors, strict=True))
            except Exception as error:
                told.update(dict.fromkeys(places, error))
        return told

    def _encode(
        self, encoder: Encoder, kind: str, wanted: Sequence[WaitingQuery]
    ) -> Sequence[Vectors]:
        """Vectors of queries of one kind by one model."""
        self._begin(encoder)
        self.batches += 1
        self.encoded += len(wanted)
        encode = encoder.encode_text if kind == "text" else encoder.encode_images
        vectors = [*encode([one.content for one in wanted])]
        self._remember(wanted, vectors)
        return vectors


def _key(encoder: Encoder, query: str | bytes) -> Key:
    if isinstance(query, str):
        return encoder.identity.digest(), "text", query.encode(errors="surrogatepass")
    return encoder.identity.digest(), "image", hashlib.sha256(query).digest()


def _busy() -> refusals.RefusalError:
    return refusals.later("the model", f"{MOST_WAITING} queries that wait for it", "fewer")
