"""Files that never change: named by a path, or fetched once from a url with the hash they have.

What they hold is the business of those who read them.
"""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from clip_assets.errors import ConfigurationError, SourceChangedError
from clip_assets.files.fetching import fetched
from clip_assets.files.filesystem import filesystem
from clip_assets.files.identity import looked_at
from clip_assets.files.opening import opened

MARK = "#sha256="
"""What stands between a url and the hash of its file."""


def cache_folder() -> Path:
    """Where files are kept that can be made or fetched again; it may be emptied at any time."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"  # noqa: TID251 (not our setting)
    return Path(cache).expanduser() / "clip-assets"


def pinned(uri: str, known: Mapping[str, str]) -> Path:
    """A file on this machine, fetched if it was not.

    Args:
        uri: a path, or a url; behind ``#sha256=`` the hash of its file.
        known: by name, the hash of files that everybody has under that name.

    Raises:
        ConfigurationError: a url has no hash.
        SourceChangedError: the file has another hash.
        SourceError: it cannot be read; ``SourceMissingError``: it is not there.
    """
    bare, _, digest = uri.partition(MARK)
    fs, path = filesystem(bare)
    digest = digest or known.get(path.rpartition("/")[2], "")
    if isinstance(fs, LocalFileSystem):
        with opened(bare):  # so that what is wrong with it is told alike
            file = Path(path)
        if digest:
            _check(file, bare, digest)
        return file
    if not digest:
        raise ConfigurationError(
            uri,
            "a url without the hash of its file",
            f"{bare}{MARK} and 64 hex digits",
            "Add the hash that the file should have, or give the path of a copy.",
        )
    kept = cache_folder() / "pinned" / digest.lower()
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        # A folder of its own: others may fetch the same file at this time.
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            copy = fetched(looked_at(bare), Path(folder))
            _check(copy, bare, digest)
            copy.replace(kept)
    return kept


def _check(file: Path, uri: str, digest: str) -> None:
    with file.open("rb") as content:
        own = hashlib.file_digest(content, "sha256").hexdigest()
    if own != digest.lower():
        raise SourceChangedError(
            uri,
            f"sha256 {own}",
            digest,
            "Fetch it again; if it is meant to be another file, give the hash of that one.",
        )
