"""One searchable index of all finished segments, in a new version.

A version is merged here, gets its rows in ``index.id_mapping`` and is served only then. Which ids
its vectors have is said by ``index.slots``.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from clip_assets import layout
from clip_assets.errors import (
    DamagedError,
    LowRecallError,
    MissingArtifactError,
    NotReadyError,
)
from clip_assets.index import recipe_file, slots, vectors_in, versions
from clip_assets.index.effort.reach import DEFAULT_RANK, RANKS, Reach, Reaches, for_target
from clip_assets.index.engine.kinds import FLAT
from clip_assets.index.slots import Content, Slot
from clip_assets.index.versions import Version
from clip_assets.layout import WHOLE, Key, PartitionKey
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.pool.upstream import Upstream, upstream
from clip_assets.settings import IndexSettings
from clip_assets.storage.manifests import Report
from clip_assets.storage.scatter import curves

if TYPE_CHECKING:
    from clip_assets.index.merge import Written

MOST_UNSEARCHED = 1 / 3
"""Of all vectors; until then what codes lose is told by how many more there are,"""

MOST_UNSURE = 0.008
"""or until that adds so much of the neighbours, which may be as much too little."""


def faiss_index(pool: Pool, key: Key) -> Outcome:
    """Merge the segments of all partitions into a new version.

    Segments made from other embeddings or another recipe than today's are left out and named,
    or refused with ``missing_partitions="refuse"``. The version is not served yet.

    How far a search looks is measured on the recipe's queries and stands in the version, see
    ``effort.recall``; for tools that know no such thing, each index says how many lists.

    Memory: ``lists.BLOCK_BYTES``, and what ``recall.Meter`` holds; of an exact index all of it.

    Raises:
        NotReadyError: no partition has a segment of today's recipe.
        MissingArtifactError: a partition has none, and that is to be refused.
        DamagedError: a segment or the recipe is gone or damaged.
        SchemaError: a segment is encoded otherwise than the recipe says.
        CheckFailedError: the merged index does not hold what it should.
        LowRecallError: it finds too little, see ``index.least_recall``.
    """
    return materialize(pool, FAISS_INDEX, key, _work)


def faiss_index_inputs(pool: Pool, key: Key) -> Inputs:
    """What the merged index depends on: the recipe, and every current segment and its rows."""
    del key
    segments = upstream(pool, layout.INDEX_SEGMENTS)
    recipe = pool.catalog.digest(layout.INDEX_RECIPE, WHOLE, layout.recipe)
    inputs = {layout.INDEX_RECIPE: recipe}
    inputs |= {f"{layout.INDEX_SEGMENTS}/{p}": content(pool, p).digest for p in segments.current}
    if pool.settings.index.missing_partitions == "refuse":
        inputs["refused"] = ",".join(segments.missing + segments.stale)
    return inputs


FAISS_INDEX = Asset(
    layout.FAISS_INDEX,
    "4",
    make=faiss_index,
    inputs=faiss_index_inputs,
    axis="pool",
    # Embeddings are read too, to measure recall: those that the segments were made from, so they
    # move it only through the segments.
    deps=(layout.INDEX_SEGMENTS, layout.INDEX_RECIPE),
    settings=("refused",),
)


def _work(run: StageRun) -> Report:
    segments = upstream(run.pool, layout.INDEX_SEGMENTS)
    if run.to_mend:
        return _make(run, _same_version(run, segments))
    _refuse(segments, run.pool.settings.index)
    versions.remove_unfinished(run.store, _recorded(run))
    report = _make(run, _version(run, segments))
    removed = versions.retire(run.store, run.pool.settings.index.keep_versions)
    return replace(report, figures=report.figures | {"versions_removed": removed})


def _recorded(run: StageRun) -> str | None:
    """The version of the last run that came to its end."""
    last = run.pool.catalog.get(run.asset.name, run.key)
    manifests = last.of_kind(layout.index_manifest) if last else []
    return next((output.path.split("/")[1] for output in manifests), None)


def content(pool: Pool, partition: PartitionKey) -> Content:
    """What an index holds of a partition: its current vectors and rows."""
    segment = pool.catalog.require(layout.INDEX_SEGMENTS, partition)
    embeddings = pool.catalog.require(layout.EMBEDDINGS, partition)
    digest = vectors_in.content_digest(segment, embeddings)
    return Content(partition, digest, segment.report.rows_out)


def _refuse(segments: Upstream, settings: IndexSettings) -> None:
    absent = segments.missing + segments.stale
    select = f"clip-assets run --select '*{layout.INDEX_SEGMENTS}'"
    if absent and settings.missing_partitions == "refuse":
        raise MissingArtifactError(
            layout.FAISS_INDEX,
            f"no current segment of {', '.join(absent)}",
            "one of every partition, because index.missing_partitions is refuse",
            f"Run: {select} --partitions {','.join(absent)}",
        )
    if not segments.current:
        raise NotReadyError(
            layout.FAISS_INDEX, "no segment of the present recipe", "one at least", f"Run: {select}"
        )


def _same_version(run: StageRun, segments: Upstream) -> Version:
    """The version of the last run, whose files are made again; by its own word if that is sound."""
    manifest = run.pool.catalog.require(run.asset.name, run.key)
    [own] = manifest.of_kind(layout.index_manifest)
    content = b""
    with suppress(DamagedError, MissingArtifactError):
        content = run.store.read_bytes(own.path)
    if hashlib.sha256(content).hexdigest() == own.sha256:
        return versions.read(run.store, own.path.split("/")[1])
    name = own.path.split("/")[1]
    before = [known for known in versions.merged(run.store) if known < name]
    return replace(_version(run, segments, before), name=name)


def _version(run: StageRun, segments: Upstream, known: Sequence[str] | None = None) -> Version:
    """What the version after some others, by default all, will hold."""
    store, inputs = run.store, run.asset.made_from(run.pool, run.key)
    contents = [content(run.pool, partition) for partition in segments.current]
    known = versions.merged(store) if known is None else known
    wanted = recipe_file.read(store)
    previous = versions.read(store, known[-1]) if known else None
    ranges, is_renumbered = slots.allocate(previous.slots if previous else [], contents)
    number = int(known[-1].partition("-")[0]) + 1 if known else 1
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return Version(
        name=versions.name_of(number, digest),
        previous=previous.name if previous else None,
        is_renumbered=is_renumbered,
        model=wanted.model,
        model_name=wanted.model_name,
        dim=wanted.dim,
        key=wanted.key,
        recipe=inputs[layout.INDEX_RECIPE],
        vectors=sum(content.vectors for content in contents),
        slots=ranges,
        partitions_used=segments.current,
        partitions_missing=segments.missing,
        partitions_stale=segments.stale,
        reach={},
        since_searched=_since_searched(previous, inputs[layout.INDEX_RECIPE], ranges),
    )


def _since_searched(previous: Version | None, recipe: str, ranges: Sequence[Slot]) -> int:
    """Vectors that came and went since it was searched what codes lose; 0 to search now."""
    if previous is None or previous.recipe != recipe or previous.since_searched is None:
        return 0
    changed = previous.since_searched + slots.changed(previous.slots, ranges)
    reaches = (
        one for kinds in previous.reach.values() for known in kinds.values() for one in known
    )
    lost = max((reach.lost for reach in reaches), default=0)
    share = changed / max(1, slots.ids(ranges))
    return changed if share <= MOST_UNSEARCHED and share * lost <= MOST_UNSURE else 0


def _make(run: StageRun, version: Version) -> Report:
    written = {side: _publish(run, version, side) for side in layout.SIDES}
    version = replace(
        version,
        reach={side: known.reach for side, known in written.items()},
        drift={side: known.drift for side, known in written.items() if known.drift},
    )
    if not run.to_mend:
        _check_recall(run.pool, version)
    with run.publish(layout.index_manifest(version.name)) as part:
        part.write_bytes(version.to_json())
    return Report(
        version.vectors,
        version.vectors,
        figures={
            "version": version.name,
            "previous_version": version.previous or "none",
            "partitions_used": version.partitions_used,
            "partitions_missing": version.partitions_missing,
            "partitions_stale": version.partitions_stale,
            "key": version.key,
            "vectors": version.vectors,
            "ids": slots.ids(version.slots),
            "unused_ids": version.unused_ids,
            "ids_given_out_anew": version.is_renumbered,
            "recall_target": run.pool.settings.index.recall_target,
            **_told(version.reach, run.pool.settings.index.recall_target),
            "drift": {side: asdict(known) for side, known in version.drift.items()},
        },
        pictures=_pictures(run, version),
    )


def _pictures(run: StageRun, version: Version) -> dict[str, str]:
    """What is found among images against what is looked at; a search's time grows with that."""
    if version.key == FLAT or not version.vectors:
        return {}
    names = {"text": "captions", "image": "images"}
    named = {
        (f"{names[kind]} find", f"{k} nearest"): [
            (100 * reach.scanned, reach.recall) for reach in reaches if reach.k == k
        ]
        for kind, reaches in version.reach["image"].items()
        for k in RANKS
    }
    title = "Recall and vectors looked at"
    drawn = curves(title, named, "% of the vectors that a search looks at", "share found")
    return {title: run.publish_picture("recall.png", drawn)}


