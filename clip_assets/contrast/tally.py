"""What subsets of a pool have in common, what of it each has, and pairs that one has alone.

One pass over the pool's metadata, partition by partition. How it is shown is the matter of
``contrast.page``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clip_assets.storage import uids
from clip_assets.subsets.candidates import PoolRows
from clip_assets.subsets.draws import uniform
from clip_assets.subsets.sorted_uids import SortedUids

COLUMNS = (
    "uid", "url", "text", "original_width", "original_height", "clip_similarity_score",
    "language", "status", "shard", "key",
)  # fmt: skip

SIMILARITY = np.round(np.arange(-1, 1.001, 0.02), 2)
SIDE = np.array([0, 64, 128, 200, 256, 384, 512, 768, 1024, 1536, 2048])
CHARACTERS = np.array([0, 1, 10, 20, 40, 60, 80, 120, 160, 240, 320])

MOST_NAMES = 200_000
"""Hosts that are counted at once; beyond it the rarest are forgotten."""

_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?P<host>[^/?#:]*)"

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ComparedSubset:
    """A subset that is compared.

    Args:
        name: for people.
        uids: that it lists.
    """

    name: str
    uids: SortedUids


@dataclass(slots=True)
class SubsetTally:
    """What was counted.

    Args:
        names: of the subsets.
        rows: pairs of the pool that were looked at.
        listed: entries of each subset, repeated ones too.
        pairs: of each, those that the pool has.
        common: (subsets, subsets) pairs that two have.
        all_common: pairs that all have.
        any_common: pairs that any has.
        similarity: of image and caption.
        side: shorter side of images, pixels.
        characters: of captions.
        hosts: by subset.
        languages: by subset.
        only: by the places of two subsets, drawn pairs that the first has and the second lacks.
    """

    names: Sequence[str]
    listed: Sequence[int]
    pairs: Counts
    common: Counts
    similarity: Counts
    side: Counts
    characters: Counts
    rows: int = 0
    all_common: int = 0
    any_common: int = 0
    hosts: list[Counter[str]] = field(default_factory=list[Counter[str]])
    languages: list[Counter[str]] = field(default_factory=list[Counter[str]])
    only: dict[tuple[int, int], list[Mapping[str, Any]]] = field(
        default_factory=dict[tuple[int, int], list[Mapping[str, Any]]]
    )


def tally(rows: PoolRows, members: Sequence[ComparedSubset], examples: int) -> SubsetTally:
    """Count.

    Memory: a partition's rows, and a byte for each of them and each subset.

    Args:
        rows: of the pool.
        members: subsets of it, at least one.
        examples: pairs that are drawn for each two subsets; the same ones in every run.
    """
    count = len(members)
    told = SubsetTally(
        names=[member.name for member in members],
        listed=[len(member.uids.records) for member in members],
        pairs=np.zeros(count, np.int64),
        common=np.zeros((count, count), np.int64),
        similarity=np.zeros((count, len(SIMILARITY)), np.int64),
        side=np.zeros((count, len(SIDE)), np.int64),
        characters=np.zeros((count, len(CHARACTERS)), np.int64),
        hosts=[Counter() for _ in members],
        languages=[Counter() for _ in members],
    )
    gone = rows.taken_down
    drawn = {(a, b): _FirstDrawn(examples) for a in range(count) for b in range(count) if a != b}
    # An earlier version of a subset may list what was taken down since.
    taken_down = rows.taken_down
    for piece in rows.pieces:
        table = rows.read(piece, list(COLUMNS))
        own = uids.pairs(table["uid"])
        is_gone = taken_down.mask(own, table["url"])
        has = np.stack([(member.uids.find(own)[1] > 0) & ~is_gone for member in members])
        _count(told, table, has)
        draws = uniform(own, 0)
        can_be_seen = np.asarray(pc.equal(table["status"], pa.scalar("success")), np.bool_)
        can_be_seen &= ~gone.mask(table["uid"], table["url"])
        for (one, other), some in drawn.items():
            some.offer(table, np.flatnonzero(has[one] & ~has[other] & can_be_seen), draws)
    told.only = {both: some.rows for both, some in drawn.items()}
    return told


def _count(told: SubsetTally, table: pa.Table, has: npt.NDArray[np.bool_]) -> None:
    told.rows += len(table)
    told.pairs += has.sum(axis=1)
    wide = has.astype(np.int64)
    told.common += wide @ wide.T
    told.all_common += int(np.count_nonzero(has.all(axis=0)))
    told.any_common += int(np.count_nonzero(has.any(axis=0)))
    width, height = (
        np.asarray(table[name].to_numpy(), np.float64)
        for name in ("original_width", "original_height")
    )
    values = (
        (told.similarity, SIMILARITY, np.asarray(table["clip_similarity_score"].to_numpy())),
        (told.side, SIDE, np.minimum(width, height)),
        (told.characters, CHARACTERS, np.asarray(pc.utf8_length(table["text"]).to_numpy())),
    )
    for number, mask in enumerate(has):
        for counts, edges, value in values:
            known = value[mask & ~np.isnan(value)]
            places = np.clip(np.searchsorted(edges, known, "right") - 1, 0, len(edges) - 1)
            counts[number] += np.bincount(places, minlength=len(edges))
        chosen = table.filter(pa.array(mask))
        parsed = pc.extract_regex(chosen["url"], _HOST)
        _add(told.hosts[number], pc.utf8_lower(pc.struct_field(parsed, "host")))
        _add(told.languages[number], chosen["language"])


def _add(counter: Counter[str], column: pa.ChunkedArray) -> None:
    names, counts = pc.value_counts(column.drop_null()).flatten()
    counter.update(dict(zip(map(str, names), np.asarray(counts).tolist(), strict=True)))
    if len(counter) > MOST_NAMES:
        kept = counter.most_common(MOST_NAMES // 2)
        counter.clear()
        counter.update(dict(kept))


class _FirstDrawn:
    """Rows with the least draws."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._kept: list[tuple[float, Mapping[str, Any]]] = []

    def offer(
        self, table: pa.Table, rows: npt.NDArray[np.int64], draws: npt.NDArray[np.float64]
    ) -> None:
        best = rows[np.argsort(draws[rows], kind="stable")[: self._wanted]]
        taken = table.take(pa.array(best, pa.int64())).to_pylist()
        self._kept += zip(draws[best].tolist(), taken, strict=True)
        self._kept = sorted(self._kept, key=lambda one: one[0])[: self._wanted]

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        return [row for _, row in self._kept]
