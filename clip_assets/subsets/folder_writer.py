"""A pool's metadata as a folder of DataComp's, so that its scripts choose from the pool.

Such a folder is read by ``candidates.MetadataFolder``.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clip_assets import schemas
from clip_assets.errors import ConfigurationError
from clip_assets.files.whole import whole_file
from clip_assets.subsets import models_of_scores
from clip_assets.subsets.candidates import PoolRows
from clip_assets.subsets.judgement import Mask, as_arrow
from clip_assets.subsets.selection import HAD

COLUMNS = (
    "uid",
    "url",
    "text",
    "original_width",
    "original_height",
    "clip_b32_similarity_score",
    "clip_l14_similarity_score",
    "face_bboxes",
    "sha256",
)
"""Those of DataComp's, in their order."""

SCHEMA = pa.schema([schemas.POOL_ROWS.field(name) for name in COLUMNS])

OWN = "clip_similarity_score"


def write_folder(
    rows: PoolRows,
    target: Path,
    *,
    own_as: str | None = None,
    features: bool = False,
    progress: Callable[[int, int, str], None] = lambda _done, _total, _unit: None,
) -> int:
    """Write the pairs of a pool whose images were had, a file for each partition.

    What was taken down is left out. A caption that is null becomes an empty one, as DataComp's
    scripts ask for its length. Memory: a partition's rows, and with features its vectors.

    Args:
        rows: of the pool.
        target: the folder, which must be empty or not be there.
        own_as: ``b32`` or ``l14``: the name under which similarities by the pool's own model go.
        features: whether an npz with the pool's own vectors is written beside each file, under
            the same name; pairs without a vector are left out then.
        progress: told how many partitions were written.

    Returns:
        How many pairs were written.

    Raises:
        ConfigurationError: something is in the folder, or features have no name.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigurationError(
            str(target),
            "a folder with something in it",
            "an empty one, or none",
            "DataComp's scripts read every parquet file of it; name another folder.",
        )
    if features and own_as is None:
        raise ConfigurationError(
            "features", "no name for them", "b32 or l14", "Say --own-as, as whose they are read."
        )
    target.mkdir(parents=True, exist_ok=True)
    written = 0
    for number, piece in enumerate(rows.pieces):
        written += _write_piece(rows, piece, target / f"{piece}.parquet", own_as, features=features)
        progress(number + 1, len(rows.pieces), "partitions")
    return written


def _write_piece(
    rows: PoolRows, piece: str, file: Path, own_as: str | None, *, features: bool
) -> int:
    table = rows.read(piece, [*COLUMNS, OWN, "status", *sorted(rows.vector_columns)])
    had: Mask = np.asarray(pc.is_in(table["status"], pa.array([HAD])), dtype=bool)
    had &= ~rows.taken_down.mask(table["uid"], table["url"])
    if features:
        assert own_as is not None
        with rows.vectors(piece, table, "own") as of_piece:
            had &= of_piece.places >= 0
            places = of_piece.places[had]
            sides: dict[str, Any] = {
                f"{own_as}_img": of_piece.images[places],
                f"{own_as}_txt": of_piece.texts[places],
            }
            if len(places):
                with whole_file(file.with_suffix(".npz")) as npz, npz.open("wb") as content:
                    np.savez(content, **sides)
    chosen = table.filter(as_arrow(had))
    if not len(chosen):
        return 0
    columns: dict[str, Any] = {name: chosen[name] for name in COLUMNS}
    columns["text"] = pc.fill_null(columns["text"], pa.scalar(""))
    if own_as is not None:
        columns[f"clip_{own_as}_similarity_score"] = chosen[OWN]
    schema = SCHEMA if own_as is None else SCHEMA.with_metadata(_by_whom(rows, own_as))
    with whole_file(file) as parquet:
        pq.write_table(pa.Table.from_arrays(list(columns.values()), schema=schema), parquet)
    return len(chosen)


def _by_whom(rows: PoolRows, own_as: str) -> dict[bytes, bytes]:
    """For readers of ours, that a column is not by the model of its name."""
    owner = rows.pool.owner
    if owner is None:
        return {}
    model = models_of_scores.named(owner.name, owner.pretrained)
    told = {f"clip_{own_as}_similarity_score": model}
    return {models_of_scores.METADATA: json.dumps(told).encode()}
