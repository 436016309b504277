"""Rows that are near to queries: so many of each, from a similarity on, or by shares.

Every candidate is compared, so what is chosen is exact and does not depend on an index. What
queries mean is said by ``query_vectors``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets.errors import ConfigurationError
from clip_assets.settings.wishes import Queried, QuerySettings
from clip_assets.storage.pictures import histogram
from clip_assets.subsets.cuts import Seen, nth_greatest
from clip_assets.subsets.judgement import Judgement, Mask, passing
from clip_assets.subsets.query_vectors import Rows32, name_of, vectors_of
from clip_assets.subsets.selection import UID, Account, Judge, Method, Selection
from clip_assets.subsets.vector_scores import unit

CHUNK_ROWS = 2**16

BINS = 200
"""Of similarities, from -1 to 1."""


@dataclass
class Wish:
    """One query, and what became of it.

    Args:
        query: as it is defined.
        floor: least similarity that it asks for.

    Attributes:
        least: that it was given; nan lists nothing.
        wanted: pairs, None where only the similarity counts.
        available: candidates that are near enough.
        counts: of all candidates by similarity.
        listed: by piece.
    """

    query: QuerySettings
    floor: float
    least: float = np.nan
    wanted: int | None = None
    available: int = 0
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    listed: dict[str, int] = field(default_factory=dict[str, int])

    def told(self, number: int) -> tuple[dict[str, Any], Callable[[], bytes]]:
        """For people: figures, and what draws its similarities."""
        listed = sum(self.listed.values())
        name = name_of(self.query)
        figures: dict[str, Any] = {
            "query": name,
            "threshold": None if np.isinf(self.floor) else self.floor,
            "available": self.available,
            "least_similarity": None if np.isnan(self.least) else round(float(self.least), 6),
            "listed": listed,
        }
        if self.wanted is not None:
            figures["wanted"] = self.wanted
            if self.available < self.wanted:
                figures["not_met"] = f"{self.wanted:,} wanted, {self.available:,} near enough"
        elif not listed:
            figures["not_met"] = "nothing is near enough"
        return figures, self._picture(number, name)

    def _picture(self, number: int, name: str) -> Callable[[], bytes]:
        some = np.flatnonzero(self.counts)
        low, high = (int(some[0]), int(some[-1]) + 1) if len(some) else (0, 1)
        bars = {
            f"{place * 2 / BINS - 1:.2f}": int(self.counts[place]) for place in range(low, high)
        }
        line = None
        if np.isfinite(self.least):
            place = (float(self.least) + 1) * BINS / 2 - low - 0.5
            line = (min(max(place, -1.5), high - low), f"listed from {self.least:.4g}")
        return partial(histogram, f"{number}: {name}"[:80], bars, line=line)


def judge(selection: Selection, settings: Queried, candidates: Judge) -> Judge:
    """By the similarity of each row to each query.

    Raises:
        ConfigurationError: a query means no vector, or one of another length than the rows'.
    """
    wishes = [_wish(query, settings) for query in settings.queries]
    selection.reads_captions |= any(query.side == "text" for query in settings.queries)
    near = _Near(selection, settings, vectors_of(selection, settings.queries, settings.arch))
    looks = _Looks(wishes, candidates, selection)
    columns = candidates.columns | selection.rows.vector_columns | {UID}
    if any(query.k is not None or query.share is not None for query in settings.queries):
        for piece, table in selection.tables(columns):
            looks.at(piece, table, near.of(piece, table, keep=True), keep=True)
        _want(wishes, settings)
    for wish, seen in zip(wishes, looks.seen, strict=True):
        wish.least = _least(wish, seen)

    def decide(piece: str, table: pa.Table) -> Judgement:
        similar = near.of(piece, table, keep=False)
        looks.at(piece, table, similar, keep=False)
        least = np.array([wish.least for wish in wishes], np.float32)
        is_listed = looks.counts_for(similar) & (similar >= least)
        chosen = candidates.decide(piece, table).kept
        for number, wish in enumerate(wishes):
            wish.listed[piece] = int(np.count_nonzero(is_listed[chosen, number]))
        rules: dict[str, Mask] = {
            "no_vector": ~np.isnan(similar).all(axis=1),
            "not_near": is_listed.any(axis=1),
        }
        return passing(len(table), rules)

    selection.told.append(lambda: _told(wishes, settings))
    return Judge(columns, decide)


class _Looks:
    """What candidates there are for each wish, counted once."""

    def __init__(self, wishes: list[Wish], candidates: Judge, selection: Selection) -> None:
        self._wishes, self._candidates = wishes, candidates
        self._floors = np.array([wish.floor for wish in wishes], np.float32)
        self._of_shares = wishes[0].query.share is not None
        self._looked: set[str] = set()
        folder = selection.new_folder()
        self.seen = [Seen(folder / f"{number}.f8") for number in range(len(wishes))]

    def counts_for(self, similar: Rows32) -> npt.NDArray[np.bool_]:
        """(n, queries) whether a row counts for a query: of shares for its nearest alone."""
        near_enough = similar >= self._floors
        if not self._of_shares:
            return near_enough
        nearest = np.argmax(np.where(np.isnan(similar), -np.inf, similar), axis=1)
        return near_enough & (nearest[:, None] == np.arange(len(self._wishes)))

    def at(self, piece: str, table: pa.Table, similar: Rows32, *, keep: bool) -> None:
        """Count the candidates of a piece, and keep how near they are."""
        if piece in self._looked:
            return
        self._looked.add(piece)
        chosen = self._candidates.decide(piece, table).kept
        counts = self.counts_for(similar) & chosen[:, None]
        for number, wish in enumerate(self._wishes):
            own = similar[chosen, number]
            bins = np.clip((own[~np.isnan(own)] + 1) * (BINS / 2), 0, BINS - 1).astype(np.intp)
            wish.counts += np.bincount(bins, minlength=BINS)
            wish.available += int(np.count_nonzero(counts[:, number]))
            if keep:
                self.seen[number].add(piece, similar[counts[:, number], number])


def _wish(query: QuerySettings, settings: Queried) -> Wish:
    floors = (query.threshold, settings.threshold)
    return Wish(query, next((floor for floor in floors if floor is not None), -np.inf))


def _want(wishes: list[Wish], settings: Queried) -> None:
    """How many of each query: its k, or its share of as many as can be had, or of the total."""
    shares = np.array([wish.query.share or 0 for wish in wishes], np.float64)
    if not shares.any():
        for wish in wishes:
            wish.wanted = wish.query.k
        return
    shares /= shares.sum()
    total = settings.total
    if total is None:
        available = np.array([wish.available for wish in wishes], np.float64)
        total = int(np.min(available / shares) * (1 + 1e-12))
    exact = shares * total
    wanted = np.floor(exact + 1e-9).astype(int)
    # What rounding left goes to the largest rests.
    for place in np.argsort(-(exact - wanted), kind="stable")[: total - int(wanted.sum())]:
        wanted[place] += 1
    for wish, count in zip(wishes, wanted.tolist(), strict=True):
        wish.wanted = min(count, wish.available) if settings.total is None else count


def _least(wish: Wish, seen: Seen) -> float:
    if wish.wanted is None:
        return wish.floor
    known = seen.known
    count = min(wish.wanted, len(known))
    return nth_greatest(known, count - 1) if count else np.nan


def _told(wishes: list[Wish], settings: Queried) -> Account:
    told = [wish.told(number) for number, wish in enumerate(wishes, 1)]
    facts: dict[str, Any] = {"queries": [figures for figures, _ in told]}
    if settings.total is not None:
        listed = sum(figures["listed"] for figures, _ in told)
        facts["total"] = {"wanted": settings.total, "listed": listed}
    pictures = {f"query {number}": draw for number, (_, draw) in enumerate(told, 1)}
    return Account(facts, pictures)


class _Near:
    """How near rows are to queries; computed once where it is asked for twice."""

    def __init__(self, selection: Selection, settings: Queried, vectors: Rows32) -> None:
        self._selection, self._arch, self._vectors = selection, settings.arch, vectors
        self._sides = np.array([query.side == "text" for query in settings.queries])
        self._folder = selection.new_folder()
        self._kept: dict[str, int] = {}

    def of(self, piece: str, table: pa.Table, *, keep: bool) -> Rows32:
        """(n, queries) float32; nan where a row has no vectors."""
        if piece in self._kept:
            return np.load(self._folder / f"{self._kept[piece]}.npy", mmap_mode="r")
        similar = np.full((len(table), len(self._vectors)), np.nan, np.float32)
        with self._selection.rows.vectors(piece, table, self._arch) as of_piece:
            rows = np.flatnonzero(of_piece.places >= 0)
            for is_text, side in enumerate((of_piece.images, of_piece.texts)):
                columns = np.flatnonzero(self._sides == bool(is_text))
                if not len(columns) or not len(rows):
                    continue
                asked = self._vectors[columns]
                if side.shape[1] != asked.shape[1]:
                    raise ConfigurationError(
                        "queries",
                        f"vectors of {asked.shape[1]} numbers",
                        f"{side.shape[1]}, as the rows have",
                        "Embed queries by the model of the rows.",
                    )
                for start in range(0, len(rows), CHUNK_ROWS):
                    some = rows[start : start + CHUNK_ROWS]
                    near = unit(side[of_piece.places[some]]) @ asked.T
                    similar[np.ix_(some, columns)] = near
        if keep:
            self._kept[piece] = len(self._kept)
            np.save(self._folder / f"{self._kept[piece]}.npy", similar)
        return similar


METHOD = Method(Queried, judge)
