"""What becomes of one tar: the samples that it has, and the chunk of their vectors.

Which tars a partition has, and how their chunks are joined, says ``embeddings``; how samples
become vectors ``pipeline``; what a chunk is ``chunks``.
"""

import hashlib
import os
from collections.abc import Generator
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import Encoder
from clip_assets.inference import samples
from clip_assets.inference.chunks import Chunk, Source
from clip_assets.inference.earlier import LastRun
from clip_assets.inference.pipeline import END, EmbeddedPiece
from clip_assets.inference.samples import Sample
from clip_assets.inference.summary import check_unit_rows, cosines
from clip_assets.layout import Key
from clip_assets.storage.manifests import Output
from clip_assets.storage.store import Store
from clip_assets.webdataset.index import CHANGED, damaged
from clip_assets.webdataset.read import read_tar


def source_of(tar: Output, encoder: Encoder, version: str) -> Source:
    """What the chunk of a tar is made from.

    Args:
        tar: as its shard's manifest names it.
        encoder: the model.
        version: of the stage.
    """
    identity = encoder.identity
    return Source(tar.path, tar.sha256, identity.digest(), identity.precision, version)


def chunk_path(partition: Key, tar: Output) -> str:
    """Where the chunk of a tar is, until its partition is done."""
    return f"{layout.work(layout.EMBEDDINGS, partition)}/{Path(tar.path).stem}.arrow"


def read_sources(store: Store, sources: list[Source], last: LastRun) -> Generator[Sample | None]:
    """Samples of each published tar, ``END`` after each.

    Raises:
        SchemaError: a tar is damaged or is not the one that was written.
    """
    for source in sources:
        with store.local(source.tar) as path, path.open("rb") as file:
            _check_content(file, source, store.uri(source.tar))
            before = os.fstat(file.fileno())
            yield from read_source(file, source, store.uri(source.tar), last)
            after = os.fstat(file.fileno())
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise damaged(store.uri(source.tar), CHANGED)
        yield END


def read_source(file: BinaryIO, source: Source, where: str, last: LastRun) -> Generator[Sample]:
    """Samples of an open tar, each with the digest of its inputs."""
    for members in read_tar(file, where, samples.MEMBERS):
        yield last.recognised(samples.parse(members), source)


def chunk_of(source: Source, piece: EmbeddedPiece, last: LastRun) -> Chunk:
    """The chunk of a tar whose samples are embedded, with the vectors that they keep.

    Raises:
        UnsoundVectorsError: a vector is NaN or no unit vector.
    """
    check_unit_rows(piece.image, f"{source.tar}: image embeddings")
    check_unit_rows(piece.text, f"{source.tar}: text embeddings")
    image = last.completed("image", piece.samples, piece.image)
    text = last.completed("text", piece.samples, piece.text)
    similarity = cosines(image, text)
    shard = source.tar.removeprefix("shards/").removesuffix(".tar")
    rows = [
        _row(sample, shard, float(cosine))
        for sample, cosine in zip(piece.samples, similarity, strict=True)
    ]
    table = pa.Table.from_pylist(rows, schemas.EMBEDDING_ROWS)
    digests = pa.array([sample.input for sample in piece.samples], pa.binary(16))
    cut = last.cut(piece.samples, piece.is_cut)
    inputs = pa.Table.from_arrays([digests, cut], schema=schemas.EMBEDDING_INPUTS)
    return Chunk(table, image, text, dict(piece.dropped), inputs)


def _check_content(file: BufferedReader, source: Source, where: str) -> None:
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != source.sha256:
        size = f"{file.tell():,} bytes"
        raise damaged(where, f"{size} with sha256 {sha256[:12]}, not {source.sha256[:12]}")
    file.seek(0)


def _row(sample: Sample, shard: str, similarity: float) -> dict[str, Any]:
    """A row of ``schemas.EMBEDDING_ROWS``."""
    return samples.known_fields(sample.fields) | {
        "uid": sample.fields["uid"],
        "caption": sample.caption,
        "image_path": f"{shard}/{sample.key}",
        "key": sample.key,
        "similarity": similarity,
        "further": _further(sample.fields),
    }


def _further(fields: dict[str, Any]) -> str | None:
    """What a sample's json has beyond the columns of its shard, as json; None for nothing."""
    others = {
        name: value
        for name, value in fields.items()
        if name not in schemas.SHARD_ROWS.names and value is not None
    }
    return samples.as_json(others) if others else None
