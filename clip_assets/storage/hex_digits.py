"""Hex digits as bytes, many at a time and without the interpreter's lock.

Python's own way takes longer, and other threads wait for it. What the digits mean is the
business of ``uids``.
"""

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

BLOCK_WORDS = 2**15
"""Eight digits each; what is made of so many stays in a core's cache."""


def _each(byte: int) -> np.uint64:
    """A word of eight equal bytes."""
    return np.uint64(int.from_bytes(bytes([byte]) * 8, "little"))


_LOW, _HIGH, _ONE, _SIX = _each(0x0F), _each(0xF0), _each(1), _each(6)
_IS_LETTER, _ZERO = _each(0x40), _each(ord("0"))
_TO_LETTER = np.uint64(ord("a") - ord("0") - 10)
_PAIRS, _FOURS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)


def unhexed(digits: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The bytes that hex digits write, in their order.

    Args:
        digits: (n,) ASCII, a multiple of eight; letters may be capitals.

    Returns:
        (n / 2,)

    Raises:
        ValueError: something else is among them.
    """
    words = digits.view("<u8")
    fours = np.empty(len(words), "<u4")
    for start in range(0, len(words), BLOCK_WORDS):
        block = slice(start, start + BLOCK_WORDS)
        fours[block] = _packed(_values(words[block]))
    return fours.view(np.uint8)


def _values(words: Words) -> Words:
    """The value of each digit in its byte."""
    # In place where it can be: half of the time is that of new arrays.
    letter = words & _IS_LETTER
    # A letter's place in the alphabet is nine less than its value; capitals lack one bit.
    values = letter >> np.uint64(6)
    values *= np.uint64(9)
    values += words & _LOW
    letter >>= np.uint64(1)
    letter |= words
    again = values + _SIX
    again >>= np.uint64(4)
    again &= _ONE
    again *= _TO_LETTER
    again += values
    again += _ZERO
    again ^= letter
    again |= values & _HIGH
    if again.any():
        raise ValueError("other characters")
    return values


def _packed(values: Words) -> Words:
    """Four bytes in the low half of each word, from eight values of half a byte."""
    lower = values >> np.uint64(8)
    values <<= np.uint64(4)
    values |= lower
    values &= _PAIRS
    np.right_shift(values, np.uint64(8), out=lower)
    values |= lower
    values &= _FOURS
    np.right_shift(values, np.uint64(16), out=lower)
    values |= lower
    return values
