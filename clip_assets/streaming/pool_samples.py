"""The samples of a pool, or of a subset of them.

They are those of the tars of all partitions that are done, in the pool's order. Where they are in
their tar is the matter of ``tar_samples``, what the pool says of them that of ``told``.
"""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Literal, get_args

import numpy as np

from clip_assets import layout, schemas
from clip_assets.errors import ConfigurationError, MissingArtifactError, SourceMissingError
from clip_assets.files.opening import content
from clip_assets.inference.samples import Sample
from clip_assets.layout import Key
from clip_assets.pool import subset_versions, takedowns
from clip_assets.pool.pool import Pool
from clip_assets.pool.takedowns import TakenDown
from clip_assets.storage import tables, uid_files, uids
from clip_assets.storage.manifests import Output
from clip_assets.streaming.permutation import Rows
from clip_assets.streaming.tar_samples import SCANS, Tars
from clip_assets.streaming.told import Told, with_sample
from clip_assets.streaming.uid_rows import AllBut, UidRows, kept
from clip_assets.webdataset.indices import Tar

BLOCK = 256
"""Files of counts that are read at once."""

Gone = Literal["refuse", "leave out"]
"""What to do about uids of a subset that have no sample."""


class PoolSamples:
    """The samples of a pool.

    Args:
        pool: the pool.
        subset: name of one of its subsets, perhaps with ``@`` and a version, the path or url of a
            file of uids, or such an array; a uid that it has twice comes twice in an epoch. By
            default all samples.
        columns: of pool metadata, such as ``clip_similarity_score``: what samples say beside
            their json.
        where: an SQL condition on the pool's metadata; samples for which it holds are left of the
            subset, or of all.
        gone: what to do about uids that have no sample, or have it no longer.
        name: for messages and shares, by default that of the subset, or the pool's address.

    Attributes:
        left_out: how many entries of the subset have no sample.
        taken_down: how many samples, or entries of the subset, are left out because they were
            taken down before the set was opened.

    Raises:
        MissingArtifactError: the pool has no samples yet, or not those of a subset.
        ConfigurationError: that is no pool, or there is no such column, subset, file or ``gone``.
        SourceFormatError: the file, or the array, is no list of uids.
    """

    def __init__(
        self,
        pool: Pool,
        subset: str | uids.UidPairs | None = None,
        *,
        columns: Sequence[str] = (),
        where: str | None = None,
        gone: Gone = "refuse",
        name: str | None = None,
    ) -> None:
        if not hasattr(pool, "store"):
            raise ConfigurationError(
                "pool", repr(pool), "a pool that is opened", f"Write open_pool({pool!r})."
            )
        if gone not in get_args(Gone):
            known = " or ".join(map(repr, get_args(Gone)))
            raise ConfigurationError("gone", repr(gone), known, "Choose one.")
        self.name = name or (subset if isinstance(subset, str) else pool.store.uri())
        self.left_out = self.taken_down = 0
        self._told = Told(pool, columns)
        shards = _shards(pool)
        down = takedowns.read(pool.store)
        digests = [pool.catalog.digest(layout.IMAGE_SHARDS, key) for key in dict(shards)]
        by_uid = _by_uid(pool, shards, digests) if subset is not None or len(down) else None
        counts = by_uid.counts.tolist() if by_uid else _counts(pool, shards)
        self._keys = [key for key, _ in shards]
        self._tars = Tars(partial(_tar, pool, shards), counts)
        if not len(self._tars):
            raise MissingArtifactError(
                pool.store.uri(),
                "no samples",
                "shards of at least one partition",
                f"Run: clip-assets run --select {layout.IMAGE_SHARDS}",
            )
        self._firsts: dict[Key, int] = {}
        for number, key in enumerate(self._keys):
            self._firsts.setdefault(key, self._tars.first(number))
        self._rows: Rows | AllBut | None = None
        if by_uid and subset is not None:
            listed = _subset(pool, subset) if isinstance(subset, str) else uid_files.checked(subset)
            listed = self._without(down, listed)
            digests.append(hashlib.sha256(np.ascontiguousarray(listed).data).hexdigest())
            rows = by_uid.located(listed, digests[-1])
            self._rows = self._present(rows, listed, gone)
        elif by_uid:
            rows = by_uid.every(down.pairs)
            self.taken_down, self._rows = len(rows), AllBut(len(self._tars), rows)
            digests.append(hashlib.sha256(rows.tobytes()).hexdigest())
        if where is not None:
            self._rows = rows = self._meeting(where)
            digests.append(hashlib.sha256(rows.tobytes()).hexdigest())
        self.digest = hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def __len__(self) -> int:
        """How many samples."""
        return len(self._tars) if self._rows is None else len(self._rows)

    def read(self, row: int) -> Sample:
        """See ``SampleSet``."""
        place = row if self._rows is None else int(self._rows[row])
        sample = self._tars.read(place)
        if not self._told.columns:
            return sample
        key = self._keys[self._tars.tar(place)]
        said = self._told.of(key, place - self._firsts[key], sample.fields.get("uid"))
        return replace(sample, fields=sample.fields | said)

    def _meeting(self, where: str) -> Rows:
        """Those of the rows for which a condition holds, in their order."""
        from clip_assets.storage.condition import Condition

        condition = Condition.parse(where, schemas.POOL_ROWS)
        holds = np.zeros(len(self._tars), np.bool_)
        ends = [*self._firsts.values(), len(self._tars)][1:]
        for (key, first), end in zip(self._firsts.items(), ends, strict=True):
            table = self._told.samples(key, list(condition.columns), end - first)
            holds[first : first + len(table)] = condition.mask(table)
        if self._rows is None:
            return np.flatnonzero(holds)
        if isinstance(self._rows, AllBut):
            holds[self._rows.gone] = False
            return np.flatnonzero(holds)
        return self._rows[holds[self._rows]]

    def _without(self, down: TakenDown, listed: uids.UidPairs) -> uids.UidPairs:
        """The entries of a subset that may be shown, whoever made it."""
        is_gone = down.mask(listed)
        self.taken_down = int(np.count_nonzero(is_gone))
        return listed[~is_gone] if self.taken_down else listed

    def _present(self, rows: Rows, listed: uids.UidPairs, gone: Gone) -> Rows:
        """The sample of each uid, of those that have one."""
        is_gone = rows < 0
        self.left_out = int(np.count_nonzero(is_gone))
        if self.left_out and gone == "refuse":
            first = uids.texts(listed[is_gone][:1])[0]
            raise MissingArtifactError(
                f"subset {self.name}",
                f"{self.left_out:,} of {len(listed):,} uids without a sample, such as {first}",
                "a sample of each",
                "Make the subset again, or leave them out: gone='leave out'.",
            )
        return rows[~is_gone] if self.left_out else rows


