"""One side of an index version from the segments of its partitions, and how well it is searched.

Lists are joined where they lie, so no index is held, however large it is; an exact index, which
only small pools have, is. Which partitions and ids it has is said by ``index.faiss_index``.
"""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clip_assets import layout
from clip_assets.errors import DamagedError, MissingArtifactError, SchemaError
from clip_assets.index import drift, own_lists, recipe_file, verify, versions
from clip_assets.index.drift import Drift
from clip_assets.index.effort import neighbours
from clip_assets.index.effort.calibration import Meter
from clip_assets.index.effort.neighbours import Truth
from clip_assets.index.effort.reach import DEFAULT_RANK, EXACT, RANKS, Reach
from clip_assets.index.effort.recall import Question
from clip_assets.index.engine import ann, lists, more_lists
from clip_assets.index.engine.ann import Index
from clip_assets.index.engine.lists import Lists, Numbers
from clip_assets.index.exact import ExactVectors
from clip_assets.index.own_lists import Numbering
from clip_assets.index.slots import Content, Slot
from clip_assets.index.versions import Version
from clip_assets.layout import WHOLE, PartitionKey
from clip_assets.pool.stages import StageRun


class Written(NamedTuple):
    """What is known of an index that was written.

    Args:
        reach: for each kind of query how far searches go.
        drift: None where there are no lists, or too few vectors to tell.
    """

    reach: dict[str, list[Reach]]
    drift: Drift | None


def write(run: StageRun, version: Version, side: str, part: Path) -> Written:
    """Write the index of one side to an unpublished file.

    Raises:
        DamagedError: a segment or the recipe is gone or damaged.
        SchemaError: a segment is encoded otherwise than the recipe says.
        CheckFailedError: the index does not hold what it should.
    """
    with run.pool.catalog.sound(layout.INDEX_RECIPE, WHOLE, layout.recipe(side)) as file:
        empty = ann.read(file, run.store.uri(layout.recipe(side)))
    if not version.vectors:
        ann.write(empty, part)
        return Written(dict.fromkeys(layout.SIDES, EXACT), None)
    if ann.inverted(empty) is None:
        _append(run, version, side, empty)
        ann.write(empty, part)
        return Written(dict.fromkeys(layout.SIDES, EXACT), None)
    where = run.store.uri(layout.index(version.name, side))
    with ExitStack() as stack:
        joined = _Joined(run, version, side, empty, stack)
        asked = {kind: _questions(joined, kind) for kind in layout.SIDES}
        ann.set_probes(joined.empty, max(one[DEFAULT_RANK].probes() for one in asked.values()))
        head = ann.head(joined.empty, version.vectors)
        lists.join(part, head, joined.segments())
        sizes = lists.read(part, head, where).sizes
        exact = ExactVectors(run.pool, version.slots, side, stack)
        known, grown = _known(run, version, side)
        meter = Meter(ann.read(part, where, mapped=True), sizes, exact)
        reach: dict[str, list[Reach]] = {}
        for number, kind in enumerate(asked):
            what = f"kinds of queries measured, next that by {kind} on side {side}"
            run.progress(number, len(asked), what)
            reach[kind] = meter.reach(list(asked[kind].values()), known.get(kind, ()), grown)
        return Written(reach, _drift(run, version, side, sizes))


def _known(
    run: StageRun, version: Version, side: str
) -> tuple[dict[str, list[Reach]], float | None]:
    """What the version before says of a side by the same recipe.

    Returns:
        It, and how many times the vectors this one has; None if what codes lose is searched anew.
    """
    if version.previous:
        with suppress(MissingArtifactError):  # an old one may have gone
            before = versions.read(run.store, version.previous)
            if before.recipe == version.recipe:
                grown = version.vectors / max(1, before.vectors)
                return before.reach.get(side, {}), grown if version.since_searched else None
    return {}, None


