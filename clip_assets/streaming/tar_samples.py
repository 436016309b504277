"""The samples of any tars, each read alone by its byte range.

Where they are in a tar is said by its index, and kept here in less memory; what is in them is
parsed as ``clip-assets embed`` does it. A pool's tars are found by ``pool_samples``.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clip_assets.errors import DamagedError, SourceMissingError
from clip_assets.files.faults import translated
from clip_assets.files.identity import File, looked_at
from clip_assets.files.listing import is_file, listed
from clip_assets.inference.samples import Sample, parse_any
from clip_assets.streaming.permutation import Rows
from clip_assets.webdataset.index import Place
from clip_assets.webdataset.indices import Tar, index_of
from clip_assets.webdataset.ranges import read_places
from clip_assets.webdataset.read import IMAGE_EXTENSIONS, Members

SCANS = 16
"""Tars whose indices are read at a time."""


class SampleSet(Protocol):
    """Samples by number, as a stream takes them.

    Attributes:
        name: for messages.
        digest: another one where other samples have these numbers.
    """

    name: str
    digest: str

    def __len__(self) -> int:
        """How many samples."""
        ...

    def read(self, row: int) -> Sample:
        """One sample; ``fields`` has all that is said of it.

        Raises:
            SourceError: what holds it cannot be read.
            DamagedError: what holds it is not what it was.
        """
        ...


@dataclass(frozen=True)
class TarContents:
    """Where the samples of one tar are, in little memory.

    Args:
        uri: of the tar.
        keys: of the samples, in the tar's order.
        places: (n, 6) int64; offset and size of image, caption and json, -1 for one that is not
            there.
        kinds: (n,) int8; which of ``IMAGE_EXTENSIONS`` the image has.
    """

    uri: str
    keys: pa.ChunkedArray
    places: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int8]

    @classmethod
    def of(cls, tar: Tar) -> "TarContents":
        """Those of a tar; a member without a place of its own, a link, counts as missing.

        Raises:
            SourceError: it cannot be read.
            SchemaError: it is damaged.
        """
        index = index_of(tar)
        count = len(index)
        places = np.full((count, 6), -1, np.int64)
        kinds = np.zeros(count, np.int8)
        samples = np.repeat(np.arange(count), np.diff(index.starts))
        members = index.members.append_column("sample", pa.array(samples))
        members = members.filter(pc.is_valid(members["offset"]))
        # Of several images the one that is preferred comes last, and stays.
        for kind, extension in reversed([*enumerate(IMAGE_EXTENSIONS)]):
            kinds[_put(members, extension, places[:, :2])] = kind
        _put(members, "txt", places[:, 2:4])
        _put(members, "json", places[:, 4:])
        keys = index.members["key"].take(pa.array(index.starts[:-1], pa.int64()))
        return cls(tar.uri, keys, places, kinds)

    def __len__(self) -> int:
        """How many samples."""
        return len(self.kinds)

    def read(self, row: int) -> Members:
        """The contents of one sample, by one request.

        Raises:
            SourceError: the tar cannot be read.
            DamagedError: it is not the one that was indexed.
        """
        key = self.keys[row].as_py()
        extensions = IMAGE_EXTENSIONS[self.kinds[row]], "txt", "json"
        offsets, sizes = self.places[row, ::2].tolist(), self.places[row, 1::2].tolist()
        places = {
            f"{key}.{extension}": Place(offset, size)
            for extension, offset, size in zip(extensions, offsets, sizes, strict=True)
            if offset >= 0
        }
        with translated(self.uri):
            contents = read_places(self.uri, places)
        if contents is None:
            raise changed(self.uri, "another tar", "the one that was indexed")
        return Members(key, {name[len(key) + 1 :]: content for name, content in contents.items()})


def _put(members: pa.Table, extension: str, places: npt.NDArray[np.int64]) -> Rows:
    """Enter the places of members of one extension; returns the samples that have one."""
    some = members.filter(pc.field("extension") == extension)
    samples = some["sample"].to_numpy()
    places[samples, 0], places[samples, 1] = some["offset"].to_numpy(), some["size"].to_numpy()
    return samples


class Tars:
    """The samples of some tars by number; where those of a tar are is found when it is first read.

    About 60 bytes for each sample of a tar stay in memory from then on; processes that are forked
    afterwards share them.

    Args:
        tars: in their order; or with counts, what says one by its number.
        counts: how many samples each has, None to look into all of them at once.

    Raises:
        SourceError: one cannot be read.
        SchemaError: one is damaged.
    """

    def __init__(
        self, tars: Sequence[Tar] | Callable[[int], Tar], counts: Sequence[int] | None = None
    ) -> None:
        self._tar_of = tars if callable(tars) else tars.__getitem__
        self._contents: dict[int, TarContents] = {}
        if counts is None:
            assert not callable(tars)
            with ThreadPoolExecutor(SCANS) as threads:
                self._contents = dict(enumerate(threads.map(TarContents.of, tars)))
            counts = [len(contents) for contents in self._contents.values()]
        self.ends = np.cumsum(np.array(counts, np.int64))

    def __len__(self) -> int:
        """How many samples."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def tar(self, row: int) -> int:
        """The number of the tar that a sample is in."""
        return int(np.searchsorted(self.ends, row, side="right"))

    def first(self, tar: int) -> int:
        """The number of a tar's first sample."""
        return int(self.ends[tar - 1]) if tar else 0

    def read(self, row: int) -> Sample:
        """See ``SampleSet``."""
        tar = self.tar(row)
        if tar not in self._contents:
            self._contents[tar] = self._counted(tar)
        members = self._contents[tar].read(row - self.first(tar))
        return parse_any(members, "", "txt", as_text=False)

    def _counted(self, tar: int) -> TarContents:
        contents = TarContents.of(self._tar_of(tar))
        expected = int(self.ends[tar]) - self.first(tar)
        if len(contents) != expected:
            raise changed(contents.uri, f"{len(contents):,} samples", f"{expected:,}")
        return contents


