"""Endpoints of ``/v1`` that answer with bytes: images, subsets, embeddings.

Those that search are in ``search_endpoints``.
"""

import weakref
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from clip_assets.service.limits.refusals import RefusalError
from clip_assets.service.limits.wire import EmbeddingsRequest, SubsetRequest
from clip_assets.service.measures.took import Took
from clip_assets.service.search.finding import Finder
from clip_assets.service.search.searching import Searching, Uploads, find_uid
from clip_assets.service.v1 import exports, sent_images
from clip_assets.service.v1.json_and_forms import IndexName, JsonAnswer, asked_for, takes
from clip_assets.service.v1.sent_images import SentImage, Thumbnails

Size = Annotated[
    int | None, Query(ge=1, le=4096, description="longest side, pixels; none: as it is stored")
]

NPY = "application/x-npy"


def routes(searching: Searching) -> APIRouter:
    """The endpoints over what searches."""
    router = APIRouter(prefix="/v1", tags=["files"])
    thumbnails = Thumbnails()

    @router.get("/images/{uid}", summary="The stored image of a pair", response_class=Response)
    async def image(
        request: Request, uid: str, size: Size = None, index: IndexName = None
    ) -> Response:
        known = request.headers.get("if-none-match", "")
        return await _image(searching, thumbnails, index, uid, size, known)

    @router.post(
        "/subsets",
        summary="Pairs as a file",
        response_class=Response,
        openapi_extra=takes(SubsetRequest),
    )
    async def subset(request: Request) -> StreamingResponse:
        asked, uploads = await asked_for(SubsetRequest, request)
        return await _file(searching, asked, uploads)

    @router.post(
        "/embeddings",
        summary="Vectors of texts",
        response_class=Response,
        openapi_extra=takes(EmbeddingsRequest, images=False),
    )
    async def embeddings(request: Request) -> Response:
        asked = EmbeddingsRequest.model_validate_json(await request.body())
        is_npy = NPY in request.headers.get("accept", "")
        return await _embeddings(searching, asked, is_npy=is_npy)

    return router


async def _image(
    searching: Searching,
    thumbnails: Thumbnails,
    index: str | None,
    uid: str,
    size: int | None,
    known: str,
) -> Response:
    """A pair's image; ``known`` are the tags of what the client has."""
    hosted = searching.hosting.get(index)
    if not searching.visible.may("image_path"):
        raise RefusalError(
            403,
            "images",
            "images are not told",
            "rows",
            "Start the service with --column shard, too, to offer them.",
        )
    with hosted.opened() as opened:
        vector_id = await searching.turns.do(partial(find_uid, hosted, opened, uid))
        wanted = sent_images.size_of(size)
        tag = sent_images.tag(opened, vector_id, wanted)
        headers = {
            "etag": f'"{tag}"',
            "cache-control": f"private, max-age={sent_images.MAX_AGE_S}",
        }
        if f'"{tag}"' in known:
            return Response(status_code=304, headers=headers)

        def read() -> SentImage:
            row = opened.searcher.rows(np.array([vector_id]), ["image_path"])
            path = row["image_path"][0].as_py()
            return thumbnails.get(hosted.images, path, wanted, tag)

        picture = await searching.turns.do(read)
    return Response(picture.content, media_type=picture.media_type, headers=headers)


async def _embeddings(searching: Searching, asked: EmbeddingsRequest, *, is_npy: bool) -> Response:
    """Vectors of texts, as a file or as JSON."""
    hosted = searching.hosting.get(asked.index)
    with hosted.opened() as opened:
        version = opened.searcher.version
        encoder = await searching.encoder(hosted, version.model)
    vectors = (await searching.encoding.texts(encoder, asked.texts)).astype(np.float32)
    if is_npy:
        return Response(exports.as_npy(vectors), media_type=NPY)
    return JsonAnswer({"model": version.model_name, "dim": version.dim, "embeddings": vectors})


async def _file(searching: Searching, asked: SubsetRequest, uploads: Uploads) -> StreamingResponse:
    """Pairs that are named or found, as the file that is asked for."""
    hosted = searching.hosting.get(asked.index)
    with ExitStack() as stack:
        opened = stack.enter_context(hosted.opened())
        if asked.uids is not None:
            searching.visible.check(asked.columns or [])
            ids = await searching.turns.do(partial(exports.ids_of, opened, asked.uids))
        else:
            queries, vectors = await searching.vectors(hosted, opened, asked.terms, uploads)
            finder = partial(Finder, opened, asked.search, searching.visible, Took())
            ids, _ = await searching.turns.do(lambda: finder().ranked(queries, vectors))
        if asked.format == "urls" and not searching.visible.may("url"):
            raise RefusalError(403, "format", "urls are not told", "npy", "Ask for uids.")
        content = exports.chunks(opened, ids, asked.format, searching.visible, asked.columns or [])
        name = f"{hosted.name}-{opened.searcher.version.name}"
        headers = exports.disposition(name, asked.format)
        return _HoldingAnswer(content, stack.pop_all(), exports.MEDIA_TYPES[asked.format], headers)


class _HoldingAnswer(StreamingResponse):
    """A file that holds something until its last byte is sent, or nobody waits for it any more."""

    def __init__(
        self,
        content: Generator[bytes],
        held: ExitStack,
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        # One that is never sent is collected with its content.
        self._release = weakref.finalize(content, held.close)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. What a client that went away has left is a cycle, and collected much later."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()
