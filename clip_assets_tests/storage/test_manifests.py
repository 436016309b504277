"""Records are read in bulk where many are wanted, and hold json only."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar
from uuid import uuid4

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from clip_assets import layout, status
from clip_assets.errors import CheckFailedError
from clip_assets.partitions import ledger
from clip_assets.partitions.ledger import PartitionPlan, SourceRange
from clip_assets.settings import Settings
from clip_assets.storage.manifests import (
    Artifact,
    Catalog,
    Failure,
    Manifest,
    Report,
    write_failure,
)
from clip_assets.storage.store import Store

KEYS = [layout.partition_key(number) for number in range(200)]
ASSETS = ("raw_pairs", "unique_pairs")


class Counted(MemoryFileSystem):
    """Files in memory, with every request counted; many reads at once count as one."""

    protocol = "counted"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    requests: ClassVar[Counter[str]] = Counter()

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("counted://", "memory://"))

    def cat_ranges(self, paths, *args, **kwargs):
        self.requests["bulk"] += 1
        found = super().cat_ranges(paths, *args, **kwargs)
        self.requests["get"] -= len(paths)
        return found

    def cat_file(self, path, *args, **kwargs):
        self.requests["get"] += 1
        return super().cat_file(path, *args, **kwargs)

    def info(self, path, **kwargs):
        self.requests["look"] += 1
        return super().info(path, **kwargs)

    def exists(self, path, **kwargs):
        self.requests["look"] += 1
        return super().exists(path, **kwargs)

    def isfile(self, path):
        self.requests["look"] += 1
        return super().isfile(path)

    def find(self, path, *args, **kwargs):
        self.requests["list"] += 1
        return super().find(path, *args, **kwargs)


@pytest.fixture
def counted() -> Iterator[Store]:
    """An empty object store that counts requests."""
    fsspec.register_implementation("counted", Counted, clobber=True)
    store = Store.open(f"counted://{uuid4().hex}")
    yield store
    store.delete("")


def requests() -> dict[str, int]:
    """What was asked since the last look."""
    found = {kind: count for kind, count in Counted.requests.items() if count}
    Counted.requests.clear()
    return found


def manifest(asset: str, partition: layout.PartitionKey) -> Manifest:
    path = f"{asset}/{partition}"
    output = Artifact(path, 1, "ab")
    return Manifest(asset, partition, "1", {"plan": "1"}, [output], Report(1, 1), 0.1, 1, "now")


def fill(store: Store) -> None:
    """The first asset is done; of the second half is, one failed and the rest is missing."""
    writer = Catalog(store)
    for key in KEYS:
        writer.put(manifest("raw_pairs", key))
    for key in KEYS[:100]:
        writer.put(manifest("unique_pairs", key))
    write_failure(store, "unique_pairs", KEYS[150], Failure("SourceError", "gone", "2026-01-01"))


def states(catalog: Catalog) -> dict[str, list[str]]:
    return {
        asset: [catalog.state(asset, key, "1", {"plan": "1"}) for key in KEYS] for asset in ASSETS
    }


def test_preloaded_states_cost_two_listings_and_one_bulk_read_for_each_asset(
    counted: Store,
) -> None:
    fill(counted)
    requests()
    catalog = Catalog(counted)
    for asset in ASSETS:
        catalog.preload(asset, KEYS)
    found = states(catalog)
    failure = catalog.failure("unique_pairs", KEYS[150])
    assert requests() == {"list": 2 * len(ASSETS), "bulk": len(ASSETS)}
    assert failure == Failure("SourceError", "gone", "2026-01-01")
    assert Counter(found["unique_pairs"]) == {"done": 100, "missing": 99, "failed": 1}
    for asset in ASSETS:
        catalog.preload(asset, KEYS[:1])
    assert requests() == {}


def test_preloaded_records_are_those_read_one_by_one(store: Store) -> None:
    fill(store)
    preloaded, lazy = Catalog(store), Catalog(store)
    for asset in ASSETS:
        preloaded.preload(asset, KEYS)
    assert states(preloaded) == states(lazy)
    for key in KEYS:
        assert preloaded.get("unique_pairs", key) == lazy.get("unique_pairs", key)


def test_one_partition_is_read_alone(counted: Store) -> None:
    fill(counted)
    requests()
    assert Catalog(counted).get("raw_pairs", KEYS[7]) == manifest("raw_pairs", KEYS[7])
    assert requests() == {"get": 1}


def test_preloading_some_partitions_reads_no_others(counted: Store) -> None:
    fill(counted)
    catalog = Catalog(counted)
    catalog.preload("raw_pairs", KEYS[:3])
    requests()
    assert catalog.get("raw_pairs", KEYS[2])
    assert requests() == {}
    assert catalog.get("raw_pairs", KEYS[3])
    assert requests() == {"get": 1}


def test_success_after_preloading_is_seen(counted: Store) -> None:
    fill(counted)
    catalog = Catalog(counted)
    catalog.preload("unique_pairs", KEYS)
    catalog.put(manifest("unique_pairs", KEYS[150]))
    assert catalog.state("unique_pairs", KEYS[150], "1", {"plan": "1"}) == "done"


def test_looking_at_a_pool_takes_as_many_requests_for_many_partitions_as_for_few(
    counted: Store,
) -> None:
    costs: list[dict[str, int]] = []
    for few_or_many in (KEYS[:10], KEYS):
        for key in few_or_many:
            plan = PartitionPlan(key, (SourceRange("a.csv", 1, "1"),))
            counted.write_bytes(layout.plan(key), plan.content())
        requests()
        assert len(status.report(counted, Settings())["partitions"]) == len(few_or_many)
        costs.append(requests())
    assert costs[0] == costs[1]


def test_plans_are_read_at_once_and_in_order(counted: Store) -> None:
    plans = [PartitionPlan(key, ()) for key in KEYS]
    for plan in reversed(plans):
        counted.write_bytes(layout.plan(plan.partition), plan.content())
    requests()
    assert ledger.plans(counted) == plans
    assert requests() == {"list": 1, "bulk": 1}


@pytest.mark.parametrize(
    "figures",
    [
        {"count": np.int64(1)},
        {"rate": float("nan")},
        {"sizes": np.zeros(2)},
        {"pair": (1, 2)},
        {"histogram": {0: 1}},
        {3: "number"},
        {"kinds": {"a", "b"}},
    ],
)
def test_figure_that_json_would_change_is_refused_by_name(
    catalog: Catalog, figures: dict[str, Any]
) -> None:
    odd = replace(manifest("raw_pairs", KEYS[0]), report=Report(1, 1, figures=figures))
    name = repr(next(iter(figures)))
    with pytest.raises(CheckFailedError, match=f"report of raw_pairs 00000: found {name}: "):
        catalog.put(odd)
    assert Catalog(catalog.store).get("raw_pairs", KEYS[0]) is None


def test_figures_are_read_back_as_written(catalog: Catalog) -> None:
    figures = {"rate": np.float64(0.5), "sizes": [1, None], "model": {"name": "b32"}, "ok": True}
    catalog.put(replace(manifest("raw_pairs", KEYS[0]), report=Report(1, 1, figures=figures)))
    read = Catalog(catalog.store).require("raw_pairs", KEYS[0])
    assert read.report.figures == figures
