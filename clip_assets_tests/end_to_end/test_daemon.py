"""What happens without a hand, with the real daemon, web server and code server."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dagster as dg
import psutil
import pytest
import yaml
from dagster._core.scheduler.instigation import TickStatus

from clip_assets import layout
from clip_assets.index import versions
from clip_assets_tests.pools import BIN, PoolAt
from clip_assets_tests.servers import free_port

LOCATION = ("-m", "clip_assets.definitions")

HASTY_DAEMON = """
import sys
from dagster._daemon import cli, controller
controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 3
sys.exit(cli.main())
"""
"""Dagster's daemon, which looks after backfills every 3 seconds instead of every 30."""

DAEMON = (sys.executable, "-c", HASTY_DAEMON, "run", *LOCATION)

HASTY = {"poll_interval_seconds": 5, "free_slots_after_run_end_seconds": 5}
"""Of the monitoring of runs: seconds that are 30 in our instances."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def wait_for(what: Callable[[], Any], seconds: float = 400) -> Any:
    """The first true answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := what():
            return answer
        time.sleep(0.5)
    pytest.fail(f"not within {seconds} s")


@contextmanager
def running(pool_at: PoolAt, command: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A server with all its child processes, ended with the block."""
    with (pool_at.folder / "server.log").open("a") as log:
        process = subprocess.Popen(
            [command, *arguments],
            env=pool_at.environment,
            cwd=pool_at.folder,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            kill_tree(process.pid, signal.SIGTERM)
            process.wait(60)


def kill_tree(pid: int, how: signal.Signals) -> None:
    """Signal a process and all of its descendants."""
    try:
        root = psutil.Process(pid)
        family = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return
    # All at once, as a power loss does: nobody sees another die and writes it down.
    signals = [signal.SIGSTOP, how] if how == signal.SIGKILL else [how]
    for each in signals:
        for member in family:
            with suppress(ProcessLookupError):
                os.kill(member.pid, each)
    psutil.wait_procs(family, timeout=30)


def served_partitions(pool_at: PoolAt) -> list[str]:
    name = versions.current(pool_at.store)
    return list(versions.read(pool_at.store, name).partitions_used) if name else []


def materializations(pool_at: PoolAt, asset: str) -> list[str | None]:
    """Partition of every materialization, oldest first."""
    with dg.DagsterInstance.from_config(str(pool_at.home)) as instance:
        records = instance.fetch_materializations(dg.AssetKey(asset), limit=100).records
        return [record.partition_key for record in reversed(records)]


def looks(pool_at: PoolAt) -> int:
    """How often the automation has looked for work."""
    with dg.DagsterInstance.from_config(str(pool_at.home)) as instance:
        states = {state.name: state for state in instance.all_instigator_state()}
        if not (state := states.get("automation")):
            return 0
        ended = [TickStatus.SUCCESS, TickStatus.SKIPPED]
        return len(
            instance.get_ticks(state.instigator_origin_id, state.selector_id, statuses=ended)
        )


def test_new_file_flows_into_the_index_without_a_hand(pool_at: PoolAt) -> None:
    watched = pool_at.folder / "sources"
    later = sorted(watched.iterdir())[-1]
    shutil.move(later, pool_at.folder / later.name)
    pool_at.add_world()
    pool_at.cli("run")
    first = served_partitions(pool_at)
    pool_at.variables["CLIP_ASSETS_LOOK_EVERY_S"] = "3"
    with running(pool_at, *DAEMON):
        wait_for(lambda: looks(pool_at) > 1)
        shutil.move(pool_at.folder / later.name, later)
        wait_for(lambda: len(served_partitions(pool_at)) > len(first))
        # Nothing else may happen, when the first file is looked at and after the second.
        seen = looks(pool_at)
        wait_for(lambda: looks(pool_at) > seen + 3)
    (new,) = set(served_partitions(pool_at)) - set(first)
    for asset in ("raw_pairs", "image_shards", "embeddings", "index_segments", "pool_metadata"):
        assert sorted(str(key) for key in materializations(pool_at, asset)) == [*first, new]
    assert materializations(pool_at, "faiss_index") == [None, None], "refreshed once for each"
    assert materializations(pool_at, "id_mapping") == [None, None]
    assert len(versions.versions(pool_at.store)) == 2


def post(port: int, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    """What the UI does."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.loads(response.read())
    assert "errors" not in answer, answer
    return answer["data"]


LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
STATE = """
query State($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status }
  }
}
"""
NODES = "{ assetNodes { assetKey { path } dependencyKeys { path } description } }"


def is_up(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def backfill(port: int, assets: list[str], keys: list[str]) -> str:
    params = {
        "assetSelection": [{"path": asset.split("/")} for asset in assets],
        "partitionNames": keys,
        "fromFailure": False,
    }
    launched = post(port, LAUNCH, {"params": params})["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    return launched["backfillId"]


def test_backfill_of_the_ui_survives_the_death_of_everything(pool_at: PoolAt) -> None:
    config = yaml.safe_load((pool_at.home / "dagster.yaml").read_text())
    config["run_monitoring"] |= HASTY
    (pool_at.home / "dagster.yaml").write_text(yaml.safe_dump(config))
    pool_at.variables["CLIP_ASSETS_SOURCES__WATCH"] = "[]"
    pool_at.add_world()
    keys = list(pool_at.status()["partitions"])
    _stop_automation(pool_at)
    port = free_port()
    server = (str(BIN / "dagster-webserver"), "-h", "127.0.0.1", "-p", str(port), *LOCATION)
    assets = ["raw_pairs", "unique_pairs", "image_shards", "embeddings"]
    with running(pool_at, *server):
        wait_for(lambda: is_up(port), 90)
        nodes = post(port, NODES, {})["assetNodes"]
        shown = {"/".join(node["assetKey"]["path"]): node for node in nodes}
        assert "subsets" in shown
        assert shown["embeddings"]["dependencyKeys"] == [{"path": ["image_shards"]}]
        started = backfill(port, assets, keys)
        with running(pool_at, *DAEMON) as daemon:
            wait_for(
                lambda: list((pool_at.root / "work").rglob("*.tar")) or pool_at.store.list("shards")
            )
            kill_tree(daemon.pid, signal.SIGKILL)
        with running(pool_at, *DAEMON):
            status = wait_for(lambda: _ended(port, started), 600)
    assert status == "COMPLETED_SUCCESS"
    states = pool_at.status()["partitions"]
    assert {states[key][asset] for key in keys for asset in assets} == {"done"}
    assert pool_at.store.list(f"{layout.EMBEDDINGS}/img_emb")


def _ended(port: int, backfill_id: str) -> str:
    found = post(port, STATE, {"id": backfill_id})["partitionBackfillOrError"]["status"]
    return found if found.startswith("COMPLETED") else ""


def _stop_automation(pool_at: PoolAt) -> None:
    """Only the backfill is to act."""
    for sensor in ("automation", "new_sources"):
        pool_at.run("dagster", "sensor", "stop", sensor, *LOCATION)
