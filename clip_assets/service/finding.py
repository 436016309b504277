"""One search of ``/v1``: from vectors of its terms to a page of results.

Searching is ``retrieval.search``, the arithmetic on what it found is in ``ranking``; here is what a
request asks of both. Encoding is done before, see ``searching``.
"""

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets.retrieval import terms
from clip_assets.retrieval.queries import Query, Vector
from clip_assets.retrieval.served_side import Floats, Ids
from clip_assets.retrieval.terms import Mix, Term
from clip_assets.service import ranking
from clip_assets.service.facets import facets
from clip_assets.service.hosted import OpenVersion
from clip_assets.service.visible import Visible
from clip_assets.service.wire import SearchRequest, SearchTerm
from clip_assets.storage.condition import Condition

LOOKED_AT = 200
"""Nearest results that the end of relevance is told from; a search has so many for nothing."""

FACETED = 1_000
"""Nearest results that facets are counted over."""

WIDER = 4
"""So many times as many results are folded when too few are left."""

MOST_FOLDED = 20_000
"""Results that are folded for one answer."""

_DIGITS = 6
# Of a similarity; more are noise of float32.


@dataclass(slots=True)
class Took:
    """Milliseconds of each step of a request."""

    steps: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        """Count the time of the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = 1000 * (time.perf_counter() - start)
            self.steps[name] = round(self.steps.get(name, 0) + spent, 3)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """What was found, best first, and which of it is nearly the same as what came before.

    Args:
        ids: (n,).
        similarities: (n,).
        leader: (m,), m <= n: see ``ranking.leaders``.
        end: where relevance ends.
    """

    ids: Ids
    similarities: Floats
    leader: npt.NDArray[np.int64]
    end: int | None

    @property
    def own(self) -> npt.NDArray[np.int64]:
        """Places of results that are nearly the same as none before."""
        return np.flatnonzero(self.leader == np.arange(len(self.leader)))


class Finder:
    """Answers one request in one version.

    Args:
        opened: the version.
        request: what is asked.
        visible: which columns may be told.
        took: gets the time of each step.
    """

    def __init__(
        self, opened: OpenVersion, request: SearchRequest, visible: Visible, took: Took
    ) -> None:
        self._searcher, self._columns = opened.searcher, opened.columns
        self._request, self._visible, self._took = request, visible, took
        visible.check(request.columns or [])
        self._condition = Condition.parse(request.where, visible.schema) if request.where else None

    def answer(self, queries: Sequence[Query], vectors: Sequence[Vector | None]) -> dict[str, Any]:
        """Results and what is told of them, without what names the request.

        Args:
            queries: of the terms.
            vectors: of those that were encoded; the others mean theirs by themselves.

        Raises:
            ConfigurationError: a part of the request cannot be.
        """
        request, took = self._request, self._took
        with took.step("search"):
            mix = self.mix(request.terms, queries, vectors)
        candidates = self._candidates(mix, LOOKED_AT)
        own = candidates.own
        page = own[request.offset : request.offset + request.k]
        with took.step("rows"):
            results = self.results(
                candidates.ids[page], candidates.similarities[page], [(len(page), mix)]
            )
            self._add_folded(results, page, candidates)
        end = candidates.end
        return {
            "results": results,
            "offset": request.offset,
            "more": len(own) > request.offset + request.k,
            "relevance_ends": None if end is None else int((own < end).sum()),
            "facets": self._facets(candidates) if request.facets else None,
        }

    def ranked(
        self, queries: Sequence[Query], vectors: Sequence[Vector | None]
    ) -> tuple[Ids, Floats]:
        """Ids of the results that a page would have, and their similarities, without rows."""
        looked_at = LOOKED_AT if self._request.threshold_kind == "elbow" else 0
        candidates = self._candidates(self.mix(self._request.terms, queries, vectors), looked_at)
        own = candidates.own[self._request.offset :][: self._request.k]
        return candidates.ids[own], candidates.similarities[own]

    def mix(
        self,
        asked_for: Sequence[SearchTerm],
        queries: Sequence[Query],
        vectors: Sequence[Vector | None],
    ) -> Mix:
        """One vector of some terms; see ``answer``."""
        asked = [Term(query, one.weight) for query, one in zip(queries, asked_for, strict=True)]
        known = iter(vectors)

        def vector(query: Query) -> Vector:
            own = next(known)
            return self._searcher.vector(query) if own is None else own

        return terms.mix(asked, vector)

    def allowed(self) -> Ids | None:
        """The ids for which the condition holds; None: there is no condition."""
        if self._condition is None:
            return None
        with self._took.step("where"):
            return self._columns.allowed(self._condition)

    def _candidates(self, mix: Mix, looked_at: int) -> _Candidates:
        request = self._request
        allowed = self.allowed()
        wanted = request.offset + request.k + 1
        size = max(wanted, looked_at, FACETED if request.facets else 0)
        folds = max(wanted, LOOKED_AT) if request.fold else 0
        while True:
            with self._took.step("search"):
                nearest = self._searcher.search_many(
                    mix.vector[None],
                    size,
                    request.side,
                    kind=mix.kind,
                    recall_target=request.recall_target,
                    allowed=allowed,
                )
            ids, similarities = nearest.ids[0], nearest.similarities[0]
            ids, similarities = ids[ids >= 0], similarities[ids >= 0]
            end = ranking.relevance_ends(similarities[:LOOKED_AT])
            count = ranking.close_enough(
                similarities, request.threshold, request.threshold_kind, end
            )
            leader = self._leaders(ids[:count], folds)
            answer = _Candidates(ids[:count], similarities[:count], leader, end)
            is_all = len(ids) < size or count < len(ids)
            if not request.fold or len(answer.own) >= wanted or folds >= MOST_FOLDED:
                return answer
            if is_all and folds >= count:
                return answer
            folds *= WIDER
            size = max(size, min(folds, MOST_FOLDED))

    def _leaders(self, ids: Ids, folds: int) -> npt.NDArray[np.int64]:
        if self._request.fold is None:
            return np.arange(len(ids))
        with self._took.step("fold"):
            vectors = self._searcher.vectors(ids[:folds], self._request.side)
            return ranking.leaders(vectors, self._request.fold)

    def results(
        self, ids: Ids, similarities: Floats, mixes: Sequence[tuple[int, Mix]]
    ) -> list[dict[str, Any]]:
        """What is told of some ids, in their order; so many of them were found by each mix."""
        rows = self._searcher.rows(ids).to_pylist()
        further = [name for name in self._request.columns or [] if name not in ("uid", "url")]
        known = self._columns.table(ids, further).to_pylist() if further else [{}] * len(ids)
        return [
            {"uid": row["uid"], "id": vector_id, "similarity": round(similarity, _DIGITS)}
            | {"contributions": given}
            | self._visible.row(row)
            | self._visible.columns(more)
            | {"folded": []}
            for vector_id, similarity, given, row, more in zip(
                ids.tolist(),
                similarities.tolist(),
                self._contributions(ids, similarities, mixes),
                rows,
                known,
                strict=True,
            )
        ]

    def _contributions(
        self, ids: Ids, similarities: Floats, mixes: Sequence[tuple[int, Mix]]
    ) -> list[list[float | None]]:
        given: list[list[float | None]] = []
        for count, mix in mixes:
            own = slice(len(given), len(given) + count)
            if len(mix.weights) == 1:
                given += [[round(similarity, _DIGITS)] for similarity in similarities[own].tolist()]
                continue
            shares = mix.contributions(self._searcher.vectors(ids[own], self._request.side))
            given += [[_finite(value) for value in row] for row in shares.tolist()]
        return given

    def _add_folded(
        self,
        results: Sequence[dict[str, Any]],
        page: npt.NDArray[np.int64],
        candidates: _Candidates,
    ) -> None:
        """Put what is nearly the same as a result into it."""
        if self._request.fold is None:
            return
        leader = candidates.leader
        places = np.flatnonzero(np.isin(leader, page) & (leader != np.arange(len(leader))))
        if not len(places):
            return
        uids = self._searcher.rows(candidates.ids[places], ["uid"])["uid"].to_pylist()
        by_place = dict(zip(page.tolist(), results, strict=True))
        for place, uid in zip(places.tolist(), uids, strict=True):
            similarity = round(float(candidates.similarities[place]), _DIGITS)
            member = {"uid": uid, "id": int(candidates.ids[place]), "similarity": similarity}
            by_place[int(leader[place])]["folded"].append(member)

    def _facets(self, candidates: _Candidates) -> dict[str, Any]:
        with self._took.step("facets"):
            ids = candidates.ids[:FACETED]
            rows = self._searcher.rows(
                ids, ["url", "original_width", "original_height", "image_path"]
            )
            partitions = [(path or "").partition("/")[0] for path in rows["image_path"].to_pylist()]
            table = rows.drop_columns(["image_path"]).append_column(
                "partition", pa.array(partitions, pa.string())
            )
            known = self._columns.table(ids, ["language", "taken_at"])
            for name in known.column_names:
                table = table.append_column(name, known[name])
            kept = [name for name in table.column_names if self._visible.may(name)]
            return facets(candidates.similarities[:FACETED], table.select(kept))


def _finite(value: float) -> float | None:
    return round(value, _DIGITS) if np.isfinite(value) else None
