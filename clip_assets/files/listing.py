"""Which files a folder or a glob stands for."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from clip_assets.errors import SourceMissingError
from clip_assets.files.faults import NO_FILE, refuse_special, translated
from clip_assets.files.filesystem import WEB, filesystem, uri_of
from clip_assets.files.identity import File, Info, described


def is_glob(pattern: str, start: int = 0) -> bool:
    """Whether a path or url has signs that stand for others; a file may be called so all the same.

    In a web address the question mark begins a query.

    Args:
        pattern: a path or url.
        start: how much of it is there exactly so, see ``exact_part``.
    """
    signs = "*[" if pattern.startswith(WEB) else "*[?"
    return any(sign in pattern[start:] for sign in signs)


def exact_part(pattern: str) -> str:
    """How much of a path or url is there under exactly that name, in whole steps.

    Without signs that stand for others, braces too, it is all of it, and nobody is asked.

    Raises:
        SourceError: nobody can say.
    """
    if not (is_glob(pattern) or "{" in pattern):
        return pattern
    part = pattern.rstrip("/")
    while is_glob(part) or "{" in part:
        with translated(part):
            fs, path = filesystem(part)
            fs.invalidate_cache()
            if fs.exists(path):
                return part if len(part) < len(pattern.rstrip("/")) else pattern
        part = part.rpartition("/")[0]
    return part


def is_file(uri: str) -> bool:
    """Whether there is a file of that name; a web server's folders are files too.

    Raises:
        SourceError: nobody can say.
    """
    with translated(uri):
        fs, path = filesystem(uri)
        fs.invalidate_cache()
        return bool(fs.isfile(path))


def is_folder(uri: str) -> bool:
    """Whether there is a folder of that name.

    Raises:
        SourceError: nobody can say.
    """
    with translated(uri):
        fs, path = filesystem(uri)
        return bool(fs.isdir(path))


LOOP = "link to a folder that it is in"


def listed(
    pattern: str,
    wanted: Callable[[str], bool],
    *,
    hidden: bool = True,
    left_out: Callable[[str], object] = str,
) -> list[File]:
    """The files that a glob matches or a folder holds, to its bottom.

    Args:
        pattern: a path or url; what is there under exactly that name is no glob.
        wanted: says by a file's name whether it is looked at.
        hidden: whether names in a folder count that begin with a dot or an underscore.
        left_out: told why, for what a local folder has that is neither a file nor a folder.

    Returns:
        Files in no order, some of them gone. A glob may match none, and a file holds none.

    Raises:
        SourceMissingError: there is no such folder.
        SourceError: it cannot be listed.
    """
    with translated(pattern):
        fs, path = filesystem(pattern)
        # The hub's back end keeps listings whatever it is asked to.
        fs.invalidate_cache()
        exact = exact_part(pattern)
        is_exact = not is_glob(pattern, len(exact))
        below = (
            _below(fs, path, left_out, hidden=hidden)
            if is_exact
            else fs.glob(_glob(path, pattern[len(exact) :]), detail=True)
        )
        entries = cast("dict[str, Info]", below)
        markers = _markers(entries)
        regular = {name: info for name, info in entries.items() if _is_regular(fs, name, info)}
        if is_exact and isinstance(fs, LocalFileSystem):
            for _ in entries.keys() - regular.keys():
                left_out(NO_FILE)
        return [
            _seen(fs, name, info)
            for name, info in regular.items()
            if name not in markers and wanted(name)
        ]


def _markers(below: dict[str, Info]) -> set[str]:
    """Empty objects of a bucket that consoles and Hadoop leave where they show a folder."""
    folders = {name.rpartition("/")[0] for name in below}
    return {
        name
        for name, info in below.items()
        if name.endswith("/") or (info.get("size") == 0 and name in folders)
    }


def _glob(path: str, rest: str) -> str:
    """A path as a glob, of which only the rest holds signs."""
    rest = rest.rstrip("/")
    if not path.endswith(rest):
        return path
    return re.sub(r"[*?[]", r"[\g<0>]", path.removesuffix(rest)) + rest


def _is_regular(fs: fsspec.AbstractFileSystem, name: str, info: Info) -> bool:
    # A listing of a local folder does not say where links lead.
    if isinstance(fs, LocalFileSystem):
        return Path(name).is_file() or not Path(name).exists()
    return info["type"] == "file"


def _seen(fs: fsspec.AbstractFileSystem, name: str, info: Info) -> File:
    uri = uri_of(fs, name)
    try:
        with translated(uri):
            return described(fs, name, info)
    except SourceMissingError:
        return File(uri, 0, "")


def _below(
    fs: fsspec.AbstractFileSystem, path: str, left_out: Callable[[str], object], *, hidden: bool
) -> dict[str, Info]:
    if not fs.isdir(path):
        # Back ends answer no to any question that fails; this one says why.
        fs.info(path)
        if fs.isfile(path):
            return {}
        refuse_special(path)
        return {}
    base = len(path.rstrip("/")) + 1
    return {
        name: info
        for name, info in _found(fs, path, left_out).items()
        if hidden or not any(step.startswith((".", "_")) for step in name[base:].split("/"))
    }


def _found(
    fs: fsspec.AbstractFileSystem, path: str, left_out: Callable[[str], object]
) -> dict[str, Any]:
    """What is below a folder, by name."""
    if not isinstance(fs, LocalFileSystem):
        return cast("dict[str, Any]", fs.find(path, detail=True))

    def stop(error: OSError) -> None:
        raise error  # a folder that may not be read would look like one without files

    below: dict[str, Any] = {}
    for folder, folders, names in os.walk(path, onerror=stop, followlinks=True):
        below |= {f"{folder.rstrip('/')}/{name}": {} for name in names}
        loops = {name for name in folders if _leads_back(Path(folder, name))}
        for _ in loops:
            left_out(LOOP)
        folders[:] = [name for name in folders if name not in loops]
    return below


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that it is in: a walk would go round for ever."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())
