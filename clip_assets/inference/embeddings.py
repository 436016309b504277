"""Embeddings of a partition: its shards' images and captions through a model, row by row.

Every tar's result is published to the work folder as one chunk, so a killed run repeats at
most one tar and ends in the same bytes. See ``inference.pipeline`` for how samples become vectors,
and ``inference.standalone`` for any other input than a partition.
"""

import functools
import hashlib
import os
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict
from io import BufferedReader
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import Encoder, Vectors
from clip_assets.encoders.identity import check_model, claim_model, expected_identity
from clip_assets.inference import chunks, samples
from clip_assets.inference.chunks import Chunk, Source
from clip_assets.inference.pipeline import END, EmbeddedPiece, Pace, embedded
from clip_assets.inference.samples import Sample
from clip_assets.inference.summary import Summary, check_unit_rows, cosines
from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import (
    Outcome,
    Stage,
    StageRun,
    current,
    materialize,
    recorded,
)
from clip_assets.settings import Inference
from clip_assets.storage import tables, vectors
from clip_assets.storage.manifests import Artifact, Catalog, Manifest, Report
from clip_assets.storage.store import Store
from clip_assets.webdataset.index import CHANGED, damaged
from clip_assets.webdataset.read import read_tar

EMBEDDINGS = Stage("embeddings", "1", rows_from="image_shards")


def embeddings(
    catalog: Catalog,
    partition: PartitionKey,
    settings: Inference,
    encoder: Callable[[], Encoder],
) -> Outcome:
    """Embed every usable sample of a partition's shards.

    Writes ``layout.img_emb``, ``layout.text_emb`` and ``layout.embedding_rows``, row-aligned in
    the order of shards and of their members. Memory: the model, and what
    ``pipeline.embedded`` holds of one tar.

    Args:
        catalog: the pool's manifests.
        partition: the partition.
        settings: of the stage.
        encoder: loads the model; called at most once, and neither for a partition that is done
            nor for one whose shards are not.

    Raises:
        MissingArtifactError: the partition's shards are not done.
        ModelLoadError: the model cannot be loaded.
        ModelMismatchError: the store holds another model's embeddings.
        SchemaError: a tar is damaged or is not the one that was written.
        UnsoundVectorsError: vectors are NaN, or all the same.
    """
    loaded = functools.cache(encoder)
    identity = expected_identity(catalog.store, settings)
    inputs = embeddings_inputs(catalog, partition, settings, identity)
    if not current(catalog, EMBEDDINGS, partition, inputs):
        # What was expected tells a model by its name; the partition is made from its weights.
        with recorded(catalog, EMBEDDINGS, partition):
            catalog.require("image_shards", partition)
            check_model(catalog.store, loaded().identity)
        inputs = embeddings_inputs(catalog, partition, settings, loaded().identity.digest())

    def work(run: StageRun) -> Report:
        return _embed(run, catalog.require("image_shards", partition), settings, loaded())

    return materialize(catalog, EMBEDDINGS, partition, inputs, work)


def embeddings_inputs(
    catalog: Catalog, partition: PartitionKey, settings: Inference, identity_digest: str
) -> dict[str, str]:
    """What a partition's embeddings depend on.

    Args:
        catalog: the pool's manifests.
        partition: the partition.
        settings: of the stage; batch size and threads do not count.
        identity_digest: of the encoder, or ``identity.expected_identity`` where none is loaded.
    """
    return {
        "image_shards": catalog.digest("image_shards", partition, ".tar"),
        "model": identity_digest,
        "precision": settings.precision,
    }


