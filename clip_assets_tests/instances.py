"""Fixtures of what runs through Dagster: a pool of three partitions, and an instance of its own."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from clip_assets.orchestration.resources import PoolResource
from clip_assets_tests.pools import three_partitions


@pytest.fixture
def resource(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PoolResource:
    """The pool, which the environment does not name."""
    for name in ("CLIP_ASSETS_ROOT", "CLIP_ASSETS_POOL"):
        monkeypatch.delenv(name, raising=False)
    return three_partitions(tmp_path)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An empty Dagster instance."""
    with dg.instance_for_test() as made:
        yield made
