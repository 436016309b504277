"""Choosing by a score: from a threshold on, or the best share, with a picture of both.

Scores of candidates go to a file, in which the threshold of a share is found exactly in a few
passes, whatever their number. Which score a row has is the business of methods.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets.errors import ConfigurationError
from clip_assets.settings.bases import ScoreSettings
from clip_assets.storage.pictures import histogram
from clip_assets.subsets import models_of_scores
from clip_assets.subsets.judgement import Judgement, passing
from clip_assets.subsets.models_of_scores import Models
from clip_assets.subsets.selection import Account, Floats, Judge, Method, Score, Selection

CHUNK_ROWS = 2**16
"""Scores looked at together: what is made of them stays in a core's cache."""

MEMORY_ROWS = 2**24
"""Up to so many are put in order in memory."""

BINS = 50

_SIGN, _DIGITS = np.uint64(2**63), 16


Kind = TypeVar("Kind", bound=ScoreSettings)


def by_score(
    settings: type[Kind], score: Callable[[Selection, Kind, Judge], Score]
) -> Method[Kind]:
    """A method that chooses by a score alone."""

    def judge(selection: Selection, definition: Kind, candidates: Judge) -> Judge:
        return cut(selection, definition, candidates, score(selection, definition, candidates))

    return Method(settings, judge, score)


def cut(selection: Selection, settings: ScoreSettings, candidates: Judge, score: Score) -> Judge:
    """The judge that keeps rows by their score.

    Raises:
        ConfigurationError: DataComp's script would fail at this fraction.
        ModelMismatchError: the score is known to be by another model than that which is wanted.
    """
    models = score.models or models_of_scores.of_settings(selection.rows, settings)
    models_of_scores.check(score.name, models, settings.model)
    columns = candidates.columns | score.columns
    seen = Seen(selection.new_folder() / "scores.f8")

    def scored(piece: str, table: pa.Table) -> Floats:
        scores = score.of(piece, table)
        if piece not in seen.pieces:
            seen.add(piece, scores[candidates.decide(piece, table).kept])
        return scores

    if settings.threshold is not None:
        threshold = settings.threshold
    else:
        for piece, table in selection.tables(columns):
            scored(piece, table)
        if settings.k is not None:
            known = seen.known
            last = min(settings.k, len(known)) - 1
            threshold = nth_greatest(known, last) if len(known) else np.nan
        else:
            assert settings.fraction is not None
            threshold = seen.threshold(settings.fraction, datacomp_compat=settings.datacomp_compat)

    def decide(piece: str, table: pa.Table) -> Judgement:
        scores = scored(piece, table)
        # In the column's own type, as DataComp's script compares.
        least = scores.dtype.type(threshold)
        return passing(len(table), {"no_score": ~np.isnan(scores), "low_score": scores >= least})

    selection.told.append(lambda: seen.told(score.name, threshold, models))
    if score.told is not None:
        selection.told.append(partial(score.told, threshold))
    return Judge(columns, decide)


class Seen:
    """The scores of all candidates.

    Args:
        file: where they go; who made its folder removes it.

    Attributes:
        pieces: of which they are known.
        rows: candidates, also those without a score.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.pieces: set[str] = set()
        self.rows = 0

    def add(self, piece: str, scores: Floats) -> None:
        """Scores of a piece's candidates, nan for those without one."""
        self.pieces.add(piece)
        self.rows += len(scores)
        with self._file.open("ab") as file:
            file.write(np.ascontiguousarray(scores[~np.isnan(scores)], np.float64).data)

    @property
    def known(self) -> npt.NDArray[np.float64]:
        """(n,) every score, in no order."""
        if not self._file.exists() or not self._file.stat().st_size:
            return np.empty(0)
        return np.memmap(self._file, dtype=np.float64, mode="r")

    def in_order(self) -> npt.NDArray[np.float64]:
        """(n,) every score in ascending order; the file is then in this order."""
        if not len(self.known):
            return np.empty(0)
        scores = np.memmap(self._file, dtype=np.float64, mode="r+")
        scores.sort()
        return scores

    def threshold(self, fraction: float, *, datacomp_compat: bool) -> float:
        """The least score of the best share of all candidates; nan where nothing is kept.

        Raises:
            ConfigurationError: DataComp's script would fail.
        """
        scores = self.known
        # The place of the last one that is kept, the best one's being 0.
        place = int(self.rows * fraction + (0 if datacomp_compat else 1e-9))
        place -= 0 if datacomp_compat else 1
        if datacomp_compat and place >= self.rows:
            raise ConfigurationError(
                f"fraction {fraction}",
                f"{self.rows:,} candidates",
                f"more than {place:,}, where DataComp's script fails",
                "Take a smaller fraction, or leave out datacomp_compat.",
            )
        if place < 0 or not len(scores):
            return np.nan
        if place >= len(scores):
            # Rows without a score come last, and are not kept.
            return np.nan if datacomp_compat else float(scores.min())
        return nth_greatest(scores, place)

    def told(self, name: str, threshold: float, models: Models = ()) -> Account:
        """Where the threshold lies, as a value and as a percentile, and a picture of it."""
        scores = self.known
        is_none = np.isnan(threshold)
        kept = sum(int(np.count_nonzero(chunk >= threshold)) for chunk in _chunks(scores))
        below = len(scores) - kept
        figures = {
            "candidates": self.rows,
            "with_score": len(scores),
            "threshold": None if is_none else float(threshold),
            # Of those with a score, what lies below the threshold.
            "percentile": round(100 * below / len(scores), 4) if len(scores) else None,
            "kept": kept,
            "kept_share": round(kept / self.rows, 6) if self.rows else None,
            **({"model": models[0]} if models else {}),
        }
        finite = _range(scores)
        if finite is None:
            return Account({name: figures})
        picture = _picture(name, scores, finite, None if is_none else threshold)
        return Account({name: figures}, {name: picture})


