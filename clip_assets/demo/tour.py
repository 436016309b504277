"""The first five minutes: the whole graph over the demo world, and a look at the result.

What the tour does, a person can do with the commands that it prints; it calls the same
functions. The world itself is in ``demo.world`` and its web server in ``demo.server``.
"""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from clip_assets import graph, layout, settings
from clip_assets.demo import server, world
from clip_assets.demo.truth import ADVERTISED_QUERIES, World, read_world
from clip_assets.errors import ConfigurationError
from clip_assets.partitions import ledger
from clip_assets.pool.pool import Pool
from clip_assets.storage.store import Store

Say = Callable[[str], object]

SHOWN = 3
"""Results printed for a query."""

NEXT_STEPS = """
Next:
  make ui                          the graph, runs and metadata on http://127.0.0.1:3000
  source env.sh                    then, in this shell:
  export CLIP_ASSETS_ROOT={root}
  clip-assets status               what is done, and what failed and why
  clip-assets serve                the search page on http://127.0.0.1:1234
  clip-assets search "a blue star" another query
  dagster asset materialize --select {asset} --partition 00000
                                   one partition of one asset
  clip-assets add my.csv --root my-pool && clip-assets run --root my-pool
                                   your own pairs: csv, tsv, parquet or jsonl with a url column
"""


def tour(folder: Path, root: str, *, pairs: int, port: int, say: Say) -> dict[str, str]:
    """Build the world, run the graph over it, search it.

    Args:
        folder: where the world's images and sources go.
        root: the pool's store.
        pairs: unique pairs of the world.
        port: of the world's web server; urls name it, so it stays the same.
        say: prints one text.

    Returns:
        Failure message by asset and partition; empty when all went well.

    Raises:
        ConfigurationError: ``folder`` or ``root`` is somebody's or of another demo, or the
            port is taken.
    """
    start = time.monotonic()
    _refuse_taken(port)
    pool = _pool(root, folder, port)
    store, sources = pool.store, pool.settings.sources
    say(f"1. a world of {pairs:,} images in {folder}, for a pool in {root}")
    built = _world(folder, store, pairs, port)
    say(f"   {built.rows:,} rows in {len(built.sources)} files, {built.unique_pairs:,} unique")
    say("2. partitions")
    added = ledger.add_sources(store, sources.watch, sources)
    if added.changed:
        raise _another_world(store)
    say(f"   {len(added.plans)} new, {len(ledger.plans(store))} in all")
    say("3. the asset graph, through Dagster")
    with server.serving(folder, port):
        failures = _materialize(pool)
    say(f"   {time.monotonic() - start:.0f} s since the start")
    if failures:
        return failures
    _search(pool, built, say)
    say(NEXT_STEPS.format(root=root, asset=layout.EMBEDDINGS))
    return {}


def _refuse_taken(port: int) -> None:
    try:
        socket.create_server((server.HOST, port)).close()
    except OSError as error:
        raise ConfigurationError(
            f"port {port}", str(error.strerror), "a port that is free", "Name another --port."
        ) from error


def _world(folder: Path, store: Store, pairs: int, port: int) -> World:
    """The world that the pool is of, or a new one for a pool without partitions."""
    existing = read_world(folder)
    if existing and existing[1]["pairs"] != pairs and ledger.plans(store):
        raise _another_world(store)
    return world.build_world(folder, f"http://{server.HOST}:{port}", pairs)


def _another_world(store: Store) -> ConfigurationError:
    return ConfigurationError(
        store.uri(),
        "a pool of another demo world",
        "no pool, or one of this world",
        "Give the same --pairs as before, or remove the old demo: make clean",
    )


def _pool(root: str, folder: Path, port: int) -> Pool:
    """Write the pool's settings, unless it is there; refuse a pool that is not the demo's."""
    store = Store.open(settings.absolute(root))
    wanted: dict[str, Any] = {
        "sources": {"watch": [str((folder / "sources").resolve())], "rows_per_partition": 1000},
        "download": {
            "allow_hosts": [f"{server.HOST}:{port}"],
            "samples_per_shard": 500,
            "deadline_s": 4,
            "retries": 0,
            "per_host": 32,
        },
        "inference": {"model": "demo", "pretrained": None},
    }
    if store.exists(layout.SETTINGS_FILE):
        if yaml.safe_load(store.read_bytes(layout.SETTINGS_FILE)) != wanted:
            raise ConfigurationError(
                store.uri(layout.SETTINGS_FILE),
                "the settings of another pool",
                "no pool, or this demo's",
                "Name another --root, or remove the old demo: make clean",
            )
    elif ledger.plans(store):
        raise ConfigurationError(
            store.uri(), "a pool with partitions", "no pool yet", "Name another --root."
        )
    else:
        store.write_bytes(layout.SETTINGS_FILE, yaml.safe_dump(wanted, sort_keys=False).encode())
    return graph.open_pool(root)


def _materialize(pool: Pool) -> dict[str, str]:
    from clip_assets.definitions import build_defs
    from clip_assets.orchestration.instance import opened
    from clip_assets.orchestration.resources import PoolResource
    from clip_assets.orchestration.runs import PoolRun

    resource = PoolResource(root=pool.settings.root)
    with opened() as instance:
        return PoolRun(build_defs(resource), resource, instance).run().failures


def _search(pool: Pool, built: World, say: Say) -> None:
    from clip_assets.retrieval.search import Searcher

    first = 0
    say("4. search")
    with Searcher.open(pool) as searcher:
        for query in ADVERTISED_QUERIES:
            hits = searcher.search(query, k=SHOWN)
            say(f'\n   "{query}"')
            for hit in hits:
                say(f"   {hit.similarity:.3f}  {hit.caption!r}  {hit.url}")
            first += bool(hits) and built.matches(hits[0].url or "", query)
    say(f"\n   the first result is right for {first} of {len(ADVERTISED_QUERIES)} queries")
