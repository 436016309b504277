"""The ledger: which source rows belong to which partition.

One small file per partition, written once, in order of arrival; keys are never reused. It is
the truth about partitions: Dagster's list of keys is made from it. Which files there are
is found by ``listing``, how many rows they have by ``sampling``.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from clip_assets import layout
from clip_assets.files.identity import File
from clip_assets.partitions import sampling
from clip_assets.partitions.listing import list_sources, named
from clip_assets.partitions.plans import PartitionPlan, SourceRange, plan_of
from clip_assets.settings import SourceSettings
from clip_assets.storage import locks, private
from clip_assets.storage.store import Store


def plans(store: Store) -> list[PartitionPlan]:
    """Every plan, in order of arrival.

    Raises:
        SchemaError: one is damaged.
    """
    contents = store.read_many(store.list(layout.PLANS))
    return [plan_of(store, path, content) for path, content in contents.items()]


@dataclass(frozen=True, slots=True)
class Added:
    """What ``add_sources`` found and did.

    Args:
        plans: of new partitions.
        refreshed: plans that were rewritten for changed files.
        unchanged: files that were planned before.
        changed: uris of files that are no longer what was planned; ``refresh`` plans them anew.
        missing: uris of planned files that the same patterns no longer find; ``refresh`` leaves
            them out.
    """

    plans: tuple[PartitionPlan, ...]
    refreshed: tuple[PartitionPlan, ...]
    unchanged: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]


def add_sources(
    store: Store,
    patterns: Sequence[str],
    settings: SourceSettings,
    *,
    files: Sequence[File] | None = None,
    dry_run: bool = False,
    refresh: bool = False,
) -> Added:
    """Plan partitions for files that no plan holds yet.

    A kill between two plans loses nothing: the next call plans what is not planned.

    Args:
        store: the pool.
        patterns: see ``listing.list_sources``.
        settings: how many rows a partition aims at.
        files: those to consider, by default all that the patterns find.
        dry_run: plan, but write nothing.
        refresh: plan changed files anew, in the partitions that have them, and leave out those
            that are gone.

    Raises:
        BusyError: another process is adding sources.
        SourceError: a file or folder is not there or cannot be listed.
    """
    sources = list_sources(patterns) if files is None else files
    with nullcontext() if dry_run else locks.exclusive(store, "ledger"):
        before = plans(store)
        change = _compared(before, patterns, sources)
        after, pieces = _planned_anew(before, change, settings) if refresh else (before, [])
        for source, size in _sizes(change.unplanned).items():
            start = sum(item.row_groups or 0 for item in change.planned.get(source.uri, []))
            pieces += _pieces(source, size, start, settings.rows_per_partition)
        first = int(before[-1].partition) + 1 if before else 0
        new = _packed(pieces, first, settings.rows_per_partition)
        refreshed = [plan for plan, old in zip(after, before, strict=True) if plan != old]
        if not dry_run:
            for plan in (*refreshed, *new):
                private.write(store, layout.plan(plan.partition), plan.content())
    return Added(
        plans=tuple(new),
        refreshed=tuple(refreshed),
        unchanged=len(sources) - len(change.changed) - len(change.unplanned),
        changed=() if refresh else tuple(source.uri for source in change.changed),
        missing=() if refresh else tuple(change.missing),
    )


@dataclass(frozen=True, slots=True)
class _Change:
    """What there is now, compared with what is planned.

    Args:
        planned: every range by its file.
        changed: files that are no longer what was planned.
        unplanned: files that are not planned, or not to their end.
        missing: uris of planned files that the same patterns no longer find.
    """

    planned: dict[str, list[SourceRange]]
    changed: list[File]
    unplanned: list[File]
    missing: list[str]


def _compared(
    before: Sequence[PartitionPlan], patterns: Sequence[str], sources: Sequence[File]
) -> _Change:
    planned = _planned(before)
    changed = [source for source in sources if _is_changed(planned.get(source.uri, []), source)]
    same = set(sources) - set(changed)
    is_open = {source for source in same if not _is_complete(planned.get(source.uri, []))}
    gone = planned.keys() - {source.uri for source in sources}
    return _Change(
        planned,
        changed,
        [source for source in sources if source in is_open],
        sorted(uri for uri in gone if named(patterns, uri)),
    )


def _planned_anew(
    before: Sequence[PartitionPlan], change: _Change, settings: SourceSettings
) -> tuple[Sequence[PartitionPlan], list[SourceRange]]:
    """The plans with changed files as they are now and without missing ones; what is left over."""
    after, surplus = before, list[SourceRange]()
    for uri in change.missing:
        after, _ = _replaced(after, uri, [])
    for source, size in _sizes(change.changed).items():
        fresh = _pieces(source, size, 0, settings.rows_per_partition)
        after, left = _replaced(after, source.uri, fresh)
        surplus += left
    return after, surplus


def _sizes(sources: Sequence[File]) -> dict[File, sampling.Size | None]:
    return dict(zip(sources, sampling.sizes(sources), strict=True))


def _planned(before: Sequence[PartitionPlan]) -> dict[str, list[SourceRange]]:
    """Every range by its file."""
    by_uri: dict[str, list[SourceRange]] = {}
    for plan in before:
        for item in plan.ranges:
            by_uri.setdefault(item.uri, []).append(item)
    return by_uri


def _is_changed(ranges: Sequence[SourceRange], source: File) -> bool:
    return any((item.etag, item.size_bytes) != (source.etag, source.size_bytes) for item in ranges)


def _is_complete(ranges: Sequence[SourceRange]) -> bool:
    """Whether a file's ranges are all of it; a kill can leave the end of it unplanned."""
    if not ranges or ranges[0].row_groups is None:
        return bool(ranges)
    return sum(item.row_groups or 0 for item in ranges) == ranges[0].file_row_groups


