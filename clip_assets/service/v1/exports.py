"""Pairs as files: uids of a subset, rows as parquet, or urls; sent as they are made.

Which pairs is said by a search, see ``search.finding``, or by their uids.
"""

import io
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import schemas
from clip_assets.errors import ConfigurationError
from clip_assets.retrieval.served_side import Ids
from clip_assets.service.hosting.hosted import OpenVersion
from clip_assets.service.limits.visible import Visible
from clip_assets.storage import uids

ROWS_AT_ONCE = 5_000
"""Of a file: so many are in memory together."""

MEDIA_TYPES = {
    "npy": "application/octet-stream",
    "parquet": "application/vnd.apache.parquet",
    "urls": "text/plain; charset=utf-8",
}
"""By format."""

ENDINGS = {"npy": "npy", "parquet": "parquet", "urls": "txt"}


def ids_of(opened: OpenVersion, wanted: Sequence[str]) -> Ids:
    """Vector ids of some uids, in their order.

    Raises:
        ConfigurationError: the version has not all of them.
        SchemaError: one of them is no uid.
    """
    ids = opened.searcher.ids(list(wanted))
    missing = np.flatnonzero(ids < 0)
    if len(missing):
        raise ConfigurationError(
            "uids",
            f"{len(missing):,} that are in no row, {wanted[missing[0]]!r} first",
            f"pairs of version {opened.searcher.version.name}",
            "Leave them out.",
        )
    return ids


def chunks(
    opened: OpenVersion, ids: Ids, file_format: str, visible: Visible, columns: Sequence[str]
) -> Generator[bytes]:
    """The bytes of a file.

    Args:
        opened: the version, which must stay open until the last byte.
        ids: of the pairs, in their order; the uids of a subset are sorted.
        file_format: a key of ``MEDIA_TYPES``.
        visible: what may be told.
        columns: further ones of a parquet file.
    """
    match file_format:
        case "npy":
            return _subset(opened, ids)
        case "parquet":
            return _parquet(opened, ids, visible, columns)
        case _:
            return _urls(opened, ids)


def _subset(opened: OpenVersion, ids: Ids) -> Generator[bytes]:
    """A subset file, as ``subsets`` are: sorted, each uid once."""
    table = opened.searcher.rows(ids, ["uid"])
    ordered = np.unique(uids.in_order(uids.pairs(table["uid"])))
    written = io.BytesIO()
    np.save(written, ordered)
    content = written.getbuffer()
    for start in range(0, len(content), 2**16):
        yield bytes(content[start : start + 2**16])


def _urls(opened: OpenVersion, ids: Ids) -> Generator[bytes]:
    for start in range(0, len(ids), ROWS_AT_ONCE):
        rows = opened.searcher.rows(ids[start : start + ROWS_AT_ONCE], ["url"])
        # A url has no line's end, whatever a source says.
        urls = ("".join((url or "").splitlines()) for url in rows["url"].to_pylist())
        yield "".join(f"{url}\n" for url in urls).encode(errors="replace")


def _parquet(
    opened: OpenVersion, ids: Ids, visible: Visible, columns: Sequence[str]
) -> Generator[bytes]:
    # Of two columns of one name the row's own stays.
    further = [name for name in columns if name not in schemas.INDEX_ROWS.names]
    sink = _Sink()
    writer: pq.ParquetWriter | None = None
    for start in range(0, max(1, len(ids)), ROWS_AT_ONCE):
        own = ids[start : start + ROWS_AT_ONCE]
        table = _rows(opened, own, visible)
        for name, column in zip(further, opened.columns.table(own, further).columns, strict=True):
            table = table.append_column(
                schemas.POOL_ROWS.field(name).with_nullable(nullable=True), column
            )
        writer = writer or pq.ParquetWriter(pa.PythonFile(sink, "w"), table.schema)
        writer.write_table(table)
        yield sink.taken()
    assert writer is not None
    writer.close()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """A file whose bytes are taken as they are written."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes that were written, taken ones too."""
        return self._written

    def write(self, content: Any) -> int:
        """Keep some bytes until they are taken."""
        self._waiting.append(bytes(content))
        self._written += len(self._waiting[-1])
        return len(self._waiting[-1])

    def taken(self) -> bytes:
        """What was written since the last time."""
        waiting, self._waiting = self._waiting, []
        return b"".join(waiting)


def _rows(opened: OpenVersion, ids: Ids, visible: Visible) -> pa.Table:
    """Rows of the index that may be told; the pair's own similarity under its name in answers."""
    names = {"similarity": "pair_similarity"}
    kept = [
        name
        for name in schemas.INDEX_ROWS.names
        if name != schemas.FURTHER.name and visible.may(names.get(name, name))
    ]
    table = opened.searcher.rows(ids, kept)
    return table.rename_columns([names.get(name, name) for name in kept])


def disposition(name: str, file_format: str) -> dict[str, str]:
    """Headers that give a file its name."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name)
    return {"content-disposition": f'attachment; filename="{plain}.{ENDINGS[file_format]}"'}


def as_npy(array: Any) -> bytes:
    """An array as a .npy file."""
    written = io.BytesIO()
    np.save(written, array)
    return written.getvalue()
