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
    "Put back a copy of the file. Without one, remove it and add the same sources again, which "
    "are made anew as another partition: clip-assets add SOURCE..."
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
class AdoptedFile:
    """A file that somebody else made and a partition takes over.

    Args:
        uri: absolute path or url.
        size_bytes: of it.
        etag: identity of its content when it was planned.
        member: of an npz file the array, of a parquet file the column; empty for a whole file.
    """

    uri: str
    size_bytes: int
    etag: str
    member: str = ""

    @property
    def file(self) -> File:
        """The file as it was when it was planned."""
        return File(self.uri, self.size_bytes, self.etag)


@dataclass(frozen=True, slots=True)
class AdoptedPiece:
    """Source rows that belong together, and what somebody made of them.

    Args:
        rows: how many; they follow those of the piece before.
        image: vectors of the images, one for a row.
        text: vectors of the captions; None: there are none.
        tar: images, with rows that name their samples.
    """

    rows: int
    image: AdoptedFile | None = None
    text: AdoptedFile | None = None
    tar: AdoptedFile | None = None


@dataclass(frozen=True, slots=True)
class AdoptedRows:
    """What a partition takes over instead of making it.

    Args:
        pieces: in the order of the source rows.
        model: that vectors are of, as the user named it; empty where there are only images.
    """

    pieces: tuple[AdoptedPiece, ...]
    model: str = ""


@dataclass(frozen=True, slots=True)
class PartitionPlan:
    """The source rows of one partition, in the order in which they are read.

    Args:
        partition: its key.
        ranges: of source files.
        adopted: what somebody made of these rows already; None: nothing.
    """

    partition: PartitionKey
    ranges: tuple[SourceRange, ...]
    adopted: AdoptedRows | None = None

    def content(self) -> bytes:
        """The plan as it is stored."""
        told = asdict(self)
        if self.adopted is None:  # as earlier releases have it, and so its digest
            del told["adopted"]
        return json.dumps(told, indent=1).encode()

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
