"""The samples of any tars, each read alone by its byte range.

Where they are in a tar is found by its headers, once; what is in them is parsed as ``clip-assets
embed`` does it. A pool's tars are found by ``pool_samples``.
"""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from clip_assets.errors import DamagedError, SourceMissingError
from clip_assets.files.faults import translated
from clip_assets.files.filesystem import filesystem
from clip_assets.files.identity import File, looked_at
from clip_assets.files.listing import is_file, listed
from clip_assets.files.opening import opened
from clip_assets.inference.samples import Sample, parse_any
from clip_assets.webdataset.index import Places, index_tar
from clip_assets.webdataset.read import IMAGE_EXTENSIONS, Members

SCANS = 16
"""Tars whose headers are read at a time."""

_ROLES = 3
# Image, caption and json have a place each.


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
    """Where the samples of one tar are.

    Args:
        keys: of the samples, in the tar's order.
        places: (n, 6) int64; offset and size of image, caption and json, -1 for one that is not
            there.
        kinds: (n,) int8; which of ``IMAGE_EXTENSIONS`` the image has.
    """

    keys: pa.StringArray
    places: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int8]

    @classmethod
    def of(cls, samples: Sequence[Places]) -> "TarContents":
        """Those of some samples; one with a member that has no place counts without it."""
        places = np.full((len(samples), 2 * _ROLES), -1, np.int64)
        kinds = np.zeros(len(samples), np.int8)
        for row, sample in enumerate(samples):
            known = (number for number, end in enumerate(IMAGE_EXTENSIONS) if end in sample.members)
            kinds[row] = next(known, 0)
            for role, extension in enumerate(_extensions(int(kinds[row]))):
                if place := sample.members.get(extension):
                    places[row, 2 * role : 2 * role + 2] = place.offset, place.size
        return cls(pa.array([sample.key for sample in samples], pa.string()), places, kinds)

    def __len__(self) -> int:
        """How many samples."""
        return len(self.kinds)

    def read(self, uri: str, row: int) -> Members:
        """The contents of one sample, by one request.

        Raises:
            SourceError: the tar cannot be read.
            DamagedError: it ends before the sample does.
        """
        starts, sizes = self.places[row, ::2], self.places[row, 1::2]
        there = np.flatnonzero(starts >= 0)
        key = self.keys[row].as_py()
        if not len(there):
            return Members(key, {})
        first, end = int(starts[there].min()), int((starts + sizes)[there].max())
        block = _range(uri, first, end)
        if len(block) < end - first:
            raise changed(uri, f"a tar that ends before byte {end:,}", "a longer one")
        extensions = _extensions(int(self.kinds[row]))
        return Members(
            key,
            {
                extensions[role]: block[starts[role] - first : starts[role] - first + sizes[role]]
                for role in there
            },
        )


def contents_of(uri: str) -> TarContents:
    """Where the samples of a tar are, by its headers.

    Raises:
        SourceError: it cannot be read.
        SchemaError: it is damaged.
    """
    with opened(uri) as file:
        return TarContents.of(list(index_tar(file, uri)))  # pyright: ignore[reportArgumentType]


class Tars:
    """The samples of some tars by number; where those of a tar are is found when it is first read.

    About 60 bytes for each sample of a tar stay in memory from then on; processes that are forked
    afterwards share them.

    Args:
        uris: of the tars.
        counts: how many samples each has, None to look into all of them at once.

    Raises:
        SourceError: one cannot be read.
        SchemaError: one is damaged.
    """

    def __init__(self, uris: Sequence[str], counts: Sequence[int] | None = None) -> None:
        self.uris = uris
        self._contents: dict[int, TarContents] = {}
        if counts is None:
            with ThreadPoolExecutor(SCANS) as threads:
                self._contents = dict(enumerate(threads.map(contents_of, uris)))
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
        members = self._contents[tar].read(self.uris[tar], row - self.first(tar))
        return parse_any(members, "", "txt")

    def _counted(self, tar: int) -> TarContents:
        contents = contents_of(self.uris[tar])
        expected = int(self.ends[tar]) - self.first(tar)
        if len(contents) != expected:
            raise changed(self.uris[tar], f"{len(contents):,} samples", f"{expected:,}")
        return contents


class TarSamples:
    """The samples of a folder of tars, of a glob, or of one tar; all headers are read at once.

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
        self._tars = Tars([file.uri for file in files])
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


def _extensions(kind: int) -> tuple[str, str, str]:
    return IMAGE_EXTENSIONS[kind], "txt", "json"


def _range(uri: str, start: int, end: int) -> bytes:
    with translated(uri):
        fs, path = filesystem(uri)
        if not isinstance(fs, LocalFileSystem):
            return bytes(fs.cat_file(path, start=start, end=end))  # pyright: ignore[reportArgumentType]
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(file, end - start, start)
        finally:
            os.close(file)
