"""A pool is opened once, and a new look at it sees what others did."""

from collections.abc import Callable

import pytest

from clip_assets import graph, layout
from clip_assets.encoders.encoder import Encoder
from clip_assets.errors import DeviceLostError, MissingArtifactError, ModelLoadError
from clip_assets.layout import WHOLE, Key
from clip_assets.partitions import ledger
from clip_assets.pool.pool import Axis, Pool
from clip_assets.settings import InferenceSettings, Settings
from clip_assets.storage.manifests import Report
from clip_assets.storage.store import Store
from clip_assets_tests.upstream import MadeUp


def test_plans_are_read_once(made: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = made.plan(0, 1, 2)
    looks: list[Store] = []
    read = ledger.plans

    def counting(store: Store) -> list[ledger.PartitionPlan]:
        looks.append(store)
        return read(store)

    monkeypatch.setattr(ledger, "plans", counting)
    pool = made.pool
    assert looks == [], "opening a pool reads no plan"
    assert pool.partitions == keys == list(pool.plans)
    assert [pool.plan(key).partition for key in keys] == keys
    assert pool.earlier(keys[1]) + pool.later(keys[1]) == [keys[0], keys[2]]
    assert len(looks) == 1


def test_partitions_before_and_after_one_are_in_order_of_arrival(made: MadeUp) -> None:
    keys = made.plan(0, 1, 3, 7)
    pool = made.pool
    for place, key in enumerate(keys):
        assert pool.earlier(key) == keys[:place]
        assert pool.later(key) == keys[place + 1 :]


@pytest.mark.parametrize("look", [Pool.plan, Pool.earlier, Pool.later])
def test_a_partition_that_was_never_planned_is_our_error(
    made: MadeUp, look: Callable[[Pool, Key], object]
) -> None:
    made.plan(0)
    with pytest.raises(MissingArtifactError, match=r"00007.*no plan.*clip-assets status"):
        look(made.pool, layout.partition_key(7))


@pytest.mark.parametrize(
    ("axis", "keys"),
    [
        ("partition", ["00000", "00001"]),
        ("subset", ["no_filter", "basic_filter", "mine"]),
        ("pool", [WHOLE]),
    ],
)
def test_each_axis_has_its_keys(made: MadeUp, axis: Axis, keys: list[Key]) -> None:
    made.set(subsets={"mine": {"baseline": "basic_filter", "language": "any"}})
    made.plan(0, 1)
    assert made.pool.keys(axis) == keys


def test_a_new_look_sees_what_others_made(made: MadeUp) -> None:
    (key,) = made.plan(0)
    pool = made.pool
    assert pool.partitions == [key]
    assert pool.catalog.get(layout.RAW_PAIRS, key) is None
    made.make(layout.RAW_PAIRS, key, 3, {})
    made.plan(1)
    assert pool.catalog.get(layout.RAW_PAIRS, key) is None, "each manifest is read once"
    assert pool.partitions == [key]
    renewed = pool.renewed()
    found = renewed.catalog.get(layout.RAW_PAIRS, key)
    assert found is not None
    assert found.report == Report(3, 3)
    assert renewed.partitions == [key, layout.partition_key(1)]
    assert (renewed.store, renewed.settings) == (pool.store, pool.settings)
    assert renewed.assets is pool.assets


def test_what_the_pool_has_to_heed_is_told_by_its_content(made: MadeUp) -> None:
    assert made.pool.store_wide("takedowns") == ""
    digests: list[str] = []
    for content in (b"one", b"two", b"one"):
        made.store.write_bytes(layout.store_wide("takedowns"), content)
        digests.append(made.pool.store_wide("takedowns"))
    assert digests[0] == digests[2] != digests[1]
    assert made.pool.store_wide("releases") == ""


def test_what_the_pool_has_to_heed_is_read_once(made: MadeUp) -> None:
    made.store.write_bytes(layout.store_wide("takedowns"), b"one")
    pool = made.pool
    before = pool.store_wide("takedowns")
    made.store.write_bytes(layout.store_wide("takedowns"), b"two")
    assert pool.store_wide("takedowns") == before != pool.renewed().store_wide("takedowns")


class Loading:
    """Counts how often a model is loaded."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.times = 0

    def __call__(self) -> Encoder:
        self.times += 1
        return self.encoder


def test_a_model_is_loaded_once_and_when_it_is_asked_for(store: Store, encoder: Encoder) -> None:
    loading = Loading(encoder)
    pool = Pool(store, Settings(), graph.ASSETS, loading)
    assert pool.model_digest != encoder.identity.digest()
    assert loading.times == 0, "what a model is expected to be is known without it"
    assert pool.encoder() is pool.encoder() is encoder
    assert pool.model_digest == encoder.identity.digest()
    renewed = pool.renewed()
    assert renewed.encoder() is encoder
    assert renewed.model_digest == encoder.identity.digest()
    assert loading.times == 1


def test_a_new_look_loads_its_model_in_the_same_way(store: Store, encoder: Encoder) -> None:
    loading = Loading(encoder)
    assert Pool(store, Settings(), graph.ASSETS, loading).renewed().encoder() is encoder
    assert loading.times == 1


def test_a_new_look_loads_its_model_on_the_devices_that_it_leased(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "99")  # no machine has it
    settings = Settings(inference=InferenceSettings(model="demo", pretrained=None))
    pool = Pool(store, settings, graph.ASSETS).renewed()
    with pool.leased_devices(), pytest.raises(DeviceLostError, match="cuda:0"):
        pool.encoder()


def test_a_model_that_cannot_be_loaded_is_asked_for_once(store: Store) -> None:
    asked: list[int] = []

    def load() -> Encoder:
        asked.append(1)
        raise ModelLoadError("model", "nothing", "weights", "Check it.")

    pool = Pool(store, Settings(), graph.ASSETS, load)
    for _ in range(3):
        with pytest.raises(ModelLoadError):
            pool.encoder()
    assert len(asked) == 1
    with pytest.raises(ModelLoadError):
        pool.renewed().encoder()
    assert len(asked) == 2, "a new look tries again"
