"""Files opened by the library that they are for, and their rows counted."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import pyarrow as pa

from clip_assets import layout
from clip_assets.errors import ClipAssetsError
from clip_assets.layout import Artifact
from clip_assets.pool.published import Damage
from clip_assets.storage import tables, vectors
from clip_assets.storage.manifests import Manifest, Output
from clip_assets.storage.store import Store

ONE_FOR_A_ROW = (
    *(layout.raw, layout.unique, layout.pool_rows),
    *(layout.img_emb, layout.text_emb, layout.embedding_rows, layout.segment),
)
"""Files that have something for every row that their stage passed on."""


def contradictions(
    store: Store, files: Sequence[tuple[Manifest, Output]]
) -> Iterator[tuple[Manifest, Damage]]:
    """Files that cannot be opened, or that have other rows than their manifest says.

    Args:
        store: the pool's files.
        files: all of a key one after the other.
    """
    for _, group in groupby(files, lambda file: (file[0].asset, file[0].key)):
        of_key = list(group)
        manifest = of_key[0][0]
        in_shards = 0
        for _, output in of_key:
            kind = next((kind for kind in layout.ARTIFACTS if kind.holds(output.path)), None)
            if kind is None:
                continue
            try:
                rows = _rows(store, kind, output.path)
            except (ClipAssetsError, pa.ArrowException, OSError, ValueError) as error:
                yield manifest, _damage(manifest, output.path, f"cannot be read: {error}")
                continue
            in_shards += rows or 0 if kind is layout.shard_rows else 0
            expected = manifest.report.rows_out
            if kind in ONE_FOR_A_ROW and rows != expected:
                yield manifest, _damage(manifest, output.path, f"has {rows} rows, not {expected}")
        shards = [output for _, output in of_key if layout.shard_rows.holds(output.path)]
        if len(shards) == len(manifest.of_kind(layout.shard_rows)) and shards:
            expected = manifest.report.rows_in
            if in_shards != expected:
                text = f"and the other shards have {in_shards:,} rows, not {expected:,}"
                yield manifest, _damage(manifest, shards[0].path, text)


def _rows(store: Store, kind: Artifact[...], path: str) -> int | None:
    """Rows or vectors of a file; None where it is none that has some."""
    if kind.schema is not None:
        return tables.count(store, path)
    if kind in (layout.img_emb, layout.text_emb):
        with vectors.opened(store, path) as array:
            return len(array)
    if kind in (layout.segment, layout.recipe):
        from clip_assets.index.engine import ann

        with store.local(path) as file:
            return int(ann.read(file, store.uri(path), mapped=True).ntotal)
    return None


def _damage(manifest: Manifest, path: str, text: str) -> Damage:
    return Damage(manifest.asset, manifest.key, path, "content", text)
