"""One searchable index of all finished segments, in a new version.

A version is merged here, gets its rows in ``index.id_mapping`` and is served only then. Which ids
its vectors have is said by ``index.slots``.
"""

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from clip_assets import layout
from clip_assets.errors import MissingArtifactError, NotReadyError
from clip_assets.index import index_recipe, slots, versions
from clip_assets.index.slots import Content
from clip_assets.index.vectors_in import embedded
from clip_assets.index.versions import Version
from clip_assets.layout import WHOLE, Key, PartitionKey
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.pool.upstream import Upstream, upstream
from clip_assets.settings import IndexSettings
from clip_assets.storage.manifests import Report

if TYPE_CHECKING:
    from clip_assets.index.recall import Recall


def faiss_index(pool: Pool, key: Key) -> Outcome:
    """Merge the segments of all partitions into a new version.

    Segments made from other embeddings or another recipe than today's are left out and named,
    or refused with ``missing_partitions="refuse"``. The version is not served yet.

    How many lists a search looks into is written into each index: as many as are needed to find
    what an exact search finds, see ``index.recall``.

    Memory: the merged index of one side and one segment.

    Raises:
        NotReadyError: no partition has a segment of today's recipe.
        MissingArtifactError: a partition has none, and that is to be refused.
        SchemaError: a segment's file is damaged or encoded otherwise than the recipe says.
        CheckFailedError: the merged index does not hold what it should.
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
    "1",
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
    _refuse(segments, run.pool.settings.index)
    report = _make(run, _version(run, segments))
    removed = versions.retire(run.store, run.pool.settings.index.keep_versions)
    return replace(report, figures=report.figures | {"versions_removed": removed})


def content(pool: Pool, partition: PartitionKey) -> Content:
    """What an index holds of a partition: its current vectors and rows."""
    segment = pool.catalog.require(layout.INDEX_SEGMENTS, partition)
    rows = pool.catalog.digest(layout.EMBEDDINGS, partition, layout.embedding_rows)
    digest = hashlib.sha256(f"{segment.digest()} {rows}".encode()).hexdigest()
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


def _version(run: StageRun, segments: Upstream) -> Version:
    """What the new version will hold."""
    store, inputs = run.store, run.asset.made_from(run.pool, run.key)
    contents = [content(run.pool, partition) for partition in segments.current]
    known, wanted = versions.merged(store), index_recipe.read(store)
    previous = versions.read(store, known[-1]) if known else None
    ranges, is_renumbered = slots.allocate(previous.slots if previous else [], contents)
    number = int(known[-1].partition("-")[0]) + 1 if known else 1
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return Version(
        name=f"{number:05d}-{digest[:8]}",
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
    )


def _make(run: StageRun, version: Version) -> Report:
    versions.remove_unfinished(run.store)
    recalls = {side: _merge(run, version, side) for side in layout.SIDES}
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
            "recall_at_10": {side: recall.by for side, recall in recalls.items()},
            "lists_probed": {side: recall.probes for side, recall in recalls.items()},
        },
    )


def _merge(run: StageRun, version: Version, side: str) -> "Recall":
    from clip_assets.index import ann, verify
    from clip_assets.index.recall import Meter

    with run.store.local(layout.recipe(side)) as file:
        index = ann.read(file, run.store.uri(layout.recipe(side)))
    samples = verify.Samples(side)
    used = [(slot, partition) for slot, partition in version.used if slot.count]
    for number, (slot, partition) in enumerate(used):
        path = layout.segment(side, partition)
        with run.store.local(path) as file:
            segment = ann.read(file, run.store.uri(path))
        samples.take(segment, slot)
        ann.merge(index, segment, slot.start, run.store.uri(path))
        run.progress(number + 1, len(used), f"{side} segments")
    verify.check_ids(index, [slot for slot, _ in used], side)
    samples.check(index)
    vectors = embedded(run.pool, [partition for _, partition in used])
    recall = Meter(run.store, vectors, [slot for slot, _ in used], side).tune(index)
    with run.publish(layout.index(version.name, side)) as part:
        ann.write(index, part)
    return recall
