"""Pools that tests work on through Dagster: by its Python interface, and by the real commands."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from clip_assets import graph, layout
from clip_assets.demo.truth import World
from clip_assets.orchestration import partitions
from clip_assets.orchestration.resources import PoolResource
from clip_assets.partitions import ledger
from clip_assets.status import report
from clip_assets.storage.catalog import Catalog
from clip_assets.storage.store import Store

CHECKOUT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


KEYS = [layout.partition_key(number) for number in range(3)]
"""Partitions of ``three_partitions``."""


def three_partitions(folder: Path, host: str = "http://h", **settings: Any) -> PoolResource:
    """A pool of three csv files of ten pairs, a partition each; 1 repeats two pairs of 0.

    Args:
        folder: gets the pool and, in ``sources``, its files.
        host: of its urls, ``/0.jpg`` to ``/29.jpg``.
        settings: sections of its settings beside those that make it small.
    """
    root, sources = folder / "data", folder / "sources"
    for place in (root, sources):
        place.mkdir()
    for number in range(3):
        first = 8 if number == 1 else 10 * number
        rows = "".join(f"{host}/{row}.jpg,caption {row}\n" for row in range(first, first + 10))
        (sources / f"{number}.csv").write_text(f"url,caption\n{rows}")
    small = {
        "sources": {"rows_per_partition": 10},
        "inference": {"model": "demo"},
        "devices": "none",
    }
    write_settings(root, small | settings)
    resource = PoolResource(root=str(root))
    pool = resource.open()
    added = ledger.add_sources(pool.store, [str(sources)], pool.settings.sources)
    assert [plan.partition for plan in added.plans] == KEYS
    return resource


def write_settings(root: Path, settings: dict[str, Any]) -> None:
    """The settings file of a pool."""
    (root / layout.SETTINGS_FILE).write_text(yaml.safe_dump(settings))


@dataclass(frozen=True)
class PoolAt:
    """A pool in a folder, worked on by the real commands.

    Args:
        folder: holds the pool, the Dagster instance and the sources.
        world: what the sources hold, where they are those of a demo world.
    """

    folder: Path
    world: World | None = None
    variables: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def root(self) -> Path:
        return self.folder / "data"

    @property
    def home(self) -> Path:
        return self.folder / "dagster"

    @property
    def store(self) -> Store:
        return Store.open(str(self.root))

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.store)

    @property
    def environment(self) -> dict[str, str]:
        named = {
            "CLIP_ASSETS_ROOT": str(self.root),
            "DAGSTER_HOME": str(self.home),
            "DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME": "clip_assets.definitions",
        }
        return os.environ | named | self.variables

    def start(self, command: str, *arguments: str) -> "subprocess.Popen[str]":
        """One of the environment's commands, running."""
        return subprocess.Popen(
            [BIN / command, *arguments],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, command: str, *arguments: str, code: int = 0) -> str:
        """Run a command that must end with ``code``; returns what it printed."""
        process = self.start(command, *arguments)
        try:
            output, errors = process.communicate(timeout=600)
        finally:
            process.kill()
        assert process.returncode == code, f"{output}\n{errors}"
        return output if code == 0 else output + errors

    def cli(self, *arguments: str, code: int = 0) -> str:
        """``clip-assets ...``."""
        return self.run("clip-assets", "-q", *arguments, code=code)

    def status(self) -> dict[str, Any]:
        """What ``clip-assets status --json`` tells, without a process."""
        return json.loads(json.dumps(report(graph.open_pool(str(self.root)))))

    def add_world(self) -> None:
        """What ``clip-assets add`` does with every source of the world, without a process."""
        settings = graph.open_pool(str(self.root), create=True).settings.sources
        ledger.add_sources(self.store, [str(self.folder / "sources")], settings)
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            partitions.sync(instance, graph.open_pool(str(self.root)))

    def new_instance(self) -> None:
        """Start with an empty Dagster instance."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()
        config = yaml.safe_load((CHECKOUT / "dagster.yaml").read_text())
        # The embedded instance keeps its state in the working directory; this one at home.
        for name in ("storage", "local_artifact_storage", "compute_logs"):
            del config[name]
        (self.home / "dagster.yaml").write_text(yaml.safe_dump(config))
