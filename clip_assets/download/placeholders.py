"""Files that many urls give, such as "image not found": pictures of nothing their captions say.

They show only when all shards are done, so their rows are marked then, by publishing the rows
of the shards concerned again. Tars are left alone: whether a placeholder is of use is for
readers to decide.
"""

from collections.abc import Collection, Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout
from clip_assets.pool.stages import StageRun
from clip_assets.storage import tables

URLS = 10
"""A file that so many different urls give is a placeholder."""

DIGITS = 16
"""First digits of a sha256 by which files are told apart."""


class Files:
    """Files and the urls that gave them; memory: 16 bytes for each image."""

    def __init__(self) -> None:
        # (n, 2) uint64: the first digits of a file's sha256, and a hash of its url.
        self._seen = [np.zeros((0, 2), np.uint64)]

    def add(self, urls: Iterable[str], sha256s: Iterable[str | None]) -> None:
        """Take urls and the hashes of what they gave, None for nothing, into account."""
        pairs = [
            (int(sha256[:DIGITS], 16), hash(url) & 0xFFFFFFFFFFFFFFFF)
            for url, sha256 in zip(urls, sha256s, strict=True)
            if sha256
        ]
        self._seen.append(np.array(pairs, np.uint64).reshape(-1, 2))

    def placeholders(self) -> dict[str, int]:
        """First digits of the sha256 of placeholders, and their urls; the most frequent first."""
        distinct: npt.NDArray[np.uint64] = np.unique(np.concatenate(self._seen), axis=0)
        files, counts = np.unique(distinct[:, 0], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return {f"{files[i]:016x}": int(counts[i]) for i in order if counts[i] >= URLS}


def mark(run: StageRun, numbers: Iterable[int], placeholders: Collection[str]) -> None:
    """Mark the rows of a partition that gave placeholders.

    Args:
        run: publishes the rows of shards whose marks change.
        numbers: of the partition's shards.
        placeholders: see ``Files.placeholders``.
    """
    if not placeholders:
        return
    for number in numbers:
        path = layout.shard_rows(run.partition, number)
        with run.store.local(path) as file:
            known = pq.read_table(file, columns=["sha256", "is_placeholder"]).to_pydict()
            marks = [bool(sha256 and sha256[:DIGITS] in placeholders) for sha256 in known["sha256"]]
            table = pq.read_table(file) if marks != known["is_placeholder"] else None
        if table is not None:
            column = table.schema.get_field_index("is_placeholder")
            marked = table.set_column(
                column, table.schema.field(column), pa.array(marks, pa.bool_())
            )
            with run.publish(path) as part:
                tables.write(part, marked)
