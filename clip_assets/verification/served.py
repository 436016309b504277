"""Index versions: whether the served one is whole, and whether every id means something."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout
from clip_assets.errors import ClipAssetsError
from clip_assets.index import versions
from clip_assets.index.versions import Version
from clip_assets.layout import WHOLE
from clip_assets.pool import published
from clip_assets.pool.pool import Pool
from clip_assets.pool.published import Damage
from clip_assets.storage.store import Store


def noticed(pool: Pool) -> list[Damage]:
    """What a look at names and sizes shows, without reading: files, and what is served.

    Raises:
        SchemaError: a manifest is damaged.
    """
    known = published.damaged(pool)
    return [*known, *examined(pool, known, deep=False)]


def examined(pool: Pool, known: Sequence[Damage], *, deep: bool) -> Iterator[Damage]:
    """What is wrong with the version that is served and with those that could be.

    Args:
        pool: the pool.
        known: damage that is told already.
        deep: open every file of every version.
    """
    store = pool.store
    broken = {damage.path.split("/")[1] for damage in known if _is_of_a_version(damage.path)}
    merged = versions.merged(store)
    whole = [name for name in merged if name not in broken and not _lacks(store, name)]
    for name in merged[:-1]:
        if name not in whole and name not in broken:
            broken.add(name)
            yield _damage(layout.version_folder(name), _lacks(store, name))
    yield from _current(pool, whole, broken)
    if deep:
        for name in whole:
            if name not in broken:
                yield from _contents(store, versions.read(store, name))


def _is_of_a_version(path: str) -> bool:
    return path.startswith(f"{layout.VERSIONS}/") and path != layout.CURRENT


def _lacks(store: Store, name: str) -> str:
    """Why a version cannot be served, empty if it can."""
    try:
        return "" if name in versions.versions(store, [name]) else "is a version that lacks files"
    except (ClipAssetsError, ValueError, TypeError, LookupError) as error:
        return f"is a version whose manifest cannot be read: {error}"


def _current(pool: Pool, whole: Sequence[str], broken: set[str]) -> Iterator[Damage]:
    try:
        name = versions.current(pool.store)
    except ClipAssetsError as error:
        # What names a version that lost its own manifest is right.
        if _named(pool.store) not in broken:
            yield _damage(layout.CURRENT, f"is {error.found}")
        return
    if name is None:
        if whole:
            yield Damage(layout.ID_MAPPING, WHOLE, layout.CURRENT, "gone", "is gone")
    elif name not in whole and name not in broken:
        yield _damage(layout.CURRENT, f"names {name!r}, which is no whole version")


def _named(store: Store) -> str:
    try:
        return store.read_bytes(layout.CURRENT).decode(errors="replace").strip()
    except ClipAssetsError:
        return ""


def _contents(store: Store, version: Version) -> Iterator[Damage]:
    """Whether the indices load, and their ids are those that rows are kept for."""
    from clip_assets.index import verify
    from clip_assets.index.engine import ann

    for side in layout.SIDES:
        path = layout.index(version.name, side)
        try:
            with store.local(path) as file:
                index = ann.read(file, store.uri(path), mapped=True)
                verify.check_ids(index, [slot for slot, _ in version.used], side)
        except ClipAssetsError as error:
            yield _damage(path, f"has {error.found}, not {error.expected}")
    for number, slot in enumerate(version.slots):
        for kind in () if not slot.count else (layout.index_rows, layout.id_mapping):
            path = kind(version.name, number)
            try:
                wrong = _wrong_rows(store, path, slot.start, slot.count)
            except (ClipAssetsError, pa.ArrowException, OSError) as error:
                wrong = f"cannot be read: {error}"
            if wrong:
                yield _damage(path, wrong)


def _wrong_rows(store: Store, path: str, start: int, count: int) -> str:
    """What is wrong with the rows of a range of ids, empty if nothing."""
    with store.local(path) as file, pq.ParquetFile(file) as table:
        rows = int(table.metadata.num_rows)
        if rows != count:
            return f"has {rows:,} rows for {count:,} ids"
        if not layout.id_mapping.holds(path) or not rows:
            return ""
        ids = table.read(columns=["i"]).column("i").to_numpy()
    if np.array_equal(ids, np.arange(start, start + count)):
        return ""
    return f"has ids {ids[0]:,} to {ids[-1]:,}, not each from {start:,} on"


def _damage(path: str, text: str) -> Damage:
    return Damage(layout.ID_MAPPING, WHOLE, path, "content", text)
