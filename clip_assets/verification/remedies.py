"""What mends damaged files, in which order, and doing it.

A file is made again by its stage from what is sound, and published only in the bytes that its
manifest has; so nothing that is made from it becomes stale. Images are the exception, see
``download.damaged_shards``.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from clip_assets import layout
from clip_assets.download.damaged_shards import (
    fetch_damaged,
    record_again,
    shards_to_fetch,
)
from clip_assets.errors import ClipAssetsError
from clip_assets.index import versions
from clip_assets.layout import Key
from clip_assets.pairs import opening
from clip_assets.pool.pool import Pool
from clip_assets.pool.published import Damage
from clip_assets.storage.manifests import named

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Remedy:
    """What is to be done about damaged files of one key.

    Args:
        asset: whose files they are.
        key: likewise.
        paths: of the files.
        how: they are made again.
        why_not: they cannot be; empty if they can.
    """

    asset: str
    key: Key
    paths: tuple[str, ...]
    how: str = ""
    why_not: str = ""

    def as_text(self) -> str:
        """One line for people."""
        files = f"{self.paths[0]}{f' and {len(self.paths) - 1} more' * (len(self.paths) > 1)}"
        said = f"cannot be mended: {self.why_not}" if self.why_not else self.how
        return f"{named(self.asset, self.key)}: {files}: {said}"


def planned(pool: Pool, damaged: Sequence[Damage]) -> list[Remedy]:
    """What would be made again and how, upstream first; nothing is changed.

    Args:
        pool: the pool.
        damaged: as ``verify`` orders it.
    """
    remedies: list[Remedy] = []
    for (asset, key), group in groupby(damaged, lambda damage: (damage.asset, damage.key)):
        of_key = [damage.path for damage in group]
        files = [p for p in of_key if p != layout.CURRENT and _is_published(pool, asset, key, p)]
        if files:
            remedies.append(_of_stage(pool, Remedy(asset, key, tuple(files))))
        remedies += [_of_others(pool, asset, key, path) for path in of_key if path not in files]
    return remedies


def mend(pool: Pool, remedies: Sequence[Remedy]) -> Iterator[Remedy]:
    """Do what is planned, one after the other; what fails holds back nothing else.

    Yields:
        Each remedy with what came of it: ``how`` tells what was made, ``why_not`` what was not.
    """
    for remedy in remedies:
        if remedy.why_not:
            yield remedy
            continue
        logger.info("mending %s", remedy.as_text())
        try:
            yield replace(remedy, how=_done(pool.renewed(), remedy))
        except (ClipAssetsError, OSError) as error:
            yield replace(remedy, why_not=str(error))


def _is_published(pool: Pool, asset: str, key: Key, path: str) -> bool:
    """Whether a file is one that a manifest, which can be read, has."""
    if path in (layout.manifest(asset, key), layout.failure(asset, key)):
        return False
    manifest = pool.catalog.get(asset, key)
    return manifest is not None and path in {output.path for output in manifest.outputs}


def _of_others(pool: Pool, asset: str, key: Key, path: str) -> Remedy:
    """What can be done about a file that no stage publishes."""
    remedy = Remedy(asset, key, (path,))
    if path == layout.CURRENT:
        return replace(remedy, how="the newest whole version is served again")
    if path == layout.failure(asset, key):
        return replace(remedy, how="removed; a run writes what is true then")
    if path == layout.manifest(asset, key):
        return _of_record(pool, remedy)
    return replace(
        remedy,
        why_not="an older version is not made again; serve another one: clip-assets index list",
    )


def _of_record(pool: Pool, remedy: Remedy) -> Remedy:
    """What can be done about a manifest: what it told is told again by making it again."""
    if remedy.asset == layout.IMAGE_SHARDS:
        return replace(remedy, how="its shards are recorded anew, without a request")
    if pool.assets[remedy.asset].deps:
        deps = " and ".join(pool.assets[remedy.asset].deps)
        return replace(remedy, how=f"made anew from {deps}, and recorded")
    return _of_sources(pool, remedy)


def _of_stage(pool: Pool, remedy: Remedy) -> Remedy:
    record = pool.assets[remedy.asset]
    try:
        manifest = pool.catalog.require(remedy.asset, remedy.key)
        is_of_today = record.is_current(manifest, record.made_from(pool, remedy.key))
    except ClipAssetsError as error:
        return replace(remedy, why_not=str(error))
    if not is_of_today:
        text = "it was made from other inputs than today's; clip-assets run makes it anew"
        return replace(remedy, why_not=text)
    if remedy.asset == layout.IMAGE_SHARDS:
        return replace(remedy, how=_fetching(remedy))
    if record.deps:
        return replace(remedy, how=f"made again from {' and '.join(record.deps)}")
    return _of_sources(pool, remedy)


def _of_sources(pool: Pool, remedy: Remedy) -> Remedy:
    try:
        for source in pool.plan(remedy.key).ranges:
            opening.verify(source)
    except ClipAssetsError as error:
        return replace(remedy, why_not=str(error))
    return replace(remedy, how="read again from its sources")


def _fetching(remedy: Remedy) -> str:
    count = shards_to_fetch(remedy.paths)
    if not count:
        return f"made again from {layout.IMAGE_SHARDS}, without a request"
    return f"urls of {count} shards are fetched again, all other shards are kept"


def _done(pool: Pool, remedy: Remedy) -> str:
    """Carry one out; what it gave."""
    if remedy.paths == (layout.CURRENT,):
        whole = versions.versions(pool.store)
        versions.use(pool.store, whole[-1] if whole else "")
        return f"serves {whole[-1]}"
    record = pool.assets[remedy.asset]
    if remedy.paths == (layout.failure(remedy.asset, remedy.key),):
        pool.catalog.forget_failure(remedy.asset, remedy.key)
        return "removed"
    if remedy.paths == (layout.manifest(remedy.asset, remedy.key),):
        return _recorded_again(pool, remedy)
    before = pool.catalog.require(remedy.asset, remedy.key)
    if remedy.asset != layout.IMAGE_SHARDS:
        record.make(pool.mending(before, remedy.paths), remedy.key)
        return "made again, the same bytes"
    after = fetch_damaged(pool, remedy.key, remedy.paths).manifest
    lost = before.report.rows_out - after.report.rows_out
    had = f", and {lost:,} images could not be had again" if lost > 0 else ""
    of_before = {output.path: output.sha256 for output in before.outputs}
    others = [o.path for o in after.outputs if o.sha256 != of_before.get(o.path)]
    if not others:
        return "made again, the same bytes"
    return (
        f"sound again{had}; other bytes than before in {', '.join(others)}, and clip-assets run "
        "makes anew what is made from those"
    )


def _recorded_again(pool: Pool, remedy: Remedy) -> str:
    """Make a key of which the manifest is damaged; if that fails, the damaged one stays."""
    [path] = remedy.paths
    damaged = pool.store.read_bytes(path)
    # What cannot be read stops whatever looks at the key.
    pool.store.delete(path)
    try:
        if remedy.asset == layout.IMAGE_SHARDS:
            record_again(pool, remedy.key)
        else:
            pool.assets[remedy.asset].make(pool, remedy.key)
    except BaseException:
        if not pool.store.exists(path):
            pool.store.write_bytes(path, damaged)
        raise
    return "made and recorded anew"
