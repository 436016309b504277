"""Several queries as one: "a red car", less "toy", somewhat like this image.

A mix is the weighted sum of the vectors of its terms, at length 1. A similarity to it is a sum,
so every result can say what each term gave. Searching for it is ``retrieval.search``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clip_assets.errors import ConfigurationError
from clip_assets.retrieval import queries
from clip_assets.retrieval.queries import Query, Vector

LEAST_LENGTH = 1e-3
"""Of a sum of terms that still has a direction; below it they cancel each other out."""


@dataclass(frozen=True, slots=True)
class Term:
    """One query of several.

    Args:
        query: see ``retrieval.queries.Query``.
        weight: any finite number but 0; a negative one leads away from the query.
    """

    query: Query
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Mix:
    """Several queries as one vector.

    Args:
        vector: (dim,) float32, of length 1.
        units: (terms, dim) float32, the vector of each, of length 1.
        weights: (terms,) float32, of each; the largest is 1 or -1.
        length: of the sum that these weigh before it was brought to 1.
        kind: ``text`` or ``image``, if it lies where such queries do; None: elsewhere.
    """

    vector: Vector
    units: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    length: float
    kind: str | None

    def contributions(self, results: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """What each term gave of the similarity of some results; a row's sum is its similarity.

        Args:
            results: (n, dim) vectors of length 1; NaN where one is not known.

        Returns:
            (n, terms): weight x cosine of term and result / length; NaN where not known.
        """
        return results @ self.units.T * (self.weights / np.float32(self.length))


def mix(terms: Sequence[Term], vector: Callable[[Query], Vector]) -> Mix:
    """The weighted sum of queries.

    Args:
        terms: one or more.
        vector: of a query, of length 1; see ``Searcher.vector``.

    Raises:
        ConfigurationError: there are none, a weight is 0 or not finite, or they cancel each
            other out; and what ``vector`` raises.
    """
    if not terms:
        raise _wrong("none", "one or more")
    for term in terms:
        if not np.isfinite(term.weight) or term.weight == 0:
            raise _wrong(f"a weight of {term.weight}", "a finite one that is not 0")
    # Only how they stand to each other counts; as they are, float32 may not hold them.
    largest = max(abs(term.weight) for term in terms)
    weights = np.array([term.weight / largest for term in terms], np.float32)
    units = np.stack([vector(term.query) for term in terms])
    total = weights @ units
    length = float(np.linalg.norm(total))
    if length < LEAST_LENGTH:
        raise _wrong("queries that cancel each other out", "a sum with a direction")
    kinds = {_kind(term) for term in terms}
    [kind] = kinds if len(kinds) == 1 else [None]
    return Mix(total / np.float32(length), units, weights, length, kind)


def _kind(term: Term) -> str | None:
    """Where the query lies; what is led away from lies nowhere in particular."""
    if isinstance(term.query, np.ndarray) or term.weight < 0:
        return None
    return queries.kind(term.query)


def _wrong(found: str, expected: str) -> ConfigurationError:
    return ConfigurationError("terms", found, expected, "Change queries or weights.")
