"""One shard: results in any order go in; tar, parquet and stats in input order come out.

File names, json fields, columns and stats are img2dataset 1.47's, and keys are its own after the
partition's digits; its writer is not used because it writes in order of arrival. Encoded images
wait in a journal on disk, so a shard holds only its rows in memory, about 2 KB each.
"""

import json
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from clip_assets import layout
from clip_assets.download.fetch.faults import LOCAL
from clip_assets.download.fetch.jobs import Fetched
from clip_assets.download.journals import ImagePlace, Journal
from clip_assets.download.resize import Resized
from clip_assets.download.sample_keys import sample_key
from clip_assets.download.shard_columns import kept_columns, row_columns
from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import StageRun
from clip_assets.settings import DownloadSettings
from clip_assets.storage import tables
from clip_assets.webdataset.tar_index import Entries, TarIndex, write_index
from clip_assets.webdataset.write import end_tar, write_member

Row = dict[str, Any]
"""A row of pairs or of a shard, by column."""

SUCCESS, NOT_FETCHED, NOT_RESIZED = "success", "failed_to_download", "failed_to_resize"
"""img2dataset's statuses."""

TIMES = ("fetched_at", "site_asked_at")
"""Columns of a row that a journal holds as texts."""


def shard_files(partition: PartitionKey, number: int) -> tuple[str, str, str]:
    """img2dataset's files of a shard in order of publication; after the tar comes its index."""
    return (
        layout.shard_tar(partition, number),
        layout.shard_rows(partition, number),
        layout.shard_stats(partition, number),
    )


class Shard:
    """Results of one shard's pairs on their way into its files.

    Args:
        partition: whose pairs they are.
        number: of the shard in its partition.
        pairs: rows with ``pair_columns``, in order.
        columns: types of the pairs' columns.
        settings: format and samples per shard.
        journal: keeps results until the shard is published; what it holds counts.
    """

    def __init__(
        self,
        partition: PartitionKey,
        number: int,
        pairs: list[Row],
        columns: pa.Schema,
        settings: DownloadSettings,
        journal: Path | None = None,
    ) -> None:
        self.partition = partition
        self.number = number
        self.pairs = pairs
        self._settings = settings
        theirs, ours = row_columns(columns, settings)
        self._json_fields = theirs.names
        self._schema = pa.schema([*theirs, *ours])
        self._rows: list[Row | None] = [None] * len(pairs)
        self._left = len(pairs)
        self._earlier: dict[int, Row] = {}
        self._journal = Journal(journal)
        self._images: dict[int, ImagePlace] = {}
        self._doubted: set[int] = set()
        self._start = time.time()
        for result, place in self._journal.replay():
            position = result.pop("position")
            if result.get("is_doubted"):
                self._reopen(position)
                continue
            times = {
                name: datetime.fromisoformat(result[name]) for name in TIMES if result.get(name)
            }
            # A release before this one may have begun the shard, with keys of its own.
            result |= times | {"key": self._key(position)}
            self._set(position, self._pair(position) | result, place)

    @property
    def is_complete(self) -> bool:
        """Whether every pair has its result."""
        return not self._left

    @property
    def open_positions(self) -> list[int]:
        """Pairs that have no result yet."""
        return [position for position, row in enumerate(self._rows) if row is None]

    def put(self, position: int, fetched: Fetched, resized: Resized | None) -> None:
        """Take one result.

        Args:
            position: of the pair.
            fetched: how its url ended.
            resized: what its file became; None when there was none.
        """
        key = self._key(position)
        row = self._pair(position) | _row(self.pairs[position], key, fetched, resized)
        if position in self._earlier:
            row["attempts"] += self._earlier[position]["attempts"]
        self._keep(position, row, resized.scaled.image if resized and resized.scaled else None)

    def restore(self, position: int, row: Row, image: bytes | None) -> None:
        """Take a result of an earlier run.

        Args:
            position: of the pair.
            row: as it was published.
            image: as it was published, None for a failure.
        """
        self._keep(position, row, image)

    def expect_again(self, position: int, row: Row) -> None:
        """Leave a pair open of which earlier runs published a failure."""
        self._earlier[position] = row

    def doubt(self, since: datetime) -> None:
        """Leave pairs open for the next run that may have failed by this machine's network.

        Once for each pair, so that dead urls cannot hold a download up for ever.

        Args:
            since: when the network was last known to work.
        """
        for position, row in enumerate(self._rows):
            if row is None or position in self._doubted or row["fetched_at"] < since:
                continue
            if row["error_class"] in LOCAL | {"host_down"}:
                self._journal.append({"position": position, "is_doubted": True}, None)
                self._reopen(position)

    def _reopen(self, position: int) -> None:
        self._rows[position] = None
        self._left += 1
        self._doubted.add(position)

    def was_silent(self, position: int) -> bool:
        """Whether no server answered when an earlier run tried the pair."""
        if position in self._doubted:
            return True
        return position in self._earlier and self._earlier[position]["http_status"] is None

    def _key(self, position: int) -> str:
        """Key of a sample; that of an earlier run stays, so that the images around it do."""
        if position in self._earlier:
            return self._earlier[position]["key"]
        size = self._settings.samples_per_shard
        return sample_key(self.partition, self.number, position, size)

    def _pair(self, position: int) -> Row:
        """What samples keep of a pair."""
        return {name: self.pairs[position][name] for name in kept_columns(self._settings)}

    def _keep(self, position: int, row: Row, image: bytes | None) -> None:
        pair = self._pair(position)
        result = {name: value for name, value in row.items() if name not in pair}
        times = {name: row[name].isoformat() for name in TIMES if row.get(name)}
        result |= {"position": position} | times
        self._set(position, row, self._journal.append(result, image))

    def _set(self, position: int, row: Row, place: ImagePlace | None) -> None:
        self._rows[position] = row
        self._left -= 1
        if place is not None:
            self._images[position] = place

    def close(self) -> None:
        """Let go of the results."""
        self._journal.close()

    def publish(self, run: StageRun, *, again: bool = False) -> None:
        """Publish the shard's files, the one by which it counts as done last.

        Args:
            run: of the partition.
            again: the shard has been published before. Then stats exist already, and it is by its
                rows that they and the tar are known to be the new ones.
        """
        rows = [row for row in self._rows if row is not None]
        tar, table, stats = shard_files(run.partition, self.number)
        self._publish_tar(run, tar, rows)
        if again:
            self._publish_stats(run, stats, rows)
        with run.publish(table) as part:
            tables.write(part, pa.Table.from_pylist(rows, schema=self._schema))
        if not again:
            self._publish_stats(run, stats, rows)
        self._journal.remove()

    def _publish_tar(self, run: StageRun, path: str, rows: list[Row]) -> None:
        with run.publish(path) as part, part.open("wb") as file:
            index = self._write_tar(file, rows)
        with run.publish(layout.tar_index(run.partition, self.number)) as part:
            write_index(part, index)

    def _write_tar(self, file: BinaryIO, rows: list[Row]) -> TarIndex:
        entries = Entries()
        for position in sorted(self._images):
            row = rows[position]
            image = self._journal.read(self._images[position])
            for extension, content in self._members(row, image):
                place = write_member(file, f"{row['key']}.{extension}", content)
                entries.add(row["uid"], row["key"], extension, place)
        end_tar(file)
        return entries.index(file.tell())

    def _publish_stats(self, run: StageRun, path: str, rows: list[Row]) -> None:
        with run.publish(path) as part:
            part.write_text(stats_of(rows, self._start, time.time()))

    def _members(self, row: Row, image: bytes) -> list[tuple[str, bytes]]:
        """Files of one sample by extension; webdataset's writer sorts them too."""
        fields = {name: row[name] for name in self._json_fields}
        members = {
            self._settings.encode_format: image,
            # Sources may have columns of types that json lacks, such as times.
            "json": json.dumps(fields, indent=4, default=str).encode(),
            "txt": (row["caption"] or "").encode(),
        }
        return sorted(members.items())


