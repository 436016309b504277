"""One searchable index of all finished segments, in a new version.

A version is merged here, gets its rows in ``index.id_mapping`` and is served only then. Which ids
its vectors have is said by ``index.slots``.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from clip_assets import layout
from clip_assets.errors import MissingArtifactError, NotReadyError
from clip_assets.index import index_recipe, slots, vectors_in, versions
from clip_assets.index.index_recipe import INDEX_RECIPE
from clip_assets.index.index_segments import INDEX_SEGMENTS, index_segments_inputs
from clip_assets.index.slots import Content
from clip_assets.index.versions import Version
from clip_assets.layout import PartitionKey
from clip_assets.pool import upstream
from clip_assets.pool.stages import Outcome, Stage, StageRun, materialize
from clip_assets.pool.upstream import Upstream
from clip_assets.settings import Index
from clip_assets.storage.manifests import Catalog, Report
from clip_assets.storage.store import Store

if TYPE_CHECKING:
    from clip_assets.index.recall import Recall

FAISS_INDEX = Stage("faiss_index", "1")


def faiss_index(catalog: Catalog, partitions: Sequence[PartitionKey], settings: Index) -> Outcome:
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
    inputs = faiss_index_inputs(catalog, partitions, settings)
    found = _upstream(catalog, partitions)

    def work(run: StageRun) -> Report:
        _refuse(found, settings)
        contents = [content(catalog, partition) for partition in found.current]
        report = _make(run, catalog, _plan(run.store, inputs, contents, found))
        report.figures["versions_removed"] = versions.retire(run.store, settings.keep_versions)
        return report

    return materialize(catalog, FAISS_INDEX, None, inputs, work)


def faiss_index_inputs(
    catalog: Catalog, partitions: Sequence[PartitionKey], settings: Index
) -> dict[str, str]:
    """What the merged index depends on: the recipe, and every current segment and its rows."""
    found = _upstream(catalog, partitions)
    inputs = {"index_recipe": catalog.digest(INDEX_RECIPE.asset, None, ".index")}
    inputs |= {f"index_segments/{p}": content(catalog, p).digest for p in found.current}
    if settings.missing_partitions == "refuse":
        inputs["refused"] = ",".join(found.missing + found.stale)
    return inputs


def _upstream(catalog: Catalog, partitions: Sequence[PartitionKey]) -> Upstream:
    return upstream.look(
        catalog, INDEX_SEGMENTS, partitions, partial(index_segments_inputs, catalog)
    )


def content(catalog: Catalog, partition: PartitionKey) -> Content:
    """What an index holds of a partition: its current vectors and rows."""
    segment = catalog.require(INDEX_SEGMENTS.asset, partition)
    rows = catalog.digest(vectors_in.EMBEDDINGS, partition, ".parquet")
    digest = hashlib.sha256(f"{segment.digest()} {rows}".encode()).hexdigest()
    return Content(partition, digest, segment.report.rows_out)


def _refuse(found: Upstream, settings: Index) -> None:
    absent = found.missing + found.stale
    if absent and settings.missing_partitions == "refuse":
        raise MissingArtifactError(
            FAISS_INDEX.asset,
            f"no current segment of {', '.join(absent)}",
            "one of every partition, because index.missing_partitions is refuse",
            f"Run: clip-assets run --select '*index_segments' --partitions {','.join(absent)}",
        )
    if not found.current:
        raise NotReadyError(
            FAISS_INDEX.asset,
            "no segment of the present recipe",
            "one at least",
            "Run: clip-assets run --select '*index_segments'",
        )


def _plan(
    store: Store, inputs: dict[str, str], contents: list[Content], found: Upstream
) -> Version:
    """What the new version will hold."""
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
        recipe=inputs["index_recipe"],
        vectors=sum(content.vectors for content in contents),
        slots=ranges,
        partitions_used=found.current,
        partitions_missing=found.missing,
        partitions_stale=found.stale,
    )


def _make(run: StageRun, catalog: Catalog, version: Version) -> Report:
    versions.remove_unfinished(run.store)
    recalls = {side: _merge(run, catalog, version, side) for side in layout.SIDES}
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


def _merge(run: StageRun, catalog: Catalog, version: Version, side: str) -> "Recall":
    from clip_assets.index import ann, verify
    from clip_assets.index.recall import Meter

    with run.store.local(layout.recipe(side), INDEX_RECIPE.asset) as file:
        index = ann.read(file, run.store.uri(layout.recipe(side)))
    samples = verify.Samples(side)
    for number, (slot, partition) in enumerate(version.used):
        path = layout.segment(side, partition)
        with run.store.local(path, INDEX_SEGMENTS.asset) as file:
            segment = ann.read(file, run.store.uri(path))
        samples.take(segment, slot)
        ann.merge(index, segment, slot.start, run.store.uri(path))
        run.progress(number + 1, len(version.used), f"{side} segments")
    verify.check_ids(index, [slot for slot, _ in version.used], side)
    samples.check(index)
    pool = vectors_in.look(catalog, [partition for _, partition in version.used])
    recall = Meter(run.store, pool, [slot for slot, _ in version.used], side).tune(index)
    with run.publish(layout.index(version.name, side)) as part:
        ann.write(index, part)
    return recall
