"""Numbers that look drawn and follow from uids alone, so that what was drawn stays drawn."""

import numpy as np
import numpy.typing as npt

from clip_assets.storage.uids import UidPairs

_STEP, _FIRST, _SECOND = (
    np.uint64(constant) for constant in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
# SplitMix64's: every bit of its input changes half of its output.


def uniform(of: UidPairs, seed: int) -> npt.NDArray[np.float64]:
    """(n,) numbers from 0 to below 1, of each uid always the same."""
    with np.errstate(over="ignore"):
        drawn = mixed(of["f0"] ^ mixed(of["f1"] + mixed(np.full(1, seed, np.uint64))))
    return (drawn >> np.uint64(11)) * 2.0**-53


def mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """(n,) numbers that look drawn, of each always the same; overflow is meant."""
    numbers = numbers + _STEP
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _FIRST
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _SECOND
    return numbers ^ (numbers >> np.uint64(31))
