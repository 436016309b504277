"""How many samples of each set a global batch has, so that shares are met exactly.

A batch of 10 with shares of 1/3 each has 3 or 4 of every set: what a share amounts to, rounded up
or down. Who is rounded up takes turns, and after as many batches as the shares have parts each set
had its share to the sample. Apart from that nothing is remembered: batch b is computed from b.
Rounding every batch alike, by the largest remainders, would give small shares nothing, for ever.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from math import gcd, lcm

import numpy as np
import numpy.typing as npt

from clip_assets.errors import ConfigurationError

FLOAT_PARTS = 10**9
"""A share that is a float is taken for the nearest fraction with no more parts: 0.1 for 1/10."""

Share = int | float | str | Fraction
"""A set's part of every batch, against those of the others."""


class Shares:
    """Sets and their parts of every batch.

    Args:
        shares: by a set's name; 3 and 1 are the same as 0.75 and 0.25.
        batch_size: samples of a global batch.

    Attributes:
        period: batches after which every set had its share to the sample.

    Raises:
        ConfigurationError: a share is no positive number.
    """

    def __init__(self, shares: Mapping[str, Share], batch_size: int) -> None:
        exact = {name: _exact(name, share) for name, share in shares.items()}
        scale = lcm(*(share.denominator for share in exact.values()))
        scaled = [int(share * scale) for share in exact.values()]
        common = gcd(*scaled)
        parts = [number // common for number in scaled]
        self.names = list(shares)
        self.batch_size = batch_size
        whole = sum(parts)
        quotas = [divmod(size * batch_size, whole) for size in parts]
        self._least = np.array([quota for quota, _ in quotas], np.int64)
        rests = [rest for _, rest in quotas]
        divisor = gcd(whole, *rests)
        self.period = whole // divisor
        # Remainders laid end to end; points in even turns over them fall into each by its length.
        self._ends = list(accumulate((rest // divisor for rest in rests), initial=0))
        self._step = _coprime(round(self.period * 0.618), self.period)

    def before(self, batch: int) -> npt.NDArray[np.int64]:
        """How many samples of each set the batches before one have, (sets,)."""
        ends = [_floor_sum(batch, self.period, self._step, end) for end in self._ends]
        return self._least * batch + _differences(ends)

    def of(self, batch: int) -> npt.NDArray[np.int64]:
        """How many samples of each set one batch has, (sets,); they sum to ``batch_size``."""
        points = [(end + batch * self._step) // self.period for end in self._ends]
        return self._least + _differences(points)


def _exact(name: str, share: Share) -> Fraction:
    try:
        exact = Fraction(str(share))
        if isinstance(share, float):
            exact = exact.limit_denominator(FLOAT_PARTS)
    except (ValueError, ZeroDivisionError):
        exact = Fraction(0)
    if exact <= 0:
        raise ConfigurationError(
            f"share of {name}", repr(share), "a number above 0", "Leave a set out to have none."
        )
    return exact


def _differences(numbers: Sequence[int]) -> npt.NDArray[np.int64]:
    """Of neighbours; the numbers themselves may be larger than 64 bits."""
    return np.array([after - before for before, after in pairwise(numbers)], np.int64)


def _coprime(near: int, to: int) -> int:
    """The first number from ``near`` on that has no divisor in common with another."""
    number = max(near, 1)
    while gcd(number, to) > 1:
        number += 1
    return number


def _floor_sum(count: int, divisor: int, step: int, start: int) -> int:
    """The sum of ``(start + i * step) // divisor`` for i below ``count``, in logarithmic time."""
    total = 0
    while count:
        total += count * (count - 1) // 2 * (step // divisor) + count * (start // divisor)
        step, start = step % divisor, start % divisor
        count, start, step, divisor = *divmod(step * count + start, divisor), divisor, step
    return total