def _pieces(
    source: File, size: sampling.Size | None, first_row_group: int, rows: int
) -> list[SourceRange]:
    """The file from a row group on, in ranges of at most ``rows`` rows or one row group."""
    whole = SourceRange(source.uri, source.size_bytes, source.etag)
    if size is None:
        # It goes to a partition of its own, which fails and says why when it is read.
        return [whole]
    if len(size.row_groups) <= 1:
        return [replace(whole, rows=size.rows, estimated_rows=size.estimated_rows)]
    pieces: list[SourceRange] = []
    start = first_row_group
    while start < len(size.row_groups):
        stop, total = start + 1, size.row_groups[start]
        while stop < len(size.row_groups) and total + size.row_groups[stop] <= rows:
            total += size.row_groups[stop]
            stop += 1
        pieces.append(
            replace(
                whole,
                first_row_group=start,
                row_groups=stop - start,
                file_row_groups=len(size.row_groups),
                rows=total,
                estimated_rows=total,
            )
        )
        start = stop
    return pieces


def _packed(pieces: Sequence[SourceRange], first: int, rows: int) -> list[PartitionPlan]:
    """Pieces in their order as plans with keys from ``first`` on.

    A plan takes a piece when at least half of it has room, so it holds at most half as much
    again as ``rows``, or one piece.
    """
    groups: list[list[SourceRange]] = []
    room = 0
    for piece in pieces:
        if piece.estimated_rows is None:
            groups.append([piece])
            room = 0
            continue
        if not groups or piece.estimated_rows > 2 * room:
            groups.append([])
            room = rows
        groups[-1].append(piece)
        room -= piece.estimated_rows
    return [
        PartitionPlan(layout.partition_key(first + number), tuple(group))
        for number, group in enumerate(groups)
    ]


def _replaced(
    before: Sequence[PartitionPlan], uri: str, pieces: Sequence[SourceRange]
) -> tuple[list[PartitionPlan], list[SourceRange]]:
    """The plans with a file's ranges taken from ``pieces`` in order, and the pieces left over."""
    left = list(pieces)
    plans_after: list[PartitionPlan] = []
    for plan in before:
        ranges: list[SourceRange] = []
        for item in plan.ranges:
            if item.uri != uri:
                ranges.append(item)
            elif left:
                ranges.append(left.pop(0))
        plans_after.append(replace(plan, ranges=tuple(ranges)))
    return plans_after, left
