"""What the stages are made of, for programs that put it together otherwise.

Readers give data, transformers change them, writers keep them and pass them on; ``|`` puts them in
a row. See docs/bricks.md. A pool's own stages do not go through here: they know what is done
already, and what a killed run left. Nothing is imported before it is asked for.
"""

from typing import TYPE_CHECKING

from clip_assets.surface import surface

if TYPE_CHECKING:
    from clip_assets.bricks.arriving import Fetch
    from clip_assets.bricks.datum import Datum
    from clip_assets.bricks.embedding import Embed, Scorer
    from clip_assets.bricks.flow import Brick, Each, Flow, Outcomes, run
    from clip_assets.bricks.images import Decode, Resize
    from clip_assets.bricks.readers import (
        from_images,
        from_pool,
        from_queries,
        from_table,
        from_tars,
        from_vectors,
    )
    from clip_assets.bricks.writers import ToSegment, ToTable, ToTars, ToVectors

__all__ = [
    "Brick",
    "Datum",
    "Decode",
    "Each",
    "Embed",
    "Fetch",
    "Flow",
    "Outcomes",
    "Resize",
    "Scorer",
    "ToSegment",
    "ToTable",
    "ToTars",
    "ToVectors",
    "from_images",
    "from_pool",
    "from_queries",
    "from_table",
    "from_tars",
    "from_vectors",
    "run",
]

__getattr__ = surface(
    __name__,
    {
        "Brick": "flow",
        "Datum": "datum",
        "Decode": "images",
        "Each": "flow",
        "Embed": "embedding",
        "Fetch": "arriving",
        "Flow": "flow",
        "Outcomes": "flow",
        "Resize": "images",
        "Scorer": "embedding",
        "ToSegment": "writers",
        "ToTable": "writers",
        "ToTars": "writers",
        "ToVectors": "writers",
        "from_images": "readers",
        "from_pool": "readers",
        "from_queries": "readers",
        "from_table": "readers",
        "from_tars": "readers",
        "from_vectors": "readers",
        "run": "flow",
    },
)
