"""Verifying a pool: sizes of all published files, and on request their digests and contents.

Nothing is changed. What is damaged is mended by ``verification.remedies``.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from clip_assets import layout
from clip_assets.errors import SchemaError
from clip_assets.layout import Key
from clip_assets.pool.asset import Asset
from clip_assets.pool.pool import Axis, Pool
from clip_assets.pool.published import Damage, confirmed, finished, of_sizes
from clip_assets.storage.manifests import UNFINISHED, Manifest, Output
from clip_assets.verification import contents, counts, digests, served


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying a pool gave.

    Args:
        files_by_asset: published files that were looked at.
        size_bytes: of them, by their manifests.
        is_deep: whether they were read.
        damaged: what is wrong, in the order of the graph.
    """

    files_by_asset: Mapping[str, int]
    size_bytes: int
    is_deep: bool
    damaged: list[Damage]

    @property
    def files(self) -> int:
        """Of all assets."""
        return sum(self.files_by_asset.values())


def verify(
    pool: Pool,
    *,
    deep: bool = False,
    keys: Mapping[Axis, Sequence[Key]] | None = None,
    only: Collection[str] | None = None,
) -> Verification:
    """Compare a pool with its manifests.

    Without ``deep`` no data file is opened: it costs the manifests and a listing of each folder.
    With it every file is read, several side by side, and once more opened by the library that it
    is for. Memory: ``digests.AT_ONCE`` buffers, and for an index 40 bytes for each of its vectors.

    Args:
        pool: the pool.
        deep: compare digests too, count rows in files, load indices and resolve their ids.
        keys: look only at these keys of these axes; by default at everything.
        only: look only at assets of these names; by default at all.
    """
    made: list[Manifest] = []
    damaged: list[Damage] = []
    chosen = [asset for name, asset in pool.assets.items() if only is None or name in only]
    for asset in chosen:
        wanted = pool.keys(asset.axis) if keys is None else keys.get(asset.axis, [])
        of_asset, unreadable = _records(pool, asset, wanted)
        made += of_asset
        damaged += unreadable
    if damaged:
        # Whether an index is of today cannot be said then.
        made = [manifest for manifest in made if pool.assets[manifest.asset].axis != "pool"]
    damaged += of_sizes(pool, made, pictures=True)
    damaged += counts.contradictions(pool, made) if not damaged else []
    if deep:
        damaged += _read(pool, made, {damage.path for damage in damaged})
    if keys is None and layout.ID_MAPPING in {asset.name for asset in chosen}:
        damaged += served.examined(pool, damaged, deep=deep)
    files = Counter(manifest.asset for manifest in made for _ in manifest.outputs)
    order = {name: place for place, name in enumerate(pool.assets)}
    return Verification(
        files_by_asset={asset.name: files[asset.name] for asset in chosen},
        size_bytes=sum(manifest.size_bytes for manifest in made),
        is_deep=deep,
        damaged=sorted(damaged, key=lambda damage: (order[damage.asset], damage.key, damage.path)),
    )


def _records(pool: Pool, asset: Asset, keys: Sequence[Key]) -> tuple[list[Manifest], list[Damage]]:
    """Manifests of keys, and those that cannot be read."""
    try:
        return list(finished(pool, asset, keys)), []
    except SchemaError:
        pass
    made: list[Manifest] = []
    damaged: list[Damage] = []
    for key in keys:
        path = layout.manifest(asset.name, key)
        try:
            manifest = pool.catalog.get(asset.name, key)
            path = layout.failure(asset.name, key)
            pool.catalog.failure(asset.name, key)
        except SchemaError as error:
            damaged.append(Damage(asset.name, key, path, "content", f"is {error.found}"))
            continue
        if manifest is not None and manifest.code_version != UNFINISHED:
            made.append(manifest)
    return made, damaged


def _read(pool: Pool, made: Sequence[Manifest], known: set[str]) -> list[Damage]:
    """What reading every file finds that is not known to be damaged already."""
    sound: list[tuple[Manifest, Output]] = [
        (manifest, output)
        for manifest in made
        for output in manifest.outputs
        if output.path not in known
    ]
    damaged = list(digests.compared(pool.store, sound))
    known |= {damage.path for _, damage in damaged}
    still = [(manifest, output) for manifest, output in sound if output.path not in known]
    return confirmed(pool, [*damaged, *contents.contradictions(pool.store, still)])
