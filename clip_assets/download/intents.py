"""What a run set out to do, so that the run after a kill does the rest of it.

Without due rows a run fetches the shards that are missing; with them it is a retry, and fetches
those rows again, in shards that keep what else they hold.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.download.fetch.faults import LOCAL
from clip_assets.download.shard import SUCCESS, Row, Shard, shard_files
from clip_assets.errors import MissingArtifactError
from clip_assets.pool.stages import StageRun
from clip_assets.storage import tables
from clip_assets.storage.control import parsed
from clip_assets.webdataset.read import read_images

ADVICE = "Remove the file, then run the same again: what was not finished is fetched anew."

Due = dict[int, dict[int, int]]
"""Rows to fetch again: by shard and position, how often their urls have been tried."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run set out to do.

    Args:
        inputs: what the partition is made from; finished shards made from others do not count.
        due: rows to fetch again.
        successes: images that the partition had before.
        was_stopped: whether a run of it ended with this machine's network for its reason. A few
            hosts that are still silent are then taken for gone, or the partition would never end.
        doubted: rows of published shards that failed since a server answered last before that:
            asked again, once.
    """

    inputs: dict[str, str]
    due: Due = field(default_factory=Due)
    successes: int = 0
    was_stopped: bool = False
    doubted: Due = field(default_factory=Due)

    @property
    def retried(self) -> int:
        """Rows to fetch again."""
        return sum(map(len, self.due.values()))


def read(run: StageRun) -> Plan | None:
    """The plan of a run that was not finished.

    Raises:
        SchemaError: it is damaged.
    """
    try:
        content = run.store.read_bytes(_path(run))
    except MissingArtifactError:
        return None
    return parsed(content, Plan, run.store.uri(_path(run)), ADVICE)


def begin(run: StageRun, plan: Plan) -> None:
    """Keep a plan until its run is finished.

    Results that a run of another plan left would pass for this one's, so they are removed.
    """
    run.store.delete(run.work_folder)
    run.store.write_bytes(_path(run), json.dumps(asdict(plan)).encode())


def stopped(run: StageRun, plan: Plan, published: Iterable[int], since: datetime) -> None:
    """Take note that a run of a plan was stopped by this machine's network.

    Args:
        run: it.
        plan: what it set out to do.
        published: shards that it has published.
        since: when a server answered last.
    """
    doubted = dict(plan.doubted)
    for number in published:
        known = {**plan.due.get(number, {}), **plan.doubted.get(number, {})}
        path = layout.shard_rows(run.partition, number)
        columns = ["error_class", "attempts", "fetched_at"]
        rows = tables.read(run.store, path, schemas.SHARD_ROWS, columns).to_pylist()
        failed = {
            position: row["attempts"]
            for position, row in enumerate(rows)
            if row["error_class"] in LOCAL | {"host_down"} and row["fetched_at"] >= since
        }
        if failed and not known:
            doubted[number] = failed
    content = json.dumps(asdict(replace(plan, was_stopped=True, doubted=doubted)))
    run.store.write_bytes(_path(run), content.encode())


def _path(run: StageRun) -> str:
    return f"{run.work_folder}/plan.json"


def journals(run: StageRun, numbers: Iterable[int]) -> dict[int, Path]:
    """Files in which shards keep their results for the run after a kill; none on remote stores."""
    if not run.store.is_local:
        return {}
    folder = Path(run.store.base, run.work_folder)
    return {number: folder / f"{number:05d}.results" for number in numbers}


def left_over(run: StageRun, plan: Plan) -> Due:
    """What is due in the shards that have not been published again yet."""
    due: Due = {}
    for number, rows in [*plan.due.items(), *plan.doubted.items()]:
        path = layout.shard_rows(run.partition, number)
        table = tables.read(run.store, path, schemas.SHARD_ROWS, ["attempts"])
        attempts = table["attempts"].to_pylist()
        untouched = {p: tried for p, tried in rows.items() if attempts[p] == tried}
        if untouched:
            due[number] = untouched
    return due


def restore(run: StageRun, shard: Shard, due: Collection[int]) -> Shard:
    """A shard with all its published results but those that are due.

    Results that its journal has stay: a killed run restored or fetched them. Where no image is
    left to be restored, the tar may be gone.
    """
    lacking = set(shard.open_positions)
    tar, table, _ = shard_files(run.partition, shard.number)
    with run.store.local(table) as file:
        rows: list[Row] = pq.read_table(file).to_pylist()
    for position in lacking.intersection(due):
        shard.expect_again(position, rows[position])
    lacking.difference_update(due)
    for position in lacking:
        if rows[position]["status"] != SUCCESS:
            shard.restore(position, rows[position], None)
    if not any(rows[position]["status"] == SUCCESS for position in lacking):
        return shard
    positions = {row["key"]: position for position, row in enumerate(rows)}
    with run.store.local(tar) as path, path.open("rb") as file:
        for key, image in read_images(file, run.store.uri(tar)):
            position = positions[key]
            # A kill can have left a tar that is ahead of its rows.
            if position in lacking and rows[position]["status"] == SUCCESS:
                shard.restore(position, rows[position], image)
    return shard
