"""What keeps data: tars, tables, vectors, segments of an index. All of them pass the data on.

Files appear whole. A flow that is left early leaves the files that were finished; what waits to be
written then is lost.
"""

import json
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from clip_assets import layout, schemas
from clip_assets.bricks.datum import Datum
from clip_assets.bricks.flow import Brick
from clip_assets.download.shard import SUCCESS
from clip_assets.inference import samples
from clip_assets.inference.standalone import rows_path, vectors_path
from clip_assets.inference.summary import check_unit_rows
from clip_assets.inference.threads import batched
from clip_assets.storage import tables, vectors
from clip_assets.storage.store import Store
from clip_assets.webdataset.write import end_tar, write_member

SHARD = 10_000
"""Data of one tar with its table."""

SET = 100_000
"""Rows of one file of vectors."""

TABLE_ROWS = 10_000
"""Rows that wait as objects; then they are a table in memory."""

KEY_DIGITS = 4


class ToTars(Brick):
    """Webdataset tars as img2dataset names them, each with a table that has a row of every datum.

    A datum's key becomes that in the tar: the shard's five digits and its place there. ``status``
    of a row is ``success`` or its fault.

    Memory: the table's rows of one shard; images are written as they come.

    Args:
        where: a folder, as path or url.
        shard: data of one tar.
    """

    def __init__(self, where: str, shard: int = SHARD) -> None:
        self._store = Store(where)
        self._shard = shard

    def __call__(self, data: Iterable[Datum]) -> Generator[Datum]:
        """See ``Brick``."""
        source = iter(data)
        number = 0
        while (first := next(source, None)) is not None:
            yield from self._write(layout.shard_name(number), first, source)
            number += 1

    def _write(self, name: str, first: Datum, source: Iterable[Datum]) -> Generator[Datum]:
        rows: list[dict[str, Any]] = []
        with self._store.publish(f"{name}.tar") as part, part.open("wb") as file:
            datum: Datum | None = first
            while datum is not None:
                keyed = replace(datum, key=f"{name}{len(rows):0{KEY_DIGITS}d}")
                for extension, content in _members(keyed):
                    write_member(file, f"{keyed.key}.{extension}", content)
                rows.append(_row(keyed))
                yield keyed
                datum = next(iter(source), None) if len(rows) < self._shard else None
            end_tar(file)
        with self._store.publish(f"{name}.parquet") as part:
            tables.write(part, _table(rows))


class ToTable(Brick):
    """One parquet file with a row of every datum: key, caption, status, and all fields.

    Args:
        where: the file, as path or url.
        columns: of fields; by default all that any datum has.
    """

    def __init__(self, where: str, columns: Sequence[str] | None = None) -> None:
        folder, _, self._name = where.rpartition("/")
        self._store = Store(folder or ".")
        self._columns = columns

    def __call__(self, data: Iterable[Datum]) -> Generator[Datum]:
        """See ``Brick``."""
        made: list[pa.Table] = []
        for batch in batched(data, TABLE_ROWS):
            made.append(_table([_row(datum, self._columns) for datum in batch]))
            yield from batch
        whole = pa.concat_tables(made or [_table([])], promote_options="permissive")
        with self._store.publish(self._name) as part:
            tables.write(part, whole)


