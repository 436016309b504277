"""Folders that other tools finished: which files belong together, and what is lacking.

Of images img2dataset's shards are known, which DataComp has too; of embeddings clip-retrieval's
layout, which LAION's published files have, DataComp's metadata with npz files, and parquet files
with columns of vectors, such as data sets of the hub. How they become partitions is said by
``partitions.adopting``.
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets.errors import AlignmentError, ConfigurationError, SchemaError
from clip_assets.files.identity import File
from clip_assets.files.opening import opened
from clip_assets.partitions.plans import AdoptedFile, AdoptedPiece
from clip_assets.storage.embeddings_folder import check_numbers, files_of
from clip_assets.storage.foreign_vectors import rows_in_npz
from clip_assets.storage.npy import NpyRows

logger = logging.getLogger(__name__)

DATACOMP = {"ViT-B-32/openai": "b32", "ViT-L-14/openai": "l14"}
"""Arrays of DataComp's npz files begin so, by the model whose vectors they are."""

IMAGE_COLUMNS = ("image_embedding", "img_emb", "image_embeddings", "embedding")
TEXT_COLUMNS = ("text_embedding", "text_emb", "text_embeddings")


@dataclass(frozen=True, slots=True)
class FolderNames:
    """Where things are in a folder.

    Args:
        image: subfolder of images' vectors; text: of captions'; metadata: of their rows.
        image_column: array of npz files or column of parquet files; empty: by the usual names.
        text_column: likewise.
    """

    image: str = "img_emb"
    text: str = "text_emb"
    metadata: str = "metadata"
    image_column: str = ""
    text_column: str = ""


@dataclass(frozen=True, slots=True)
class FoundPiece:
    """A file of rows with the vectors that belong to it.

    Args:
        table: rows.
        columns: of the table, with their types, without those that are vectors.
        piece: vectors.
    """

    table: File
    columns: pa.Schema
    piece: AdoptedPiece


def embeddings_in(folder: str, model: str, names: FolderNames) -> list[FoundPiece]:
    """Everything that can be adopted of a folder, in the order of its names.

    Args:
        folder: a path or url.
        model: whose vectors they are: its name, and after a slash its weights', if they have one.
        names: where things are.

    Raises:
        ConfigurationError: nothing is there, or something has to be named.
        AlignmentError: files that belong together have other numbers of rows.
        SchemaError: a file is damaged.
    """
    base = folder.rstrip("/")
    images = files_of(f"{base}/{names.image}", ".npy")
    if images:
        return _npy(base, images, names)
    tables, arrays = files_of(base, ".parquet"), files_of(base, ".npz")
    if arrays:
        return [_npz(*both, model, names) for both in _pairs(tables, arrays)]
    read = [_columns(table, names) for table in tables]
    if pieces := [piece for piece in read if piece is not None]:
        if lacking := [table.uri for table, piece in zip(tables, read, strict=True) if not piece]:
            count = f"{len(lacking):,} of {len(tables):,} parquet files"
            logger.warning("left out, as without vectors: %s, %s first", count, lacking[0])
        return pieces
    raise ConfigurationError(
        folder,
        f"neither npy files in {names.image}/, nor npz files beside parquet files, nor parquet "
        f"files with a column {' or '.join(IMAGE_COLUMNS)}",
        "embeddings of images",
        "Name where they are: --image-subfolder for npy files, --image-column for parquet files.",
    )


def shards_in(folder: str) -> list[FoundPiece]:
    """Every tar of a folder with its rows, as img2dataset and DataComp have them.

    Raises:
        ConfigurationError: there is none, or a tar has no rows.
        SchemaError: a file is damaged.
    """
    base = folder.rstrip("/")
    tars = files_of(base, ".tar")
    if not tars:
        raise ConfigurationError(
            folder,
            "no tars",
            "tars, each with a parquet file beside it that has url, caption and key of each sample",
            "Name the folder that img2dataset wrote with output_format webdataset.",
        )
    pieces: list[FoundPiece] = []
    for table, tar in _pairs(files_of(base, ".parquet"), tars):
        rows, columns = _table(table)
        if "key" not in columns.names:
            raise SchemaError(
                table.uri,
                f"columns {', '.join(columns.names)}",
                "a column key, which names the samples of the tar",
                "Take the files that img2dataset wrote.",
            )
        pieces.append(FoundPiece(table, columns, AdoptedPiece(rows, tar=_file(tar))))
    return pieces


