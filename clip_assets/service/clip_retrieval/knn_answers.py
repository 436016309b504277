"""Answers of ``/knn-service`` and ``/metadata`` in clip-retrieval's form.

What they ask for is read by ``knn_requests``; searching is that of ``/v1``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from clip_assets.retrieval.folder_search import FolderSearcher
from clip_assets.retrieval.queries import unit
from clip_assets.retrieval.served_side import Floats, Ids, Nearest
from clip_assets.retrieval.terms import Mix
from clip_assets.service.clip_retrieval import heads
from clip_assets.service.clip_retrieval.knn_requests import KnnRequest, wrong
from clip_assets.service.hosting.hosted import HostedIndex, OpenVersion
from clip_assets.service.limits.visible import Visible
from clip_assets.service.measures.took import Took
from clip_assets.service.search import plain
from clip_assets.service.search.finding import Finder
from clip_assets.service.search.searching import Searching

RETURNED = {"url": "url", "image_path": "image_path", "caption": "caption", "NSFW": "nsfw"}
"""Columns that it returns unless it is told others, and ours."""


class KnnAnswers:
    """Answers in clip-retrieval's form.

    Args:
        searching: what searches.
    """

    def __init__(self, searching: Searching) -> None:
        self._searching = searching
        self._visible = searching.visible

    async def knn(self, request: KnnRequest, took: Took) -> list[dict[str, Any]]:
        """Results: metadata, id and similarity; those beyond ``with_rows`` without metadata.

        Raises:
            ClipAssetsError: as searches do.
        """
        index = self._searching.hosting.get(request.index)
        if request.is_unknown:
            return []
        with index.opened() as opened:
            if not heads.asked(index.pool, request) and plain.is_plain(opened, request.search):
                return await self._plainly(index, opened, request, took)
            with took.step("encode"):
                asked, vectors = await self._searching.vectors(index, opened, [request.term], {})
            if isinstance(asked[0], np.ndarray):
                vectors = [unit(asked[0], opened.searcher.version.dim)]
            assert vectors[0] is not None
            query = heads.towards(index.pool, request, vectors[0])

            def search() -> list[dict[str, Any]]:
                finder = Finder(opened, request.search, self._visible, took)
                ids, similarities = finder.ranked(asked, [query])
                ids, similarities = heads.kept(
                    index.pool, request, opened.searcher, ids, similarities
                )
                return self._results(opened, ids, similarities, request, took)

            return await self._searching.turns.do(search)

    async def _plainly(
        self, index: HostedIndex, opened: OpenVersion, request: KnnRequest, took: Took
    ) -> list[dict[str, Any]]:
        finder = Finder(opened, request.search, self._visible, took)

        def finish(mix: Mix, nearest: Nearest) -> list[dict[str, Any]]:
            return self._results(opened, *finder.best(mix, nearest), request, took)

        return await self._searching.plainly(index, opened, finder, 0, finish, {})

    async def metadata(self, name: str | None, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Metadata of some ids, in their order.

        Raises:
            RefusalError: there is no such index or id.
        """
        if not ids:
            return []
        index = self._searching.hosting.get(name)
        with index.opened() as opened:
            version = opened.searcher.version
            total = version.slots[-1].start + version.slots[-1].count if version.slots else 0
            for one in ids:
                if not 0 <= one < total:
                    raise wrong("ids", str(one), f"ids from 0 to {total - 1:,}")

            def read() -> list[dict[str, Any]]:
                return _rows(opened, np.array(ids, np.int64), self._visible)

            rows = await self._searching.turns.do(read)
        return [{"id": one, "metadata": row} for one, row in zip(ids, rows, strict=True)]

    def _results(
        self, opened: OpenVersion, ids: Ids, similarities: Floats, request: KnnRequest, took: Took
    ) -> list[dict[str, Any]]:
        with took.step("rows"):
            rows = _rows(opened, ids[: request.with_rows], self._visible)
        rows += [{} for _ in range(len(ids) - len(rows))]
        scaled = (similarities * request.scale).tolist()
        for row, one, similarity in zip(rows, ids.tolist(), scaled, strict=True):
            row |= {"id": one, "similarity": similarity}
        return rows


def _rows(opened: OpenVersion, ids: Ids, visible: Visible) -> list[dict[str, Any]]:
    """Metadata of ids under the names there; what is null or taken down is left out."""
    if not len(ids):
        return []
    if isinstance(opened.searcher, FolderSearcher):
        named = [name for name in opened.returned or () if visible.may(name.lower())]
        return opened.searcher.metadata.told(ids, named)
    own = [name for name in ("url", "image_path", "caption") if visible.may(name)]
    values = dict(zip(own, opened.searcher.values(ids, own), strict=True))
    if visible.may("nsfw"):
        values["nsfw"] = opened.columns.values(ids, "nsfw")
    told = [(name, values[column]) for name, column in RETURNED.items() if column in values]
    rows = [
        {name: value for name, known in told if (value := known[place]) is not None}
        for place in range(len(ids))
    ]
    gone = opened.searcher.taken_down
    for place in np.flatnonzero(np.isin(ids, gone)).tolist() if len(gone) else ():
        rows[place] = {}
    return rows