def nth_greatest(scores: npt.NDArray[np.float64], place: int) -> float:
    """The score at a place, the greatest one's being 0.

    Of more than ``MEMORY_ROWS`` it takes one pass for every 16 bits of a float, and the memory of
    65,536 counts.

    Args:
        scores: (n,) without nan; may be mapped from a file.
        place: less than n.
    """
    if len(scores) <= MEMORY_ROWS:
        last = len(scores) - 1 - place
        return float(np.partition(scores, last)[last])
    known, rest = 0, place
    for shift in range(64 - _DIGITS, -1, -_DIGITS):
        counts = np.zeros(2**_DIGITS, np.int64)
        for chunk in _chunks(scores):
            ordered = _ordered(chunk)
            if shift + _DIGITS < 64:
                ordered = ordered[ordered >> np.uint64(shift + _DIGITS) == np.uint64(known)]
            digits = (ordered >> np.uint64(shift)) & np.uint64(2**_DIGITS - 1)
            counts += np.bincount(digits.astype(np.intp), minlength=2**_DIGITS)
        above = np.cumsum(counts[::-1])
        step = int(np.searchsorted(above, rest, "right"))
        rest -= int(above[step - 1]) if step else 0
        known = (known << _DIGITS) | (2**_DIGITS - 1 - step)
    bits = np.uint64(known)
    bits = bits ^ _SIGN if bits & _SIGN else ~bits
    return float(bits.view(np.float64))


def _ordered(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """Integers that sort as the floats do."""
    bits = np.ascontiguousarray(scores).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits ^ _SIGN)


def _chunks(scores: npt.NDArray[np.float64]) -> Iterator[npt.NDArray[np.float64]]:
    for start in range(0, len(scores), CHUNK_ROWS):
        yield scores[start : start + CHUNK_ROWS]


def _finite(chunk: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    is_finite = np.isfinite(chunk)
    return chunk if is_finite.all() else chunk[is_finite]


def _range(scores: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """The least and the greatest finite score, None without any."""
    ends = [
        (float(finite.min()), float(finite.max()))
        for chunk in _chunks(scores)
        if len(finite := _finite(chunk))
    ]
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None


def _picture(
    name: str,
    scores: npt.NDArray[np.float64],
    ends: tuple[float, float],
    threshold: float | None,
) -> Callable[[], bytes]:
    """What draws the scores and the threshold; the scores themselves may then be gone."""
    low, high = ends
    width = (high - low) / BINS or 1.0
    counts = np.zeros(BINS, np.int64)
    for chunk in _chunks(scores):
        finite = _finite(chunk)
        places = np.clip((finite - low) / width, 0, BINS - 1).astype(np.intp)
        counts += np.bincount(places, minlength=BINS)
    bars = {f"{low + width * place:.4g}": 0 for place in range(BINS)}
    if len(bars) < BINS:  # ends that differ in no digit that is shown
        bars = {f"{low + width * place:.9g}": 0 for place in range(BINS)}
    for bar, count in zip(bars, counts.tolist(), strict=False):
        bars[bar] = count
    line = None
    if threshold is not None:
        place = min(max((threshold - low) / width, -1), BINS) - 0.5
        line = (place, f"kept from {threshold:.4g}")
    return partial(histogram, f"{name} of candidates", bars, line=line)