class ToVectors(Brick):
    """Vectors and rows in the layout of ``clip-assets embed``, which is clip-retrieval's.

    Data with a fault have no row there; a ``ToTable`` behind this has them.

    Args:
        where: a folder, as path or url.
        sides: which vectors.
        rows: of one set of files.
    """

    def __init__(self, where: str, sides: Sequence[str] = layout.SIDES, rows: int = SET) -> None:
        self._store = Store(where)
        self._sides = tuple(sides)
        self._rows = rows

    def __call__(self, data: Iterable[Datum]) -> Generator[Datum]:
        """See ``Brick``.

        Raises:
            UnsoundVectorsError: vectors are not of length 1.
            KeyError: a datum has none.
        """
        waiting: list[Datum] = []
        number = 0
        for datum in data:
            if not datum.fault:
                # What waits for the others needs no image any more.
                waiting.append(replace(datum, image=None, pixels=None))
            if len(waiting) == self._rows:
                self._write(str(number), waiting)
                waiting, number = [], number + 1
            yield datum
        if waiting:
            self._write(str(number), waiting)

    def _write(self, name: str, data: list[Datum]) -> None:
        for side in self._sides:
            path = vectors_path(side, name)
            array = np.stack([datum.vectors[side] for datum in data]).astype(schemas.EMBEDDING)
            check_unit_rows(array, self._store.uri(path))
            with self._store.publish(path) as part:
                vectors.write(part, [array], *array.shape)
        table = pa.Table.from_pylist(list(map(_standalone, data)), schemas.STANDALONE_ROWS)
        with self._store.publish(rows_path(name)) as part:
            tables.write(part, table)


class ToSegment(Brick):
    """The vectors of one side as a faiss index; the n-th datum without a fault has id n.

    Args:
        where: the file, as path or url.
        side: which vectors.
        recipe: path of a trained index without vectors, such as a pool's ``layout.recipe``: with
            it the segment can be merged with others of the same. By default the index is exact.
        piece: vectors that are added at once.
    """

    def __init__(
        self, where: str, side: str = "image", recipe: str | None = None, piece: int = 8192
    ) -> None:
        folder, _, self._name = where.rpartition("/")
        self._store = Store(folder or ".")
        self._side, self._recipe, self._piece = side, recipe, piece

    def __call__(self, data: Iterable[Datum]) -> Generator[Datum]:
        """See ``Brick``.

        Raises:
            SchemaError: the recipe is no index.
            KeyError: a datum has no vector.
        """
        from clip_assets.index.engine import ann
        from clip_assets.index.engine.kinds import FLAT

        index = None
        if self._recipe is not None:
            folder, _, name = self._recipe.rpartition("/")
            with Store(folder or ".").local(name) as file:
                index = ann.emptied(ann.read(file, self._recipe))
        for batch in batched(data, self._piece):
            rows = [datum.vectors[self._side] for datum in batch if not datum.fault]
            if rows:
                array = np.stack(rows).astype(np.float32)
                index = index or ann.trained(FLAT, array.shape[1], array[:0])
                ann.add(index, array)
            yield from batch
        if index is not None:
            with self._store.publish(self._name) as part:
                ann.write(index, part)


def _members(datum: Datum) -> list[tuple[str, bytes]]:
    """Files of one sample by extension; none of a datum that has a fault or no image."""
    if datum.fault or datum.image is None:
        return []
    said = {"key": datum.key, "caption": datum.caption} | datum.fields
    told = {
        _extension(datum.image): datum.image,
        "json": json.dumps(said, indent=4, default=str).encode(),
        "txt": (datum.caption or "").encode(),
    }
    return sorted(told.items())


def _extension(image: bytes) -> str:
    """Of a file, by how it begins."""
    if image[:2] == b"\xff\xd8":
        return "jpg"
    if image[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    return "webp" if image[8:12] == b"WEBP" else "jpg"


def _row(datum: Datum, columns: Sequence[str] | None = None) -> dict[str, Any]:
    fields = datum.fields
    if columns is not None:
        fields = {name: fields.get(name) for name in columns}
    own = {"key": datum.key, "caption": datum.caption, "status": datum.fault or SUCCESS}
    return fields | own


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows with whatever columns any of them has; a column of several types becomes text."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values])


def _standalone(datum: Datum) -> dict[str, Any]:
    similarity = datum.fields.get("similarity")
    return samples.known_fields(datum.fields) | {
        "uid": datum.uid,
        "caption": datum.caption,
        "image_path": datum.key,
        "key": datum.key,
        "similarity": similarity if isinstance(similarity, float) else None,
        "json": json.dumps(datum.fields, default=str, ensure_ascii=False),
    }
