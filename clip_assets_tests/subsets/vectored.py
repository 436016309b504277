"""Pools whose pairs, outcomes and vectors are made up."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clip_assets import layout, schemas
from clip_assets.layout import Key
from clip_assets.storage import tables, vectors
from clip_assets_tests.outcomes import Outcomes, Pair


def uid(number: int) -> str:
    return hashlib.md5(str(number).encode()).hexdigest()


class Vectored(Outcomes):
    """A pool with vectors; pair n has the uid of n."""

    def embed(
        self, number: int, pairs: Sequence[Pair], images: np.ndarray, texts: np.ndarray
    ) -> Key:
        """A partition of pairs with vectors, which lie in another order than the pairs."""
        key = self.add(number, pairs, per_shard=8)
        had = [n for n, pair in enumerate(pairs) if pair.status == "success"][::-1]
        rows = [
            {
                "uid": pairs[n].uid,
                "key": f"{n:08d}",
                "image_path": f"{key}/{n // 8:05d}/{n:08d}",
                "similarity": pairs[n].similarity,
            }
            for n in had
        ]
        table = pa.Table.from_pylist(rows, schemas.EMBEDDING_ROWS)
        files: dict[str, Any] = {
            layout.embedding_rows(key): partial(tables.write, table=table),
            layout.img_emb(key): partial(put, array=images[had]),
            layout.text_emb(key): partial(put, array=texts[had]),
        }
        self.make(layout.EMBEDDINGS, key, len(had), files)
        return key

    def chosen(self, definition: Any, count: int, **others: Any) -> list[int]:
        """Numbers of the pairs that a definition lists, each as often as it is listed."""
        self.set(subsets={"mine": definition, **others})
        self.subset("mine")
        numbers = {int(uid(n), 16): n for n in range(count)}
        return sorted(numbers[int(hi) << 64 | int(lo)] for hi, lo in self.uids("mine"))


def put(part: Path, array: np.ndarray) -> None:
    vectors.write(part, [array.astype(np.float16)], *array.shape)