def _check_recall(pool: Pool, version: Version) -> None:
    """Refuse an index that finds too little, by captions among images."""
    settings = pool.settings.index
    asked = settings.recall_target
    own = for_target(version.reach["image"]["text"], asked)
    before = versions.read(pool.store, version.previous).reach if version.previous else {}
    known = for_target(before["image"]["text"], asked).recall if before else own.recall
    # More than is aimed at, as an exact index finds, is nobody's due.
    old = min(known, asked)
    least = max(settings.least_recall, old - settings.most_recall_lost)
    # What chance may have taken is granted.
    if own.recall + own.uncertainty < least:
        raise LowRecallError(
            f"{layout.FAISS_INDEX} version {version.name}",
            f"recall {own.recall:.3f} ± {own.uncertainty:.3f} of a caption's ten nearest images",
            f"{least:.3f} at least (index.least_recall {settings.least_recall:g}, and "
            f"index.most_recall_lost {settings.most_recall_lost:g} below {old:.3f} of version "
            f"{version.previous or 'none'})",
            "The version before stays served. Give the index more memory "
            "(index.max_memory_bytes), or lower these two settings.",
        )


def _told(reach: Reaches, target: float) -> dict[str, dict[str, dict[str, float]]]:
    """Recall of so many nearest for a target, and of ten its interval and what is looked at."""
    told: dict[str, dict[str, dict[str, float]]] = {}

    def tell(figure: str, side: str, field: str, known: Mapping[str, Reach]) -> None:
        values = {kind: getattr(one, field) for kind, one in known.items()}
        told.setdefault(figure, {})[side] = values

    for k in RANKS:
        for side, kinds in reach.items():
            known = {kind: for_target(reaches, target, k) for kind, reaches in kinds.items()}
            tell(f"recall_at_{k}", side, "recall", known)
            if k == DEFAULT_RANK:
                tell("uncertainty", side, "uncertainty", known)
                tell("scanned", side, "scanned", known)
    return told


def _publish(run: StageRun, version: Version, side: str) -> "Written":
    from clip_assets.index import merge

    with run.publish(layout.index(version.name, side)) as part:
        return merge.write(run, version, side, part)
