"""Images that a query finds, copied out of a pool's shards into a folder of files.

Reading one image is ``retrieval.images``, finding them ``retrieval.search``; whole samples are
copied into new tars by ``reshard``.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from clip_assets.errors import ConfigurationError
from clip_assets.layout import Key
from clip_assets.pool.pool import Pool
from clip_assets.retrieval import answering
from clip_assets.retrieval.images import Images
from clip_assets.retrieval.queries import Query
from clip_assets.retrieval.search import Searcher
from clip_assets.webdataset.read import IMAGE_EXTENSIONS

RESULTS = "results.parquet"

_UID = re.compile(r"[0-9a-f]{32}")


class CopiedImages(NamedTuple):
    """What was copied.

    Args:
        images: how many.
        without: results that have no image in the pool: their vectors were adopted.
    """

    images: int
    without: int


def copy_images(
    searcher: Searcher, query: Query, folder: Path, k: int = 100, threshold: float | None = None
) -> CopiedImages:
    """Copy the images of what a query finds, as they lie in their shards.

    Args:
        searcher: of the pool.
        query: see ``retrieval.queries.Query``.
        folder: empty, or made; gets ``<uid>.<extension>`` and ``results.parquet``, of
            ``schemas.RETRIEVED``, which is written last. One that an interrupted copy of the same
            images left is filled.
        k: how many at most.
        threshold: least similarity.

    Raises:
        ConfigurationError: the folder is not empty, or the query cannot be.
        MissingArtifactError: an image is not in its shard any more.
    """
    name = query if isinstance(query, str) else "query"
    # What no copy wrote is told before a model is loaded for the query.
    _refuse_others(folder, lambda stem: _UID.fullmatch(stem) is not None)
    tables = list(answering.retrieve(searcher, [(name, query)], k, threshold))
    uids = {str(uid) for table in tables for uid in table["uid"].to_pylist()}
    _refuse_others(folder, uids.__contains__)
    folder.mkdir(parents=True, exist_ok=True)
    images, copied, without = Images(searcher.pool.store), 0, 0
    for table in tables:
        paths = searcher.rows(table["id"].to_numpy(), ["image_path"])["image_path"].to_pylist()
        for uid, path in zip(table["uid"].to_pylist(), paths, strict=True):
            if _is_elsewhere(searcher.pool, str(path)):
                without += 1
                continue
            members = images.sample(str(path))
            extension = next(name for name in IMAGE_EXTENSIONS if name in members)
            (folder / f"{uid}.{extension}").write_bytes(members[extension])
            copied += 1
    answering.write(folder / RESULTS, iter(tables))
    return CopiedImages(copied, without)


def _refuse_others(folder: Path, is_own: Callable[[str], bool]) -> None:
    """Only what this copy would write, and did not end, may lie there; told by names of images."""
    for path in folder.iterdir() if folder.exists() else ():
        if not is_own(path.stem) and not path.name.startswith(f"{RESULTS}."):
            raise ConfigurationError(
                str(folder), path.name, "an empty folder, or none", "Name another folder."
            )


def _is_elsewhere(pool: Pool, image_path: str) -> bool:
    """Whether an image was never here, because the vectors of its partition were adopted."""
    adopted = pool.plan(Key(image_path.partition("/")[0])).adopted
    return adopted is not None and adopted.pieces[0].image is not None
