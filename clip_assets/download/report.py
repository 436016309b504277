"""What a download did, told from the finished shards: counts, classes, hosts, times.

Reads the shards' parquet files and never the results in flight, so a run that went on after a
kill reports the same as one that was not killed.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_assets import layout, schemas
from clip_assets.download import placeholders
from clip_assets.download.fetch.urls import host_of
from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import StageRun
from clip_assets.storage import pictures, tables
from clip_assets.storage.manifests import Report
from clip_assets.storage.store import Store
from clip_assets.webdataset.read import read_images

HOSTS_TOLD = 10
"""Failing hosts that are named."""

PLACEHOLDERS_TOLD = 10
"""Such files that are named."""

COLUMNS = [
    "url",
    "status",
    "error_class",
    "http_status",
    "attempts",
    "fetch_s",
    "size_bytes",
    "sha256",
    "hash_matches",
    "opt_outs",
]


class Tally:
    """Counts over the rows of a partition's shards; memory: 20 bytes for each row."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.error_classes: Counter[str] = Counter()
        self._http_statuses: Counter[int] = Counter()
        self._failing_hosts: Counter[str] = Counter()
        self._requests = 0
        self._fetched_bytes = 0
        self._files = placeholders.Files()
        self._hash_matches: Counter[bool | None] = Counter()
        self._opt_outs: Counter[str] = Counter()
        self._heard = 0
        self._seconds: list[npt.NDArray[np.float32]] = []

    @classmethod
    def of(cls, store: Store, partition: PartitionKey, shards: Iterable[int]) -> "Tally":
        """Count the rows of finished shards."""
        tally = cls()
        for number in shards:
            tally._add(store, layout.shard_rows(partition, number))
        return tally

    def _add(self, store: Store, path: str) -> None:
        table = tables.read(store, path, schemas.SHARD_ROWS, COLUMNS)
        names = ["url", "status", "error_class", "http_status", "sha256"]
        rows = table.select(names).to_pydict()
        self.statuses.update(rows["status"])
        self.error_classes.update(name for name in rows["error_class"] if name)
        self._http_statuses.update(code for code in rows["http_status"] if code)
        self._failing_hosts.update(
            host_of(url) for url, name in zip(rows["url"], rows["error_class"], strict=True) if name
        )
        self._hash_matches.update(table["hash_matches"].to_pylist())
        opt_outs = [signals for signals in table["opt_outs"].to_pylist() if signals is not None]
        self._opt_outs.update(itertools.chain.from_iterable(opt_outs))
        self._heard += len(opt_outs)
        self._files.add(rows["url"], rows["sha256"])
        attempts = table["attempts"].to_numpy()
        self._requests += int(attempts.sum())
        self._fetched_bytes += int(table["size_bytes"].drop_null().to_numpy().sum())
        self._seconds.append(table["fetch_s"].to_numpy()[attempts > 0])

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return self.statuses.total()

    @property
    def successes(self) -> int:
        """Rows with an image."""
        return self.statuses["success"]

    def placeholders(self) -> dict[str, int]:
        """See ``placeholders.Files``."""
        return self._files.placeholders()

    def figures(self) -> dict[str, Any]:
        """What is told to people, as json values."""
        seconds = np.concatenate([*self._seconds, np.zeros(0, np.float32)])
        placeholders = self.placeholders()
        p50, p95 = np.quantile(seconds, [0.5, 0.95]) if len(seconds) else (0.0, 0.0)
        return {
            "success_rate": round(self.successes / self.rows, 4) if self.rows else None,
            "statuses": dict(self.statuses.most_common()),
            "error_classes": dict(self.error_classes.most_common()),
            "http_statuses": {str(code): n for code, n in self._http_statuses.most_common()},
            "top_failing_hosts": dict(self._failing_hosts.most_common(HOSTS_TOLD)),
            "attempts": self._requests,
            "fetched_bytes": self._fetched_bytes,
            "placeholder_files": len(placeholders),
            "placeholder_urls": sum(placeholders.values()),
            "top_placeholders": dict(itertools.islice(placeholders.items(), PLACEHOLDERS_TOLD)),
            "hash_matches": self._hash_matches[True],
            "hash_mismatches": self._hash_matches[False],
            "opt_outs": dict(self._opt_outs.most_common()),
            "opt_outs_recorded": self._heard,
            "fetch_p50_s": round(float(p50), 3),
            "fetch_p95_s": round(float(p95), 3),
        }


def partition_report(
    run: StageRun, numbers: range, figures: Mapping[str, Any] = MappingProxyType({})
) -> Report:
    """Report of a partition whose shards are all published; placeholders are marked by it.

    Args:
        run: its run; pictures and rows with marks are published through it.
        numbers: of its shards.
        figures: further ones, of this run.
    """
    tally = Tally.of(run.store, run.partition, numbers)
    placeholders.mark(run, numbers, tally.placeholders())
    return Report(
        rows_in=tally.rows,
        rows_out=tally.successes,
        dropped=dict(tally.error_classes.most_common()),
        figures=tally.figures() | dict(figures),
        pictures=_pictures(run, numbers, tally),
    )


def _pictures(run: StageRun, numbers: range, tally: Tally) -> dict[str, str]:
    if not tally.rows:
        return {}
    counts = {"success": tally.successes} | dict(tally.error_classes.most_common(12))
    drawn = pictures.histogram(f"outcomes {run.partition}", counts)
    published = {"outcomes": run.publish_picture("outcomes.png", drawn)}
    for number in numbers:
        tar = layout.shard_tar(run.partition, number)
        with run.store.local(tar) as path, path.open("rb") as file:
            every = read_images(file, run.store.uri(tar))
            images = [image for _, image in itertools.islice(every, pictures.SHEET_SIDE**2)]
        if images:
            sheet = pictures.contact_sheet(images)
            published["contact sheet"] = run.publish_picture("contact_sheet.jpg", sheet)
            break
    return published
