"""Stores in which every subset was an asset of its own."""

import json

import pytest

from clip_assets import graph, layout
from clip_assets.layout import Key
from clip_assets.pool.pool import Pool
from clip_assets.settings import Settings
from clip_assets.storage.store import Store


@pytest.mark.parametrize("preloaded", [False, True])
def test_subset_of_the_first_release_is_still_done(local_store: Store, preloaded: bool) -> None:
    name, asset = Key("no_filter"), graph.ASSETS[layout.SUBSETS]
    written = {
        "asset": "subsets/no_filter",
        "partition": None,
        "code_version": asset.version,
        "inputs": {"name": "no_filter"},
        "outputs": [],
        "report": {"rows_in": 0, "rows_out": 0, "dropped": {}, "figures": {}, "pictures": {}},
        "seconds": 0.1,
        "peak_memory_bytes": 1,
        "finished_at": "2026-11-21T09:00:00+00:00",
    }
    local_store.write_bytes("manifests/subsets/no_filter.json", json.dumps(written).encode())
    pool = Pool(local_store, Settings(), graph.ASSETS)
    if preloaded:
        pool.catalog.preload(asset.name, [name])
    assert asset.state(pool, name) == "done"
    manifest = pool.catalog.require(asset.name, name)
    assert (manifest.asset, manifest.key) == ("subsets", name)