def stats_of(rows: list[Row], start: float, end: float) -> str:
    """img2dataset's counts of a shard, as its file has them.

    Args:
        rows: of the shard; of their columns ``status`` and ``error_message`` are read.
        start: of the download, in seconds since 1970.
        end: likewise.
    """
    statuses = Counter(row["status"] for row in rows)
    counts = {
        "count": len(rows),
        "successes": statuses[SUCCESS],
        "failed_to_download": statuses[NOT_FETCHED],
        "failed_to_resize": statuses[NOT_RESIZED],
        "duration": end - start,
        "start_time": start,
        "end_time": end,
        "status_dict": Counter(row["error_message"] or SUCCESS for row in rows),
    }
    return json.dumps(counts, indent=4)


def _row(pair: Row, key: str, fetched: Fetched, resized: Resized | None) -> Row:
    """A row of ``schemas.SHARD_ROWS``, and the file's hash in its column."""
    error = fetched if resized is None else resized
    if error.error_class is None:
        status = SUCCESS
    else:
        is_refused = error.error_class == "hash_mismatch" or error.error_class.startswith("policy_")
        is_image_wrong = resized is not None and not is_refused
        status = NOT_RESIZED if is_image_wrong else NOT_FETCHED
    scaled = resized.scaled if resized else None
    hashes = resized.hashes if resized and scaled else {}
    return {
        "uid": pair["uid"],
        "caption": pair["caption"],
        "url": pair["url"],
        "key": key,
        "status": status,
        "error_message": error.error_message,
        "width": scaled.width if scaled else None,
        "height": scaled.height if scaled else None,
        "original_width": scaled.original_width if scaled else None,
        "original_height": scaled.original_height if scaled else None,
        "exif": resized.exif if resized else None,
        **hashes,
        "error_class": error.error_class,
        "http_status": fetched.http_status,
        "attempts": fetched.attempts,
        "final_url": fetched.final_url,
        "size_bytes": None if fetched.body is None else len(fetched.body),
        "fetch_s": fetched.seconds,
        "fetched_at": fetched.fetched_at,
        "source_sha256": pair.get("sha256"),
        "hash_matches": resized.hash_matches if resized else None,
        "perceptual_hash": scaled.perceptual_hash if scaled else None,
        # Which files are placeholders shows when all shards are done.
        "is_placeholder": False,
        **fetched.signals.as_columns(),
    }
