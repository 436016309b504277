"""Metadata of an index folder of clip-retrieval, by the place of a row.

What a column is called here is said by the names that sources have for it. Files are read by
``folder_columns``.
"""

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from clip_assets import schemas
from clip_assets.errors import SchemaError
from clip_assets.layout import Key, PartitionKey
from clip_assets.pairs.columns import NAMES
from clip_assets.retrieval.folder_columns import FolderColumns
from clip_assets.retrieval.rows import Ids
from clip_assets.storage import uids

logger = logging.getLogger(__name__)

ALSO = {
    "text": NAMES["caption"],
    "original_width": NAMES["width"],
    "original_height": NAMES["height"],
}
"""Names of columns of the pool's metadata that sources call otherwise."""

ONLY = Key("00000")
"""The partition that a folder is."""

OWN = frozenset({"width", "height", "shard", "status", "further"})
"""What a source of that name would not mean, or has not."""


class FolderRows:
    """Rows of an index folder's metadata.

    Args:
        columns: of its files.
        where: the folder, for messages.

    Attributes:
        names: of the columns, as they are there.
    """

    def __init__(self, columns: FolderColumns, where: str) -> None:
        self._columns, self._where = columns, where
        self.names = columns.names
        self._unlike: set[str] = set()

    def __len__(self) -> int:
        """How many rows."""
        return len(self._columns)

    def table(self, ids: Ids, columns: Sequence[str] = schemas.INDEX_ROWS.names) -> pa.Table:
        """Rows of some ids in columns of ``schemas.INDEX_ROWS``, in their order."""
        schema = pa.schema([schemas.INDEX_ROWS.field(name) for name in columns])
        # The similarity of a row there is that of the pair itself, which sources do not say.
        known = {
            field.name: pa.nulls(len(ids), field.type)
            if field.name == "similarity"
            else self._taken(field, ids)
            for field in schema
        }
        return pa.table([known[name] for name in columns], schema=schema)

    def values(self, ids: Ids, columns: Sequence[str]) -> list[list[Any]]:
        """The same, value by value: for each column those of the ids."""
        return [column.to_pylist() for column in self.table(ids, columns).columns]

    def read(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Rows by column, one for each id, in the order of the ids."""
        return self.table(np.array(ids, np.int64)).to_pylist()

    def partition(self, vector_id: int) -> PartitionKey:
        """Whose vector an id is: a folder is one partition."""
        del vector_id
        return ONLY

    def column(self, field: pa.Field) -> pa.ChunkedArray:
        """A column of ``schemas.POOL_ROWS``, whole; null where there is no such column."""
        return self._taken(field, None)

    def told(self, ids: Ids, names: Sequence[str]) -> list[dict[str, Any]]:
        """Columns as the files have them, of some rows; what is null is left out."""
        wanted = [name for name in names if name in self.names]
        columns = {name: self._columns.taken(name, ids).to_pylist() for name in wanted}
        rows = [{name: columns[name][place] for name in wanted} for place in range(len(ids))]
        return [{name: one for name, one in row.items() if _says(one)} for row in rows]

    def find(self, wanted: Sequence[str]) -> Ids:
        """The row of each uid, -1 for one that is not there.

        Raises:
            SchemaError: one of them is no uid.
        """
        keys = uids.keys(uids.pairs(pa.chunked_array([list(wanted)], pa.string())))
        order, own = self._by_uid
        if order is None:
            numbers = [int(uid, 16) for uid in wanted]
            return np.array([n if n < len(self) else -1 for n in numbers], np.int64)
        if not len(own):
            return np.full(len(keys), -1, np.int64)
        places = np.minimum(np.searchsorted(own, keys), len(own) - 1)
        return np.where(own[places] == keys, order[places], -1)

    def every(self, wanted: uids.UidPairs) -> Ids:
        """The rows of some uids, ascending."""
        rows = self.find(uids.texts(wanted)) if len(wanted) else np.empty(0, np.int64)
        return np.unique(rows[rows >= 0])

    def _taken(self, field: pa.Field, ids: Ids | None) -> pa.ChunkedArray:
        """Some rows of a column, or all, in the type that it has here."""
        count = len(self) if ids is None else len(ids)
        if field.name == "uid" and self._by_uid[0] is None:
            numbers = range(count) if ids is None else ids.tolist()
            return pa.chunked_array([[f"{number:032x}" for number in numbers]], pa.string())
        name = self._name_of(field.name)
        if name is None:
            value = pa.scalar("success" if field.name == "status" else None, field.type)
            return pa.chunked_array([pa.repeat(value, count)])
        columns = self._columns
        stored = columns.whole(name) if ids is None else columns.taken(name, ids)
        try:
            return stored.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            if name not in self._unlike:
                self._unlike.add(name)
                told = str(error).partition("\n")[0][:200]
                logger.warning(
                    "%s: %s is no %s, so it is null: %s", self._where, name, field.type, told
                )
            return pa.chunked_array([pa.nulls(count, field.type)])

    def _name_of(self, column: str) -> str | None:
        if column in OWN - {"width", "height"}:
            return None
        lower = {name.lower(): name for name in reversed(self.names)}
        alike = (column,) if column in OWN else (column, *ALSO.get(column, NAMES.get(column, ())))
        return next((lower[name] for name in alike if name in lower), None)

    @cached_property
    def _by_uid(self) -> tuple[Ids | None, uids.Keys]:
        """Rows in the order of their uids, and those; None: a row's uid is its number."""
        none = np.empty(0, "S16")
        if "uid" not in self.names:
            return None, none
        try:
            keys = uids.keys(uids.pairs(self._columns.whole("uid").cast(pa.string())))
        except (SchemaError, pa.ArrowException):
            return None, none
        order = np.argsort(keys, kind="stable")
        return order, keys[order]


def _says(value: Any) -> bool:
    """Whether it is something, and can be said in JSON."""
    is_number = not isinstance(value, float) or value == value
    return value is not None and is_number and not isinstance(value, bytes)