class _Joined:
    """What one side of a version is joined from.

    Args:
        run: the stage's.
        version: that is made.
        side: ``image`` or ``text``.
        recipe: trained, empty.
        stack: what closes opened files.

    Attributes:
        empty: the recipe with the lists of all partitions.
    """

    def __init__(
        self, run: StageRun, version: Version, side: str, recipe: Index, stack: ExitStack
    ) -> None:
        self.run, self.side, self._version = run, side, version
        self._recipe, self._stack = recipe, stack
        self.filled = _filled(version)
        self._own = [own_lists.read(run.pool, side, partition) for _, partition in self.filled]
        self.numbering = Numbering(more_lists.count(recipe), self._own)
        self.empty = more_lists.extended(recipe, self.numbering.centres())
        self._led = self._version_before()

    def truth(self, kind: str, queries: int) -> Truth:
        """What all partitions have for the recipe's queries of one kind, published.

        What the version before has, and what new partitions have: the same as of all of them.
        """
        store, side = self.run.store, self.side
        known, done = self._truth_before(kind, queries)
        new = (
            neighbours.read(store, layout.segment_neighbours(side, kind, partition), queries)
            for _, partition in self.filled[done:]
        )
        truth = neighbours.joined([known, *self.numbering.truths(new, done)], queries)
        with self.run.publish(layout.index_neighbours(self._version.name, side, kind)) as part:
            neighbours.write(part, truth)
        return truth

    def segments(self) -> list[tuple[Lists, int]]:
        """Lists, each with its first id: those of the version before, then of each new partition.

        Of each partition where the version before does not lead to this one.
        """
        before = self._before()
        done = before[1] if before else 0
        new = [
            (self.numbering.lists(place, self._segment(place)), slot.start)
            for place, (slot, _) in enumerate(self.filled)
            if place >= done
        ]
        return [(before[0], 0), *new] if before else new

    def _version_before(self) -> tuple[Version, int] | None:
        """The version that this one goes on from, and how many of its partitions that has.

        None where this one does not hold all that it held, and in the same place.
        """
        name = self._version.previous
        if name is None or self.run.to_mend:
            return None
        with suppress(MissingArtifactError, DamagedError, SchemaError):
            before = versions.read(self.run.store, name)
            held = _filled(before)
            if before.recipe == self._version.recipe and held == self.filled[: len(held)]:
                return (before, len(held)) if held else None
        return None

    def _truth_before(self, kind: str, queries: int) -> tuple[Truth, int]:
        """What the version before has for queries, and of how many partitions; or of none."""
        if self._led is not None:
            before, done = self._led
            path = layout.index_neighbours(before.name, self.side, kind)
            # Versions of earlier releases have none.
            with (
                suppress(MissingArtifactError, DamagedError, SchemaError),
                self.run.pool.catalog.sound(layout.FAISS_INDEX, WHOLE, path),
            ):
                return neighbours.read(self.run.store, path, queries), done
        return neighbours.nothing(queries), 0

    def _before(self) -> tuple[Lists, int] | None:
        """The lists of the version before, and of how many partitions they are.

        None where its file is not there as it was. A segment has all centres beside its own few
        vectors, so of many partitions this is the less to read. The result is the same to the
        byte.
        """
        if self._led is None:
            return None
        before, done = self._led
        path, store = layout.index(before.name, self.side), self.run.store
        with suppress(MissingArtifactError, DamagedError, SchemaError):
            sound = self.run.pool.catalog.sound(layout.FAISS_INDEX, WHOLE, path)
            file = self._stack.enter_context(sound)
            like = more_lists.extended(self._recipe, self.numbering.centres(done))
            ann.set_probes(like, ann.probes(ann.read(file, store.uri(path), mapped=True)))
            known = lists.read(file, ann.head(like, before.vectors), store.uri(path))
            return known.numbered(np.arange(len(known.sizes)), self.numbering.total), done
        return None

    def _segment(self, place: int) -> Lists:
        slot, partition = self.filled[place]
        path = layout.segment(self.side, partition)
        catalog, own = self.run.pool.catalog, self._own[place]
        file = self._stack.enter_context(catalog.sound(layout.INDEX_SEGMENTS, partition, path))
        like = self._recipe if own is None else more_lists.extended(self._recipe, own)
        segment = lists.read(file, ann.head(like, slot.count), self.run.store.uri(path))
        segment.check_ids()
        return segment


def _drift(run: StageRun, version: Version, side: str, sizes: Numbers) -> Drift | None:
    """How far the vectors of a side have moved from what lists were trained on.

    Args:
        run: the stage's.
        version: that is made.
        side: ``image`` or ``text``.
        sizes: of its lists.
    """
    known = recipe_file.read(run.store).baselines.get(side)
    if known is None or version.drift:
        return version.drift.get(side)  # what a version says that is mended stays
    old: set[Content | None] = set()
    with suppress(MissingArtifactError):  # an old one may have gone
        before = versions.read(run.store, version.previous).slots if version.previous else []
        old = {slot.content for slot in before}
    counted = [
        (slot.count, drift.read(run.store, partition)[side], slot.content not in old)
        for slot, partition in _filled(version)
    ]
    new = [one for one in counted if one[2]]
    uneven = round(drift.imbalance(sizes), 4)
    return Drift(_share(counted), _share(new), uneven, known.imbalance)


def _share(counted: Sequence[tuple[int, int, bool]]) -> float:
    """Of the vectors of some partitions, those that are far."""
    return round(sum(far for _, far, _ in counted) / max(1, sum(n for n, _, _ in counted)), 4)


def _filled(version: Version) -> list[tuple[Slot, PartitionKey]]:
    """Ranges of ids in use that have vectors; without vectors there is no segment."""
    return [(slot, partition) for slot, partition in version.used if slot.count]


def _append(run: StageRun, version: Version, side: str, index: Index) -> None:
    """Fill an exact index."""
    samples, used = verify.Samples(side), _filled(version)
    for number, (slot, partition) in enumerate(used):
        path = layout.segment(side, partition)
        with run.pool.catalog.sound(layout.INDEX_SEGMENTS, partition, path) as file:
            segment = ann.read(file, run.store.uri(path))
        samples.take(segment, slot)
        ann.append(index, segment, slot.start)
        run.progress(number + 1, len(used), f"{side} segments")
    verify.check_ids(index, [slot for slot, _ in used], side)
    samples.check(index)


def _questions(joined: _Joined, kind: str) -> dict[int, Question]:
    """The recipe's queries of one kind, and what all partitions together have for them: by rank."""
    store, side = joined.run.store, joined.side
    queries = recipe_file.queries(store, kind)
    truth = joined.truth(kind, len(queries))
    own = queries if kind == side else recipe_file.queries(store, side)
    some = neighbours.deep_ones(len(queries))
    near = Question(joined.empty, queries, truth.near, own)
    deep = Question(joined.empty, queries[some], truth.deep, own[some])
    return {k: (near if k <= near.k else deep).first(k) for k in RANKS}
