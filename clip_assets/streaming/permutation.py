"""A shuffled order of any number of rows that takes no memory: a permutation as a function.

Which rows, and in which batches, is said by ``order``. A Feistel network shuffles the cells of a
table that is hardly larger than the rows are many, and what falls into the few cells beyond them is
shuffled again until it does not. (Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002.)
"""

import hashlib
from math import isqrt

import numpy as np
import numpy.typing as npt

from clip_assets.errors import ConfigurationError

Rows = npt.NDArray[np.int64]
"""Numbers of rows, counted from 0."""

ROUNDS = 8
"""Of the network; from four on, the orders of different keys look independent."""

MOST_ROWS = 2**62
"""Beyond it the numbers of cells would overflow."""


class Permutation:
    """An order of ``size`` rows.

    Args:
        size: how many rows.
        key: what decides the order: a seed, an epoch, ...; compared as text.

    Raises:
        ConfigurationError: ``size`` is no number of rows.
    """

    def __init__(self, size: int, *key: object) -> None:
        if not 0 < size <= MOST_ROWS:
            raise ConfigurationError(
                "samples", f"{size:,}", f"1 to {MOST_ROWS:,}", "Choose a set that holds some."
            )
        self.size = size
        # A table of about as many lines as columns; the last line may stand out.
        self._lines = isqrt(size - 1) + 1
        self._columns = -(-size // self._lines)
        told = "\x1f".join(map(str, key)).encode()
        digest = hashlib.blake2b(told, digest_size=8 * ROUNDS).digest()
        self._keys = np.frombuffer(digest, "<u8")

    def __call__(self, positions: npt.ArrayLike) -> Rows:
        """The rows at some positions of the order.

        Args:
            positions: (n,), each at least 0 and less than ``size``.

        Returns:
            (n,), distinct for distinct positions.
        """
        rows = self._shuffled(np.asarray(positions, np.int64))
        while len(beyond := np.flatnonzero(rows >= self.size)):
            rows[beyond] = self._shuffled(rows[beyond])
        return rows

    def _shuffled(self, cells: Rows) -> Rows:
        line, column = np.divmod(cells.astype(np.uint64), np.uint64(self._columns))
        for number, key in enumerate(self._keys):
            if number % 2:
                column = (column + mixed(line + key) % self._columns) % self._columns
            else:
                line = (line + mixed(column + key) % self._lines) % self._lines
        return (line * np.uint64(self._columns) + column).astype(np.int64)


def mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Each value to one of which every bit depends on every bit of it: SplitMix64's finalizer."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
