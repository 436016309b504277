"""Inputs that are no partition: webdatasets anywhere, and folders of images.

Says which pieces an input has, what tells a piece from its successor of the same name, and which
samples are in it. See ``inference.standalone`` for output and resuming.
"""

import hashlib
import re
import tempfile
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Protocol, cast

from fsspec.implementations.local import LocalFileSystem

from clip_assets.errors import SourceMissingError
from clip_assets.files.faults import translated
from clip_assets.files.fetching import fetched
from clip_assets.files.filesystem import filesystem, uri_of
from clip_assets.files.identity import File, looked_at
from clip_assets.files.listing import exact_part, is_glob, listed
from clip_assets.files.opening import opened
from clip_assets.inference import samples
from clip_assets.inference.samples import Sample
from clip_assets.inference.threads import batched
from clip_assets.webdataset.index import CHANGED, damaged, readable
from clip_assets.webdataset.read import IMAGE_EXTENSIONS, Members, read_tar

FILES_PER_PIECE = 10_000
"""Images of a folder that are one piece."""

GONE = "file gone since it was listed"

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True, slots=True)
class MemberNames:
    """Where a sample's image and caption are.

    Args:
        image: extension of the image's member; empty for the first known one.
        caption: extension of the caption's member, or a field of the json.
    """

    image: str = ""
    caption: str = "txt"

    @property
    def members(self) -> tuple[str, ...]:
        """Extensions that are read."""
        return (*self.images, self.caption, "json")

    @property
    def images(self) -> tuple[str, ...]:
        """Extensions that are images."""
        return (self.image,) if self.image else IMAGE_EXTENSIONS


class Piece(Protocol):
    """A stretch of an input that is embedded as one."""

    @property
    def where(self) -> str:
        """What to call it."""
        ...

    @property
    def version(self) -> str:
        """Of the content as it was listed; changes when the content does."""
        ...

    def samples(self) -> Generator[Sample]:
        """Its samples, in an order that is always the same.

        Raises:
            SchemaError: it is damaged, or not what was listed.
            SourceError: it cannot be read or is gone.
        """
        ...


@dataclass(frozen=True, slots=True)
class Input:
    """What an input has.

    Args:
        pieces: in order, at least one.
        passed_over: files that are in no piece, by ending, and what is no file, by what it is.
    """

    pieces: list[Piece]
    passed_over: Counter[str]


def input_of(source: str, names: MemberNames) -> Input:
    """The pieces of an input, and what is in none.

    Args:
        source: tars as path, url, glob or brace pattern, or a folder of tars or of images. What
            is there under exactly that name is no pattern.
        names: where image and caption are.

    Raises:
        SourceMissingError: nothing is there, or a named tar is not.
        SourceError: it cannot be listed.
    """
    exact = exact_part(source)
    given = Input([], Counter())
    for rest in expand_braces(source[len(exact) :]):
        _add(given, exact + rest, len(exact), names)
    if not given.pieces:
        raise _nothing(source, "neither tars nor images", names)
    return given


def _add(given: Input, name: str, exact: int, names: MemberNames) -> None:
    """What a tar, a folder or a glob stands for; of a name so much is there exactly so."""
    if is_glob(name, exact):
        matches = listed(name, lambda path: _is_tar(path) or _pass_over(given, path))
        tars = sorted(matches, key=lambda tar: tar.uri)
        given.pieces.extend(_Tar(tar, names) for tar in tars)
    elif _is_tar(name):
        # Called as it was named: of a chained url, a file system knows one link only.
        given.pieces.append(_Tar(replace(looked_at(name), uri=name), names))
    else:
        _add_folder(given, name, names)


def _add_folder(given: Input, folder: str, names: MemberNames) -> None:
    """The tars that are in a folder, else the images in it and below."""
    known = {*names.members, "tar"}
    base = uri_of(*filesystem(folder)).rstrip("/") + "/"

    def is_known(path: str) -> bool:
        return _ending(path) in known or _pass_over(given, path)

    try:
        below = listed(folder, is_known, left_out=lambda why: given.passed_over.update([why]))
    except SourceMissingError:
        raise _nothing(folder, "nothing there", names) from None
    files = {file.uri.removeprefix(base): file for file in below}
    used = {name for name in files if _is_tar(name) and "/" not in name}
    if used:
        given.pieces.extend(_Tar(files[name], names) for name in sorted(used))
    else:
        pictures = _pictures(files, names)
        batches = batched(pictures, FILES_PER_PIECE)
        given.pieces.extend(_Files(folder, batch, names) for batch in batches)
        used = {name for picture in pictures for name in picture.beside.values()}
    for name in files.keys() - used:
        _pass_over(given, name)


