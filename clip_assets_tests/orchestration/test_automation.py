"""What the automation requests, tick by tick.

Dagster's own evaluation over our definitions; a materialization is reported instead of made.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import dagster as dg
import pytest

from clip_assets import layout
from clip_assets.definitions import build_defs
from clip_assets.graph import TABLE
from clip_assets.layout import Key
from clip_assets.orchestration import tries
from clip_assets.orchestration.partitions import AXES
from clip_assets.orchestration.requests import range_tags
from clip_assets.orchestration.resources import PoolResource
from clip_assets.pool.pool import Axis
from clip_assets.storage.catalog import Catalog
from clip_assets.storage.store import Store
from clip_assets_tests.upstream import MadeUp

PARTITIONED = [
    "raw_pairs",
    "unique_pairs",
    "image_shards",
    "embeddings",
    "aesthetic",
    "pool_metadata",
]
SUBSETS = ["no_filter", "basic_filter"]
FAN_INS = ["subsets", "metadata_stats", "faiss_index"]


class Daemon:
    """Ticks of the automation over one instance."""

    def __init__(self, defs: dg.Definitions, instance: dg.DagsterInstance, store: Store) -> None:
        self._defs = defs
        self._instance = instance
        self._made_up = MadeUp(store)
        self._cursor = None
        self._now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def add(self, *keys: str, axis: Axis = "partition") -> None:
        """Keys that the pool and Dagster have."""
        if axis == "partition":
            self._made_up.plan(*map(int, keys))
        self.type_in(*keys, axis=axis)

    def type_in(self, *keys: str, axis: Axis = "partition") -> None:
        """Keys that a person adds in the UI."""
        self._instance.add_dynamic_partitions(str(AXES[axis].name), list(keys))

    def tick(self, after_s: int = 30) -> dict[str, set[str | None]]:
        """Partitions requested by asset; {None} for an unpartitioned one."""
        self._now += timedelta(seconds=after_s)
        with pytest.MonkeyPatch.context() as patch:
            # A thousand times in a look it asks for keys, which stay the same meanwhile.
            keys = cache(self._instance.get_dynamic_partitions)
            patch.setattr(self._instance, "get_dynamic_partitions", keys)
            result = dg.evaluate_automation_conditions(
                defs=self._defs,
                instance=self._instance,
                cursor=self._cursor,
                evaluation_time=self._now,
            )
        self._cursor = result.cursor
        requested: dict[str, set[str | None]] = {}
        for found in result.results:
            subset = found.true_subset
            if not subset.is_empty:
                keys = {p.partition_key for p in subset.expensively_compute_asset_partitions()}
                requested[subset.key.to_user_string()] = keys
        return requested

    def made(self, asset: str, *keys: str, version: str = "1") -> None:
        for key in keys or (None,):
            event = dg.AssetMaterialization(
                dg.AssetKey(asset), partition=key, tags={"dagster/data_version": version}
            )
            self._instance.report_runless_asset_event(event)

    def finished(self, *keys: str) -> None:
        """Partitions of which everything is made, and looks that have seen it."""
        self.add(*keys)
        made = {"partition": keys, "subset": SUBSETS, "pool": ()}
        for asset in TABLE:
            self.made(asset.name, *made[asset.axis])
        assert self.settle() == []

    def start(self, *assets: str, keys: Sequence[str] = ()) -> dg.DagsterRun:
        """A run that is going on, over a range of keys if any are given."""
        run = self._instance.create_run_for_job(
            self._defs.resolve_implicit_global_asset_job_def(),
            tags=range_tags(Key(keys[0]), Key(keys[-1])) if keys else {},
            asset_selection=frozenset(dg.AssetKey(asset) for asset in assets),
        )
        self._tell(run, dg.DagsterEventType.RUN_START)
        return run

    def end(self, run: dg.DagsterRun) -> None:
        """It ended well; what it made may not be seen yet."""
        self._tell(run, dg.DagsterEventType.RUN_SUCCESS)

    def _tell(self, run: dg.DagsterRun, what: dg.DagsterEventType) -> None:
        event = dg.DagsterEvent(what.value, run.job_name)
        self._instance.report_dagster_event(event, run.run_id)

    def rest(self) -> None:
        """What time it is now, as runs tell it, and looks that see what has ended."""
        self._now = datetime.now(UTC)
        for _ in range(2):
            self.tick(1)

    def make(self, requested: dict[str, set[str | None]]) -> None:
        for asset, keys in requested.items():
            self.made(asset, *sorted(key for key in keys if key))

    def settle(self, ticks: int = 8) -> list[dict[str, set[str | None]]]:
        """Tick and make until nothing is asked for."""
        history = []
        for _ in range(ticks):
            requested = self.tick()
            if not requested and history and not history[-1]:
                break
            history.append(requested)
            self.make(requested)
        return [requested for requested in history if requested]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pool is that the conditions look at."""
    return tmp_path_factory.mktemp("pool")


