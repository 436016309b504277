"""Writes a small world: images, and the tables that list them on a web server of ours.

The world has what real pools have: images of all formats and sizes, captions with quotes, newlines
or the wrong content, duplicates, and urls that fail in every way. The same arguments write the same
bytes. What is in it afterwards tells ``demo.truth``; it is served by ``demo.server``.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clip_assets.demo.batch import publish_batch
from clip_assets.demo.scenes import pick
from clip_assets.demo.sources import CSV_LAYOUTS, Row, read_datacomp, write_csv, write_datacomp
from clip_assets.demo.truth import MARKER_NAME, World, merged, read_world, write_world
from clip_assets.errors import ConfigurationError

FORMAT = 1
"""Raised when the same arguments write other files than before."""

FULL_PAIRS = 4000
DUPLICATE_SHARE = 0.1
OUR_NAMES = frozenset({"images", "sources", MARKER_NAME, f".{MARKER_NAME}.part"})
SOURCE_NAMES = (
    "00-laion.csv",
    "01-laion.csv",
    "02-laion.csv",
    "03-datacomp.parquet",
    "04-crawl.csv",
    "05-crawl.csv",
)


def build_world(folder: Path, base_url: str, pairs: int = FULL_PAIRS, seed: int = 0) -> World:
    """Write a world of ``pairs`` unique pairs in five csv files and a parquet file.

    A world that the same arguments have completed is reused, with all files dropped into it since.

    Raises:
        ConfigurationError: ``folder`` holds files that are no world's.
    """
    arguments: dict[str, Any] = {
        "format": FORMAT,
        "base_url": base_url,
        "pairs": pairs,
        "seed": seed,
    }
    existing = read_world(folder)
    if existing and existing[1] == arguments:
        return existing[0]
    _clear(folder)
    rng = np.random.default_rng([seed, 0])
    batch = publish_batch(folder, base_url, pairs, 0, rng)
    duplicates = [pick(rng, batch.rows) for _ in range(round(pairs * DUPLICATE_SHARE))]
    files = _deal([*batch.rows, *duplicates], len(SOURCE_NAMES), rng)
    sources = tuple(folder / "sources" / name for name in SOURCE_NAMES)
    layouts = iter(CSV_LAYOUTS)
    for path, rows in zip(sources, files, strict=True):
        if path.suffix == ".parquet":
            write_datacomp(path, rows, rng)
        else:
            write_csv(path, rows, next(layouts), rng)
    world = World(
        folder=folder,
        base_url=base_url,
        sources=sources,
        rows=pairs + len(duplicates),
        unique_pairs=pairs,
        expected=batch.expected,
        pictures={picture.name: picture for picture in batch.pictures},
    )
    write_world(world, arguments)
    return world


def drop_new_file(folder: Path, base_url: str, pairs: int = 200, seed: int = 0) -> World:
    """Add one more csv file with ``pairs`` new pairs, as next week's crawl would.

    A tenth as many more rows repeat pairs that the pool already has.

    Raises:
        ConfigurationError: there is no complete world in ``folder``.
    """
    existing = read_world(folder)
    if existing is None:
        raise ConfigurationError(
            str(folder), "no complete world", "one that build_world wrote", "Build one first."
        )
    world, arguments = existing
    number = len(world.sources)
    rng = np.random.default_rng([seed, number])
    batch = publish_batch(folder, base_url, pairs, number, rng)
    known = read_datacomp(world.sources[SOURCE_NAMES.index("03-datacomp.parquet")])
    duplicates = [pick(rng, known) for _ in range(round(pairs * DUPLICATE_SHARE))]
    path = folder / "sources" / f"{number:02d}-crawl.csv"
    (rows,) = _deal([*batch.rows, *duplicates], 1, rng)
    write_csv(path, rows, CSV_LAYOUTS[number % len(CSV_LAYOUTS)], rng)
    grown = World(
        folder=folder,
        base_url=world.base_url,
        sources=(*world.sources, path),
        rows=world.rows + len(rows),
        unique_pairs=world.unique_pairs + pairs,
        expected=merged(world.expected, batch.expected),
        pictures=world.pictures | {picture.name: picture for picture in batch.pictures},
    )
    write_world(grown, arguments)
    return grown


def _deal(rows: Sequence[Row], files: int, rng: np.random.Generator) -> list[list[Row]]:
    """``rows`` in a random order, dealt evenly to ``files`` files."""
    order = [rows[int(place)] for place in rng.permutation(len(rows))]
    return [order[number::files] for number in range(files)]


def _clear(folder: Path) -> None:
    """Make room for a world: remove another one or the rest of an unfinished one."""
    folder.mkdir(parents=True, exist_ok=True)
    strangers = [path.name for path in folder.iterdir() if path.name not in OUR_NAMES]
    if strangers:
        raise ConfigurationError(
            str(folder),
            f"files that no demo wrote, such as {min(strangers)}",
            "no folder, an empty one or a demo's",
            "Name another.",
        )
    (folder / MARKER_NAME).unlink(missing_ok=True)
    for name in ("images", "sources"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
