"""Vectors that somebody else made, taken over as those of a partition.

Which files they are in is said by the partition's plan; which of its rows are left, by the shards'
rows and the pairs. Vectors of captions that nobody made are made here. That the vectors are of the
model that they are said to be of is tried on some captions.
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import Encoder, Mask, Vectors
from clip_assets.errors import ModelMismatchError
from clip_assets.files.identity import unchanged
from clip_assets.inference.chunks import Chunk, Source
from clip_assets.inference.summary import cosines
from clip_assets.partitions.plans import AdoptedFile, AdoptedPiece
from clip_assets.pool.stages import StageRun
from clip_assets.storage import tables
from clip_assets.storage.embeddings_folder import Usable, usable
from clip_assets.storage.foreign_vectors import vector_rows

WINDOW_ROWS = 65_536
"""Source rows whose vectors are in memory at once."""

TRIED = 32
"""Captions that are encoded to see whether the vectors are of the model."""

ALIKE = 0.95
"""Median cosine that these have at least; other releases of a tokenizer cost some of it."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """A stretch of a piece's rows.

    Args:
        source: what its chunk is made from.
        piece: whose vectors.
        start: its first row in the piece; stop: the row after its last.
        pairs: those that are left of its rows, ``schemas.EMBEDDING_ROWS`` but for ``similarity``.
        numbers: (n,) rows of the piece that they were.
    """

    source: Source
    piece: AdoptedPiece
    start: int
    stop: int
    pairs: pa.Table
    numbers: Numbers

    @property
    def rows(self) -> int:
        """Pairs that are left."""
        return len(self.pairs)

    def chunk(self, encoder: Encoder) -> Chunk:
        """Its vectors with what they are of.

        Raises:
            SourceChangedError: a file is not the one that was planned.
            ModelMismatchError: the vectors are of another length than the model's.
        """
        image = self._read(self.piece.image, encoder)
        text = self._read(self.piece.text, encoder) if self.piece.text else None
        good = image.places if text is None else np.intersect1d(image.places, text.places)
        left_out = {k: n for side in (image, text) if side for k, n in side.left_out.items() if n}
        pairs = self.pairs.take(pa.array(good, pa.int64()))
        images = _at(image, good)
        if text is None:
            texts, is_cut = _encoded(pairs, encoder)
            cut = pa.array(is_cut.tolist(), pa.bool_())
        else:
            texts, cut = _at(text, good), pa.nulls(len(good), pa.bool_())
        similarity = pa.array(cosines(images, texts), pa.float32())
        rows = pairs.append_column("similarity", similarity)
        digests = [
            f"{self.source.sha256} {number}".encode()[-16:].rjust(16)
            for number in self.numbers[good].tolist()
        ]
        dropped = {f"{reason} vector": count for reason, count in left_out.items()}
        # Rows that are wrong on both sides were counted on each.
        lost = len(self.pairs) - len(good)
        if sum(dropped.values()) != lost:
            dropped = {"vector not finite or zero": lost} if lost else {}
        return Chunk(
            tables.conform(rows, schemas.EMBEDDING_ROWS, self.source.tar),
            images,
            texts,
            dropped,
            pa.Table.from_arrays(
                [pa.array(digests, pa.binary(16)), cut], schema=schemas.EMBEDDING_INPUTS
            ),
        )

    def _read(self, adopted: AdoptedFile | None, encoder: Encoder) -> Usable:
        assert adopted is not None
        now = unchanged(adopted.file)
        with ExitStack() as stack:
            vectors = vector_rows(now, adopted.member, stack)
            if vectors.dim != encoder.dim:
                raise _other_model(adopted.uri, f"vectors of {vectors.dim} dimensions", encoder)
            rows = vectors.read(self.start, self.stop)
        return usable(rows[self.numbers - self.start])


def _at(side: Usable, good: Numbers) -> Vectors:
    return side.vectors[np.searchsorted(side.places, good)].astype(schemas.EMBEDDING)


def _encoded(pairs: pa.Table, encoder: Encoder) -> tuple[Vectors, Mask]:
    """Vectors of captions, and which of these are cut."""
    captions = [caption or "" for caption in pairs["caption"].to_pylist()]
    size = encoder.batch_size
    batches = [captions[n : n + size] for n in range(0, len(captions), size)]
    made = [encoder.encode_captions(batch) for batch in batches]
    empty = np.empty((0, encoder.dim), schemas.EMBEDDING)
    vectors = np.concatenate([empty, *(of_batch for of_batch, _ in made)])
    return vectors, np.concatenate([np.zeros(0, np.bool_), *(is_cut for _, is_cut in made)])


def windows(run: StageRun, encoder: Encoder) -> dict[str, Window]:
    """The stretches of a partition, each with the path of its chunk.

    Memory: the partition's pairs without their vectors.
    """
    plan = run.pool.plan(run.partition).adopted
    assert plan is not None
    pairs, numbers = _pairs(run)
    cut: dict[str, Window] = {}
    first = 0
    for piece in plan.pieces:
        for start in range(0, piece.rows, WINDOW_ROWS):
            stop = min(start + WINDOW_ROWS, piece.rows)
            low, high = np.searchsorted(numbers, (first + start, first + stop))
            assert piece.image is not None
            text = piece.text.etag if piece.text else "none"
            told = f"{piece.image.etag} {piece.image.member} {text}"
            source = Source(
                f"{piece.image.uri} rows {start} to {stop}",
                told,
                encoder.identity.digest(),
                "adopted",
                "1",
            )
            own = numbers[low:high] - first
            window = Window(source, piece, start, stop, pairs.slice(low, high - low), own)
            cut[f"{run.work_folder}/{len(cut):05d}.arrow"] = window
        first += piece.rows
    return cut


def _pairs(run: StageRun) -> tuple[pa.Table, Numbers]:
    """The pairs with their keys, and which source row each was, ascending."""
    unique = run.pool.catalog.require(layout.UNIQUE_PAIRS, run.partition)
    shards = run.pool.catalog.require(layout.IMAGE_SHARDS, run.partition)
    with tables.local(run.store, unique, layout.unique) as file:
        names = ["uid", "url", "caption", "width", "height", "sha256", "further"]
        pairs = pq.read_table(file, columns=names)
    keys: list[str] = []
    paths: list[str] = []
    for output in shards.of_kind(layout.shard_rows):
        shard = output.path.removeprefix("shards/").removesuffix(".parquet")
        table = tables.read(run.store, output.path, schemas.SHARD_ROWS, ["key"])
        own = [str(key) for key in table["key"].to_pylist()]
        keys += own
        paths += [f"{shard}/{key}" for key in own]
    told = [json.loads(further or "{}") for further in pairs["further"].to_pylist()]
    numbers = np.array([int(one.pop(schemas.ADOPTED_ROW)) for one in told], np.int64)
    sizes = pairs.rename_columns({"width": "original_width", "height": "original_height"})
    rows = sizes.drop_columns("further").append_column("key", pa.array(keys, pa.string()))
    rows = rows.append_column("image_path", pa.array(paths, pa.string()))
    further = [json.dumps(one, ensure_ascii=False) if one else None for one in told]
    rows = rows.append_column("further", pa.array(further, pa.string()))
    return tables.filled(rows, _BUT_SIMILARITY), numbers


_BUT_SIMILARITY = pa.schema(
    [field for field in schemas.EMBEDDING_ROWS if field.name != "similarity"]
)


def check_model_of(windows: Mapping[str, Window], encoder: Encoder) -> None:
    """Make sure that vectors of captions are what the model makes of them.

    Raises:
        ModelMismatchError: they are not.
    """
    for window in windows.values():
        if window.piece.text is None or not window.rows:
            continue
        some = window.pairs.slice(0, TRIED)
        tried = Window(
            window.source, window.piece, window.start, window.stop, some, window.numbers[:TRIED]
        ).chunk(encoder)
        median = float(np.median(cosines(_encoded(tried.rows, encoder)[0], tried.text)))
        if not median >= ALIKE:
            told = f"vectors of captions with a median cosine of {median:.3f} to the model's"
            raise _other_model(window.piece.text.uri, told, encoder)
        return


def _other_model(where: str, told: str, encoder: Encoder) -> ModelMismatchError:
    return ModelMismatchError(
        where,
        told,
        f"those of {encoder.identity.describe()}",
        "Adopt them into a pool whose inference.model and inference.pretrained are those that made "
        "them.",
    )
