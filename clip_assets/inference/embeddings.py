"""Embeddings of a partition: its shards' images and captions through a model, row by row.

Every tar's result is published to the work folder as one chunk, so a killed run repeats at
most one tar. Vectors that the last run published and that still hold are kept, see
``inference.earlier``; so one changed sample costs one. See ``inference.pipeline`` for how samples
become vectors, and ``inference.standalone`` for any other input than a partition.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import Encoder, Vectors
from clip_assets.encoders.identity import check_model, claim_model
from clip_assets.inference import adopted_vectors, chunks
from clip_assets.inference.chunks import Source
from clip_assets.inference.earlier import EmbeddedTar, LastRun, last_run, write_inputs
from clip_assets.inference.pipeline import Pace, embedded
from clip_assets.inference.summary import EmbeddingSummary
from clip_assets.inference.tar_chunks import chunk_of, chunk_path, read_sources, source_of
from clip_assets.layout import Key
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, current, materialize, recorded
from clip_assets.storage import tables, vectors
from clip_assets.storage.manifests import Report
from clip_assets.storage.store import Store


def embeddings(pool: Pool, partition: Key, ahead: Pace | None = None) -> Outcome:
    """Embed every usable sample of a partition's shards.

    Writes ``layout.img_emb``, ``layout.text_emb`` and ``layout.embedding_rows``, row-aligned in
    the order of shards and of their members, and ``layout.embedding_inputs``; none of them where no
    sample is usable. Samples that the last run embedded keep their vectors, as long as their image
    file and caption, the model and the precision are the same. A finished partition loads no model.
    Memory: the model, what ``pipeline.embedded`` holds of one tar, and what ``LastRun`` holds.

    Args:
        pool: the pool.
        partition: its partition.
        ahead: of the tars that were embedded as they were published, see ``embedding_ahead``.

    Raises:
        MissingArtifactError: the partition's shards are not done.
        ModelLoadError: the model cannot be loaded.
        ModelMismatchError: the store holds another model's embeddings.
        SchemaError: a tar is damaged or is not the one that was written.
        UnsoundVectorsError: vectors are NaN, or all the same.
    """
    pool.catalog.require(layout.IMAGE_SHARDS, partition)
    if not current(pool, EMBEDDINGS, partition):
        # What the partition is made from is known for certain only of a model that is loaded.
        with recorded(pool, EMBEDDINGS, partition):
            check_model(pool.store, pool.encoder().identity)
    work = _adopt if _is_adopted(pool, partition) else partial(_embed, ahead=ahead)
    return materialize(pool, EMBEDDINGS, partition, work)


def _is_adopted(pool: Pool, partition: Key) -> bool:
    plan = pool.plans.get(partition)
    return plan is not None and plan.adopted is not None and bool(plan.adopted.model)


def embeddings_inputs(pool: Pool, partition: Key) -> Inputs:
    """What a partition's embeddings depend on; batch size and threads do not count."""
    if _is_adopted(pool, partition):
        rows = pool.catalog.digest(layout.IMAGE_SHARDS, partition, layout.shard_rows)
        plan = {"plan": pool.plan(partition).digest(), "model": pool.model_digest}
        return {layout.IMAGE_SHARDS: rows} | plan
    return {
        layout.IMAGE_SHARDS: pool.catalog.digest(layout.IMAGE_SHARDS, partition, layout.shard_tar),
        "model": pool.model_digest,
        "precision": pool.settings.inference.precision,
    }


EMBEDDINGS = Asset(
    layout.EMBEDDINGS,
    "1",
    make=embeddings,
    inputs=embeddings_inputs,
    deps=(layout.IMAGE_SHARDS,),
    settings=("model", "precision", "plan"),
    rows_from=layout.IMAGE_SHARDS,
)


