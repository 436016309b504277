"""Source files behind paths, folders, globs and urls, each with a cheap content identity.

Only names, sizes and tags are looked at here; which rows of a file belong to which partition
is the business of ``ledger``, what is in them of ``clip_assets.pairs``.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import Any, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from clip_assets.errors import ConfigurationError
from clip_assets.files.remote import filesystem, translated

FORMATS = (".csv", ".tsv", ".txt", ".parquet", ".jsonl")
"""Suffixes of source files; txt holds one url per line."""

COMPRESSIONS = (".gz", ".zst")
"""Suffixes that may follow a text format's."""

DATACOMP = {
    f"datacomp:{size}": f"hf://datasets/mlfoundations/datacomp_{size}"
    for size in ("small", "medium", "large", "xlarge", "1b")
}
DATACOMP["datacomp:datacomp_1b"] = DATACOMP["datacomp:1b"]
"""Published pools by name: the scales of DataComp's own download script, each a data set."""

Info = dict[str, Any]
"""What a file system says of one file."""

_TAGS = (
    "etag",
    "ETag",
    "md5Hash",
    "crc32c",
    "checksum",
    "blob_id",
    "xet_hash",
    "Content-MD5",
    "Digest",
)
_TIMES = (
    "LastModified",
    "Last-Modified",
    "updated",
    "last_modified",
    "mtime",
    "modified",
    "created",
)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that holds pairs.

    Args:
        uri: absolute path of a local file, url of any other.
        size_bytes: 0 where the server does not tell.
        etag: changes when the content does: size and time for a local file, else the
            strongest of what the file system offers.
    """

    uri: str
    size_bytes: int
    etag: str


def file_format(name: str) -> tuple[str, str]:
    """Format and compression of a file by its name, ``(".csv", ".gz")``; empty when unknown."""
    path = PurePosixPath(name.partition("?")[0].lower() if "://" in name else name.lower())
    compression = path.suffix if path.suffix in COMPRESSIONS else ""
    suffix = PurePosixPath(path.stem).suffix if compression else path.suffix
    known = suffix in FORMATS and not (suffix == ".parquet" and compression)
    return (suffix, compression) if known else ("", "")


def list_sources(patterns: Sequence[str]) -> list[SourceFile]:
    """Every source file that the patterns name, once, sorted by uri.

    Args:
        patterns: files, folders (searched to the bottom; hidden names are left out), globs;
            local paths, fsspec urls, or names of published pools.

    Raises:
        SourceMissingError: a file or folder is not there; a glob may match nothing.
        SourceError: it cannot be listed.
        ConfigurationError: the protocol is unknown or needs a package, or a named file has
            no suffix that says what it is.
    """
    found = {file.uri: file for pattern in patterns for file in _listed(pattern)}
    return [found[uri] for uri in sorted(found)]


def named(patterns: Sequence[str], uri: str) -> bool:
    """Whether one of the patterns names a uri, whether or not it is there."""
    return any(
        uri == pattern
        or uri.startswith(pattern.rstrip("/") + "/")
        or (_is_glob(pattern) and fnmatch(uri, pattern))
        for pattern in map(_normal, patterns)
    )


def source_file(uri: str) -> SourceFile:
    """One file as it is now.

    Raises:
        SourceMissingError: it is not there.
        SourceError: it cannot be looked at.
    """
    with translated(uri):
        fs, path = filesystem(uri)
        fs.invalidate_cache()
        return _described(fs, path)


def _listed(pattern: str) -> Iterable[SourceFile]:
    with translated(pattern):
        fs, path = filesystem(_normal(pattern))
        # The hub's back end keeps listings whatever it is asked to.
        fs.invalidate_cache()
        if _is_glob(pattern) and not fs.exists(path):
            found = _files(fs, fs.glob(path, detail=True))
        elif file_format(path)[0] and fs.isfile(path):
            found = {path: fs.info(path)}
        else:
            found = _below(fs, path, pattern)
        return [_described(fs, name, info) for name, info in found.items()]


def _files(fs: fsspec.AbstractFileSystem, found: Any) -> dict[str, Info]:
    """Those of listed names that are source files."""
    return {
        name: info
        for name, info in cast("dict[str, Info]", found).items()
        if file_format(name)[0] and _is_file(fs, name, info)
    }


def _is_file(fs: fsspec.AbstractFileSystem, name: str, info: Info) -> bool:
    # A listing of a local folder does not say where links lead.
    if isinstance(fs, LocalFileSystem):
        return S_ISREG(Path(name).stat().st_mode)
    return info["type"] == "file"


def _is_glob(pattern: str) -> bool:
    # In a web address the question mark begins a query.
    signs = "*[" if pattern.startswith("http") else "*[?"
    return any(sign in pattern for sign in signs)


def _normal(pattern: str) -> str:
    if not pattern:
        raise ConfigurationError(
            repr(pattern),
            "an empty name",
            "a file, a folder, a glob or a url",
            "Correct it; a variable of the shell may be empty.",
        )
    if pattern.startswith("datacomp:"):
        if pattern not in DATACOMP:
            raise ConfigurationError(
                pattern, "no pool of that name", f"one of {', '.join(DATACOMP)}", "Correct it."
            )
        return DATACOMP[pattern]
    return pattern if "://" in pattern else str(Path(pattern).expanduser().absolute())


def _below(fs: fsspec.AbstractFileSystem, path: str, pattern: str) -> dict[str, Info]:
    if fs.isfile(path) and not fs.isdir(path):
        raise ConfigurationError(
            pattern,
            "a file of another format",
            f"a name that ends in {', '.join(FORMATS)} (text formats also + .gz or .zst)",
            "Rename it, or convert it to one of these.",
        )
    if not fs.isdir(path):
        # Back ends answer no to any question that fails; this one says why.
        fs.info(path)
        raise FileNotFoundError(path)
    base = len(path.rstrip("/")) + 1
    return {
        name: info
        for name, info in _files(fs, _found(fs, path)).items()
        if not any(part.startswith((".", "_")) for part in name[base:].split("/"))
    }


def _found(fs: fsspec.AbstractFileSystem, path: str) -> Any:
    """What is below a folder, by name."""
    if not isinstance(fs, LocalFileSystem):
        return fs.find(path, detail=True)

    def stop(error: OSError) -> None:
        raise error  # a folder that may not be read would look like one without files

    walk = os.walk(path, onerror=stop, followlinks=True)
    return {f"{folder.rstrip('/')}/{name}": {} for folder, _, names in walk for name in names}


def _described(fs: fsspec.AbstractFileSystem, path: str, listed: Info | None = None) -> SourceFile:
    """A file, by what a listing said of it; asked for where that says too little."""
    if isinstance(fs, LocalFileSystem):
        stat = Path(path).stat()
        return SourceFile(path, stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}")
    info: Info = listed if listed and listed.get("size") is not None else fs.info(path)
    size = int(info.get("size") or 0)
    tags = [str(info[tag]) for tag in (*_TAGS, *_TIMES) if info.get(tag)]
    return SourceFile(fs.unstrip_protocol(path), size, f"{size}-{tags[0] if tags else ''}")
