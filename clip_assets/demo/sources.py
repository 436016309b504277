"""A world's tables: (url, caption) rows in the files that LAION and DataComp publish.

LAION's csv files separate with "|", quote with doubled quotes, allow newlines inside captions and
changed their columns from release to release. Which rows there are decides ``demo.world``.
"""

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CSV_LAYOUTS = (
    ("SAMPLE_ID", "URL", "TEXT", "HEIGHT", "WIDTH", "LICENSE", "NSFW", "similarity"),
    ("URL", "TEXT", "WIDTH", "HEIGHT", "similarity"),
    ("similarity", "NSFW", "caption", "url"),
    ("url", "caption"),
    ("TEXT", "URL", "LICENSE", "SAMPLE_ID", "HEIGHT", "WIDTH", "hash"),
)
"""One tuple per csv file; the names decide the meaning, upper or lower case."""

LICENSES = ("?", "?", "?", "Creative Commons BY-SA")
NSFW_TAGS = ("UNLIKELY", "UNLIKELY", "UNLIKELY", "UNLIKELY", "UNSURE")
DATACOMP_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("url", pa.string()),
        ("text", pa.string()),
        ("original_width", pa.int64()),
        ("original_height", pa.int64()),
        ("clip_b32_similarity_score", pa.float32()),
        ("clip_l14_similarity_score", pa.float32()),
        ("face_bboxes", pa.list_(pa.list_(pa.float32()))),
        ("sha256", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Row:
    """One (url, caption) pair and what its publisher claims about it."""

    url: str
    caption: str
    width: int
    height: int
    similarity: float
    sha256: str


def write_csv(
    path: Path, rows: Sequence[Row], layout: Sequence[str], rng: np.random.Generator
) -> None:
    """Write ``rows`` with the columns of ``layout``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="|", lineterminator="\n")
        writer.writerow(layout)
        for row in rows:
            cells = _cells(row, rng)
            writer.writerow([cells[column.lower()] for column in layout])


def write_datacomp(path: Path, rows: Sequence[Row], rng: np.random.Generator) -> None:
    """Write ``rows`` as a DataComp metadata file; every row gets a uid of its own."""
    noise = rng.normal(0, 0.012, len(rows))
    table = pa.table(
        {
            "uid": [_digest(f"{path.name}/{number}", 32) for number in range(len(rows))],
            "url": [row.url for row in rows],
            "text": [row.caption for row in rows],
            "original_width": [row.width for row in rows],
            "original_height": [row.height for row in rows],
            "clip_b32_similarity_score": [row.similarity for row in rows],
            "clip_l14_similarity_score": [
                row.similarity - 0.05 + float(shift) for row, shift in zip(rows, noise, strict=True)
            ],
            "face_bboxes": [[] for _ in rows],
            "sha256": [row.sha256 for row in rows],
        },
        schema=DATACOMP_SCHEMA,
    )
    pq.write_table(table, path)


def read_datacomp(path: Path) -> list[Row]:
    """The rows of a file that ``write_datacomp`` wrote."""
    return [
        Row(
            url=row["url"],
            caption=row["text"],
            width=row["original_width"],
            height=row["original_height"],
            similarity=row["clip_b32_similarity_score"],
            sha256=row["sha256"],
        )
        for row in pq.read_table(path).to_pylist()
    ]


def _cells(row: Row, rng: np.random.Generator) -> dict[str, str]:
    """Every cell that some layout has, by its column's name in lower case."""
    return {
        "sample_id": str(int(_digest(row.url, 12), 16)),
        "url": row.url,
        "text": row.caption,
        "caption": row.caption,
        "height": str(row.height),
        "width": str(row.width),
        "license": LICENSES[int(rng.integers(len(LICENSES)))],
        "nsfw": NSFW_TAGS[int(rng.integers(len(NSFW_TAGS)))],
        "similarity": f"{row.similarity:.6f}",
        "hash": str(int(_digest(row.sha256, 15), 16)),
    }


def _digest(text: str, digits: int) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:digits]
