"""What a plan is: the source rows of one partition, as its file has them."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from clip_assets import layout
from clip_assets.errors import SchemaError
from clip_assets.files.identity import File
from clip_assets.layout import PartitionKey
from clip_assets.storage.control import parsed
from clip_assets.storage.store import Store

ADVICE = (
    "Put back a copy of the file. Without one, remove it and add the same sources again: "
    "clip-assets add SOURCE..."
)
"""For who has a damaged plan; no other file says what a partition is made from."""


@dataclass(frozen=True, slots=True)
class SourceRange:
    """Rows of one source file.

    Args:
        uri: absolute path or url.
        size_bytes: of the whole file.
        etag: identity of the whole file's content when it was planned.
        first_row_group: of a parquet file; None for a file that is read whole.
        row_groups: how many from there on.
        file_row_groups: how many the whole file has.
        rows: in the range, where the format tells.
        estimated_rows: the same, or from the length of the first lines; None where the file
            could not be opened.
    """

    uri: str
    size_bytes: int
    etag: str
    first_row_group: int | None = None
    row_groups: int | None = None
    file_row_groups: int | None = None
    rows: int | None = None
    estimated_rows: int | None = None

    @property
    def file(self) -> File:
        """The whole file as it was when it was planned."""
        return File(self.uri, self.size_bytes, self.etag)


@dataclass(frozen=True, slots=True)
class PartitionPlan:
    """The source rows of one partition, in the order in which they are read."""

    partition: PartitionKey
    ranges: tuple[SourceRange, ...]

    def content(self) -> bytes:
        """The plan as it is stored."""
        return json.dumps(asdict(self), indent=1).encode()

    @property
    def rows_text(self) -> str:
        """How many rows, for people."""
        rows = sum(item.estimated_rows or 0 for item in self.ranges)
        exact = all(item.rows is not None for item in self.ranges)
        return f"{rows:,} rows" if exact else f"about {rows:,} rows"

    def digest(self) -> str:
        """Changes when another row, file or version of a file is planned."""
        return hashlib.sha256(self.content()).hexdigest()


def plan_of(store: Store, path: str, content: bytes) -> PartitionPlan:
    """The plan that a file tells of.

    Raises:
        SchemaError: it is damaged.
    """
    plan = parsed(content, PartitionPlan, store.uri(path), ADVICE)
    if path != layout.plan(plan.partition):
        expected = f"the plan of {Path(path).stem!r}"
        raise SchemaError(store.uri(path), f"that of {plan.partition!r}", expected, ADVICE)
    return plan
