"""How often a key that fails is asked for again by itself: after growing pauses, and not for ever.

Counted from Dagster's own records of which runs were to make it, so nothing else is kept: the
count outlives every process, and a run that a person or a crash recovery started counts too.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from clip_assets import layout
from clip_assets.graph import ASSETS
from clip_assets.layout import WHOLE, Key
from clip_assets.pool.asset import Asset
from clip_assets.pool.pool import Pool
from clip_assets.storage.manifests import named

PAUSES_S = (120, 600, 3600, 6 * 3600, 24 * 3600)
"""After the first failure, the second one, and so on; after the last pause's try there is none."""

PAUSES = "after 2 and 10 minutes, 1, 6 and 24 hours, then no more"

_KEYS_AT_ONCE = 200
# Keys that one query names.

_RECORDS_A_KEY = 20
# More runs than anybody asks for by itself, so what is left out makes no difference.


@dataclass(frozen=True, slots=True)
class Tries:
    """Runs that were to make a key and did not, since its last success or newer input.

    Args:
        count: how many; at least one.
        last_s: when the last one ended, or began if it goes on; seconds since 1970.
    """

    count: int
    last_s: float

    @property
    def due_s(self) -> float | None:
        """When it is asked for again, None for never."""
        if self.count > len(PAUSES_S):
            return None
        return self.last_s + PAUSES_S[self.count - 1]

    def as_text(self) -> str:
        """What a person wants to know of it."""
        tries = f"{self.count} {'tries' if self.count > 1 else 'try'}"
        if self.due_s is None:
            return f"{tries}; not asked for again by itself"
        due = datetime.fromtimestamp(self.due_s, UTC)
        return f"{tries}; asked for again by itself at {due:%Y-%m-%d %H:%M} UTC"


def tries_of(instance: dg.DagsterInstance, record: Asset, keys: Sequence[Key]) -> dict[Key, Tries]:
    """The tries of those of an asset's keys that were tried since their last success."""
    runs: dict[Key, list[tuple[str, float, int]]] = {}
    own = _made(instance, record, record, keys)
    for key, run_id, began_s, storage_id in _planned(instance, record, keys):
        if storage_id > own.get(key, 0):
            runs.setdefault(key, []).append((run_id, began_s, storage_id))
    if not runs:
        return {}
    ended = _ended(instance, {tried[0][0] for tried in runs.values()})
    inputs = [_made(instance, ASSETS[name], record, list(runs)) for name in record.deps]
    tries: dict[Key, Tries] = {}
    for key, tried in runs.items():
        news = max((made.get(key, 0) for made in inputs), default=0)
        # The last run may have made the newer input itself.
        count = max(1, len({run_id for run_id, _, storage_id in tried if storage_id > news}))
        run_id, began_s, _ = tried[0]
        tries[key] = Tries(count, ended.get(run_id) or began_s)
    return tries


def given_up(
    instance: dg.DagsterInstance, assets: Collection[Asset], keys: Sequence[Key]
) -> set[Key]:
    """Keys with an asset that is not asked for again by itself."""
    return {
        key
        for asset in assets
        for key, tries in tries_of(instance, asset, keys).items()
        if tries.due_s is None
    }


def told(instance: dg.DagsterInstance, pool: Pool) -> Iterator[str]:
    """Every key with a failure of its own in the store, and when it is asked for again."""
    for asset in pool.assets.values():
        failed = [key for key in _failed(pool, asset) if key in {*pool.keys(asset.axis)}]
        for key, tries in tries_of(instance, asset, failed).items():
            yield f"{named(asset.name, key)}: {tries.as_text()}"


def _failed(pool: Pool, asset: Asset) -> list[Key]:
    # The names of the records alone: reading every manifest at each look would cost too much.
    if asset.axis == "pool":
        return [WHOLE] if pool.store.exists(layout.failure(asset.name)) else []
    folder = layout.failure(asset.name, Key("x")).rpartition("/")[0]
    return [Key(Path(path).stem) for path in pool.store.list(folder)]


def _planned(
    instance: dg.DagsterInstance, record: Asset, keys: Sequence[Key]
) -> Iterator[tuple[Key, str, float, int]]:
    """Key, run, time and place in the log of every intent to make a key, the newest first."""
    for some in _batches(keys):
        of_keys = dg.AssetRecordsFilter(
            dg.AssetKey(record.name), asset_partitions=None if some == [WHOLE] else some
        )
        limit = _RECORDS_A_KEY * len(some)
        for event in instance.fetch_planned_materializations(of_keys, limit=limit).records:
            yield Key(event.partition_key or WHOLE), event.run_id, event.timestamp, event.storage_id


def _made(
    instance: dg.DagsterInstance, made: Asset, record: Asset, keys: Sequence[Key]
) -> dict[Key, int]:
    """Place in the log of what was made last of an asset, for each key of another."""
    name = dg.AssetKey(made.name)
    if made.axis == record.axis and list(keys) != [WHOLE]:
        by_key: dict[Key, int] = {}
        for some in _batches(keys):
            places = instance.event_log_storage.get_latest_storage_id_by_partition(
                name, dg.DagsterEventType.ASSET_MATERIALIZATION, set(some)
            )
            by_key |= {Key(key): place for key, place in places.items()}
        return by_key
    last = instance.fetch_materializations(name, limit=1).records
    return dict.fromkeys(keys, last[0].storage_id) if last else {}


def _ended(instance: dg.DagsterInstance, run_ids: set[str]) -> dict[str, float | None]:
    """When runs ended."""
    return {
        record.dagster_run.run_id: record.end_time
        for some in _batches(sorted(run_ids))
        for record in instance.get_run_records(dg.RunsFilter(run_ids=list(some)))
    }


def _batches(keys: Sequence[str]) -> Iterator[list[str]]:
    for first in range(0, len(keys), _KEYS_AT_ONCE):
        yield list(keys[first : first + _KEYS_AT_ONCE])
