"""What the endpoints of search share: terms to vectors, and work in turn.

What is found for them is in ``finding``; encoding is ``encoding``.
"""

import asyncio
import base64
import binascii
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from clip_assets.encoders.encoder import Encoder
from clip_assets.errors import ConfigurationError, SchemaError
from clip_assets.retrieval import queries
from clip_assets.retrieval.queries import Query, Uid, Vector
from clip_assets.retrieval.served_side import Nearest
from clip_assets.retrieval.terms import Mix
from clip_assets.service.hosting.hosted import HostedIndex, Hosting, OpenVersion
from clip_assets.service.limits import refusals
from clip_assets.service.limits.offer import Offer
from clip_assets.service.limits.refusals import RefusalError
from clip_assets.service.limits.turns import Turns
from clip_assets.service.limits.visible import Visible
from clip_assets.service.limits.wire import SearchRequest, SearchTerm
from clip_assets.service.measures.took import Took
from clip_assets.service.search import plain
from clip_assets.service.search.encoding import Encoding
from clip_assets.service.search.finding import LOOKED_AT, Finder
from clip_assets.service.search.image_by_url import fetched
from clip_assets.service.search.plain import Plain

T = TypeVar("T")

MOST_WAITING = 256
"""Requests that wait for a thread; beyond it clients are asked to come again later."""

PATIENCE_S = 60.0
"""For a model that is being loaded."""

Uploads = Mapping[str, bytes]