class TarSamples:
    """The samples of a folder of tars, of a glob, or of one tar; their indices are read at once.

    Args:
        where: a path or url.
        name: for messages and shares, by default ``where``.

    Raises:
        SourceMissingError: there are no tars.
        SourceError: they cannot be read.
        SchemaError: one is damaged.
    """

    def __init__(self, where: str, name: str | None = None) -> None:
        self.name = name or where
        files = _tars(where)
        # Beside a tar of img2dataset lies a table of its samples.
        self._tars = Tars([Tar(file.uri, f"{file.uri[:-4]}.parquet") for file in files])
        # Wherever the same tars lie, and whenever they were copied there.
        first, last = (file.uri.split("/")[:-1] for file in (files[0], files[-1]))
        steps = [a == b for a, b in zip(first, last, strict=False)]
        shared = len("/".join(first[: [*steps, False].index(False)]))
        told = "\n".join(f"{file.uri[shared:]} {file.size_bytes}" for file in files)
        self.digest = hashlib.sha256(told.encode()).hexdigest()

    def __len__(self) -> int:
        """How many samples."""
        return len(self._tars)

    def read(self, row: int) -> Sample:
        """See ``SampleSet``."""
        return self._tars.read(row)


def changed(where: str, found: str, expected: str) -> DamagedError:
    """The error for a tar that is not what it was when it was indexed."""
    return DamagedError(
        where, found, expected, "It changed while it was in use: open the samples again."
    )


def _tars(where: str) -> list[File]:
    """The tars of a folder or glob, by name."""
    if where.endswith(".tar") and is_file(where):
        return [looked_at(where)]
    tars = listed(where, lambda name: name.endswith(".tar"), hidden=False)
    if not tars:
        raise SourceMissingError(where, "no tars", "at least one", "Check the spelling.")
    return sorted(tars, key=lambda tar: tar.uri)
