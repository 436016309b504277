"""Which columns of a pool a service tells, and under which names.

A public service names them; what is not named can be neither asked about nor seen.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from clip_assets import schemas
from clip_assets.errors import ConfigurationError

ALWAYS = frozenset({"uid", "partition"})
"""Told by every service: without them no result could be named."""

ROW = (
    "url", "caption", "partition", "key", "image_path", "width", "height",
    "original_width", "original_height", "sha256", "pair_similarity",
)  # fmt: skip
"""What every result has of its row, in this order."""

COLUMN_OF = {
    "caption": "text",
    "key": "key",
    "image_path": "shard",
    "width": "original_width",
    "height": "original_height",
    "pair_similarity": "clip_similarity_score",
}
"""Column of the metadata that decides whether a part of a row may be told, if of another name."""


class Visible:
    """What may be told of pairs.

    Args:
        named: columns of ``schemas.POOL_ROWS``; None: all.

    Raises:
        ConfigurationError: there is no such column.
    """

    def __init__(self, named: Sequence[str] | None = None) -> None:
        self._named = None if named is None else frozenset(named) | ALWAYS
        _check(named or [], schemas.POOL_ROWS.names)
        self.schema = pa.schema([field for field in schemas.POOL_ROWS if self.may(field.name)])

    def may(self, name: str) -> bool:
        """Whether a column, or a part of a result, may be told."""
        return self._named is None or COLUMN_OF.get(name, name) in self._named

    def check(self, columns: Sequence[str]) -> None:
        """Refuse columns that there are none of, or that are not told.

        Raises:
            ConfigurationError: one of them is no such column.
        """
        _check(columns, self.schema.names)

    def row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What is told of a row of ``schemas.INDEX_ROWS``."""
        known = dict(row)
        # Not that of the query.
        known["pair_similarity"] = known.pop("similarity", None)
        known["partition"] = (known.get("image_path") or "").partition("/")[0]
        return {name: known.get(name) for name in ROW if self.may(name)}

    def columns(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Further columns of a result; the source's similarity is kept apart from the query's."""
        named = {"similarity": "source_similarity"}
        return {named.get(name, name): value for name, value in row.items()}


def _check(columns: Sequence[str], known: Sequence[str]) -> None:
    for name in columns:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, 1, cutoff=0)
            raise ConfigurationError(
                "columns",
                repr(name[:100]),
                f"one of {', '.join(known)}",
                f"Perhaps {nearest[0]}." if nearest else "Ask for none.",
            )