def _pairs(tables: Sequence[File], others: Sequence[File]) -> list[tuple[File, File]]:
    """Parquet files, each with the file of its name.

    Raises:
        ConfigurationError: one is alone.
    """
    by_stem = [{file.uri.rpartition(".")[0]: file for file in files} for files in (tables, others)]
    ending = others[0].uri.rpartition(".")[2]
    for own, their, what in ((*by_stem, ending), (*reversed(by_stem), "parquet")):
        for stem in sorted(own.keys() - their.keys()):
            raise ConfigurationError(
                own[stem].uri,
                f"no {what} file of that name beside it",
                f"{ending} files, each with a parquet file beside it that has its rows",
                "Copy the file that is missing, or move this one elsewhere.",
            )
    return [(file, by_stem[1][stem]) for stem, file in by_stem[0].items()]


def _npy(base: str, images: Sequence[File], names: FolderNames) -> list[FoundPiece]:
    texts, tables = (
        files_of(f"{base}/{names.text}", ".npy"),
        files_of(f"{base}/{names.metadata}", ".parquet"),
    )
    is_named = names.text != FolderNames().text  # so nobody wants to go without
    for files, name, option in (
        (tables, names.metadata, "--metadata-subfolder"),
        (texts if texts or is_named else images, names.text, "--text-subfolder"),
    ):
        if len(files) != len(images):
            raise ConfigurationError(
                f"{base}/{name}",
                f"{len(files):,} files",
                f"{len(images):,}, one for each file of {names.image}",
                f"Name the folder that has them: {option}.",
            )
        check_numbers([file.uri for file in images], [file.uri for file in files])
    pieces: list[FoundPiece] = []
    for number, (image, table) in enumerate(zip(images, tables, strict=True)):
        text = texts[number] if texts else None
        rows, columns = _table(table)
        for file in (image, *([text] if text else [])):
            with ExitStack() as stack:
                _check_rows(NpyRows(file, stack).rows, file.uri, rows, table)
        piece = AdoptedPiece(rows, _file(image), _file(text) if text else None)
        pieces.append(FoundPiece(table, columns, piece))
    return pieces


def _npz(table: File, arrays: File, model: str, names: FolderNames) -> FoundPiece:
    short = DATACOMP.get(model)
    image = names.image_column or (f"{short}_img" if short else "")
    text = names.text_column or (f"{short}_txt" if short else "")
    if not image:
        raise ConfigurationError(
            arrays.uri,
            f"no array of {model} that is known by its name",
            f"one of {', '.join(DATACOMP)}",
            "Name the arrays that it made: --image-column and --text-column.",
        )
    rows, columns = _table(table)
    for member in (image, *([text] if text else [])):
        _check_rows(rows_in_npz(arrays, member), f"{arrays.uri} {member}", rows, table)
    piece = AdoptedPiece(rows, _file(arrays, image), _file(arrays, text) if text else None)
    return FoundPiece(table, columns, piece)


def _check_rows(vectors: int, where: str, rows: int, table: File) -> None:
    if vectors != rows:
        raise AlignmentError(
            where,
            f"{vectors:,} vectors",
            f"{rows:,}, one for a row of {table.uri}",
            "Leave this file and its rows out, or make both again.",
        )


def _columns(table: File, names: FolderNames) -> FoundPiece | None:
    rows, columns = _table(table)
    lists = {field.name for field in columns if _is_vector(field.type)}
    given = names.image_column, names.text_column
    image = next((n for n in (given[0] and [given[0]]) or IMAGE_COLUMNS if n in lists), None)
    text = next((n for n in (given[1] and [given[1]]) or TEXT_COLUMNS if n in lists), None)
    if image is None:
        return None
    if names.text_column and text is None:
        raise ConfigurationError(
            table.uri,
            f"vectors in {', '.join(sorted(lists))}",
            f"vectors in {names.text_column}",
            "Correct --text-column, or leave it out: vectors of captions are then made.",
        )
    kept = pa.schema([field for field in columns if field.name not in (image, text)])
    piece = AdoptedPiece(rows, _file(table, image), _file(table, text) if text else None)
    return FoundPiece(table, kept, piece)


def _is_vector(kind: pa.DataType) -> bool:
    is_list = (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
    return is_list and pa.types.is_floating(kind.value_type)  # pyright: ignore[reportAttributeAccessIssue]


def _table(file: File) -> tuple[int, pa.Schema]:
    try:
        with opened(file.uri) as content, pq.ParquetFile(content) as table:
            return int(table.metadata.num_rows), table.schema_arrow
    except pa.ArrowInvalid as error:
        raise SchemaError(
            file.uri, f"no parquet file ({error})", "one", "Copy or write it again."
        ) from error


def _file(file: File, member: str = "") -> AdoptedFile:
    return AdoptedFile(file.uri, file.size_bytes, file.etag, member)
