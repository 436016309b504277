"""Commands and steps in a download that takes for ever: asked to end, and orphaned."""

import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from clip_assets import graph
from clip_assets.partitions import ledger
from clip_assets_tests.download.web import Web, serving
from clip_assets_tests.pools import PoolAt, write_settings
from clip_assets_tests.test_processes import wait_for_the_end_of

NEVER_S = 1000

pytestmark = pytest.mark.slow


@pytest.fixture
def site() -> Iterator[Web]:
    with serving() as web:
        yield web


@pytest.fixture
def pool_at(tmp_path: Path, site: Web) -> PoolAt:
    """A pool of urls that answer after the test."""
    made = PoolAt(tmp_path)
    made.new_instance()
    made.root.mkdir()
    download = {"allow_hosts": [f"127.0.0.1:{site.port}"]}
    download |= {"read_timeout_s": NEVER_S, "deadline_s": NEVER_S}
    write_settings(made.root, {"download": download, "inference": {"model": "demo"}})
    urls = [site.serve(f"/{number}.jpg", delay_s=NEVER_S) for number in range(8)]
    (tmp_path / "pairs.csv").write_text("".join(f"{url}\n" for url in ["url", *urls]))
    settings = graph.open_pool(str(made.root), create=True).settings
    ledger.add_sources(made.store, [str(tmp_path / "pairs.csv")], settings.sources)
    return made


def family_when_asked(process: "subprocess.Popen[str]", site: Web) -> list[psutil.Process]:
    """The processes that a command has started when it is in the middle of a download."""
    started = psutil.Process(process.pid)
    while not site.requests:
        assert process.poll() is None, process.communicate()
    return started.children(recursive=True)


def test_nothing_outlives_a_command_that_is_asked_to_end_or_killed(
    pool_at: PoolAt, site: Web
) -> None:
    words = ["--partitions", "00000", "--select", "*image_shards"]
    process = pool_at.start("clip-assets", "-q", "run", *words)
    family = family_when_asked(process, site)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "Kept: finished partitions" in told
    assert told.strip().endswith(f"To go on: clip-assets -q run {shlex.join(words)}")
    for member in family:
        wait_for_the_end_of(member.pid)

    site.requests.clear()
    words = ["asset", "materialize", "--select", "image_shards", "--partition", "00000"]
    process = pool_at.start("dagster", *words)
    family = family_when_asked(process, site)
    assert len(family) > 2, "a step has a process of its own"
    process.kill()
    process.communicate()
    for member in family:
        wait_for_the_end_of(member.pid)