def _ending(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[2].lower()


def _is_tar(name: str) -> bool:
    return name.lower().endswith(".tar")


def _pass_over(given: Input, name: str) -> bool:
    """Count a file that is in no piece; False, as it is not wanted."""
    file = name.rpartition("/")[2]
    given.passed_over[f".{_ending(name)}" if "." in file else "without an ending"] += 1
    return False


def _nothing(source: str, found: str, names: MemberNames) -> SourceMissingError:
    return SourceMissingError(
        source,
        found,
        "a tar, a folder of tars or of images, or a pattern of tars in quotes",
        f"Tars end in .tar, images in .{', .'.join(names.images)}.",
    )


def expand_braces(pattern: str) -> list[str]:
    """``a{00..02}b`` and ``a{x,y}b`` as the names they stand for, as shells and webdataset do."""
    braces = _BRACES.search(pattern)
    if not braces:
        return [pattern]
    numbers = _RANGE.fullmatch(braces[1])
    if numbers:
        width = len(numbers[1])
        first, last = int(numbers[1]), int(numbers[2])
        step = 1 if first <= last else -1
        middles = [f"{n:0{width}d}" for n in range(first, last + step, step)]
    else:
        middles = braces[1].split(",")
    head, tail = pattern[: braces.start()], pattern[braces.end() :]
    return [head + middle + rest for middle in middles for rest in expand_braces(tail)]


@dataclass(frozen=True, slots=True)
class _Tar:
    file: File
    names: MemberNames

    @property
    def where(self) -> str:
        return self.file.uri

    @property
    def version(self) -> str:
        return _version(self.file)

    def samples(self) -> Generator[Sample]:
        self._check()
        with _local(self.file) as file:
            for members in read_tar(file, self.where, self.names.members):
                yield samples.parse_any(members, self.names.image, self.names.caption)
        self._check()

    def _check(self) -> None:
        if looked_at(self.where).etag != self.file.etag:
            raise damaged(self.where, CHANGED)


def _version(file: File) -> str:
    """What changes with a file's content, which is read where a server tells its size alone."""
    if file.is_tagged or file.is_gone:
        return file.etag
    with _local(file) as content:
        return file.etag + hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def _local(file: File) -> Generator[BufferedReader]:
    """A file to be read here; a remote one is copied for the time of the block."""
    fs, path = filesystem(file.uri)
    with tempfile.TemporaryDirectory(prefix="clip-assets-") as folder:
        if not isinstance(fs, LocalFileSystem):
            path = str(fetched(file, Path(folder)))
        with opened(path) as content:
            yield cast("BufferedReader", content)


@dataclass(frozen=True, slots=True)
class _Picture:
    """An image file, with the files of the same name beside it, by extension."""

    path: str
    beside: dict[str, str]
    version: str


@dataclass(frozen=True, slots=True)
class _Files:
    folder: str
    pictures: list[_Picture]
    names: MemberNames

    @property
    def where(self) -> str:
        return f"{self.folder}: {self.pictures[0].path} to {self.pictures[-1].path}"

    @property
    def version(self) -> str:
        total = hashlib.sha256()
        for picture in self.pictures:
            total.update(f"{picture.path} {picture.version}\n".encode(errors="surrogateescape"))
        return total.hexdigest()

    def samples(self) -> Generator[Sample]:
        fs, root = filesystem(self.folder)
        for picture in self.pictures:
            try:
                with translated(f"{self.folder}: {picture.path}"):
                    contents = {
                        extension: fs.cat_file(f"{root.rstrip('/')}/{path}")
                        for extension, path in picture.beside.items()
                    }
            except SourceMissingError:
                yield Sample(picture.path, fault=GONE)
                continue
            members = Members(readable(picture.path), contents)  # pyright: ignore[reportArgumentType]
            yield samples.parse_any(members, self.names.image, self.names.caption)


def _pictures(files: dict[str, File], names: MemberNames) -> list[_Picture]:
    """Every image of a folder, sorted by path relative to it."""
    by_stem: dict[str, dict[str, str]] = {}
    for name in sorted(files):
        # Of a.TXT and a.txt the second counts.
        by_stem.setdefault(name.rpartition(".")[0], {})[_ending(name)] = name
    pictures: list[_Picture] = []
    for name in sorted(name for name in files if _ending(name) in names.images):
        same = by_stem[name.rpartition(".")[0]]
        others = {other: same[other] for other in (names.caption, "json") if other in same}
        beside = {_ending(name): name} | others
        version = " ".join(files[path].etag for path in beside.values())
        pictures.append(_Picture(name, beside, version))
    return pictures
