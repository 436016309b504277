"""Finished chunks of an unfinished partition: the rows and vectors of one tar in one file.

A chunk names what it was made from, so that after a kill, a change of a shard or a change of
the model exactly the chunks that still hold are used again. See ``inference.embeddings`` for which
tars a partition has and what becomes of its chunks.
"""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa

from clip_assets import schemas
from clip_assets.encoders.encoder import Vectors
from clip_assets.errors import MissingArtifactError
from clip_assets.storage import tables
from clip_assets.storage.store import Store

ROWS = schemas.EMBEDDING_ROWS

_RECORD = b"chunk"
_INPUT = "input"
_CUT = "is_caption_cut"


@dataclass(frozen=True, slots=True)
class Source:
    """What a chunk is made from; two equal sources give the same bytes.

    Args:
        tar: path of the tar.
        sha256: of the tar.
        model: digest of the model's identity.
        precision: what the model computed in.
        version: of the stage.
    """

    tar: str
    sha256: str
    model: str
    precision: str
    version: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Embeddings of one tar.

    Args:
        rows: the tar's usable samples, ``schemas.EMBEDDING_ROWS``.
        image: (n, dim) float16 unit rows; row i belongs to row i of ``rows``.
        text: likewise, of the captions.
        dropped: the other samples, by reason.
        inputs: of what each row's vectors were made from, ``schemas.EMBEDDING_INPUTS``.
    """

    rows: pa.Table
    image: Vectors
    text: Vectors
    dropped: dict[str, int]
    inputs: pa.Table


def write(store: Store, path: str, source: Source, chunk: Chunk) -> None:
    """Publish a chunk."""
    record = {"source": asdict(source), "dropped": chunk.dropped}
    dim = chunk.image.shape[1]
    columns = {
        "image": _packed(chunk.image, dim),
        "text": _packed(chunk.text, dim),
        _INPUT: chunk.inputs["digest"],
        _CUT: chunk.inputs[_CUT],
    }
    table = chunk.rows
    for name, column in columns.items():
        table = table.append_column(name, column)
    table = table.replace_schema_metadata({_RECORD: json.dumps(record).encode()})
    with store.publish(path) as part, pa.ipc.new_file(str(part), table.schema) as writer:
        writer.write_table(table.combine_chunks())


def holds(store: Store, path: str, source: Source) -> bool:
    """Whether a chunk was published there that was made from this source."""
    try:
        with _opened(store, path) as reader:
            # Chunks of releases before this column do not say what their vectors are of.
            is_whole = _INPUT in reader.schema.names
            return is_whole and bool(_record(reader.schema)["source"] == asdict(source))
    except (MissingArtifactError, pa.ArrowInvalid, OSError, ValueError, LookupError):
        return False  # none, or a damaged one: a new one takes its place


@contextmanager
def opened(store: Store, path: str) -> Generator[Chunk]:
    """A published chunk, for the time of the block."""
    with _opened(store, path) as reader:
        table = reader.read_all()
        # Chunks of releases before there was one have no column of what was cut.
        kept = {_INPUT: "digest", _CUT: _CUT}
        names = [name for name in kept if name in table.column_names]
        inputs = table.select(names).rename_columns([kept[name] for name in names])
        yield Chunk(
            tables.conform(tables.filled(table, ROWS), ROWS, store.uri(path)),
            _unpacked(table["image"]),
            _unpacked(table["text"]),
            _record(reader.schema)["dropped"],
            tables.filled(inputs, schemas.EMBEDDING_INPUTS),
        )


@contextmanager
def _opened(store: Store, path: str) -> Generator[pa.ipc.RecordBatchFileReader]:
    with store.local(path) as local, pa.memory_map(str(local)) as file:
        yield pa.ipc.open_file(file)


def _record(schema: pa.Schema) -> dict[str, Any]:
    return json.loads((schema.metadata or {})[_RECORD])


def _packed(vectors: Vectors, dim: int) -> pa.Array:
    values = np.ascontiguousarray(vectors, dtype=schemas.EMBEDDING).tobytes()
    width = pa.binary(dim * schemas.EMBEDDING.itemsize)
    return pa.Array.from_buffers(width, len(vectors), [None, pa.py_buffer(values)])


def _unpacked(column: pa.ChunkedArray) -> Vectors:
    """(n, dim) float16 of a column of packed rows; a chunk has one record batch or none."""
    width = column.type.byte_width // schemas.EMBEDDING.itemsize
    if not column.num_chunks:
        return np.empty((0, width), schemas.EMBEDDING)
    packed = cast("pa.Array", column.chunk(0))
    content = packed.buffers()[1]
    assert content is not None
    values = np.frombuffer(memoryview(content), schemas.EMBEDDING)
    return values[packed.offset * width :][: len(packed) * width].reshape(-1, width)
