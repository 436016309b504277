"""Indices of the directions in which vectors vary most: more bits for fewer numbers.

Imported only inside functions, like ``engine.ann``, which trains every other kind.
"""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import faiss  # noqa: TID253  (the module is itself imported lazily)
import numpy as np

from clip_assets.index.engine.ann import Floats, Index, trained
from clip_assets.index.engine.kinds import PROJECTED


def trained_on_directions(key: str, sample: Floats) -> Index:
    """An index of the directions in which a sample varies most."""
    first, _, rest = key.partition(",")
    dims = int(first.removeprefix(PROJECTED))
    moments = (sample.T @ sample).astype(np.float64)
    # Not about the mean: the inner product with a query is what shall stay.
    directions = np.linalg.eigh(moments)[1][:, ::-1][:, :dims].T.astype(np.float32)
    projection = faiss.LinearTransform(sample.shape[1], dims, False)  # noqa: FBT003 (no bias)
    faiss.copy_array_to_vector(np.ascontiguousarray(directions).ravel(), projection.A)
    projection.is_trained = True
    index = trained(rest, dims, sample @ directions.T)
    index.prepend_transform(projection)
    projection.this.disown()
    return index
