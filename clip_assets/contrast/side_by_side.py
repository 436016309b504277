"""Comparing subsets of a pool from beginning to end: names to a page and to numbers."""

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clip_assets import layout
from clip_assets.contrast import page
from clip_assets.contrast.tally import (
    CHARACTERS,
    SIDE,
    SIMILARITY,
    ComparedSubset,
    SubsetTally,
    tally,
)
from clip_assets.errors import ClipAssetsError, ConfigurationError
from clip_assets.files.images import MAX_PIXELS
from clip_assets.pool import subset_versions
from clip_assets.pool.pool import Pool
from clip_assets.pool.upstream import upstream
from clip_assets.retrieval.images import Images
from clip_assets.storage import uid_files, uids
from clip_assets.subsets.candidates import PoolRows
from clip_assets.subsets.sorted_uids import SortedUids, is_sorted

MOST = 6
"""Subsets that can be told apart by colour."""

EXAMPLES = 24

SIDE_PIXELS = 176
"""Longest side of a shown image."""

READERS = 8

FREQUENT = 15


def compared(pool: Pool, names: Sequence[str], examples: int = EXAMPLES) -> SubsetTally:
    """Count what subsets have, together and alone.

    Args:
        pool: whose subsets they are.
        names: of subsets that are made, perhaps with ``@`` and a version, or paths of files of
            uids.
        examples: pairs that are drawn for each two.

    Raises:
        ConfigurationError: there are fewer than two, too many, or one twice.
        MissingArtifactError: a subset was not made.
        SourceError: a file cannot be read.
    """
    if not 2 <= len(names) <= MOST or len({*names}) < len(names):
        raise ConfigurationError(
            layout.SUBSETS, ", ".join(names) or "none", f"2 to {MOST}, each once", "Name others."
        )
    rows = PoolRows(pool, upstream(pool, layout.POOL_METADATA).done)
    with ExitStack() as stack:
        members = [ComparedSubset(name, _uids(pool, name, stack)) for name in names]
        return tally(rows, members, examples)


def as_page(pool: Pool, told: SubsetTally) -> str:
    """One html file with everything in it, images too."""
    images = Images(pool.store)
    wanted = {f"{row['shard']}/{row['key']}": None for some in told.only.values() for row in some}
    with ThreadPoolExecutor(READERS) as readers:
        small = readers.map(partial(_small, images), wanted)
        return page.page(told, dict(zip(wanted, small, strict=True)))


def as_json(told: SubsetTally) -> dict[str, Any]:
    """The numbers, for programs."""

    def by_bin(edges: Any, counts: Any) -> dict[str, Any]:
        return {"lower_ends": np.asarray(edges).tolist(), "counts": counts.tolist()}

    return {
        "rows": told.rows,
        layout.SUBSETS: [
            {"name": name, "listed": listed, "pairs": int(pairs)}
            for name, listed, pairs in zip(told.names, told.listed, told.pairs, strict=True)
        ],
        "common": told.common.tolist(),
        "common_to_all": told.all_common,
        "of_any": told.any_common,
        "similarity": by_bin(SIMILARITY, told.similarity),
        "shorter_side": by_bin(SIDE, told.side),
        "caption_characters": by_bin(CHARACTERS, told.characters),
        "hosts": [dict(counter.most_common(FREQUENT)) for counter in told.hosts],
        "languages": [dict(counter.most_common(FREQUENT)) for counter in told.languages],
        "only": [
            {
                "has": told.names[one],
                "lacks": told.names[other],
                "pairs": int(told.pairs[one] - told.common[one, other]),
                "examples": [row["uid"] for row in some],
            }
            for (one, other), some in told.only.items()
        ],
    }


def _uids(pool: Pool, name: str, stack: ExitStack) -> SortedUids:
    if subset_versions.is_subset(pool, name):
        path = subset_versions.path_of(pool, name)
        file = stack.enter_context(pool.store.local(path))
        return SortedUids(uid_files.mapped(file, pool.store.uri(path)))
    if not Path(name).is_file():
        raise ConfigurationError(
            f"subset {name}",
            "no subset, and no file",
            f"one of {', '.join(pool.settings.subsets)}, or the path of a .npy",
            "See: clip-assets status",
        )
    records = uid_files.mapped(Path(name), name)
    return SortedUids(records if is_sorted(records) else uids.in_order(np.asarray(records)))


def _small(images: Images, path: str) -> str | None:
    """An image as a data url, None where it cannot be had."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(images.read(path)))
        if image.width * image.height > MAX_PIXELS:
            return None
        image.draft("RGB", (SIDE_PIXELS, SIDE_PIXELS))
        image = image.convert("RGB")
    except (ClipAssetsError, UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None
    image.thumbnail((SIDE_PIXELS, SIDE_PIXELS))
    image.save(file := io.BytesIO(), "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
