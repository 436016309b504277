"""Bytes of tars for copying: many small stretches at once, large ones by the kernel.

A local tar that is not the one that was planned is refused when it is opened.
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import NamedTuple, Self

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem

from clip_assets.errors import SourceChangedError
from clip_assets.files.faults import faults, translated
from clip_assets.files.fetching import tried
from clip_assets.files.filesystem import filesystem
from clip_assets.files.identity import File, described
from clip_assets.webdataset.index import CHANGED, damaged

OPEN_FILES = 64
"""Of one thread at a time; a process may have 1,024 on most machines."""

BLOCK_BYTES = 4 << 20
"""Of a large content in memory at once."""


class Stretch(NamedTuple):
    """Some bytes of a tar.

    Args:
        file: the tar.
        start: the first byte.
        stop: the byte after the last.
    """

    file: File
    start: int
    stop: int


class Sources:
    """Tars that are read. Of one thread."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, int] = OrderedDict()
        self._buffer = memoryview(b"")

    def __enter__(self) -> Self:
        """Nothing is open yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what is open."""
        with ExitStack() as stack:
            for number in self._open.values():
                stack.callback(os.close, number)
            self._open.clear()

    def read(self, stretches: Sequence[Stretch], room: memoryview | None = None) -> memoryview:
        """The bytes of stretches, one after the other; they can be written to until the next call.

        Args:
            stretches: what.
            room: where they are put; None for memory that the next call takes, too.

        Those of remote tars are read side by side.

        Raises:
            SourceError: a tar cannot be read; ``SourceMissingError``: it is gone.
            SourceChangedError: it is not the one that was planned.
            SchemaError: it is shorter.
        """
        total = sum(stop - start for _, start, stop in stretches)
        if room is None and total > len(self._buffer):
            self._buffer = np.empty(total, np.uint8).data
        target = self._buffer[:total] if room is None else room
        remote: list[tuple[Stretch, memoryview]] = []
        at = 0
        for file, start, stop in stretches:
            memory = target[at : at + stop - start]
            at += len(memory)
            opened = self.descriptor(file)
            if opened is None:
                remote.append((Stretch(file, start, stop), memory))
                continue
            with translated(file.uri):
                if os.preadv(opened, [memory], start) != len(memory):
                    raise damaged(file.uri, CHANGED)
        fetched = _fetched([stretch for stretch, _ in remote])
        for content, (stretch, memory) in zip(fetched, remote, strict=True):
            if len(content) != len(memory):
                raise damaged(stretch.file.uri, CHANGED)
            memory[:] = content
        return target

    def descriptor(self, file: File) -> int | None:
        """A local tar's file descriptor, open until later ones take its place; None for others."""
        if file.uri in self._open:
            self._open.move_to_end(file.uri)
            return self._open[file.uri]
        with translated(file.uri):
            fs, path = filesystem(file.uri)
            if not isinstance(fs, LocalFileSystem):
                return None
            if described(fs, path) != file:
                raise _changed(file)
            opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._open[file.uri] = opened
        if len(self._open) > OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        return opened

    def copy(self, stretch: Stretch, target: int) -> None:
        """Append a large stretch to a file, by the kernel where it can; raises as ``read`` does.

        Args:
            stretch: what.
            target: descriptor of the file, at its end.
        """
        source = self.descriptor(stretch.file)
        start = stretch.start
        if source is not None:
            start += _copied(source, start, stretch.stop - start, target)
        while start < stretch.stop:
            stop = min(start + BLOCK_BYTES, stretch.stop)
            view = self.read([Stretch(stretch.file, start, stop)])
            start = stop
            while view:
                view = view[os.write(target, view) :]


def _copied(source: int, start: int, size: int, target: int) -> int:
    """Bytes that the kernel copied, fewer where the file systems cannot or the source ends."""
    done = 0
    # Not every file system knows it, and some not from another one.
    with suppress(OSError, AttributeError):
        while done < size:
            copied = os.copy_file_range(source, target, size - done, start + done)
            if not copied:
                break
            done += copied
    return done


def _fetched(stretches: Sequence[Stretch]) -> list[bytes]:
    uris = [stretch.file.uri for stretch in stretches]
    systems = [filesystem(uri) for uri in dict.fromkeys(uris)]
    by_uri = dict(zip(dict.fromkeys(uris), systems, strict=True))
    contents: dict[int, bytes] = {}
    for fs in {id(fs): fs for fs, _ in systems}.values():
        numbers = [n for n, uri in enumerate(uris) if by_uri[uri][0] is fs]
        paths = [by_uri[uris[n]][1] for n in numbers]
        contents |= zip(numbers, _of_one(fs, paths, [stretches[n] for n in numbers]), strict=True)
    return [contents[number] for number in range(len(stretches))]


def _of_one(
    fs: fsspec.AbstractFileSystem, paths: list[str], stretches: list[Stretch]
) -> list[bytes]:
    starts = [stretch.start for stretch in stretches]
    stops = [stretch.stop for stretch in stretches]
    with translated(stretches[0].file.uri):
        answers = fs.cat_ranges(paths, starts, stops, on_error="return")  # pyright: ignore[reportUnknownMemberType]
    return [
        answer if isinstance(answer, bytes) else _again(fs, path, stretch, answer)
        for path, stretch, answer in zip(paths, stretches, answers, strict=True)
    ]


def _again(fs: fsspec.AbstractFileSystem, path: str, stretch: Stretch, answer: object) -> bytes:
    """A stretch that failed, asked for again when the server may have been busy."""
    if isinstance(answer, BaseException) and not isinstance(answer, faults()):
        raise answer
    with translated(stretch.file.uri):
        return tried(lambda: bytes(fs.cat_file(path, start=stretch.start, end=stretch.stop)))  # pyright: ignore[reportArgumentType]


def _changed(file: File) -> SourceChangedError:
    return SourceChangedError(
        file.uri,
        "another time or size than when it was planned",
        "a tar that does not change while it is copied from",
        "Run the same again when whoever writes it is done, into an empty folder.",
    )
