"""Candidates by number, over all pieces: for methods that look at all of them together.

What a method finds for each number is given back to rows, piece by piece.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from clip_assets.subsets.selection import Floats, Selection
from clip_assets.subsets.vector_scores import Rows32, unit

CHUNK_ROWS = 2**16

Numbers = npt.NDArray[np.int64]


class Numbered:
    """Some rows of each piece, numbered from 0 in their order. Memory: 4 bytes for each.

    Attributes:
        pieces: for each, the number of its first row, and which rows those are.
        count: of all.
    """

    def __init__(self) -> None:
        self.pieces: dict[str, tuple[int, npt.NDArray[np.int32]]] = {}
        self.count = 0

    def add(self, piece: str, rows: Numbers) -> None:
        """Number some rows of a piece."""
        self.pieces[piece] = (self.count, rows.astype(np.int32))
        self.count += len(rows)

    def numbers(self, piece: str) -> slice:
        """The numbers of a piece's rows."""
        start, rows = self.pieces[piece]
        return slice(start, start + len(rows))

    def to_rows(self, piece: str, values: Floats, length: int) -> Floats:
        """Values of numbers as those of a piece's rows.

        Args:
            piece: which.
            values: (count,) of all numbers.
            length: rows of the piece.

        Returns:
            (length,) nan for rows without a number.
        """
        given = np.full(length, np.nan, values.dtype)
        given[self.pieces[piece][1]] = values[self.numbers(piece)]
        return given

    def images(
        self, selection: Selection, columns: Iterable[str], arch: str
    ) -> Iterator[tuple[slice, Rows32]]:
        """Numbers and vectors of images, (m, dim) of length 1, ``CHUNK_ROWS`` at a time."""
        for piece, table in selection.tables(columns):
            start, rows = self.pieces[piece]
            with selection.rows.vectors(piece, table, arch) as of_piece:
                for first in range(0, len(rows), CHUNK_ROWS):
                    some = rows[first : first + CHUNK_ROWS]
                    images = unit(of_piece.images[of_piece.places[some]])
                    yield slice(start + first, start + first + len(some)), images
