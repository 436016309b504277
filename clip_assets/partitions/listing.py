"""Which files are sources: by path, folder, glob, url or the name of a published pool.

Only names, sizes and tags are looked at here; which rows of a file belong to which partition
is the business of ``ledger``, what is in them of ``clip_assets.pairs``.
"""

import logging
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from clip_assets.errors import ConfigurationError
from clip_assets.files.filesystem import WEB
from clip_assets.files.identity import File, looked_at
from clip_assets.files.listing import is_file, is_folder, is_glob, listed
from clip_assets.files.packed import CODECS
from clip_assets.masking import masked

logger = logging.getLogger(__name__)

FORMATS = (".csv", ".tsv", ".txt", ".parquet", ".jsonl")
"""Suffixes of source files; txt holds one url per line."""

COMPRESSIONS = tuple(CODECS)
"""Suffixes that may follow a text format's."""

DATACOMP = {
    f"datacomp:{size}": f"hf://datasets/mlfoundations/datacomp_{size}"
    for size in ("small", "medium", "large", "xlarge", "1b")
}
DATACOMP["datacomp:datacomp_1b"] = DATACOMP["datacomp:1b"]
"""Published pools by name: the scales of DataComp's own download script, each a data set."""


def file_format(name: str) -> tuple[str, str]:
    """Format and compression of a file by its name, ``(".csv", ".gz")``; empty when unknown."""
    # In a bucket a question mark is a character of the name.
    path = PurePosixPath((name.partition("?")[0] if name.startswith(WEB) else name).lower())
    compression = path.suffix if path.suffix in COMPRESSIONS else ""
    suffix = PurePosixPath(path.stem).suffix if compression else path.suffix
    known = suffix in FORMATS and not (suffix == ".parquet" and compression)
    return (suffix, compression) if known else ("", "")


def list_sources(patterns: Sequence[str]) -> list[File]:
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
    by_uri = {file.uri: file for pattern in patterns for file in _listed(pattern)}
    return [by_uri[uri] for uri in sorted(by_uri)]


def named(patterns: Sequence[str], uri: str) -> bool:
    """Whether one of the patterns names a uri, whether or not it is there."""
    return any(
        uri == pattern
        or uri.startswith(pattern.rstrip("/") + "/")
        or (is_glob(pattern) and fnmatchcase(uri, pattern))
        for pattern in map(_normal, patterns)
    )


def _listed(pattern: str) -> list[File]:
    uri = _normal(pattern)
    is_source = bool(file_format(uri)[0])
    if is_file(uri):
        if is_source:
            return [looked_at(uri)]
        if not is_folder(uri):
            raise ConfigurationError(
                pattern,
                "a file of another format",
                f"a name that ends in {', '.join(FORMATS)} (text formats also + .gz, .zst or .br)",
                "Rename it, or convert it to one of these.",
            )
    files = listed(uri, lambda name: bool(file_format(name)[0]), hidden=False)
    if uri.startswith(WEB):
        # What a page says of its links, nobody keeps true.
        for dead in (file.uri for file in files if file.is_gone):
            logger.warning("%s: a dead link of %s, left out", masked(dead), masked(uri))
        return [file for file in files if not file.is_gone]
    # Looked at again, one that is gone says so.
    return [looked_at(file.uri) if file.is_gone else file for file in files]


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
