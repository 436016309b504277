"""Rows by scores that follow from their vectors: negCLIPLoss and NormSim."""

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets.errors import ConfigurationError, SourceFormatError
from clip_assets.files import opening
from clip_assets.settings.choices import NegClipLoss, NormSim
from clip_assets.settings.curation import NormSimD
from clip_assets.storage import uids
from clip_assets.subsets.candidates import PieceVectors
from clip_assets.subsets.cuts import by_score
from clip_assets.subsets.numbered import Numbered
from clip_assets.subsets.selection import UID, Floats, Judge, Score, Selection
from clip_assets.subsets.vector_scores import (
    nearest_target,
    neg_clip_loss,
    norm_sim,
    second_moment,
    unit,
)

CHUNK_ROWS = 2**16


class Copied:
    """Vectors of candidates, one after the other, where batches of all of them can be drawn.

    Memory: 16 bytes for each; the vectors themselves lie in two files.

    Args:
        folder: where; who made it removes it.

    Attributes:
        pieces: for each, the place of its first copied row, and which of its rows were copied.
        rows: that were copied.
    """

    def __init__(self, folder: Path) -> None:
        self._files = [folder / "images.f16", folder / "texts.f16"]
        self.pieces: dict[str, tuple[int, npt.NDArray[np.int32]]] = {}
        self.rows = 0
        self._keys: list[npt.NDArray[np.uint64]] = []
        self._dim = 0

    def add(
        self, piece: str, rows: npt.NDArray[np.int64], table: pa.Table, of: PieceVectors
    ) -> None:
        """Copy the vectors of some rows of a piece."""
        numbers = uids.pairs(table[UID])[rows]
        self.pieces[piece] = (self.rows, rows.astype(np.int32))
        self.rows += len(rows)
        self._keys.append(np.asarray(numbers["f0"] ^ numbers["f1"], np.uint64))
        for file, side in zip(self._files, (of.images, of.texts), strict=True):
            with file.open("ab") as copy:
                for start in range(0, len(rows), CHUNK_ROWS):
                    places = of.places[rows[start : start + CHUNK_ROWS]]
                    copy.write(np.asarray(side[places], np.float16).tobytes())
        self._dim = of.images.shape[1] if len(rows) else self._dim

    @property
    def keys(self) -> npt.NDArray[np.uint64]:
        """(n,) for each row a number from its uid."""
        return np.concatenate([np.empty(0, np.uint64), *self._keys])

    @property
    def sides(self) -> list[npt.NDArray[np.float16]]:
        """(n, dim) of images and of texts."""
        if not self.rows:
            return [np.zeros((0, 1), np.float16)] * 2
        shape = (self.rows, self._dim)
        return [np.memmap(file, np.float16, "r", shape=shape) for file in self._files]


def _neg_clip_loss(selection: Selection, settings: NegClipLoss, candidates: Judge) -> Score:
    """How a pair stands out of batches of the candidates.

    Raises:
        ConfigurationError: the rows have no vectors of this model.
    """
    selection.reads_captions |= settings.arch == "own"
    columns = selection.rows.vector_columns | {UID}
    copied = Copied(selection.new_folder())
    for piece, table in selection.tables(candidates.columns | columns):
        wanted = candidates.decide(piece, table).kept
        with selection.rows.vectors(piece, table, settings.arch) as of_piece:
            rows = np.flatnonzero(wanted & (of_piece.places >= 0))
            copied.add(piece, rows, table, of_piece)
    images, texts = copied.sides
    scores = neg_clip_loss(
        images,
        texts,
        copied.keys,
        batch=settings.batch,
        rounds=settings.rounds,
        temperature=settings.temperature,
    )

    def of(piece: str, table: pa.Table) -> Floats:
        scored = np.full(len(table), np.nan, np.float32)
        start, rows = copied.pieces[piece]
        scored[rows] = scores[start : start + len(rows)]
        return scored

    return Score("negcliploss", columns, of)


