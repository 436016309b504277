"""How sure a share of right answers is, and the difference of two.

By the bootstrap: held-out samples are drawn anew with replacement, and so are the trainings where a
subset has several. Two subsets are compared on the same draws, so that samples which are hard for
both do not blur what lies between them. (Efron and Tibshirani, An Introduction to the Bootstrap.)
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Answers = npt.NDArray[np.bool_]
"""(trainings, samples) of one metric and subset."""

DRAWS = 2000
SEED = 20_261_129
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share, or a difference of two.

    Args:
        value: of all answers.
        low: lower end of the interval of ``LEVEL``.
        high: upper end.
        trainings: how many there were; of one alone, the interval is of the samples' chance only.
    """

    value: float
    low: float
    high: float
    trainings: int

    @property
    def is_clear(self) -> bool:
        """Whether 0 is outside, for a difference."""
        return self.low > 0 or self.high < 0


def share(answers: Answers) -> Estimate:
    """How many answers are right."""
    return _estimate(float(answers.mean()), _means(answers), len(answers))


def difference(answers: Answers, others: Answers) -> Estimate:
    """How many more are right than those of another subset, on the same samples.

    Args:
        answers: of a subset.
        others: of the other one; row i of both began with the same seed.
    """
    value = float(answers.mean() - others.mean())
    trainings = min(len(answers), len(others))
    return _estimate(value, _means(answers) - _means(others), trainings)


def _means(answers: Answers) -> npt.NDArray[np.float64]:
    """(draws,) means; the same draws for all answers of one shape."""
    random = np.random.default_rng(SEED)
    trainings, samples = answers.shape
    made = np.empty(DRAWS)
    for draw in range(DRAWS):
        chosen = answers[random.integers(trainings, size=trainings)].mean(axis=0)
        made[draw] = chosen[random.integers(samples, size=samples)].mean()
    return made


def _estimate(value: float, draws: npt.NDArray[np.float64], trainings: int) -> Estimate:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(round(value, 5), round(float(low), 5), round(float(high), 5), trainings)