def _embed(run: StageRun, shards: Manifest, settings: Inference, encoder: Encoder) -> Report:
    tars = [output for output in shards.outputs if output.path.endswith(".tar")]
    sources = {_chunk_path(run, tar): _source(tar, encoder) for tar in tars}
    missing = {
        path: source
        for path, source in sources.items()
        if not chunks.holds(run.store, path, source)
    }
    pace = Pace(encoder.workers)
    read = _read(run.store, list(missing.values()))
    with closing(embedded(read, encoder, settings, pace)) as pieces:
        for (path, source), piece in zip(missing.items(), pieces, strict=True):
            chunks.write(run.store, path, source, _chunk(source, piece))
            run.progress(pace.samples, shards.report.rows_out, "samples")
    identity = asdict(encoder.identity) | {"digest": encoder.identity.digest()}
    figures = {"chunks_resumed": len(sources) - len(missing), "model": identity}
    report = _assemble(run, sources, encoder, pace.figures() | figures)
    # Of two models that claimed an empty store at the same moment, one stops here.
    check_model(run.store, encoder.identity)
    return report


def _source(tar: Artifact, encoder: Encoder) -> Source:
    identity = encoder.identity
    return Source(tar.path, tar.sha256, identity.digest(), identity.precision, EMBEDDINGS.version)


def _chunk_path(run: StageRun, tar: Artifact) -> str:
    return f"{run.work_folder}/{Path(tar.path).stem}.arrow"


def _read(store: Store, sources: list[Source]) -> Generator[Sample | None]:
    """Samples of each tar, ``END`` after each."""
    for source in sources:
        with store.local(source.tar, "image_shards") as path, path.open("rb") as file:
            _check_content(file, source, store.uri(source.tar))
            before = os.fstat(file.fileno())
            for members in read_tar(file, store.uri(source.tar), samples.MEMBERS):
                yield samples.parse(members)
            after = os.fstat(file.fileno())
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise damaged(store.uri(source.tar), CHANGED)
        yield END


def _check_content(file: BufferedReader, source: Source, where: str) -> None:
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != source.sha256:
        size = f"{file.tell():,} bytes"
        raise damaged(where, f"{size} with sha256 {sha256[:12]}, not {source.sha256[:12]}")
    file.seek(0)


def _chunk(source: Source, piece: EmbeddedPiece) -> Chunk:
    check_unit_rows(piece.image, f"{source.tar}: image embeddings")
    check_unit_rows(piece.text, f"{source.tar}: text embeddings")
    similarity = cosines(piece.image, piece.text)
    shard = source.tar.removeprefix("shards/").removesuffix(".tar")
    rows = [
        _row(sample, shard, float(cosine))
        for sample, cosine in zip(piece.samples, similarity, strict=True)
    ]
    table = pa.Table.from_pylist(rows, schemas.EMBEDDING_ROWS)
    return Chunk(table, piece.image, piece.text, dict(piece.dropped))


def _row(sample: Sample, shard: str, similarity: float) -> dict[str, Any]:
    """A row of ``schemas.EMBEDDING_ROWS``."""
    return samples.known_fields(sample.fields) | {
        "uid": sample.fields["uid"],
        "caption": sample.caption,
        "image_path": f"{shard}/{sample.key}",
        "key": sample.key,
        "similarity": similarity,
    }


def _assemble(
    run: StageRun, sources: dict[str, Source], encoder: Encoder, figures: dict[str, Any]
) -> Report:
    """Join the chunks of all tars, one after the other; nothing appears before all are sound."""
    summary = Summary(f"{EMBEDDINGS.asset} {run.partition}")
    with run.publish(layout.embedding_rows(run.partition)) as part:
        writer = pq.ParquetWriter(part, schemas.EMBEDDING_ROWS, compression=tables.COMPRESSION)
        with writer:
            for path in sources:
                with chunks.opened(run.store, path) as chunk:
                    summary.add(chunk)
                    writer.write_table(chunk.rows)
        summary.check()
        claim_model(run.store, encoder.identity)
    shape = (summary.rows, encoder.dim)
    _join(run, layout.img_emb(run.partition), "image", sources, shape)
    _join(run, layout.text_emb(run.partition), "text", sources, shape)
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