def _shards(pool: Pool) -> list[tuple[Key, Output]]:
    """The tables of all shards of partitions that are done, by number, with their partition."""
    pool.catalog.preload(layout.IMAGE_SHARDS, pool.partitions)
    made = [pool.catalog.get(layout.IMAGE_SHARDS, key) for key in pool.partitions]
    return [
        (one.key, output)
        for one in made
        if one
        # Manifests of earlier releases name them in the order in which they were finished.
        for output in sorted(one.of_kind(layout.shard_rows), key=lambda output: output.path)
    ]


def _by_uid(pool: Pool, shards: Sequence[tuple[Key, Output]], digests: Sequence[str]) -> UidRows:
    """The number of every sample by its uid; read from all shards where it is not kept."""

    def known() -> list[uids.UidPairs]:
        with ThreadPoolExecutor(SCANS) as threads:
            return list(threads.map(partial(_uids, pool), [output.path for _, output in shards]))

    told = " ".join([*digests, *(output.path for _, output in shards)])
    return kept(pool.store.uri(), hashlib.sha256(told.encode()).hexdigest()[:32], known)


def _counts(pool: Pool, shards: Sequence[tuple[Key, Output]]) -> list[int]:
    """How many samples every shard has, by its counts; by its rows where it has none."""
    stats = [f"{output.path.removesuffix('.parquet')}_stats.json" for _, output in shards]
    with ThreadPoolExecutor(SCANS) as threads:
        blocks = [stats[start : start + BLOCK] for start in range(0, len(stats), BLOCK)]
        stored = {}
        for some in threads.map(pool.store.read_many, blocks):
            stored |= some
    return [
        _count(pool, stored.get(path), shard) for path, shard in zip(stats, shards, strict=True)
    ]


def _count(pool: Pool, stats: bytes | None, shard: tuple[Key, Output]) -> int:
    try:
        return int(json.loads(stats or b"")["successes"])
    except (LookupError, TypeError, ValueError):
        return len(_uids(pool, shard[1].path))


def _tar(pool: Pool, shards: Sequence[tuple[Key, Output]], place: int) -> Tar:
    partition, rows = shards[place]
    number = int(rows.path.rpartition("/")[2].removesuffix(".parquet"))
    return Tar.of_shard(pool.store, partition, number)


def _uids(pool: Pool, path: str) -> uids.UidPairs:
    """Of the samples of a shard, in its tar's order."""
    table = tables.read(pool.store, path, schemas.SHARD_ROWS, ["uid", "status"])
    return uids.pairs(with_sample(table)["uid"])


def _subset(pool: Pool, name: str) -> uids.UidPairs:
    """The uids of a subset of the pool, or of a file."""
    if subset_versions.is_subset(pool, name):
        stored = pool.store.read_bytes(subset_versions.path_of(pool, name))
    else:
        try:
            stored = content(name)
        except SourceMissingError as error:
            raise subset_versions.unknown(pool, name, error.where) from None
    return uid_files.read(stored, name)
