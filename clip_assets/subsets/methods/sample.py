"""Candidates drawn at random by their uids, so that what was drawn stays drawn."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets.settings.choices import Drawn
from clip_assets.storage import uids
from clip_assets.subsets.judgement import Judgement, passing
from clip_assets.subsets.selection import UID, Judge, Method, Selection

_STEP, _FIRST, _SECOND = (
    np.uint64(constant) for constant in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
# SplitMix64's: every bit of its input changes half of its output.


def judge(_selection: Selection, settings: Drawn, _candidates: Judge) -> Judge:
    """Each row by a number that follows from its uid and the seed alone."""

    def decide(_piece: str, table: pa.Table) -> Judgement:
        drawn = uniform(uids.pairs(table[UID]), settings.seed) < settings.sample
        return passing(len(table), {"not_drawn": drawn})

    return Judge(frozenset([UID]), decide)


def uniform(of: uids.UidPairs, seed: int) -> npt.NDArray[np.float64]:
    """(n,) numbers from 0 to below 1, of each uid always the same."""
    with np.errstate(over="ignore"):
        mixed = _mixed(of["f0"] ^ _mixed(of["f1"] + _mixed(np.full(1, seed, np.uint64))))
    return (mixed >> np.uint64(11)) * 2.0**-53


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    numbers = numbers + _STEP
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _FIRST
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _SECOND
    return numbers ^ (numbers >> np.uint64(31))


METHOD = Method(Drawn, judge)
