"""The uids that somebody wants, from a subset file in DataComp's form.

A uid that stands there twice is wanted twice. What is in which tar is the matter of ``plan``.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_assets import schemas
from clip_assets.errors import ConfigurationError
from clip_assets.files.opening import content
from clip_assets.storage import uid_files, uids
from clip_assets.storage.uids import UidPairs


@dataclass(frozen=True)
class WantedUids:
    """Uids, and how often each is wanted.

    Args:
        first: (n,) first halves of the uids, which are sorted and each there once.
        second: (n,) second halves.
        times: (n,) how often each is wanted, at least once.
        was_sorted: whether the file had them in order.
        digest: sha256 of the uids in order.
    """

    first: npt.NDArray[np.uint64]
    second: npt.NDArray[np.uint64]
    times: npt.NDArray[np.int64]
    was_sorted: bool
    digest: str

    def __len__(self) -> int:
        """How many different uids."""
        return len(self.first)

    def pairs(self) -> UidPairs:
        """(n,) of ``schemas.UID_PAIR``, in order, each as often as it is wanted."""
        return np.repeat(self.chosen(np.arange(len(self))), self.times)

    def places(self, pairs: UidPairs) -> npt.NDArray[np.int64]:
        """Where each uid is among the wanted ones, -1 for one that is not wanted."""
        first, second = pairs["f0"], pairs["f1"]
        places = np.searchsorted(self.first, first)
        last = len(self) - 1
        while True:
            # Few uids have the first half in common.
            near = np.minimum(places, last)
            behind = (places <= last) & (self.first[near] == first) & (self.second[near] < second)
            if not behind.any():
                break
            places = places + behind
        is_there = (places <= last) & (self.first[near] == first) & (self.second[near] == second)
        return np.where(is_there, places, -1)

    def without(self, is_gone: npt.NDArray[np.bool_]) -> "WantedUids":
        """All but some of the (n,) uids; itself without any."""
        if not is_gone.any():
            return self
        left = np.repeat(self.chosen(~is_gone), self.times[~is_gone])
        return _of(left, was_sorted=self.was_sorted)

    def chosen(self, chosen: npt.NDArray[Any]) -> UidPairs:
        """Some uids, by number or by truth; each once for each time it is chosen."""
        some = np.empty(len(self.first[chosen]), schemas.UID_PAIR)
        some["f0"], some["f1"] = self.first[chosen], self.second[chosen]
        return some


def read_subset(uri: str) -> WantedUids:
    """The uids of a subset file.

    Args:
        uri: of the file, see ``storage.uid_files``. Their order does not matter.

    Raises:
        SourceMissingError: it is not there.
        SourceError: it cannot be read.
        SourceFormatError: it is no list of uids.
        ConfigurationError: it is an empty one.
    """
    pairs = uid_files.read(content(uri), uri)
    if not len(pairs):
        raise ConfigurationError(
            uri, "no uid", "at least one", "Nothing would be written; see how the subset was made."
        )
    ordered = uids.in_order(pairs)
    return _of(ordered, was_sorted=bool((ordered == pairs).all()))


def _of(ordered: UidPairs, *, was_sorted: bool) -> WantedUids:
    """Of uids in order, each as often as it is wanted."""
    is_first = np.ones(len(ordered), np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(is_first)
    return WantedUids(
        ordered["f0"][starts],
        ordered["f1"][starts],
        np.diff(np.append(starts, len(ordered))),
        was_sorted,
        hashlib.sha256(ordered.tobytes()).hexdigest(),
    )
