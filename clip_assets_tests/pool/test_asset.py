"""An asset is made from its dependencies and settings, and heeds what the whole pool has to."""

from dataclasses import replace
from pathlib import Path

import pytest

from clip_assets import layout
from clip_assets.errors import CheckFailedError
from clip_assets.layout import Key
from clip_assets.pool.asset import Asset, Inputs
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.settings import Settings
from clip_assets.storage.manifests import Failure, Report
from clip_assets.storage.store import Store
from clip_assets_tests.pool.conftest import NewPool, asset

KEYS = [layout.partition_key(number) for number in range(4)]
TAKEDOWNS = layout.store_wide("takedowns")


def nothing(run: StageRun) -> Report:
    """A stage that publishes no file."""
    del run
    return Report(0, 0)


def test_inputs_are_dependencies_and_settings(pool: Pool) -> None:
    plain = asset(plan="1", raw_pairs="2")
    declared = replace(plain, deps=("raw_pairs",), settings=("plan",))
    assert declared.made_from(pool, KEYS[0]) == {"plan": "1", "raw_pairs": "2"}


def test_an_input_may_be_of_one_key_of_a_dependency(pool: Pool) -> None:
    of_keys = asset(**{"raw_pairs/00000": "1", "raw_pairs/00001": "2"})
    declared = replace(of_keys, deps=("raw_pairs",), settings=())
    assert declared.made_from(pool, layout.WHOLE) == {
        "raw_pairs/00000": "1",
        "raw_pairs/00001": "2",
    }


@pytest.mark.parametrize("name", ["unique_pairs", "unique_pairs/00000", "raw", "precision"])
def test_an_input_that_is_neither_is_refused(pool: Pool, name: str) -> None:
    declared = replace(asset(**{name: "1", "plan": "2"}), deps=("raw_pairs",), settings=("plan",))
    told = rf"found {name.partition('/')[0]}, expected only its deps \(raw_pairs\) and settings"
    with pytest.raises(CheckFailedError, match=told):
        materialize(pool, declared, KEYS[0], lambda _: pytest.fail("it ran"))
    assert pool.catalog.get(declared.name, KEYS[0]) is None
    assert pool.store.list("locks") == []


def heeding(*names: str) -> Asset:
    """An asset that heeds store-wide inputs."""
    return replace(asset(plan="1"), heeds=names)


def test_what_the_pool_has_to_heed_is_an_input_of_those_that_heed_it(
    pool: Pool, new_pool: NewPool
) -> None:
    heeds, ignores = heeding("takedowns"), heeding()
    assert heeds.made_from(pool, KEYS[0]) == {"plan": "1"}, "where there is none, it is no input"
    pool.store.write_bytes(TAKEDOWNS, b"one")
    now = new_pool()
    inputs = heeds.made_from(now, KEYS[0])
    assert inputs.keys() == {"plan", "takedowns"}
    assert ignores.made_from(now, KEYS[0]) == {"plan": "1"}
    pool.store.write_bytes(TAKEDOWNS, b"two")
    assert heeds.made_from(new_pool(), KEYS[0]) != inputs


def test_a_change_of_what_is_heeded_makes_it_stale(pool: Pool, new_pool: NewPool) -> None:
    heeds, other = heeding("takedowns"), heeding("releases")
    states: list[str] = []
    outcome = materialize(pool, heeds, KEYS[0], nothing)
    for content in (b"one", b"two", None):
        if content is None:
            pool.store.delete(TAKEDOWNS)
        else:
            pool.store.write_bytes(TAKEDOWNS, content)
        states.append(heeds.state(new_pool(), KEYS[0]))
        assert other.state(new_pool(), KEYS[0]) == (
            "done" if "takedowns" not in outcome.manifest.inputs else "stale"
        )
        outcome = materialize(new_pool(), heeds, KEYS[0], nothing)
        assert not outcome.reused
        assert ("takedowns" in outcome.manifest.inputs) == (content is not None)
        assert heeds.state(new_pool(), KEYS[0]) == "done"
    assert states == ["stale"] * 3


def test_each_key_has_a_state(pool: Pool, new_pool: NewPool) -> None:
    for key in KEYS[:3]:
        materialize(pool, asset(plan="1" if key == KEYS[0] else "0"), key, nothing)
    pool.catalog.put_failure(layout.RAW_PAIRS, KEYS[2], Failure("E", "gone", "2026-01-01"))
    expected = dict(zip(KEYS, ("done", "stale", "failed", "missing"), strict=True))
    assert asset(plan="1").states(new_pool(), KEYS) == expected
    later = new_pool()
    assert {key: asset(plan="1").state(later, key) for key in KEYS} == expected


def test_other_code_or_inputs_are_not_those_of_a_manifest(pool: Pool) -> None:
    made = materialize(pool, asset(plan="1"), KEYS[0], nothing).manifest
    assert asset().is_current(made, {"plan": "1"})
    assert not asset(version="2").is_current(made, {"plan": "1"})
    assert not asset().is_current(made, {"plan": "2"})
    assert not asset().is_current(made, {})


def test_what_a_key_is_made_from_is_found_once(pool: Pool) -> None:
    """And before the work, so that what changes meanwhile makes it stale."""
    looks: list[str] = []

    def today(pool: Pool, key: Key) -> Inputs:
        del pool
        looks.append(key)
        return {"plan": str(len(looks))}

    changing = replace(asset(plan=""), inputs=today)
    outcome = materialize(pool, changing, KEYS[0], nothing)
    assert looks == [KEYS[0]]
    assert outcome.manifest.inputs == {"plan": "1"}
    assert changing.state(pool, KEYS[0]) == "stale"


def test_keys_of_what_is_made_once_are_one(tmp_path: Path) -> None:
    pool = Pool(Store.open(str(tmp_path)), Settings(), {})
    assert asset(layout.METADATA_STATS).states(pool, [layout.WHOLE]) == {"": "missing"}
    materialize(pool, asset(layout.METADATA_STATS), layout.WHOLE, nothing)
    assert asset(layout.METADATA_STATS).states(pool, [layout.WHOLE]) == {"": "done"}
