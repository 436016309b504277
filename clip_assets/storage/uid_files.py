"""Files of uids in DataComp's form: an array of ``schemas.UID_PAIR``, as numpy saves it.

Uids stand there in any order and as often as they do; what is wanted with them is said by whoever
reads one.
"""

import io
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clip_assets import schemas
from clip_assets.errors import SourceFormatError
from clip_assets.storage.uids import UidPairs

_MAGIC = b"\x93NUMPY"


def read(content: bytes, where: str) -> UidPairs:
    """The uids of a file that is in memory.

    Args:
        content: of a .npy file, or the bare array, which numpy calls a memory map; DataComp has
            both.
        where: what to call it.

    Returns:
        (n,), in their order there.

    Raises:
        SourceFormatError: it is no list of uids.
    """
    if not content.startswith(_MAGIC):
        _check_bare(where, len(content))
        return np.frombuffer(content, schemas.UID_PAIR)
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise _damaged(where, error) from error
    return _checked(array, where).astype(schemas.UID_PAIR)


def mapped(file: Path, where: str) -> UidPairs:
    """The uids of a file on the disk, which stay there.

    Args:
        file: a .npy file, or the bare array.
        where: what to call it.

    Returns:
        (n,), in their order there, and in the file's order of bytes.

    Raises:
        SourceFormatError: it is no list of uids.
    """
    try:
        with file.open("rb") as content:
            is_bare = content.read(len(_MAGIC)) != _MAGIC
        if is_bare:
            _check_bare(where, size := file.stat().st_size)
            if not size:  # nothing cannot be mapped
                return np.empty(0, schemas.UID_PAIR)
            return np.memmap(file, schemas.UID_PAIR, "r")
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise _damaged(where, error) from error
    return _checked(array, where)


def checked(uids: object) -> UidPairs:
    """What somebody says to be an array of uids.

    Args:
        uids: (n,) of ``schemas.UID_PAIR``, or else.

    Raises:
        SourceFormatError: it is no list of uids.
    """
    if not isinstance(uids, np.ndarray):
        raise _wrong("uids", type(uids).__name__)
    return _checked(uids, "uids")


def write_bare(file: Path, target: Path) -> None:
    """Write the bare array of a .npy file, as ``numpy.memmap`` reads it."""
    with file.open("rb") as content, target.open("wb") as bare:
        np.lib.format.read_magic(content)
        np.lib.format.read_array_header_1_0(content)
        shutil.copyfileobj(content, bare, 2**20)


def _check_bare(where: str, size: int) -> None:
    """Refuse what is no bare array, as far as that can be told."""
    if where.endswith(".npy") or size % np.dtype(schemas.UID_PAIR).itemsize:
        raise _wrong(where, "no array")


def _checked(array: npt.NDArray[np.void], where: str) -> UidPairs:
    if array.ndim != 1 or array.dtype.newbyteorder("<") != np.dtype(schemas.UID_PAIR):
        raise _wrong(where, f"{array.dtype} of {array.ndim} dimensions")
    return array


def _damaged(where: str, error: Exception) -> SourceFormatError:
    return _wrong(where, f"a damaged file ({str(error).partition(chr(10))[0]})")


def _wrong(where: str, found: str) -> SourceFormatError:
    return SourceFormatError(
        where,
        found,
        "uids as DataComp has them: one dimension of numpy's dtype u8,u8",
        "Make or fetch it again; numpy.save(path, numpy.array(pairs, 'u8,u8')) writes one.",
    )
