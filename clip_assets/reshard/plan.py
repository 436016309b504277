"""Which stretch of which tar holds each wanted sample, and in which order samples are written.

Only uids and places are read here: rows beside the tars where they have the uids, and tar indices
of those tars alone that hold a wanted sample.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clip_assets.errors import SchemaError
from clip_assets.files.identity import File, looked_at
from clip_assets.reshard.sources import Stretch
from clip_assets.reshard.subset_file import WantedUids
from clip_assets.storage import uids
from clip_assets.storage.uids import UidPairs
from clip_assets.webdataset.index import LINK
from clip_assets.webdataset.indices import Tar, index_of, kept_index_of, uids_in_rows
from clip_assets.webdataset.tar_headers import HEADER
from clip_assets.webdataset.tar_index import TarIndex

Numbers = npt.NDArray[np.int64]

UidsOf = Callable[[Numbers], UidPairs]

_UID = "^[0-9a-f]{32}$"


@dataclass(frozen=True)
class InTar:
    """WantedUids samples of one tar.

    Args:
        file: the tar as it was when its index was read.
        places: (n,) of each sample's uid among the wanted ones.
        starts: (n,) first byte of the sample, its first header's.
        stops: (n,) the byte after its last member.
        without_uid: samples of the tar that have no uid.
    """

    file: File
    places: Numbers
    starts: Numbers
    stops: Numbers
    without_uid: int


@dataclass(frozen=True)
class CopyPlan:
    """What is copied from where.

    Args:
        tars: as they were.
        tar: (n,) number of the tar that holds a sample.
        start: (n,) its first byte there.
        stop: (n,) the byte after it.
        place: (n,) of its uid among the wanted ones.
        copy: (n,) 0 for a uid's first sample, 1 for the next of the same.
        is_missing: of each wanted uid, whether no tar has it.
        repeated: samples left out since another one has the uid.
        without_uid: samples that have none, in the tars that were looked into.
    """

    tars: Sequence[File]
    tar: Numbers
    start: Numbers
    stop: Numbers
    place: Numbers
    copy: Numbers
    is_missing: npt.NDArray[np.bool_]
    repeated: int
    without_uid: int

    def __len__(self) -> int:
        """How many samples are written."""
        return len(self.place)

    @cached_property
    def sizes(self) -> Numbers:
        """(n,) bytes of each sample."""
        return self.stop - self.start

    @property
    def content_bytes(self) -> int:
        """Bytes of all samples."""
        return int(self.sizes.sum())

    def stretch(self, sample: int) -> Stretch:
        """Where a sample is."""
        file = self.tars[self.tar[sample]]
        return Stretch(file, int(self.start[sample]), int(self.stop[sample]))

    def runs(self, samples: range) -> list[Stretch]:
        """Where some samples are that follow each other; neighbours in a tar are one stretch."""
        some = slice(samples.start, samples.stop)
        tar, start, stop = self.tar[some], self.start[some], self.stop[some]
        is_new = np.ones(len(tar), np.bool_)
        is_new[1:] = (tar[1:] != tar[:-1]) | (start[1:] != stop[:-1])
        first = np.flatnonzero(is_new)
        last = np.append(first[1:], len(tar)) - 1
        ends = (tar[first].tolist(), start[first].tolist(), stop[last].tolist())
        return [Stretch(self.tars[one], begin, end) for one, begin, end in zip(*ends, strict=True)]

    def digest(self) -> str:
        """Changes when a byte of the output does."""
        content = hashlib.sha256()
        for file in self.tars:
            content.update(f"{file.uri} {file.etag}\n".encode("utf-8", "surrogateescape"))
        for numbers in (self.tar, self.start, self.stop, self.place, self.copy):
            content.update(numbers.tobytes())
        return content.hexdigest()

    def digest_of(self, samples: range, contents: Sequence[str], uids_of: UidsOf) -> str:
        """Of everything that a shard of some samples is made from.

        Args:
            samples: of the shard.
            contents: for each tar, what its bytes are told by.
            uids_of: gives the uids of places.
        """
        some = slice(samples.start, samples.stop)
        content = hashlib.sha256(uids_of(self.place[some]).tobytes())
        tars, of_sample = np.unique(self.tar[some], return_inverse=True)
        content.update("\n".join(contents[int(tar)] for tar in tars).encode())
        for numbers in (of_sample, self.start[some], self.stop[some], self.copy[some]):
            content.update(numbers.astype(np.int64).tobytes())
        return content.hexdigest()


def plan_of(
    tars: Sequence[Tar], wanted: WantedUids, executor: Executor, seed: int | None
) -> CopyPlan:
    """Find every wanted sample and give it its place in the output.

    Args:
        tars: where to look; of two samples with one uid the first counts.
        wanted: uids.
        executor: looks into tars side by side.
        seed: of the order of all samples; None for the order of the tars.

    Raises:
        SourceMissingError: a tar is gone.
        SourceError: it cannot be read.
        SchemaError: it is damaged, or a uid in it is none.
    """
    in_tars = list(executor.map(partial(in_tar, wanted=wanted), tars))
    tar = np.repeat(np.arange(len(in_tars)), [len(one.places) for one in in_tars])
    place = _joined(one.places for one in in_tars)
    first = np.sort(np.unique(place, return_index=True)[1])
    times = wanted.times[place[first]]
    rows = np.repeat(first, times)
    copy = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
    if seed is not None:
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(rows))
        rows, copy = rows[order], copy[order]
    is_missing = np.ones(len(wanted), np.bool_)
    is_missing[place] = False
    return CopyPlan(
        [one.file for one in in_tars],
        tar[rows],
        _joined(one.starts for one in in_tars)[rows],
        _joined(one.stops for one in in_tars)[rows],
        place[rows],
        copy,
        is_missing,
        len(place) - len(first),
        sum(one.without_uid for one in in_tars),
    )


def in_tar(tar: Tar, wanted: WantedUids) -> InTar:
    """The wanted samples of one tar; raises as ``plan_of`` does."""
    file = looked_at(tar.uri)
    index = kept_index_of(tar, file)
    if index is None and tar.rows and not _rows_have(tar, wanted):
        return _nothing(file)
    index = index or index_of(tar)
    column = index.members["uid"].take(pa.array(index.starts[:-1], pa.int64()))
    has_uid = np.asarray(column.is_valid())
    places = np.full(len(index), -1, np.int64)
    places[has_uid] = _places(column.drop_null(), wanted, tar.uri)
    samples = np.flatnonzero(places >= 0)
    _check_members(index, samples, tar.uri)
    starts, stops = spans(index)
    lacking = int((~has_uid).sum())
    return InTar(file, places[samples], starts[samples], stops[samples], lacking)


def _rows_have(tar: Tar, wanted: WantedUids) -> bool:
    """Whether the rows beside a tar have a wanted uid, or no uids."""
    rows = uids_in_rows(tar.rows)
    if rows is None:
        return True
    return bool((_places(rows["uid"].drop_null(), wanted, tar.rows) >= 0).any())


def _places(column: pa.ChunkedArray, wanted: WantedUids, where: str) -> Numbers:
    is_uid = pc.match_substring_regex(column, _UID)
    if len(column) and not pc.all(is_uid).as_py():
        odd = column.filter(pc.invert(is_uid))[0].as_py()
        raise SchemaError(
            where,
            f"the uid {odd!r}",
            f"{uids.DIGITS} hex digits in lower case",
            "Give samples uids of 128 bits; uids of another form cannot be listed in a subset.",
        )
    return wanted.places(uids.pairs(column)) if len(column) else np.empty(0, np.int64)


def _check_members(index: TarIndex, samples: Numbers, where: str) -> None:
    """Make sure that all of the wanted samples can be copied."""
    odd = np.flatnonzero(np.asarray(index.members["offset"].is_null()))
    of_sample = np.searchsorted(index.starts, odd, side="right") - 1
    for row in odd[np.isin(of_sample, samples)][:1].tolist():
        member = index.members.slice(row, 1).to_pylist()[0]
        raise SchemaError(
            where,
            f"{LINK} or in pieces, {member['key']}.{member['extension']}",
            "members with contents of their own",
            "Unpack the tar and pack it again, links followed (tar --dereference).",
        )


def spans(index: TarIndex) -> tuple[Numbers, Numbers]:
    """First byte of each sample, and the byte after it, headers of any form included."""
    columns = (index.members[name].to_numpy() for name in ("offset", "size"))
    # Members without a place are NaN, and fill nothing.
    offsets, sizes = (np.nan_to_num(column).astype(np.int64) for column in columns)
    ends = np.maximum.accumulate(offsets + sizes + -sizes % HEADER)
    stops = ends[index.starts[1:] - 1] if len(index) else np.empty(0, np.int64)
    return np.concatenate([[0], stops])[: len(stops)].astype(np.int64), stops


def _nothing(file: File) -> InTar:
    none = np.empty(0, np.int64)
    return InTar(file, none, none, none, 0)


def _joined(parts: Iterable[Numbers]) -> Numbers:
    return np.concatenate([np.empty(0, np.int64), *parts])
