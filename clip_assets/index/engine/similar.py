"""What similarities of codes are put right by: the whole vectors, wherever they lie."""

from typing import Protocol

from clip_assets.index.engine.ann import Floats, Ids


class Similar(Protocol):
    """Vectors by id."""

    def similarities(self, queries: Floats, ids: Ids) -> Floats:
        """Of queries to vectors: (q, k); NaN where an id has no vector any more, or is -1.

        Args:
            queries: (q, dim).
            ids: (q, k).
        """
        ...
