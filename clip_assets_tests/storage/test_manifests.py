"""Records are read in bulk where many are wanted, and hold json only."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar
from uuid import uuid4

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from clip_assets import graph, layout, status
from clip_assets.dedup.unique_pairs import UNIQUE_PAIRS
from clip_assets.encoders.encoder import ModelIdentity
from clip_assets.encoders.identity import claim_model
from clip_assets.errors import CheckFailedError, MissingArtifactError, SchemaError
from clip_assets.layout import Key
from clip_assets.pairs.raw_pairs import RAW_PAIRS
from clip_assets.partitions import ledger
from clip_assets.partitions.ledger import PartitionPlan, SourceRange
from clip_assets.pool.pool import Pool
from clip_assets.settings import Settings
from clip_assets.storage.catalog import Catalog
from clip_assets.storage.manifests import Failure, Manifest, Output, Report
from clip_assets.storage.store import Store

KEYS = [layout.partition_key(number) for number in range(200)]
PLAN = {"plan": "1"}
GONE = Failure("SourceError", "gone", "2026-01-01")
ASSETS = tuple(
    replace(asset, inputs=lambda *_: PLAN, settings=("plan",), deps=())
    for asset in (RAW_PAIRS, UNIQUE_PAIRS)
)


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


def manifest(asset: str, key: Key) -> Manifest:
    output = Output(f"{asset}/{key}", 1, "ab")
    return Manifest(asset, key, "1", PLAN, [output], Report(1, 1), 0.1, 1, "now")


def fill(store: Store) -> None:
    """The first asset is done; of the second half is, one failed and the rest is missing."""
    writer = Catalog(store)
    for key in KEYS:
        writer.put(manifest(layout.RAW_PAIRS, key))
    for key in KEYS[:100]:
        writer.put(manifest(layout.UNIQUE_PAIRS, key))
    writer.put_failure(layout.UNIQUE_PAIRS, KEYS[150], GONE)


def opened(store: Store) -> Pool:
    return Pool(store, Settings(), graph.ASSETS)


def states(pool: Pool) -> dict[str, list[str]]:
    """Of every key, as they are read one by one where nobody preloaded them."""
    return {asset.name: [asset.state(pool, key) for key in KEYS] for asset in ASSETS}


def test_preloaded_states_cost_two_listings_and_one_bulk_read_for_each_asset(
    counted: Store,
) -> None:
    fill(counted)
    requests()
    pool = opened(counted)
    found = {asset.name: asset.states(pool, KEYS) for asset in ASSETS}
    failure = pool.catalog.failure(layout.UNIQUE_PAIRS, KEYS[150])
    assert requests() == {"list": 2 * len(ASSETS), "bulk": len(ASSETS)}
    assert failure == GONE
    assert Counter(found[layout.UNIQUE_PAIRS].values()) == {"done": 100, "missing": 99, "failed": 1}
    for asset in ASSETS:
        pool.catalog.preload(asset.name, KEYS[:1])
    assert requests() == {}


def test_preloaded_records_are_those_read_one_by_one(store: Store) -> None:
    fill(store)
    preloaded, lazy = opened(store), opened(store)
    for asset in ASSETS:
        preloaded.catalog.preload(asset.name, KEYS)
    assert states(preloaded) == states(lazy)
    for key in KEYS:
        one, other = (pool.catalog.get(layout.UNIQUE_PAIRS, key) for pool in (preloaded, lazy))
        assert one == other


def one_by_one(pool: Pool) -> object:
    return ASSETS[0].state(pool, KEYS[0])


def preloaded(pool: Pool) -> object:
    return ASSETS[0].states(pool, KEYS[:1])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"partition": null}', b"\xff"])
@pytest.mark.parametrize("path_of", [layout.manifest, layout.failure])
@pytest.mark.parametrize("look", [one_by_one, preloaded])
def test_a_damaged_record_is_named(
    store: Store,
    content: bytes,
    path_of: Callable[[str, Key], str],
    look: Callable[[Pool], object],
) -> None:
    path = path_of(layout.RAW_PAIRS, KEYS[0])
    store.write_bytes(path, content)
    pool = opened(store)
    with pytest.raises(SchemaError, match=f"{path}: found .*, expected .*clip-assets run"):
        look(pool)


def test_one_partition_is_read_alone(counted: Store) -> None:
    fill(counted)
    requests()
    assert Catalog(counted).get(layout.RAW_PAIRS, KEYS[7]) == manifest(layout.RAW_PAIRS, KEYS[7])
    assert requests() == {"get": 1}


def test_preloading_some_partitions_reads_no_others(counted: Store) -> None:
    fill(counted)
    catalog = Catalog(counted)
    catalog.preload(layout.RAW_PAIRS, KEYS[:3])
    requests()
    assert catalog.get(layout.RAW_PAIRS, KEYS[2])
    assert requests() == {}
    assert catalog.get(layout.RAW_PAIRS, KEYS[3])
    assert requests() == {"get": 1}


def test_success_after_preloading_is_seen(counted: Store) -> None:
    fill(counted)
    pool = opened(counted)
    pool.catalog.preload(layout.UNIQUE_PAIRS, KEYS)
    pool.catalog.put(manifest(layout.UNIQUE_PAIRS, KEYS[150]))
    assert ASSETS[1].state(pool, KEYS[150]) == "done"


def test_failure_after_preloading_is_seen(counted: Store) -> None:
    fill(counted)
    pool = opened(counted)
    pool.catalog.preload(layout.RAW_PAIRS, KEYS)
    pool.catalog.put_failure(layout.RAW_PAIRS, KEYS[0], GONE)
    assert ASSETS[0].state(pool, KEYS[0]) == "failed"
    pool.catalog.preload(layout.RAW_PAIRS, KEYS)
    assert ASSETS[0].state(pool, KEYS[0]) == "failed"
    pool.catalog.forget_failure(layout.RAW_PAIRS, KEYS[0])
    assert ASSETS[0].state(pool, KEYS[0]) == "done"


def test_looking_at_a_pool_takes_as_many_requests_for_many_partitions_as_for_few(
    counted: Store,
) -> None:
    claim_model(counted, ModelIdentity("any", None, "ab", "{}", 8, "fp32"))
    costs: list[dict[str, int]] = []
    for few_or_many in (KEYS[:10], KEYS):
        for key in few_or_many:
            plan = PartitionPlan(key, (SourceRange("a.csv", 1, "1"),))
            counted.write_bytes(layout.plan(key), plan.content())
            for asset in graph.ASSETS.values():
                if asset.axis == "partition":
                    made = replace(manifest(asset.name, key), inputs={"model": "any"}, outputs=[])
                    Catalog(counted).put(made)
        requests()
        assert len(status.report(opened(counted))["partitions"]) == len(few_or_many)
        costs.append(requests())
    assert costs[0] == costs[1]
    assert costs[1]["list"] <= 2 * len(graph.ASSETS)


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
    odd = replace(manifest(layout.RAW_PAIRS, KEYS[0]), report=Report(1, 1, figures=figures))
    name = repr(next(iter(figures)))
    with pytest.raises(CheckFailedError, match=f"report of raw_pairs 00000: found {name}: "):
        catalog.put(odd)
    assert Catalog(catalog.store).get(layout.RAW_PAIRS, KEYS[0]) is None


def test_figures_are_read_back_as_written(catalog: Catalog) -> None:
    figures = {"rate": np.float64(0.5), "sizes": [1, None], "model": {"name": "b32"}, "ok": True}
    catalog.put(replace(manifest(layout.RAW_PAIRS, KEYS[0]), report=Report(1, 1, figures=figures)))
    read = Catalog(catalog.store).require(layout.RAW_PAIRS, KEYS[0])
    assert read.report.figures == figures


def test_a_manifest_is_read_back_as_written(store: Store) -> None:
    for key in (KEYS[0], layout.WHOLE):
        whole = manifest(layout.RAW_PAIRS, key)
        Catalog(store).put(whole)
        assert Catalog(store).get(layout.RAW_PAIRS, key) == whole


@pytest.mark.parametrize(("key", "told"), [(KEYS[0], "00000"), (layout.WHOLE, None)])
def test_a_manifest_file_says_partition_as_it_always_has(
    catalog: Catalog, key: Key, told: str | None
) -> None:
    catalog.put(manifest(layout.RAW_PAIRS, key))
    content = json.loads(catalog.store.read_bytes(layout.manifest(layout.RAW_PAIRS, key)))
    assert list(content) == [
        "asset", "partition", "code_version", "inputs", "outputs", "report", "seconds",
        "peak_memory_bytes", "finished_at",
    ]  # fmt: skip
    assert content["partition"] == told


def test_outputs_are_told_apart_by_what_they_are() -> None:
    key = KEYS[3]
    paths = (layout.pair_keys(key), layout.raw(key), layout.rejects(key), layout.raw(KEYS[2]))
    outputs = [Output(path, 1, f"{number}") for number, path in enumerate(paths)]
    whole = replace(manifest(layout.RAW_PAIRS, key), outputs=outputs)
    assert whole.of_kind(layout.raw) == [outputs[1], outputs[3]]
    assert whole.of_kind(layout.unique) == []
    of_keys = replace(whole, outputs=outputs[:1])
    assert whole.digest(layout.pair_keys) == of_keys.digest() != whole.digest()
    both = replace(whole, outputs=[outputs[2], outputs[0]])
    assert whole.digest(layout.pair_keys, layout.rejects) == both.digest()


def test_a_digest_is_that_of_the_last_manifest(catalog: Catalog) -> None:
    first = manifest(layout.RAW_PAIRS, KEYS[0])
    second = replace(first, outputs=[Output("raw/other", 1, "cd")])
    assert catalog.digest(first.asset, first.key) == "absent"
    for made in (first, second):
        catalog.put(made)
        assert catalog.digest(made.asset, made.key) == made.digest()


def test_pictures_do_not_change_a_digest() -> None:
    plain = manifest(layout.RAW_PAIRS, KEYS[0])
    picture = Output(layout.picture(layout.RAW_PAIRS, KEYS[0], "sizes.png"), 1, "cd")
    drawn = replace(plain, outputs=[*plain.outputs, picture])
    assert drawn.digest() == plain.digest()
    assert drawn.size_bytes == 2


@pytest.mark.parametrize(
    ("key", "named", "command"),
    [
        (KEYS[0], "raw_pairs 00000", "--select raw_pairs --partitions 00000"),
        (layout.WHOLE, "raw_pairs", "--select raw_pairs$"),
    ],
)
def test_what_must_be_done_and_is_not_is_asked_for(
    catalog: Catalog, key: Key, named: str, command: str
) -> None:
    with pytest.raises(MissingArtifactError, match=command) as caught:
        catalog.require(layout.RAW_PAIRS, key)
    assert caught.value.where == named
