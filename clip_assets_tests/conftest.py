"""Fixtures of more than one test folder."""

import gc
import itertools
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec.config
import pytest
from hypothesis import HealthCheck, settings

from clip_assets.encoders.encoder import Encoder
from clip_assets.settings import InferenceSettings
from clip_assets.storage.catalog import Catalog
from clip_assets.storage.store import Store
from clip_assets_tests import models, servers
from clip_assets_tests.servers import Bucket, Hub, Relay
from clip_assets_tests.upstream import MadeUp
from clip_assets_tests.websites import Site, website

# The same examples on every run, however slow the machine: a failure belongs to a change.
# --hypothesis-profile=default looks for new ones.
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


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
def made(store: Store) -> MadeUp:
    """An empty pool to make things up in, on a disk and on an object store."""
    return MadeUp(store)


@pytest.fixture
def catalog(store: Store) -> Catalog:
    """The manifests of an empty store, on a disk and on an object store."""
    return Catalog(store)


@pytest.fixture(scope="session")
def relays() -> Iterator[dict[str, Relay]]:
    """The servers of buckets, by protocol; started once."""
    with servers.google_storage() as gs, servers.s3() as s3:
        yield {"gs": gs, "s3": s3}


@pytest.fixture(params=["gs", "s3"])
def bucket(
    request: pytest.FixtureRequest,
    relays: dict[str, Relay],
    monkeypatch: pytest.MonkeyPatch,
) -> Bucket:
    """A folder of a bucket, on Google's storage and on S3."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", relays["gs"].url)
    # The emulator lacks the second interface that the client asks for the kind of a bucket.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    monkeypatch.setenv("AWS_ENDPOINT_URL", relays["s3"].url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return Bucket(f"{request.param}://{servers.BUCKET}/{uuid4().hex}", relays[request.param])


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a small model."""
    return models.write_model(tmp_path_factory.mktemp("model"), models.SMALL)


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder of a small model; ``seed`` makes another one, ``config`` changes its parts."""

    def make(seed: int = 0, **config: Any) -> Path:
        merged = {
            "model_cfg": models.SMALL["model_cfg"] | config.get("model_cfg", {}),
            "preprocess_cfg": models.SMALL["preprocess_cfg"] | config.get("preprocess_cfg", {}),
        }
        return models.write_model(tmp_path_factory.mktemp("model"), merged, seed)

    return make


@pytest.fixture(scope="session")
def inference(model_folder: Path) -> InferenceSettings:
    """Settings of the small model, exact and in small batches."""
    return InferenceSettings(
        model=f"local-dir:{model_folder}", precision="fp32", batch_size=8, decode_threads=2
    )


@pytest.fixture(scope="session")
def encoder(inference: InferenceSettings) -> Encoder:
    """The small model, loaded."""
    from clip_assets.encoders.openclip.loading import load_encoder

    return load_encoder(inference, "cpu")


@pytest.fixture(scope="session")
def images() -> Callable[..., bytes]:
    """Bytes of an image file: number, size, mode, form and the form's options."""

    def make(
        number: int = 0,
        size: tuple[int, int] = (40, 48),
        mode: str = "RGB",
        form: str = "JPEG",
        **options: Any,
    ) -> bytes:
        return models.encoded(models.draw(number, size).convert(mode), form, **options)

    return make


@pytest.fixture(scope="session")
def hub_server() -> Iterator[Hub]:
    """A hub of data sets; started once."""
    with servers.hub() as found:
        yield found


@pytest.fixture
def hub(hub_server: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub without data sets, which hf:// urls mean."""
    hub_server.files.clear()
    hub_server.requests.clear()
    hub_server.token, hub_server.latency_s, hub_server.knows_ranges = "", 0, True
    monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": hub_server.url})
    return hub_server


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server without files."""
    with website() as found:
        yield found


@pytest.fixture
def unused_url() -> str:
    """Of a server that nobody runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long tests, and keep together what shares fixtures.

    Each worker gets a contiguous part of the items first, and later the end of another's. One
    begins with what waits for the daemon, so that the others have the cores to themselves.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    parts: list[list[pytest.Item]] = [[] for _ in range(workers)]
    slow = [item for item in items if item.get_closest_marker("slow")]
    parts[0] += [item for item in slow if item.path.name == "test_daemon.py"]
    files: dict[Path, list[pytest.Item]] = {}
    for item in slow:
        if item.path.name != "test_daemon.py":
            files.setdefault(item.path, []).append(item)
    for file in sorted(files.values(), key=len, reverse=True):
        min(parts[1:] or parts, key=len).extend(file)
    fast = [item for item in items if not item.get_closest_marker("slow")]
    fast.sort(key=lambda item: item.path.parent)
    for number, part in enumerate(parts, 1):
        least = len(items) * number // workers - len(items) * (number - 1) // workers
        taken = max(0, least - len(part))
        part += fast[:taken]
        del fast[:taken]
    items[:] = itertools.chain(*parts, fast)


# Thousands of tests are collected without a look for cycles, and what is there then is no more
# looked at: that was a third of the time to collect.
gc.disable()


def pytest_collection_finish() -> None:
    """From now on cycles are looked for among what tests make."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """DuckDB complains at the end of a process of what of its own was not looked at."""
    gc.unfreeze()