@pytest.fixture(scope="module")
def defs(root: Path) -> dg.Definitions:
    """The graph over a pool that the environment does not name."""
    return build_defs(PoolResource(root=str(root)))


@pytest.fixture(autouse=True)
def store(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """That pool: no sources, so every run of it fails. The environment names another one."""
    monkeypatch.delenv("CLIP_ASSETS_POOL", raising=False)
    monkeypatch.setenv("CLIP_ASSETS_ROOT", str(tmp_path / "other"))
    opened = Store.open(str(root))
    yield opened
    assert not (tmp_path / "other").exists(), "nobody looked at the pool of the environment"
    opened.delete("")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An empty Dagster instance, in memory."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def daemon(defs: dg.Definitions, instance: dg.DagsterInstance, store: Store) -> Daemon:
    """The automation over a pool with the subsets that every pool has."""
    made = Daemon(defs, instance, store)
    made.add(*SUBSETS, axis="subset")
    return made


def times(history: list[dict[str, set[str | None]]], asset: str) -> int:
    return sum(asset in requested for requested in history)


def test_partitions_that_were_there_before_are_requested(daemon: Daemon) -> None:
    daemon.add("00000", "00001")
    requested = daemon.tick()
    for asset in PARTITIONED:
        assert requested[asset] == {"00000", "00001"}, "one run goes through all stages"


def test_a_fused_pool_has_both_stages_asked_for_at_once(
    instance: dg.DagsterInstance, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_ASSETS_INFERENCE__FUSED", "true")
    fused = build_defs(PoolResource(root=store.uri()))
    assert len(fused.resolve_assets_def(layout.EMBEDDINGS).keys) == 2
    made = Daemon(fused, instance, store)
    made.add("00000", "00001")
    requested = made.tick()
    assert requested[layout.IMAGE_SHARDS] == requested[layout.EMBEDDINGS] == {"00000", "00001"}


def test_new_partition_is_processed_and_the_index_refreshed_once(daemon: Daemon) -> None:
    daemon.add("00000", "00001")
    first = daemon.settle()
    assert times(first, "faiss_index") == times(first, "id_mapping") == 1
    daemon.add("00002")
    history = daemon.settle()
    for asset in [*PARTITIONED, "index_segments"]:
        asked = [requested[asset] for requested in history if asset in requested]
        assert asked == [{"00002"}], asset
    for asset in [*FAN_INS, "id_mapping"]:
        assert times(history, asset) == 1, asset
    assert daemon.settle() == [], "and then there is nothing to do"


def test_id_mapping_is_made_in_the_run_of_its_index(daemon: Daemon) -> None:
    daemon.add("00000")
    for requested in daemon.settle():
        assert ("faiss_index" in requested) == ("id_mapping" in requested)


def test_one_missing_partition_does_not_hold_back_the_index(daemon: Daemon) -> None:
    daemon.finished("00000")
    daemon.add("00001", "00002")
    daemon.tick()
    for asset in [*PARTITIONED, "index_segments"]:
        daemon.made(asset, "00001")
    history = [daemon.tick() for _ in range(3)]
    assert all("00002" in requested["raw_pairs"] for requested in history)
    assert times(history, "faiss_index") == 1


@pytest.mark.parametrize("ticks", [0, 1, 2], ids=["before the next tick", "while it runs", "later"])
def test_no_update_of_a_partition_is_lost(daemon: Daemon, ticks: int) -> None:
    daemon.finished("00000")
    daemon.add("00001", "00002")
    daemon.made("index_segments", "00001")
    # A partition that comes to rest is given one look to show what was made.
    assert ["faiss_index" in daemon.tick() for _ in range(2)] == [False, True]
    for _ in range(ticks):
        assert "faiss_index" not in daemon.tick(), "nothing is new"
    daemon.made("index_segments", "00002")
    history = [daemon.tick()]
    # The run that was requested first ends, without the new partition.
    daemon.made("faiss_index")
    daemon.made("id_mapping")
    history += [daemon.tick() for _ in range(2)]
    assert times(history, "faiss_index") == 1


def test_what_a_run_that_just_ended_made_is_waited_for(daemon: Daemon) -> None:
    daemon.add("00000")
    daemon.tick()
    run = daemon.start(*PARTITIONED, keys=["00000"])
    assert "raw_pairs" not in daemon.tick(), "it goes on"
    daemon.end(run)
    assert "raw_pairs" not in daemon.tick(), "it ended, and its events are not seen yet"
    for asset in PARTITIONED:
        daemon.made(asset, "00000")
    assert not set(PARTITIONED) & set(daemon.tick())


def test_run_that_ended_without_making_anything_is_asked_for_at_the_next_look(
    daemon: Daemon,
) -> None:
    daemon.add("00000")
    daemon.tick()
    run = daemon.start(*PARTITIONED, keys=["00000"])
    daemon.tick()
    daemon.end(run)
    daemon.tick()
    assert daemon.tick()["raw_pairs"] == {"00000"}


def test_fan_in_waits_for_what_a_run_that_just_ended_made(daemon: Daemon) -> None:
    daemon.finished("00000")
    daemon.add("00001", "00002")
    daemon.tick()
    run = daemon.start("index_segments", keys=["00002"])
    daemon.made("index_segments", "00001")
    assert "faiss_index" not in daemon.tick(), "a partition is still being made"
    daemon.end(run)
    assert "faiss_index" not in daemon.tick(), "it was made, and is not seen yet"
    daemon.made("index_segments", "00002")
    assert times([daemon.tick() for _ in range(3)], "faiss_index") == 1


def test_fan_in_that_just_ended_is_not_asked_for_again(daemon: Daemon) -> None:
    both = ("faiss_index", "id_mapping")
    daemon.add("00000")
    for asset in [*PARTITIONED, "index_segments"]:
        daemon.made(asset, "00000")
    daemon.made("index_recipe")
    # The first index is asked for because it is missing.
    while not set(both) <= set(daemon.tick()):
        pass
    run = daemon.start(*both)
    assert not set(both) & set(daemon.tick()), "it goes on"
    daemon.end(run)
    assert not set(both) & set(daemon.tick()), "it ended, and its events are not seen yet"
    for asset in both:
        daemon.made(asset)
    assert not any(set(both) & set(daemon.tick()) for _ in range(3))


def test_fan_in_that_follows_and_just_ended_is_not_asked_for_again(daemon: Daemon) -> None:
    daemon.finished("00000")
    run = daemon.start("faiss_index", "id_mapping")
    daemon.tick()
    daemon.made("faiss_index")
    daemon.end(run)
    assert "id_mapping" not in daemon.tick(), "it ended, and its events are not seen yet"


def test_another_recipe_encodes_every_segment_again(daemon: Daemon) -> None:
    daemon.finished("00000", "00001")
    daemon.made("index_recipe", version="1")
    assert times(daemon.settle(), "index_segments") == 0, "the same recipe changes nothing"
    daemon.made("index_recipe", version="2")
    history = daemon.settle()
    asked = [requested["index_segments"] for requested in history if "index_segments" in requested]
    assert asked == [{"00000", "00001"}]
    assert times(history, "faiss_index") == 1


@pytest.mark.parametrize("name", ["foo", ""])
def test_a_key_that_the_pool_does_not_have_is_left_alone(daemon: Daemon, name: str) -> None:
    daemon.type_in(name)
    daemon.type_in(name, axis="subset")
    assert not daemon.settle()
    daemon.add("00000")
    history = daemon.settle()
    assert times(history, "faiss_index") == 1, "and nothing waits for it"
    assert not any(name in keys for requested in history for keys in requested.values())


def test_what_fails_is_asked_for_again_after_growing_pauses_and_not_for_ever(
    daemon: Daemon, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    daemon.add("00000", "00001")
    assert daemon.tick()["raw_pairs"] == {"00000", "00001"}
    for pause_s in tries.PAUSES_S:
        # The sources are not there.
        run_that_failed(defs, instance, ["00000", "00001"])
        daemon.rest()
        assert "raw_pairs" not in daemon.tick(pause_s - 90)
        assert daemon.tick(90)["raw_pairs"] == {"00000", "00001"}
    run_that_failed(defs, instance, ["00000", "00001"])
    daemon.rest()
    assert not any("raw_pairs" in daemon.tick(1 << number) for number in (10, 17, 24))
    # A person mends one of them, so what is made from it is something new.
    daemon.made("raw_pairs", "00001")
    history = [daemon.tick() for _ in range(3)]
    assert any(requested.get("unique_pairs") == {"00001"} for requested in history)
    assert not times(history, "raw_pairs")


def run_that_failed(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    keys: list[str],
    assets: Sequence[str] = PARTITIONED,
) -> None:
    """A real failed run over a range, as Dagster's own records have it."""
    tags = range_tags(Key(keys[0]), Key(keys[-1]))
    job = defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(asset) for asset in assets],
        tags=tags,
        raise_on_error=False,
    )
    assert not result.success


def test_model_that_cannot_be_loaded_is_no_reason_to_ask_at_every_look(
    daemon: Daemon, defs: dg.Definitions, instance: dg.DagsterInstance, store: Store
) -> None:
    daemon.add("00000")
    MadeUp(store).make("image_shards", Key("00000"), 1, {})
    (Path(store.base) / "pool.yaml").write_text("inference: {model: 'local-dir:/no/model'}")
    for asset in ("raw_pairs", "unique_pairs", "image_shards"):
        daemon.made(asset, "00000")
    assert daemon.tick()["embeddings"] == {"00000"}
    run_that_failed(defs, instance, ["00000"], ["embeddings"])
    failure = Catalog(store).failure("embeddings", Key("00000"))
    assert failure is not None
    assert failure.error == "ModelLoadError"
    assert not any("embeddings" in daemon.tick(30) for _ in range(3))


def test_missing_subset_is_requested_and_refreshed_once_when_metadata_rests(
    daemon: Daemon,
) -> None:
    daemon.add("00000")
    both = {"no_filter", "basic_filter"}
    first = daemon.settle()
    assert [asked["subsets"] for asked in first if "subsets" in asked] == [both]
    daemon.add("00001", "00002")
    run = daemon.start("pool_metadata", keys=["00002"])
    daemon.made("pool_metadata", "00001")
    assert not any("subsets" in daemon.tick() for _ in range(3)), "one is still being made"
    daemon.end(run)
    daemon.made("pool_metadata", "00002")
    history = daemon.settle()
    assert [asked["subsets"] for asked in history if "subsets" in asked] == [both]


def test_subset_that_is_named_later_is_asked_for_alone(daemon: Daemon, store: Store) -> None:
    daemon.finished("00000")
    settings = "subsets: {mine: {baseline: no_filter}}"
    (Path(store.base) / layout.SETTINGS_FILE).write_text(settings)
    daemon.add("mine", axis="subset")
    asked = [requested["subsets"] for requested in daemon.settle() if "subsets" in requested]
    assert asked == [{"mine"}]


def test_how_often_the_sensors_look_can_be_set() -> None:
    told = (
        "from clip_assets.definitions import defs;"
        "print([sensor.minimum_interval_seconds for sensor in defs.sensors])"
    )
    variables = os.environ | {"CLIP_ASSETS_LOOK_EVERY_S": "7"}
    done = subprocess.run(
        [sys.executable, "-c", told], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[7, 7]\n"
