"""The rows that subsets are chosen from: a pool's metadata, or a folder of DataComp's.

Both are read piece by piece, some columns at a time. What is chosen is the business of methods.
"""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import Encoder
from clip_assets.errors import (
    AlignmentError,
    ConfigurationError,
    ModelMismatchError,
    SchemaError,
    SourceMissingError,
)
from clip_assets.files import parquets
from clip_assets.files.faults import translated
from clip_assets.files.filesystem import filesystem, uri_of
from clip_assets.files.opening import opened
from clip_assets.layout import PartitionKey
from clip_assets.pool import takedowns
from clip_assets.pool.pool import Pool
from clip_assets.pool.takedowns import TakenDown
from clip_assets.storage import tables, vectors

HASH_DIGITS = 16

Hashes = tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class PieceVectors:
    """Vectors of a piece's rows.

    Args:
        places: (n,) int64, for each row the place of its vectors, -1 where it has none.
        images: (m, dim); may be mapped from a file.
        texts: (m, dim).
    """

    places: npt.NDArray[np.int64]
    images: npt.NDArray[np.floating]
    texts: npt.NDArray[np.floating]


class Candidates(Protocol):
    """Rows that can be chosen from."""

    @property
    def pieces(self) -> Sequence[str]:
        """Names of what is read at a time, in order."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Columns that can be asked for."""
        ...

    @property
    def has_outcomes(self) -> bool:
        """Whether rows say if their image was had, and what reserves its use."""
        ...

    @property
    def taken_down(self) -> TakenDown:
        """What must not be chosen."""
        ...

    @property
    def vector_columns(self) -> frozenset[str]:
        """Columns by which a row's vectors are found."""
        ...

    def read(self, piece: str, columns: list[str]) -> pa.Table:
        """Some columns of a piece's rows, in their order.

        Raises:
            SchemaError: it lacks one.
        """
        ...

    def encoder(self, arch: str) -> Encoder:
        """The model of an arch, which makes vectors of what people say.

        Raises:
            ConfigurationError: it is not at hand.
            ModelLoadError: it cannot be loaded.
            ModelMismatchError: the settings name another model than that of the vectors.
        """
        ...

    def hashes(self, piece: str, table: pa.Table) -> Hashes:
        """(n,) uint64 perceptual hash of each row's image, and (n,) bool whether it has one."""
        ...

    def vectors(
        self, piece: str, table: pa.Table, arch: str
    ) -> AbstractContextManager[PieceVectors]:
        """Vectors of a piece's rows, for the time of the block.

        Args:
            piece: which.
            table: its rows with ``vector_columns``.
            arch: whose: ``own``, or of DataComp's folders ``b32`` and ``l14``.

        Raises:
            ConfigurationError: there are none of that model.
        """
        ...


@dataclass(frozen=True)
class PoolRows:
    """Metadata of some partitions of a pool.

    Args:
        pool: the pool.
        partitions: those whose metadata are done.
    """

    pool: Pool
    partitions: Sequence[PartitionKey]
    schema: pa.Schema = schemas.POOL_ROWS
    has_outcomes: bool = True
    vector_columns: frozenset[str] = frozenset(("shard", "key"))

    @property
    def taken_down(self) -> TakenDown:
        """By now, as the pool's store has it."""
        return takedowns.read(self.pool.store)

    @property
    def pieces(self) -> Sequence[str]:
        """Its partitions."""
        return self.partitions

    def read(self, piece: str, columns: list[str]) -> pa.Table:
        """Rows of a partition; one without rows has no table."""
        made = self.pool.catalog.require(layout.POOL_METADATA, layout.Key(piece))
        for output in made.of_kind(layout.pool_rows):
            return tables.read(self.pool.store, output.path, self.schema, columns)
        return pa.schema([self.schema.field(name) for name in columns]).empty_table()

    def encoder(self, arch: str) -> Encoder:
        """The pool's model."""
        if arch != "own":
            raise _no_vectors(arch, "the pool's own model: own")
        encoder, owner = self.pool.encoder(), self.pool.owner
        if owner is not None and encoder.identity.digest() != owner.digest():
            raise ModelMismatchError(
                self.pool.store.uri(layout.MODEL),
                f"vectors of {owner.describe()}",
                f"vectors of {encoder.identity.describe()}, the model of the settings",
                "Name the pool's model in its settings.",
            )
        return encoder

    def hashes(self, piece: str, table: pa.Table) -> Hashes:
        """From the rows of the partition's shards."""
        import pyarrow.compute as pc

        made = self.pool.catalog.require(layout.IMAGE_SHARDS, layout.Key(piece))
        paths = [output.path for output in made.of_kind(layout.shard_rows)]
        columns = ["uid", "perceptual_hash"]
        read = [tables.read(self.pool.store, path, schemas.SHARD_ROWS, columns) for path in paths]
        if not read:
            return np.zeros(len(table), np.uint64), np.zeros(len(table), np.bool_)
        rows = pa.concat_tables(read)
        texts = rows["perceptual_hash"].take(pc.index_in(table["uid"], rows["uid"])).to_pylist()
        has_hash = np.array([len(text or "") == HASH_DIGITS for text in texts], np.bool_)
        digits = "".join(text for text in texts if text and len(text) == HASH_DIGITS)
        hashes = np.zeros(len(table), np.uint64)
        hashes[has_hash] = np.frombuffer(bytes.fromhex(digits), ">u8")
        return hashes, has_hash

    @contextmanager
    def vectors(self, piece: str, table: pa.Table, arch: str) -> Generator[PieceVectors]:
        """By the place of a row's sample: partition, shard and key."""
        # Folders of metadata are chosen from without it, and it takes a while to load.
        import pyarrow.compute as pc

        if arch != "own":
            raise _no_vectors(arch, "the pool's own vectors: own")
        key, store = layout.Key(piece), self.pool.store
        embedded = self.pool.catalog.require(layout.EMBEDDINGS, key)
        if not embedded.report.rows_out:
            none = np.zeros((0, 1), np.float16)
            yield PieceVectors(np.full(len(table), -1), none, none)
            return
        path = layout.embedding_rows(key)
        samples = tables.read(store, path, schemas.EMBEDDING_ROWS, ["image_path"])["image_path"]
        columns = (table["shard"], table["key"], pa.scalar("/"))
        joined = pc.binary_join_element_wise(*columns)  # pyright: ignore[reportCallIssue, reportArgumentType]
        places = pc.fill_null(pc.index_in(joined, samples), pa.scalar(-1, pa.int32()))
        with (
            vectors.opened(store, layout.img_emb(key)) as images,
            vectors.opened(store, layout.text_emb(key)) as texts,
        ):
            yield PieceVectors(np.asarray(places, np.int64), images, texts)


