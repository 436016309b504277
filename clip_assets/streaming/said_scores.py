"""Whether samples say the scores that a training asks for; else a slip of the pen would go unseen.

What becomes of a sample that says none is the matter of ``decoded``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from clip_assets.errors import ClipAssetsError, ConfigurationError
from clip_assets.streaming.tar_samples import SampleSet

if TYPE_CHECKING:
    from clip_assets.streaming.listed_urls import UrlList

ANSWERED = {"http_status": 200, "attempts": 1, "size_bytes": 1, "fetch_s": 0.1}
"""Numbers that every answer of a url says."""

LOOKED_AT = 64
"""Samples of each set, if the first ones do not say all scores."""


def check(scores: Sequence[str], said: Iterable[Mapping[str, Any]]) -> None:
    """See that each of some scores is said by a sample, as a number or as none.

    Args:
        scores: their names.
        said: fields of samples; as many are looked at as it takes.

    Raises:
        ConfigurationError: one is said by none of them, or as something else.
    """
    if isinstance(scores, str):
        raise ConfigurationError(
            "scores", repr(scores), "several names", f"Write [{scores!r}] for this one."
        )
    seen, numbers, may_be = set[str](), set[str](), set[str]()
    for fields in said if scores else ():
        seen |= fields.keys()
        numbers |= {name for name, value in fields.items() if isinstance(value, int | float)}
        may_be |= {name for name, value in fields.items() if value is None}
        if all(name in numbers or name in may_be for name in scores):
            return
    wrong = [name for name in scores if name not in numbers and name not in may_be]
    if seen and wrong:
        known = ", ".join(sorted(numbers))
        raise ConfigurationError(
            "scores",
            f"{wrong[0]!r}, which {'is no number' if wrong[0] in seen else 'no sample says'}",
            f"some of {known}" if known else "none, as samples say no numbers",
            "Correct it; a column of a pool's metadata is said by PoolSamples(columns=...).",
        )


def samples_of(sets: Sequence[SampleSet]) -> Iterator[Mapping[str, Any]]:
    """Fields of some samples of each set, from all over it; those that can be read."""
    for places in zip_longest(*map(_spread, sets)):
        for one, row in zip(sets, places, strict=True):
            if row is None:
                continue
            try:
                sample = one.read(row)
            except ClipAssetsError:  # told by the batch that it is in
                continue
            if sample.fields:
                yield sample.fields


def urls_of(lists: "Sequence[UrlList]") -> Iterator[Mapping[str, Any]]:
    """What some urls of each list say, and what answers do."""
    yield ANSWERED
    for one in lists:
        yield from (one.datum(row).fields for row in _spread(one))


def _spread(rows: Sized) -> list[int]:
    return np.linspace(0, len(rows) - 1, min(LOOKED_AT, len(rows))).astype(np.int64).tolist()