class Searching:
    """Answers searches of all hosted indices.

    Args:
        hosting: the indices.
        offer: what may be asked.
    """

    def __init__(self, hosting: Hosting, offer: Offer) -> None:
        self.hosting = hosting
        self.offer = offer
        self.visible = Visible(offer.columns)
        self.encoding = Encoding(offer.threads or os.cpu_count() or 1, _alone)
        self.turns = Turns(os.cpu_count() or 1, MOST_WAITING, "clip-assets-searching", _alone)

    def close(self) -> None:
        """End its threads."""
        self.encoding.close()
        self.turns.close()

    async def search(self, request: SearchRequest, uploads: Uploads) -> dict[str, Any]:
        """What a search finds, as the endpoint answers it; ``uploads`` are images by field.

        Raises:
            RefusalError: there is no such index, or something is asked that is not offered.
            ConfigurationError: a part of the request cannot be.
            ImageError: an image cannot be decoded.
            ModelError: the model is not there.
        """
        index = self.hosting.get(request.index)
        took = Took()
        with index.opened() as opened:
            if plain.is_plain(opened, request):
                finder = Finder(opened, request, self.visible, took)
                answer = await self.plainly(index, opened, finder, LOOKED_AT, finder.page, uploads)
                return head(index, opened, request.recall_target, took) | answer
            with took.step("encode"):
                asked, vectors = await self.vectors(index, opened, request.terms, uploads)
            finder = partial(Finder, opened, request, self.visible, took)
            answer = await self.turns.do(lambda: finder().answer(asked, vectors))
            return head(index, opened, request.recall_target, took) | answer

    async def plainly(
        self,
        index: HostedIndex,
        opened: OpenVersion,
        finder: Finder,
        looked_at: int,
        finish: Callable[[Mix, Nearest], T],
        uploads: Uploads,
    ) -> T:
        """What a plain search finds; raises as ``search``."""
        query = await self._query(index, finder.request.terms[0], uploads)
        encoder = await self._encoder_of(index, opened, query)
        search = Plain(opened, query, looked_at, finder, finish)
        return await self.encoding.followed(encoder, query, plain.answered, search)

    async def vectors(
        self,
        index: HostedIndex,
        opened: OpenVersion,
        terms: Sequence[SearchTerm],
        uploads: Uploads,
    ) -> tuple[list[Query], list[Vector | None]]:
        """What terms are, and the vectors of those that a model encodes; raises as ``search``."""
        asked = [await self._query(index, term, uploads) for term in terms]
        encoded = await asyncio.gather(*(self._encoded(index, opened, query) for query in asked))
        return asked, list(encoded)

    async def item(self, name: str | None, uid: str) -> dict[str, Any]:
        """What one pair is, with all columns.

        Raises:
            RefusalError: there is no such index, or no such pair in it.
        """
        index = self.hosting.get(name)
        with index.opened() as opened:
            vector_id = await self.turns.do(partial(find_uid, index, opened, uid))
            return await self.turns.do(partial(self._item, opened, vector_id))

    def _item(self, opened: OpenVersion, vector_id: int) -> dict[str, Any]:
        ids = np.array([vector_id])
        [row] = opened.searcher.rows(ids).to_pylist()
        names = [name for name in self.visible.schema.names if name not in ("uid", "url")]
        [columns] = opened.columns.table(ids, names).to_pylist()
        told = self.visible.columns(columns) | self.visible.row(row)
        # An index knows a few columns itself, whatever became of the pool's metadata.
        has_metadata = opened.columns.know(ids)
        return {"uid": row["uid"], "id": vector_id, "has_metadata": has_metadata} | told

    async def encoder(self, index: HostedIndex, digest: str) -> Encoder:
        """The model of an index's queries.

        Raises:
            ModelError: it is not there, or is another one.
            RefusalError: it is still being loaded.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await index.encoder(digest)
        except TimeoutError:
            raise refusals.later("the model", "one that is being loaded", "one to ask") from None

    async def _query(self, index: HostedIndex, term: SearchTerm, uploads: Uploads) -> Query:
        if term.uid is not None:
            return Uid(term.uid)
        if term.embedding is not None:
            return np.array(term.embedding, np.float64)
        if term.text is not None:
            return term.text.strip()
        if term.image_url is not None:
            if not self.offer.image_urls:
                raise _not_offered("image_url", "urls of images are off", "with --image-urls")
            settings = index.pool.settings.download
            return await fetched(term.image_url, settings, self.offer.body_bytes)
        return self._image(term, uploads)

    async def _encoded(
        self, index: HostedIndex, opened: OpenVersion, query: Query
    ) -> Vector | None:
        encoder = await self._encoder_of(index, opened, query)
        if encoder is None or not isinstance(query, str | bytes):
            return None
        vector = await self.encoding.followed(encoder, query)
        return queries.unit(vector, opened.searcher.version.dim)

    async def _encoder_of(
        self, index: HostedIndex, opened: OpenVersion, query: Query
    ) -> Encoder | None:
        """The model of a query; None for one that needs none."""
        if not isinstance(query, str | bytes):
            return None
        if not query:
            raise ConfigurationError(
                "query",
                f"an empty {queries.kind(query)}",
                "some words, or an image file",
                "Correct the query.",
            )
        return await self.encoder(index, opened.searcher.version.model)

    def _image(self, term: SearchTerm, uploads: Uploads) -> bytes:
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


def _alone() -> None:
    from clip_assets.index.engine import cores

    cores.use(1)


def find_uid(index: HostedIndex, opened: OpenVersion, uid: str) -> int:
    """The vector id of a pair.

    Raises:
        RefusalError: the version has no such pair.
    """
    searcher = opened.searcher
    try:
        vector_id = int(searcher.ids([uid])[0])
    except SchemaError:  # not even the form of a uid
        vector_id = -1
    if vector_id < 0:
        raise RefusalError(
            404,
            "uid",
            repr(uid[:100]),
            f"a pair of version {searcher.version.name} of {index.name}",
            "A pair without an image, or one that was taken down, is in no index.",
        )
    return vector_id


def head(
    index: HostedIndex, opened: OpenVersion, recall_target: float | None, took: Took
) -> dict[str, Any]:
    """What answers say of the version that was searched, and how."""
    version = opened.searcher.version
    return {
        "index": index.name,
        "version": version.name,
        "model": version.model_name,
        "took_ms": took.steps,
        "recall_target": recall_target or index.pool.settings.index.recall_target,
    }


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


def _not_offered(where: str, found: str, option: str) -> RefusalError:
    return RefusalError(
        403, where, found, "another kind of term", f"Start the service {option} to offer it."
    )