class MetadataFolder:
    """A folder of DataComp's metadata: files whose names have ``.parquet`` in them.

    Args:
        uri: path or url.

    Attributes:
        pieces: its files.
        schema: columns of the first one.
        has_outcomes: False; what became of an image is not told.
        taken_down: nothing; that is a matter of pools.

    Raises:
        SourceMissingError: there is no such file.
        SourceError: it cannot be listed, or the first file is no parquet.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.has_outcomes = False
        self.taken_down = takedowns.nothing()
        self.vector_columns: frozenset[str] = frozenset()
        with translated(uri):
            self._fs, folder = filesystem(uri)
            listed = self._fs.ls(folder, detail=False)
            self.pieces: Sequence[str] = sorted(str(path) for path in listed if ".parquet" in path)
        if not self.pieces:
            raise SourceMissingError(
                uri, "no parquet file", "DataComp's metadata", "Name the folder they are in."
            )
        with parquets.opened_parquet(uri_of(self._fs, self.pieces[0])) as file:
            self.schema = file.schema_arrow

    def read(self, piece: str, columns: list[str]) -> pa.Table:
        """Rows of a file."""
        with parquets.opened_parquet(uri_of(self._fs, piece)) as file:
            lacking = [name for name in columns if name not in file.schema_arrow.names]
            if lacking:
                raise SchemaError(
                    piece,
                    f"columns {', '.join(file.schema_arrow.names)}",
                    f"also {', '.join(lacking)}",
                    "Choose by columns that it has, or give the folder that has them.",
                )
            return file.read(columns=columns)

    def encoder(self, arch: str) -> Encoder:
        """There is none."""
        raise ConfigurationError(
            f"a text or image for {arch}",
            "a folder of metadata, which has no model",
            "vectors",
            "Say embedding, the .npy of a vector by that model.",
        )

    def hashes(self, piece: str, table: pa.Table) -> Hashes:  # noqa: ARG002 (there are none)
        """No row has one."""
        return np.zeros(len(table), np.uint64), np.zeros(len(table), np.bool_)

    @contextmanager
    def vectors(self, piece: str, table: pa.Table, arch: str) -> Generator[PieceVectors]:
        """From the npz beside the file, whose rows are those of the file."""
        path = f"{piece.partition('.parquet')[0]}.npz"
        if arch == "own":
            raise _no_vectors(arch, "those of DataComp's folders: b32, l14")
        with (
            translated(path),
            opened(uri_of(self._fs, path)) as content,
            np.load(content) as arrays,
        ):
            names = [f"{arch}_{side}" for side in ("img", "txt")]
            if not {*names} <= {*arrays.files}:
                raise _no_vectors(f"{path} with {', '.join(arrays.files)}", ", ".join(names))
            images, texts = (arrays[name] for name in names)
        if not len(images) == len(texts) == len(table):
            counts = f"{len(images):,} and {len(texts):,} vectors"
            raise AlignmentError(path, counts, f"{len(table):,}", "Fetch both files again.")
        yield PieceVectors(np.arange(len(table)), images, texts)


def _no_vectors(found: str, expected: str) -> ConfigurationError:
    return ConfigurationError("vectors", found, expected, "Name it by arch.")
