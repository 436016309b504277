"""Images that somebody else fetched: their tars become shards of the pool, with its uids and keys.

Each tar becomes one shard whose samples stand in the order of the rows. Image files are copied as
they are; the json of a sample keeps what it had and gets the pair's uid, url and caption. Rows that
had no image there have none here. Which tars belong to a partition is said by its plan.
"""

import json
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.download.report import partition_report
from clip_assets.download.sample_keys import sample_key
from clip_assets.download.shard import NOT_FETCHED, SUCCESS, Row, stats_of
from clip_assets.files.fetching import fetched
from clip_assets.files.identity import unchanged
from clip_assets.partitions.plans import AdoptedFile
from clip_assets.pool.stages import StageRun
from clip_assets.storage import tables
from clip_assets.storage.manifests import Report
from clip_assets.webdataset.index import Places, index_tar, read_member
from clip_assets.webdataset.read import IMAGE_EXTENSIONS
from clip_assets.webdataset.tar_index import Entries, write_index
from clip_assets.webdataset.write import end_tar, write_member

NOT_ADOPTED = "not_adopted"
"""Error class of a row that had no image where it came from."""

_FROM_JSON = ("width", "height", "original_width", "original_height", "exif", "sha256")


def copy_shards(run: StageRun) -> Report:
    """Copy the images of a partition's unique pairs out of the tars that it takes over.

    Memory: the partition's pairs, and one sample.

    Raises:
        SourceChangedError: a tar is not the one that was planned.
        SchemaError: it is damaged.
    """
    plan = run.pool.plan(run.partition).adopted
    assert plan is not None
    size = max(run.pool.settings.download.samples_per_shard, *(p.rows for p in plan.pieces))
    pairs, first = _pairs(run), 0
    for number, piece in enumerate(plan.pieces):
        assert piece.tar is not None
        began = time.time()
        rows = [pair for pair in pairs if first <= pair[schemas.ADOPTED_ROW] < first + piece.rows]
        for place, row in enumerate(rows):
            row["key"] = sample_key(run.partition, number, place, size)
        _publish_tar(run, number, rows, piece.tar)
        told = [{name: row.get(name) for name in schemas.SHARD_ROWS.names} for row in rows]
        with run.publish(layout.shard_rows(run.partition, number)) as part:
            tables.write(part, pa.Table.from_pylist(told, schemas.SHARD_ROWS))
        with run.publish(layout.shard_stats(run.partition, number)) as part:
            part.write_text(stats_of(told, began, time.time()))
        first += piece.rows
        run.progress(number + 1, len(plan.pieces), "tars")
    return partition_report(run, range(len(plan.pieces)), {"adopted": True})


def _pairs(run: StageRun) -> list[Row]:
    """The unique pairs, each a row without an image yet, with what came along."""
    made = run.pool.catalog.require(layout.UNIQUE_PAIRS, run.partition)
    with tables.local(run.store, made, layout.unique) as file:
        columns = ["uid", "url", "caption", "sha256", "further"]
        pairs = pq.read_table(file, columns=columns).to_pylist()
    rows: list[Row] = []
    for pair in pairs:
        told = json.loads(pair.pop("further") or "{}")
        row = {
            "uid": pair["uid"],
            "url": pair["url"],
            "caption": pair["caption"],
            "status": NOT_FETCHED,
            "error_message": told.get("error_message"),
            "error_class": NOT_ADOPTED,
            "attempts": 0,
            "source_sha256": pair["sha256"],
            "is_placeholder": False,
        }
        known = {"their_key": told["key"], schemas.ADOPTED_ROW: int(told[schemas.ADOPTED_ROW])}
        rows.append(row | known)
    return rows


def _publish_tar(run: StageRun, number: int, rows: Sequence[Row], adopted: AdoptedFile) -> None:
    """Copy the samples of some rows, which from then on say what was copied."""
    with (
        _opened(adopted) as file,
        run.publish(layout.shard_tar(run.partition, number)) as part,
        part.open("wb") as copy,
    ):
        samples = {places.key: places for places in index_tar(file, adopted.uri)}
        entries = Entries()
        for row in rows:
            places = samples.get(row["their_key"])
            if places is None:
                continue
            for extension, content in _members(file, adopted.uri, places, row):
                place = write_member(copy, f"{row['key']}.{extension}", content)
                entries.add(row["uid"], row["key"], extension, place)
        end_tar(copy)
        index = entries.index(copy.tell())
    with run.publish(layout.tar_index(run.partition, number)) as part:
        write_index(part, index)


def _members(file: BinaryIO, where: str, places: Places, row: Row) -> list[tuple[str, bytes]]:
    """Files of one sample by extension; none where it has no image."""
    image = next((name for name in IMAGE_EXTENSIONS if name in places.members), None)
    if image is None:
        return []
    fields: dict[str, Any] = {}
    if "json" in places.members:
        told = json.loads(read_member(file, places.members["json"], where))
        fields = told if isinstance(told, dict) else {}
    own = {name: row[name] for name in ("uid", "key", "url", "caption")}
    sizes = {name: fields.get(name) for name in _FROM_JSON}
    row |= sizes | {"status": SUCCESS, "error_class": None, "error_message": None}
    members = {
        image: read_member(file, places.members[image], where),
        "json": json.dumps(fields | own, indent=4).encode(),
        "txt": (row["caption"] or "").encode(),
    }
    return sorted(members.items())


@contextmanager
def _opened(adopted: AdoptedFile) -> Generator[BinaryIO]:
    now = unchanged(adopted.file)
    with TemporaryDirectory(prefix="clip-assets-") as folder:
        local = Path(now.uri)
        path = local if local.is_file() else fetched(now, Path(folder))
        with path.open("rb") as file:
            yield file
