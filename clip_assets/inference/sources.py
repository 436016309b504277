"""Inputs that are no partition: webdatasets anywhere, and folders of images.

Says which parts an input has, what tells a part from its successor of the same name, and which
samples are in it. Output and resuming belong to ``inference.standalone``.
"""

import hashlib
import re
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import fsspec
from fsspec.implementations.local import LocalFileSystem

from clip_assets.errors import SourceMissingError
from clip_assets.inference import samples
from clip_assets.inference.samples import Sample
from clip_assets.inference.threads import batched
from clip_assets.webdataset.index import CHANGED, damaged
from clip_assets.webdataset.read import IMAGE_EXTENSIONS, Members, read_tar

FILES_PER_PART = 10_000
"""Images of a folder that are one part."""

GONE = "file gone since it was listed"

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True, slots=True)
class Keys:
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


class Part(Protocol):
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
        """
        ...


def parts_of(source: str, keys: Keys) -> list[Part]:
    """The parts of an input, in order.

    Args:
        source: tars as path, url, glob or brace pattern, or a folder of tars or of images.
        keys: where image and caption are.

    Raises:
        SourceMissingError: nothing is there, or a named tar is not.
    """
    urls = [url for pattern in expand_braces(source) for url in _tars(pattern)]
    if urls:
        return [_Tar(url, keys, _tar_version(url)) for url in urls]
    pictures = _pictures(source, keys)
    if not pictures:
        fs, path = fsspec.url_to_fs(source)
        raise SourceMissingError(
            source,
            "neither tars nor images" if fs.exists(path) else "nothing there",
            "a tar, a folder of tars or of images, or a pattern of tars in quotes",
            f"Tars end in .tar, images in .{', .'.join(keys.images)}.",
        )
    return [_Files(source, batch, keys) for batch in batched(pictures, FILES_PER_PART)]


def expand_braces(pattern: str) -> list[str]:
    """``a{00..02}b`` and ``a{x,y}b`` as the names they stand for, as shells and webdataset do."""
    found = _BRACES.search(pattern)
    if not found:
        return [pattern]
    numbers = _RANGE.fullmatch(found[1])
    if numbers:
        width = len(numbers[1])
        first, last = int(numbers[1]), int(numbers[2])
        step = 1 if first <= last else -1
        middles = [f"{n:0{width}d}" for n in range(first, last + step, step)]
    else:
        middles = found[1].split(",")
    head, tail = pattern[: found.start()], pattern[found.end() :]
    return [head + middle + rest for middle in middles for rest in expand_braces(tail)]


def _tars(pattern: str) -> list[str]:
    """Urls of the tars that a name, a glob or a folder stands for."""
    fs, path = fsspec.url_to_fs(pattern)
    if path.endswith(".tar") and "*" not in path:
        return [pattern]
    found = fs.glob(path) if "*" in path else fs.glob(f"{path.rstrip('/')}/*.tar")
    return [str(fs.unstrip_protocol(name)) for name in sorted(found) if name.endswith(".tar")]


@dataclass(frozen=True, slots=True)
class _Tar:
    where: str
    keys: Keys
    version: str

    def samples(self) -> Generator[Sample]:
        fs, path = fsspec.url_to_fs(self.where)
        with tempfile.TemporaryDirectory(prefix="clip-assets-") as folder:
            if isinstance(fs, LocalFileSystem):
                local = Path(path)
            else:
                local = Path(folder, "part.tar")
                fs.get_file(path, str(local))
            with local.open("rb") as file:
                for members in read_tar(file, self.where, self.keys.members):
                    yield samples.parse_any(members, self.keys.image, self.keys.caption)
        if _tar_version(self.where) != self.version:
            raise damaged(self.where, CHANGED)


def _tar_version(url: str) -> str:
    fs, path = fsspec.url_to_fs(url)
    try:
        return _version(fs.info(path))
    except FileNotFoundError:
        raise SourceMissingError(
            url, "no such tar", "a tar to embed", "Correct the input's name."
        ) from None


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
    keys: Keys

    @property
    def where(self) -> str:
        return f"{self.folder}: {self.pictures[0].path} to {self.pictures[-1].path}"

    @property
    def version(self) -> str:
        total = hashlib.sha256()
        for picture in self.pictures:
            total.update(f"{picture.path} {picture.version}\n".encode())
        return total.hexdigest()

    def samples(self) -> Generator[Sample]:
        fs, root = fsspec.url_to_fs(self.folder)
        for picture in self.pictures:
            try:
                contents = {
                    extension: fs.cat_file(f"{root.rstrip('/')}/{path}")
                    for extension, path in picture.beside.items()
                }
            except FileNotFoundError:
                yield Sample(picture.path, fault=GONE)
                continue
            members = Members(picture.path, contents)
            yield samples.parse_any(members, self.keys.image, self.keys.caption)


def _pictures(folder: str, keys: Keys) -> list[_Picture]:
    """Every image below a folder, sorted by path relative to it."""
    fs, root = fsspec.url_to_fs(folder)
    found = fs.find(root, detail=True)
    names = {path[len(root.rstrip("/")) + 1 :]: info for path, info in found.items()}
    pictures: list[_Picture] = []
    for name in sorted(names):
        stem, _, extension = name.rpartition(".")
        if extension.lower() not in keys.images:
            continue
        beside = {extension.lower(): name}
        for other in (keys.caption, "json"):
            if f"{stem}.{other}" in names:
                beside[other] = f"{stem}.{other}"
        version = " ".join(_version(names[path]) for path in beside.values())
        pictures.append(_Picture(name, beside, version))
    return pictures


def _version(info: Mapping[str, Any]) -> str:
    """Size, and whatever the store has that changes with the content."""
    marks = ("size", "mtime", "ETag", "etag", "md5Hash", "crc32c", "LastModified")
    return " ".join(str(info[mark]) for mark in marks if info.get(mark) is not None)
