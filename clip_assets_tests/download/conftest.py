"""A web that misbehaves, settings for it, and a pool that downloads from it."""

import ssl
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from clip_assets.settings import DownloadSettings
from clip_assets.storage.store import Store
from clip_assets_tests.download.authority import Authority
from clip_assets_tests.download.pairs import made_up
from clip_assets_tests.download.web import RawWeb, Web, serving, serving_bytes
from clip_assets_tests.upstream import MadeUp


@pytest.fixture
def site() -> Generator[Web]:
    """A web server on every loopback address."""
    with serving() as found:
        yield found


@pytest.fixture
def raw() -> Generator[RawWeb]:
    """A server whose answers are bytes."""
    with serving_bytes() as found:
        yield found


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A certificate authority that nobody trusts yet."""
    return Authority.founded(tmp_path)


@pytest.fixture
def tls_site() -> Generator[Callable[[ssl.SSLContext], Web]]:
    """Starts web servers on https."""
    with ExitStack() as sites:
        yield lambda context: sites.enter_context(serving(context))


@pytest.fixture
def settings() -> DownloadSettings:
    """Loopback is allowed; limits are for a busy machine."""
    return DownloadSettings(
        allow_hosts=["127.0.0.0/8"],
        samples_per_shard=10,
        concurrency=16,
        connect_timeout_s=30,
        read_timeout_s=30,
        deadline_s=60,
    )


@pytest.fixture
def hasty(settings: DownloadSettings) -> DownloadSettings:
    """Every limit is reached soon, and nothing is tried again."""
    return settings.model_copy(
        update={"connect_timeout_s": 1, "read_timeout_s": 1, "deadline_s": 2, "retries": 0}
    )


@pytest.fixture
def made(store: Store, settings: DownloadSettings) -> MadeUp:
    """A pool without pairs, on a disk and on an object store."""
    return made_up(store, settings)


@pytest.fixture
def local_made(local_store: Store, settings: DownloadSettings) -> MadeUp:
    """A pool without pairs on a disk."""
    return made_up(local_store, settings)
