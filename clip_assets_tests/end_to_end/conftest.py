"""A pool of its own for every test: a small demo world, its web server, a Dagster instance."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from clip_assets import layout
from clip_assets.demo import server, world
from clip_assets.demo.truth import World
from clip_assets_tests.pools import PoolAt

PAIRS = 120


@pytest.fixture(scope="session")
def demo_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A small world, served for the time of the tests."""
    folder = tmp_path_factory.mktemp("world")
    with server.serving(folder) as base_url:
        yield world.build_world(folder, base_url, PAIRS)


@pytest.fixture
def pool_at(tmp_path: Path, demo_world: World) -> PoolAt:
    """An empty pool with the settings of a demo and a copy of the world's sources."""
    made = PoolAt(tmp_path, demo_world)
    made.root.mkdir()
    shutil.copytree(demo_world.folder / "sources", tmp_path / "sources")
    settings = {
        "sources": {"watch": [str(tmp_path / "sources")], "rows_per_partition": 50},
        "download": {
            "allow_hosts": ["127.0.0.1"],
            "samples_per_shard": 20,
            "deadline_s": 6,
            "retries": 1,
        },
        "inference": {"model": "demo", "pretrained": None},
    }
    (made.root / layout.SETTINGS_FILE).write_text(yaml.safe_dump(settings))
    made.new_instance()
    return made
