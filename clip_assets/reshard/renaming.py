"""Samples under new keys in the very bytes that were read, a whole batch of them at once.

Headers are rows of an array here, and the batch's first members are done together, then its second
ones. Only plain samples are: what else tars hold is the matter of ``stretches``, one by one.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clip_assets.webdataset.tar_blocks import (
    PLACES,
    Blocks,
    Names,
    Numbers,
    Truths,
    first_dots,
    headers_of,
    in_lower_case,
    plain_headers,
)
from clip_assets.webdataset.tar_headers import HEADER, NAME_BYTES

MOST_MEMBERS = 16
"""Of a sample that is renamed here."""

# Row n keeps the first n bytes of a block; row 0 all of them, for contents that fill theirs.
_KEPT = np.where(np.arange(HEADER) < np.arange(HEADER)[:, None], 0xFF, 0).astype(np.uint8)
_KEPT[0] = 0xFF


@dataclass(frozen=True)
class _Members:
    """The members of one number, of those samples that have so many.

    Args:
        sample: (n,) their samples, ascending.
        block: (n,) of their headers.
        size: (n,) bytes of their contents.
        stem: (n,) names up to the extension.
        name: (n,) new names.
    """

    sample: Numbers
    block: Numbers
    size: Numbers
    stem: npt.NDArray[np.bytes_]
    name: npt.NDArray[np.bytes_]


def renamed(content: npt.NDArray[np.uint8], sizes: Numbers, keys: npt.NDArray[np.bytes_]) -> Truths:
    """Give samples other keys.

    Args:
        content: bytes of samples, one after the other; changed.
        sizes: (n,) bytes of each.
        keys: (n,) the new ones.

    Returns:
        (n,) which samples have it now. Nothing was done to the others: they hold more than members
        of one key with plain headers, or a header has no room for the name.
    """
    if (sizes % HEADER).any():
        return np.zeros(len(sizes), np.bool_)
    blocks = content.reshape(-1, HEADER)
    stops = np.cumsum(sizes // HEADER)
    is_plain = sizes > 0
    levels: list[_Members] = []
    sample = np.flatnonzero(is_plain)
    block = (stops - sizes // HEADER)[sample]
    width = np.char.str_len(keys).astype(np.int16)
    letters = _letters(keys.astype(f"S{NAME_BYTES}"))
    while len(sample) and len(levels) < MOST_MEMBERS:
        members, is_good = _members(blocks, sample, block, letters[sample], width[sample])
        following = block + 1 + (members.size + HEADER - 1) // HEADER
        is_good &= following <= stops[sample]
        for earlier in levels:
            of = np.searchsorted(earlier.sample, sample)
            is_good &= earlier.name[of] != members.name
            is_good &= earlier.stem[of] == members.stem
        is_plain[sample[~is_good]] = False
        levels.append(members)
        goes_on = is_good & (following < stops[sample])
        sample, block = sample[goes_on], following[goes_on]
    is_plain[sample] = False
    for members in levels:
        _write(blocks, members, is_plain[members.sample])
    return is_plain


def _members(
    blocks: Blocks, sample: Numbers, block: Numbers, letters: Names, width: npt.NDArray[np.int16]
) -> tuple[_Members, Truths]:
    """Members by the blocks of their headers, and which of them are plain."""
    names, sizes, is_good = plain_headers(blocks[block])
    is_good &= names.max(1, initial=0) < 0x80
    dot = first_dots(names)
    is_good &= dot < NAME_BYTES
    is_stem = dot[:, None] > PLACES
    ends = in_lower_case(np.where(is_stem, 0, names))
    new, has_room = _moved(ends, width - dot)
    new = np.where(width[:, None] > PLACES, letters, new)
    is_good &= has_room
    told = (_texts(np.where(is_stem, names, 0)), _texts(new))
    return _Members(sample, block, np.where(is_good, sizes, 0), *told), is_good


def _moved(ends: Names, shifts: npt.NDArray[np.int16]) -> tuple[Names, Truths]:
    """Names' ends, so many places further on each, and which of them have room there."""
    moved = np.zeros_like(ends)
    has_room = np.ones(len(ends), np.bool_)
    every = np.unique(shifts).tolist()
    for shift in every:
        # Keys of an input are of one length, so nearly always there is one.
        some = slice(None) if len(every) == 1 else shifts == shift
        if shift < 0:
            moved[some, :shift] = ends[some, -shift:]
        else:
            moved[some, shift:] = ends[some, : NAME_BYTES - shift]
            has_room[some] = ~ends[some, NAME_BYTES - shift :].any(1)
    return moved, has_room


def _write(blocks: Blocks, members: _Members, is_meant: Truths) -> None:
    """Write headers, and zeros behind contents."""
    block, size = members.block[is_meant], members.size[is_meant]
    last = block + (size + HEADER - 1) // HEADER
    blocks[last] &= _KEPT[size % HEADER]
    blocks[block] = headers_of(_letters(members.name[is_meant]), size)


def _texts(letters: Names) -> npt.NDArray[np.bytes_]:
    return letters.view(f"S{NAME_BYTES}").reshape(-1)


def _letters(texts: npt.NDArray[np.bytes_]) -> Names:
    return texts.view(np.uint8).reshape(-1, NAME_BYTES)
