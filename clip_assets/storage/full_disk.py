"""What a full disk looks like in each library, and the same in our own words."""

import errno
import re
import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from clip_assets.errors import StorageFullError

_NUMBERS = (errno.ENOSPC, errno.EDQUOT)

_WORDS = ("no space left on device", "disk quota exceeded", "database or disk is full")
# DuckDB and faiss raise errors of their own that end with the kernel's words, sqlite has its own.

_CUT_OFF = re.compile(r"\d+ requested and \d+ written")
# numpy's, without a number; a disk that fails otherwise is told so too, with the room it has.


def is_full(error: BaseException) -> bool:
    """Whether an error, or what caused it, is that a disk has no room."""
    # An error can be among its own causes: the one of a group names the group as its context.
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, OSError) and one.errno in _NUMBERS:
            return True
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
        elif any(words in str(one).lower() for words in _WORDS) or _CUT_OFF.fullmatch(str(one)):
            return True
        waiting += [one.__cause__, one.__context__]
    return False


@contextmanager
def told(where: str, folders: Sequence[Path], needed: str = "room") -> Generator[None]:
    """Raise what a full disk makes of the block as our own error.

    Args:
        where: what was being written, for the error.
        folders: that lie on the disks in question; a temporary one is told beside them.
        needed: how much room, if that is known.

    Raises:
        StorageFullError: the disk filled up.
    """
    try:
        yield
    except StorageFullError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise full(where, folders, needed) from error


def full(where: str, folders: Sequence[Path], needed: str = "room") -> StorageFullError:
    """The error of a disk without room."""
    places = dict.fromkeys((*folders, Path(tempfile.gettempdir())))
    return StorageFullError(
        where,
        f"a full disk ({', '.join(map(_free, places))})",
        needed,
        "Nothing was published of it; make room or move the root, then run the same again.",
    )


def _free(folder: Path) -> str:
    with suppress(OSError):
        return f"{shutil.disk_usage(folder).free:,} bytes free in {folder}"
    return f"nothing known of {folder}"