def _embed(run: StageRun, ahead: Pace | None) -> Report:
    encoder, settings = run.pool.encoder(), run.pool.settings.inference
    shards = run.pool.catalog.require(layout.IMAGE_SHARDS, run.partition)
    sources = {
        chunk_path(run.partition, tar): source_of(tar, encoder, EMBEDDINGS.version)
        for tar in shards.of_kind(layout.shard_tar)
    }
    missing = {
        path: source
        for path, source in sources.items()
        if not chunks.holds(run.store, path, source)
    }
    pace = ahead if ahead and not missing else Pace(encoder.workers)
    made = run.pool.catalog.get(EMBEDDINGS.name, run.key) if missing else None
    with last_run(run.store, made, run.partition) as last:
        taken = _take_over(run, missing, last)
        changed = {path: source for path, source in missing.items() if path not in taken}
        kept, done = sum(taken.values()), 0
        read = read_sources(run.store, list(changed.values()), last)
        with closing(embedded(read, encoder, settings, pace)) as pieces:
            for (path, source), piece in zip(changed.items(), pieces, strict=True):
                chunks.write(run.store, path, source, chunk_of(source, piece, last))
                kept += sum(sample.keeps is not None for sample in piece.samples)
                done += len(piece.samples) + piece.dropped.total()
                run.progress(done, shards.report.rows_out - sum(taken.values()), "samples")
    identity = asdict(encoder.identity) | {"digest": encoder.identity.digest()}
    chunks_ahead = ahead.pieces if ahead else 0
    figures = {
        "chunks_resumed": len(sources) - len(missing) - chunks_ahead,
        "chunks_ahead": chunks_ahead,
        "vectors_kept": kept,
        "model": identity,
    }
    report = _assemble(run, sources, encoder, pace.figures() | figures)
    # Of two models that claimed an empty store at the same moment, one stops here.
    check_model(run.store, encoder.identity)
    return report


def _adopt(run: StageRun) -> Report:
    """Take over vectors that somebody else made."""
    encoder = run.pool.encoder()
    windows = adopted_vectors.windows(run, encoder)
    done = 0
    for path, window in windows.items():
        if not chunks.holds(run.store, path, window.source):
            chunks.write(run.store, path, window.source, window.chunk(encoder))
        done += window.rows
        run.progress(done, sum(one.rows for one in windows.values()), "rows")
    adopted_vectors.check_model_of(windows, encoder)
    identity = asdict(encoder.identity) | {"digest": encoder.identity.digest()}
    figures = {"adopted": True, "model": identity}
    sources = {path: window.source for path, window in windows.items()}
    return _assemble(run, sources, encoder, figures)


def _take_over(run: StageRun, sources: dict[str, Source], last: LastRun) -> dict[str, int]:
    """Make chunks of what the last run made of tars that have not changed; rows of each."""
    taken: dict[str, int] = {}
    for path, source in sources.items():
        chunk = last.chunk(source)
        if chunk is not None:
            chunks.write(run.store, path, source, chunk)
            taken[path] = len(chunk.rows)
    return taken


def _assemble(
    run: StageRun, sources: dict[str, Source], encoder: Encoder, figures: dict[str, Any]
) -> Report:
    """Join the chunks of all tars, one after the other; nothing appears before all are sound."""
    summary = EmbeddingSummary(run.name)
    tars: list[EmbeddedTar] = []
    with run.publish(layout.embedding_rows(run.partition)) as part:
        writer = pq.ParquetWriter(part, schemas.EMBEDDING_ROWS, compression=tables.COMPRESSION)
        with writer:
            for path in sources:
                with chunks.opened(run.store, path) as chunk:
                    summary.add(chunk)
                    writer.write_table(chunk.rows)
                    tars.append(EmbeddedTar(sources[path], len(chunk.rows), chunk.dropped))
        summary.check()
        claim_model(run.store, encoder.identity)
    shape = (summary.rows, encoder.dim)
    if summary.rows:
        _join(run, layout.img_emb(run.partition), "image", sources, shape)
        _join(run, layout.text_emb(run.partition), "text", sources, shape)
        with run.publish(layout.embedding_inputs(run.partition)) as part:
            write_inputs(part, tars, _inputs(run.store, sources))
    picture = run.publish_picture("similarity.png", summary.picture())
    return Report(
        rows_in=summary.rows + summary.dropped.total(),
        rows_out=summary.rows,
        dropped=dict(summary.dropped),
        figures=figures | {"samples": summary.rows, "dim": encoder.dim} | summary.figures(),
        pictures={"Similarity of image and caption": picture},
    )


def _join(
    run: StageRun, output: str, side: str, paths: dict[str, Source], shape: tuple[int, int]
) -> None:
    def by_chunk() -> Generator[Vectors]:
        for path in paths:
            with chunks.opened(run.store, path) as chunk:
                yield chunk.image if side == "image" else chunk.text

    with run.publish(output) as part:
        vectors.write(part, by_chunk(), *shape)


def _inputs(store: Store, paths: dict[str, Source]) -> Generator[pa.Table]:
    for path in paths:
        with chunks.opened(store, path) as chunk:
            yield chunk.inputs
