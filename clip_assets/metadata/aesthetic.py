"""``aesthetic``: how pleasing each embedded image is to a head that the settings name.

An example of a score of one's own: vectors in, one number for each out. The number becomes a
column of the pool's metadata in ``pool_metadata``; heads are read by ``encoders.head_file``.
"""

import pyarrow as pa

from clip_assets import layout, schemas
from clip_assets.encoders import head_file
from clip_assets.layout import Key, PartitionKey
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.storage import tables, vectors
from clip_assets.storage.manifests import Report

NAME = "aesthetic"

SCORES = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("aesthetic", pa.float32(), nullable=False),
    ]
)
"""Row i is about row i of ``embedding_rows``."""


@layout.artifact(NAME, SCORES)
def aesthetic_scores(partition: PartitionKey) -> str:
    """Scores of the images of a partition by the pool's own head."""
    return f"aesthetic/{partition}.parquet"


def aesthetic(pool: Pool, partition: Key) -> Outcome:
    """Score every embedded image of a partition; nothing without ``heads.aesthetic``.

    Memory: 10 bytes for each row, and some 100 MB at 1,024 dimensions.

    Raises:
        MissingArtifactError: the partition is not embedded.
        ConfigurationError: the head's name is wrong.
        SourceMissingError: the head is not there.
        SourceFormatError: it is none, or one over other embeddings.
    """
    return materialize(pool, AESTHETIC, partition, _score)


def aesthetic_inputs(pool: Pool, partition: Key) -> Inputs:
    """The head, by what tells a changed file, and the vectors."""
    head = pool.settings.heads.aesthetic
    if not head:
        return {}
    kinds = layout.img_emb, layout.embedding_rows
    return {
        "head": head_file.told(head),
        layout.EMBEDDINGS: pool.catalog.digest(layout.EMBEDDINGS, partition, *kinds),
    }


AESTHETIC = Asset(
    NAME,
    "1",
    make=aesthetic,
    inputs=aesthetic_inputs,
    deps=(layout.EMBEDDINGS,),
    settings=("head",),
)


def _score(run: StageRun) -> Report:
    uri = run.pool.settings.heads.aesthetic
    rows_in = run.pool.catalog.require(layout.EMBEDDINGS, run.partition).report.rows_out
    if not uri or not rows_in:
        return Report(0, 0)
    path = layout.embedding_rows(run.partition)
    rows = tables.read(run.store, path, schemas.EMBEDDING_ROWS, ["uid", "key"])
    with vectors.opened(run.store, layout.img_emb(run.partition)) as images:
        scores = head_file.read(uri, images.shape[1]).scores(images)
    with run.publish(aesthetic_scores(run.partition)) as part:
        tables.write(part, rows.append_column("aesthetic", pa.array(scores)), SCORES)
    return Report(rows_in, len(rows), figures={"mean_score": round(float(scores.mean()), 4)})
