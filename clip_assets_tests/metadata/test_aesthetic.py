"""Scores by a head of one's own become a column that subsets choose by."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from clip_assets import layout
from clip_assets.errors import MissingArtifactError
from clip_assets.layout import Key
from clip_assets.metadata.aesthetic import AESTHETIC, aesthetic
from clip_assets.metadata.pool_metadata import POOL_METADATA, pool_metadata
from clip_assets.storage import uids, vectors
from clip_assets_tests.heads import write_head
from clip_assets_tests.outcomes import Outcomes, Pair

HEAD = np.array([10, 0, 0, 0], np.float32)


class Scored(Outcomes):
    """Outcomes whose images have vectors: that of sample n begins with n / 10."""

    def embed(self, key: Key, rows: int) -> None:
        array = np.zeros((rows, 4), np.float16)
        array[:, 0] = np.arange(rows) / 10
        made = self.pool.catalog.require(layout.EMBEDDINGS, key)
        [table] = [output.path for output in made.outputs]
        content = self.store.read_bytes(table)
        write = partial(vectors.write, chunks=[array], rows=rows, dim=4)
        files = {layout.img_emb(key): write, table: lambda part: part.write_bytes(content)}
        self.make(layout.EMBEDDINGS, key, rows, files)


def test_a_score_becomes_a_column_and_a_subset(made: Outcomes, tmp_path: Path) -> None:
    made = Scored(made.store)
    pairs = [Pair(status="failed_to_download" if n == 1 else "success") for n in range(5)]
    key = made.add(0, pairs)
    made.embed(key, 4)
    assert not aesthetic(made.pool, key).manifest.outputs
    pool_metadata(made.pool, key)
    assert {row["aesthetic"] for row in made.rows(key)} == {None}
    before = POOL_METADATA.made_from(made.pool, key)

    head = tmp_path / "head.npy"
    best = {"by": "aesthetic", "k": 2}
    made.set(heads={"aesthetic": write_head(head, HEAD)}, subsets={"best": best})
    assert AESTHETIC.state(made.pool, key) == "stale"
    report = aesthetic(made.pool, key).manifest.report
    assert (report.rows_in, report.rows_out) == (4, 4)
    assert POOL_METADATA.made_from(made.pool, key) != before
    pool_metadata(made.pool, key)
    scores = [row["aesthetic"] for row in made.rows(key)]
    assert scores == [0, None, *(pytest.approx(n, abs=0.01) for n in (1, 2, 3))]
    made.subset("best")
    named = [row["uid"] for row in made.rows(key)]
    assert sorted(uids.texts(made.uids("best"))) == sorted(named[3:])

    write_head(head, -HEAD)
    assert AESTHETIC.state(made.pool, key) == "stale"


def test_metadata_wait_for_scores_that_are_asked_for(made: Outcomes, tmp_path: Path) -> None:
    key = made.add(0, [Pair()])
    made.set(heads={"aesthetic": write_head(tmp_path / "head.npy", HEAD)})
    with pytest.raises(MissingArtifactError, match="aesthetic"):
        pool_metadata(made.pool, key)
