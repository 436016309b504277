"""One search of ``/v1``: from vectors of its terms to a page of results.

Searching is ``retrieval.search``, the arithmetic on what it found is in ``ranking``; here is what a
request asks of both. Encoding is done before, see ``searching``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets import schemas
from clip_assets.retrieval import terms
from clip_assets.retrieval.queries import Query, Vector
from clip_assets.retrieval.served_side import Floats, Ids, Nearest
from clip_assets.retrieval.terms import Mix, Term
from clip_assets.service.hosting.hosted import OpenVersion
from clip_assets.service.limits.visible import Visible
from clip_assets.service.limits.wire import SearchRequest, SearchTerm
from clip_assets.service.measures.took import Took
from clip_assets.service.search import ranking
from clip_assets.service.search.facets import facets
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


class Lookup(NamedTuple):
    """What an index is asked beside vectors; queries with the same are looked up together."""

    k: int
    side: str
    kind: str | None
    recall_target: float | None


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
        self.request, self.took, self._visible = request, took, visible
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
        with self.took.step("search"):
            mix = self.mix(self.request.terms, queries, vectors)
        return self.page(mix)

    def page(self, mix: Mix, known: Nearest | None = None) -> dict[str, Any]:
        """See ``answer``.

        Args:
            mix: the terms.
            known: what was found for its ``lookup`` already.
        """
        request, took = self.request, self.took
        candidates = self._candidates(mix, LOOKED_AT, known)
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
        return self.best(self.mix(self.request.terms, queries, vectors))

    def best(self, mix: Mix, known: Nearest | None = None) -> tuple[Ids, Floats]:
        """See ``ranked``; arguments as those of ``page``."""
        looked_at = LOOKED_AT if self.request.threshold_kind == "elbow" else 0
        candidates = self._candidates(mix, looked_at, known)
        own = candidates.own[self.request.offset :][: self.request.k]
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
        with self.took.step("where"):
            return self._columns.allowed(self._condition)

    def lookup(self, mix: Mix, looked_at: int) -> Lookup:
        """What the index is asked first; there is no condition."""
        request = self.request
        size = max(request.offset + request.k + 1, looked_at, FACETED if request.facets else 0)
        return Lookup(size, request.side, mix.kind, request.recall_target)

    def _candidates(self, mix: Mix, looked_at: int, known: Nearest | None) -> _Candidates:
        request = self.request
        allowed = self.allowed()
        wanted = request.offset + request.k + 1
        size = self.lookup(mix, looked_at).k
        folds = max(wanted, LOOKED_AT) if request.fold else 0
        while True:
            with self.took.step("search"):
                nearest = known or self._searcher.search_many(
                    mix.vector[None],
                    size,
                    request.side,
                    kind=mix.kind,
                    recall_target=request.recall_target,
                    allowed=allowed,
                )
            known = None
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
        if self.request.fold is None:
            return np.arange(len(ids))
        with self.took.step("fold"):
            vectors = self._searcher.vectors(ids[:folds], self.request.side)
            return ranking.leaders(vectors, self.request.fold)

    def results(
        self, ids: Ids, similarities: Floats, mixes: Sequence[tuple[int, Mix]]
    ) -> list[dict[str, Any]]:
        """What is told of some ids, in their order; so many of them were found by each mix."""
        names = schemas.INDEX_ROWS.names
        columns = self._searcher.values(ids, names)
        further = [name for name in self.request.columns or [] if name not in ("uid", "url")]
        known = self._columns.table(ids, further).to_pylist() if further else [{}] * len(ids)
        return [
            {
                "uid": row["uid"],
                "id": vector_id,
                "similarity": round(similarity, _DIGITS),
                "contributions": given,
                **self._visible.row(row),
                **self._visible.columns(more),
                "folded": [],
            }
            for vector_id, similarity, given, row, more in zip(
                ids.tolist(),
                similarities.tolist(),
                self._contributions(ids, similarities, mixes),
                (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)),
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
            shares = mix.contributions(self._searcher.vectors(ids[own], self.request.side))
            given += [[_finite(value) for value in row] for row in shares.tolist()]
        return given

    def _add_folded(
        self,
        results: Sequence[dict[str, Any]],
        page: npt.NDArray[np.int64],
        candidates: _Candidates,
    ) -> None:
        """Put what is nearly the same as a result into it."""
        if self.request.fold is None:
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
        with self.took.step("facets"):
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