def _norm_sim(selection: Selection, settings: NormSim, _candidates: Judge) -> Score:
    """How near an image is to target images.

    Raises:
        ConfigurationError: the rows have no vectors of this model.
        SourceFormatError: the targets are no vectors, or of another length.
        SourceError: they cannot be read.
    """
    targets = read_targets(settings.targets)
    dim = targets.shape[1]
    if settings.p == 2:
        by_images = partial(norm_sim, moment=second_moment(targets))
    else:
        by_images = partial(nearest_target, targets=unit(targets))

    def of(piece: str, table: pa.Table) -> Floats:
        scored = np.full(len(table), np.nan, np.float32)
        with selection.rows.vectors(piece, table, settings.arch) as of_piece:
            rows = np.flatnonzero(of_piece.places >= 0)
            for start in range(0, len(rows), CHUNK_ROWS):
                some = rows[start : start + CHUNK_ROWS]
                images = of_piece.images[of_piece.places[some]]
                if images.shape[1] != dim:
                    raise _no_targets(
                        settings.targets, f"vectors of {dim}", f" of {images.shape[1]}"
                    )
                scored[some] = by_images(images)
        return scored

    return Score("normsim", frozenset(selection.rows.vector_columns), of)


def _norm_sim_d(selection: Selection, settings: NormSimD, candidates: Judge) -> Score:
    """How near an image is to those of the pool that stay: in each round fewer.

    Rows that an earlier round left out have no score. Memory: 16 bytes for each candidate.

    Raises:
        ConfigurationError: there is no share to come down to, or there are no vectors.
    """
    columns = candidates.columns | selection.rows.vector_columns
    rows = Numbered()
    for piece, table in selection.tables(columns):
        kept = candidates.decide(piece, table).kept
        with selection.rows.vectors(piece, table, settings.arch) as of_piece:
            rows.add(piece, np.flatnonzero(kept & (of_piece.places >= 0)))
    if settings.threshold is not None:
        raise ConfigurationError(
            "normsim_d", "a threshold", "fraction or k", "Say how many are to stay."
        )
    wanted = settings.k or round((settings.fraction or 0) * rows.count)
    wanted = min(max(wanted, 1), rows.count)
    stays, scores = np.ones(rows.count, np.bool_), np.zeros(rows.count, np.float32)
    for number in range(1, settings.rounds + 1):
        moment = np.zeros((1, 1), np.float32)
        for numbers, images in rows.images(selection, columns, settings.arch):
            moment = moment + second_moment(images[stays[numbers]])
        for numbers, images in rows.images(selection, columns, settings.arch):
            scores[numbers] = norm_sim(images, moment)
        scores[~stays] = np.nan
        count = round(rows.count * (wanted / max(rows.count, 1)) ** (number / settings.rounds))
        if 0 < count < np.count_nonzero(stays):
            least = -np.partition(-scores[stays], count - 1)[count - 1]
            stays &= scores >= least
    scores[~stays] = np.nan

    def of(piece: str, table: pa.Table) -> Floats:
        return rows.to_rows(piece, scores, len(table))

    return Score("normsim_d", frozenset([UID]), of)


def read_targets(uri: str) -> npt.NDArray[np.floating]:
    """Vectors that are aimed at, (n, dim).

    Raises:
        SourceFormatError: they are no floats of this shape.
        SourceError: they cannot be read.
    """
    with opening.opened(uri) as file:
        try:
            targets = np.load(file, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise _no_targets(uri, str(error).partition("\n")[0]) from error
    if targets.ndim != 2 or not np.issubdtype(targets.dtype, np.floating) or not len(targets):
        raise _no_targets(uri, f"{targets.dtype} of shape {targets.shape}")
    return targets


def _no_targets(uri: str, found: str, length: str = "") -> SourceFormatError:
    return SourceFormatError(
        uri, found, f"a .npy of vectors{length}, (n, dim) floats", "Embed them by the same model."
    )


NEG_CLIP_LOSS = by_score(NegClipLoss, _neg_clip_loss)
NORM_SIM = by_score(NormSim, _norm_sim)
NORM_SIM_D = by_score(NormSimD, _norm_sim_d)
