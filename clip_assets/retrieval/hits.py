"""What a search of a pool found: pairs with what is known of them.

Finding them is ``retrieval.search``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from clip_assets.layout import PartitionKey


@dataclass(frozen=True, slots=True)
class Hit:
    """A pair that was found.

    Args:
        uid: the pair.
        id: of its vector in this index version.
        similarity: cosine of query and vector.
        url: of the image.
        caption: of the image.
        partition: where the pair is.
        key: of the sample in its partition.
        image_path: ``<partition>/<shard>/<key>``.
        width: of the image in the shard, pixels.
        height: of the image in the shard, pixels.
        original_width: of the image as it was downloaded, pixels.
        original_height: of the image as it was downloaded, pixels.
        sha256: of the image as it was downloaded.
        pair_similarity: cosine of the pair's own image and caption.
    """

    uid: str
    id: int
    similarity: float
    url: str | None
    caption: str | None
    partition: PartitionKey
    key: str
    image_path: str
    width: int | None
    height: int | None
    original_width: int | None
    original_height: int | None
    sha256: str | None
    pair_similarity: float | None

    @classmethod
    def of(
        cls,
        vector_id: int,
        similarity: float,
        partition: PartitionKey | None,
        row: Mapping[str, Any],
    ) -> Self:
        """From a row of ``schemas.INDEX_ROWS``, whose similarity is that of the pair itself."""
        assert partition is not None
        names = (field.name for field in fields(cls) if field.name in row)
        columns = {name: row[name] for name in names if name != "similarity"}
        return cls(
            id=vector_id,
            similarity=similarity,
            partition=partition,
            pair_similarity=row["similarity"],
            **columns,
        )
