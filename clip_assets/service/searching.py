"""What the endpoints of search share: queries in turn, and what answers hold.

Encoding computes in one thread and searching in as many as there are cores, so that a query waits
for its turn and not for the machine.
"""

import asyncio
import base64
import binascii
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

import numpy as np

from clip_assets.retrieval import queries
from clip_assets.retrieval.queries import Query, Uid
from clip_assets.retrieval.search import Hit, Searcher
from clip_assets.service.hosted import HostedIndex, Hosting
from clip_assets.service.offer import Offer
from clip_assets.service.refusals import RefusalError
from clip_assets.service.wire import SearchRequest, SearchTerm

T = TypeVar("T")

_DIGITS = 6
# Of a similarity; more are noise of float32.


class Searching:
    """Answers searches of all hosted indices.

    Args:
        hosting: the indices.
        offer: what may be asked.
    """

    def __init__(self, hosting: Hosting, offer: Offer) -> None:
        self.hosting = hosting
        self.offer = offer
        self._encoding = ThreadPoolExecutor(1, "clip-assets-encoding")
        self._searching = ThreadPoolExecutor(os.cpu_count() or 1, "clip-assets-searching")

    def close(self) -> None:
        """End its threads."""
        self._encoding.shutdown(wait=False, cancel_futures=True)
        self._searching.shutdown(wait=False, cancel_futures=True)

    async def search(self, request: SearchRequest, uploads: Mapping[str, bytes]) -> dict[str, Any]:
        """What a search finds, as the endpoint answers it; ``uploads`` are images by field.

        Raises:
            RefusalError: there is no such index, or something is asked that is not offered.
            ConfigurationError: a part of the request cannot be.
            ImageError: an image cannot be decoded.
            ModelError: the model is not there.
        """
        index = self.hosting.get(request.index)
        if len(request.terms) > 1 or request.where or request.fold or request.facets:
            raise RefusalError(
                501, "request", "a mix, where, fold or facets", "one term", "Ask for less."
            )
        with index.searcher() as searcher:
            start = time.perf_counter()
            query = await self._query(index, searcher, request.terms[0], uploads)
            encoded = time.perf_counter()
            hits = await self.in_turn(
                partial(
                    searcher.search,
                    query,
                    k=request.offset + request.k + 1,
                    threshold=request.threshold,
                    side=request.side,
                    recall_target=request.recall_target,
                )
            )
            searched = time.perf_counter()
            end = request.offset + request.k
            target = request.recall_target or index.pool.settings.index.recall_target
            return {
                "index": index.name,
                "version": searcher.version.name,
                "model": searcher.version.model_name,
                "took_ms": {
                    "encode": _ms(encoded - start),
                    "search": _ms(searched - encoded),
                },
                "recall_target": target,
                "results": [result(hit) for hit in hits[request.offset : end]],
                "offset": request.offset,
                "more": len(hits) > end,
                "relevance_ends": None,
                "facets": None,
            }

    async def item(self, name: str | None, uid: str) -> dict[str, Any]:
        """What one pair is.

        Raises:
            RefusalError: there is no such index, or no such pair in it.
        """
        index = self.hosting.get(name)
        with index.searcher() as searcher:
            return await self.in_turn(partial(_item, index, searcher, uid))

    async def in_turn(self, work: Callable[[], T]) -> T:
        """Do some work in a thread of those that search."""
        return await asyncio.get_running_loop().run_in_executor(self._searching, work)

    async def _query(
        self,
        index: HostedIndex,
        searcher: Searcher,
        term: SearchTerm,
        uploads: Mapping[str, bytes],
    ) -> Query:
        if term.uid is not None:
            return Uid(term.uid)
        if term.embedding is not None:
            return np.array(term.embedding, np.float64)
        if term.text is not None:
            content: str | bytes = term.text
        elif term.image_url is not None:
            raise _not_offered("image_url", "urls of images are off", "--image-urls")
        else:
            content = self._image(term, uploads)
        encode = partial(queries.encode, content, partial(index.encoder, searcher.version.model))
        return await asyncio.get_running_loop().run_in_executor(self._encoding, encode)

    def _image(self, term: SearchTerm, uploads: Mapping[str, bytes]) -> bytes:
        if not self.offer.uploads:
            raise _not_offered("image", "images cannot be sent", "without --no-uploads")
        if term.upload is None:
            return from_base64(term.image or "")
        if term.upload not in uploads:
            known = ", ".join(uploads) or "none"
            raise RefusalError(
                422,
                "terms.upload",
                repr(term.upload),
                f"a field of the form that has a file ({known})",
                "Send multipart/form-data with the json in the field request.",
            )
        return uploads[term.upload]


def from_base64(text: str) -> bytes:
    """The bytes that a text stands for; one of a ``data:`` url is taken, too.

    Raises:
        RefusalError: it is no base64.
    """
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusalError(
            400, "image", f"no base64 ({error})", "an image file in base64", "Correct the request."
        ) from error


def result(hit: Hit) -> dict[str, Any]:
    """A hit as answers hold it."""
    row = asdict(hit)
    row["similarity"] = round(hit.similarity, _DIGITS)
    return row | {"contributions": [row["similarity"]], "folded": []}


def _item(index: HostedIndex, searcher: Searcher, uid: str) -> dict[str, Any]:
    ids = searcher.ids([uid]) if _is_uid(uid) else np.array([-1])
    if ids[0] < 0:
        raise RefusalError(
            404,
            "uid",
            repr(uid[:100]),
            f"a pair of version {searcher.version.name} of {index.name}",
            "A pair without an image is in no index.",
        )
    [row] = searcher.rows(ids).to_pylist()
    row["pair_similarity"] = row.pop("similarity")
    return {"id": int(ids[0]), "partition": row["image_path"].partition("/")[0]} | row


def _is_uid(text: str) -> bool:
    return len(text) == 32 and set(text) <= set("0123456789abcdef")


def _not_offered(where: str, found: str, option: str) -> RefusalError:
    return RefusalError(
        403, where, found, "another kind of term", f"Start the service with {option} to offer it."
    )


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
