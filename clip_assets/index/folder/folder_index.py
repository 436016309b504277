"""An index of a folder of embeddings, as ``clip-retrieval index`` makes one, without a pool.

What ``clip-assets index build EMBEDDINGS OUTPUT`` does. What is finished lies in ``work/``, so a
killed build goes on after it; the indices appear together, and ``build.json`` is written last: by
it the output is whole. How one side is built is said by ``folder.folder_side``.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from clip_assets import layout
from clip_assets.errors import ConfigurationError, MissingArtifactError, SourceMissingError
from clip_assets.files.identity import File
from clip_assets.files.opening import opened
from clip_assets.index.folder.folder_side import Asked, Memory, SideBuild
from clip_assets.storage import locks
from clip_assets.storage.embeddings_folder import (
    RUN_ROWS,
    FolderVectors,
    check_dims,
    check_metadata,
    draw,
    files_of,
    usable,
)
from clip_assets.storage.store import Store

MARK = "build.json"
"""Of what and how the output was built, and what is known of it."""

WORK = "work"

LOCK = "index_build"

VERSION = 2
"""Raised when the same inputs would give another output."""

SEED = 8

QUERIES = 1_000
"""Vectors at most by which is measured what the indices find."""

MOST_ASKED = 1 / 4
"""Of the rows."""

USUAL = {"image": "img_emb", "text": "text_emb"}
"""Subfolders of the vectors of each side, where nobody names others."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What is wanted of a build, by the names that ``clip-retrieval index`` has.

    Args:
        max_index_memory_usage: bytes of each index.
        current_memory_available: bytes of memory while building.
        copy_metadata: whether the output gets the metadata too.
        image_subfolder: of the vectors of images.
        text_subfolder: of those of captions.
    """

    max_index_memory_usage: int = 4 << 30
    current_memory_available: int = 16 << 30
    copy_metadata: bool = True
    image_subfolder: str = USUAL["image"]
    text_subfolder: str = USUAL["text"]


@dataclass(frozen=True, slots=True)
class Built:
    """What a build made; the content of ``MARK``.

    Args:
        plan: what it was made of, and how.
        rows: vectors of each side, those that are left out too.
        sides: of each side what ``SideBuild.write`` tells.
    """

    plan: dict[str, Any]
    rows: int
    sides: dict[str, dict[str, Any]]


def build(source: str, output: str, wanted: BuildOptions | None = None) -> Built:
    """Make ``image.index``, ``text.index`` and ``metadata/`` of a folder of embeddings.

    Memory: ``current_memory_available``; pages of mapped files, which the system takes back when
    it needs them, are not counted.

    Args:
        source: a path or url; a side that it has not is left out.
        output: a path or url.
        wanted: how.

    Raises:
        SourceMissingError: the folder has no embeddings.
        SchemaError: a file is damaged.
        AlignmentError: files that belong together have other numbers of rows.
        ConfigurationError: a bound of memory is too small, or the output is of something else.
        BusyError: another process builds into the output.
    """
    wanted = wanted or BuildOptions()
    store = Store(output)
    files, metadata = _inputs(source, store, wanted)
    plan = _plan(files, metadata, wanted)
    if built := _finished(store, plan):
        store.delete(WORK)  # of a build that was killed at its very end
        return built
    with locks.exclusive(store, LOCK):
        if built := _finished(store, plan):  # by another process, since this one looked
            return built
        if _begun(store) != plan:
            store.delete(WORK)
            store.write_bytes(f"{WORK}/plan.json", json.dumps(plan).encode())
        with ExitStack() as stack:
            vectors = {side: FolderVectors(own, stack) for side, own in files.items()}
            check_dims([side.files[0] for side in vectors.values()])
            check_metadata(metadata, list(vectors.values()))
            built = Built(
                plan,
                next(iter(vectors.values())).rows,
                _indices(store, vectors, metadata, wanted),
            )
        store.write_bytes(MARK, json.dumps(asdict(built), indent=1).encode())
        store.delete(WORK)
    return built


def _inputs(
    source: str, store: Store, wanted: BuildOptions
) -> tuple[dict[str, list[File]], list[File]]:
    base = source.rstrip("/")
    if Store(base).uri() == store.uri():
        raise ConfigurationError(
            source, "the folder of the embeddings", "another one as output", "Name another output."
        )
    folders = {"image": wanted.image_subfolder, "text": wanted.text_subfolder}
    listed = {side: files_of(f"{base}/{name}", ".npy") for side, name in folders.items()}
    files = {side: own for side, own in listed.items() if own}
    for side, name in folders.items():
        # Nobody who names a folder wants to go without it.
        if files and side not in files and name != USUAL[side]:
            raise SourceMissingError(
                f"{base}/{name}",
                "no npy files",
                f"those of {side}_subfolder",
                "Correct the name, or leave the option out where there are no such embeddings.",
            )
    if not files:
        raise SourceMissingError(
            source,
            "no embeddings",
            f"npy files in {' or '.join(folders.values())}",
            "Name the folder that holds them: what clip-assets embed or clip-retrieval inference "
            "wrote.",
        )
    return files, files_of(f"{base}/metadata", ".parquet")


def _plan(
    files: Mapping[str, Sequence[File]], metadata: Sequence[File], wanted: BuildOptions
) -> dict[str, Any]:
    told = {side: [list(_told(file)) for file in own] for side, own in files.items()}
    rows = [list(_told(file)) for file in metadata]
    return {"version": VERSION, "files": told, "metadata": rows, "wanted": asdict(wanted)}


def _told(file: File) -> tuple[str, int, str]:
    return file.uri, file.size_bytes, file.etag


def _begun(store: Store) -> dict[str, Any] | None:
    """The plan of a build that did not come to its end."""
    with suppress(MissingArtifactError, ValueError):
        return json.loads(store.read_bytes(f"{WORK}/plan.json"))
    return None


def _finished(store: Store, plan: dict[str, Any]) -> Built | None:
    try:
        built = Built(**json.loads(store.read_bytes(MARK)))
    except MissingArtifactError:
        if _begun(store) is None and (strange := _strange(store)):
            told = f"{strange}, which no build of an index began"
            raise _taken(store, told, "Name another output.") from None
        return None
    except (ValueError, TypeError):
        raise _taken(store, f"a damaged {MARK}") from None
    if built.plan != plan:
        raise _taken(store, "an index of other files, or built in another way")
    return built


def _strange(store: Store) -> str | None:
    """A file that is in the way: a build replaces ``metadata/`` and removes ``work/``."""
    own = (f"{layout.TEMPORARY}/", layout.lock(LOCK))  # what a build has before its plan
    return next((path for path in store.list("") if not path.startswith(own)), None)


def _taken(
    store: Store, found: str, advice: str = "Name another output, or remove this one."
) -> ConfigurationError:
    return ConfigurationError(store.uri(), found, "an empty folder, or the same build", advice)


def _indices(
    store: Store,
    vectors: Mapping[str, FolderVectors],
    metadata: Sequence[File],
    wanted: BuildOptions,
) -> dict[str, dict[str, Any]]:
    """Build every side, and publish all."""
    memory = Memory(wanted.max_index_memory_usage, wanted.current_memory_available)
    asked = _asked(vectors)
    sides = [SideBuild(store, WORK, side, own, asked, memory) for side, own in vectors.items()]
    for side in sides:
        side.encode()
    for file in metadata if wanted.copy_metadata else ():
        with (
            store.publish(f"metadata/{PurePosixPath(file.uri).name}") as part,
            opened(file.uri) as content,
            part.open("wb") as copy,
        ):
            shutil.copyfileobj(content, copy)
    told: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        # They appear together, when the block ends.
        for side in sides:
            part = stack.enter_context(store.publish(f"{side.side}.index"))
            told[side.side] = side.write(part)
    for side, known in told.items():
        store.write_bytes(f"{side}.json", json.dumps(known, indent=1).encode())
    return told


def _asked(vectors: Mapping[str, FolderVectors]) -> Asked:
    """Rows that are asked for; none that is no vector on some side."""
    first = next(iter(vectors.values()))
    run = 1 if first.is_local else RUN_ROWS
    places = draw(first.rows, min(QUERIES, int(MOST_ASKED * first.rows)), SEED, run)
    drawn = {side: usable(own.at(places)) for side, own in vectors.items()}
    good = np.arange(len(places))
    for one in drawn.values():
        good = np.intersect1d(good, one.places)
    queries = {side: one.vectors[np.searchsorted(one.places, good)] for side, one in drawn.items()}
    return Asked(places[good], queries)
