"""Fixtures of more than one test folder."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store, on a disk and on an object store."""
    root = str(tmp_path / "pool") if request.param == "local" else f"memory://{uuid4().hex}"
    opened = Store.open(root)
    yield opened
    if request.param == "memory":
        opened.delete("")


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    """An empty store on a disk."""
    return Store.open(str(tmp_path / "pool"))


@pytest.fixture
def catalog(store: Store) -> Catalog:
    """The manifests of an empty store, on a disk and on an object store."""
    return Catalog(store)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the tests that mostly wait for the daemon first, so that others run beside them."""
    items.sort(key=lambda item: "test_daemon" not in item.nodeid)
