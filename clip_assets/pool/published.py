"""Whether what manifests name is there, and as long as they say: found by listings alone.

No file is opened, so damage of the same length is not seen; that is the matter of
``verification``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from clip_assets import layout
from clip_assets.layout import Key
from clip_assets.pool.asset import Asset
from clip_assets.pool.pool import Pool
from clip_assets.storage.catalog import Catalog
from clip_assets.storage.manifests import UNFINISHED, Manifest, Output, named
from clip_assets.storage.sizes import listed

Kind = Literal["gone", "size", "bytes", "content"]
"""Of damage: no file, another length, other bytes of the same length, or a content that cannot be
used or contradicts what else the pool has."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with one file.

    Args:
        asset: that published it; empty for a file that is no asset's.
        key: of the asset.
        path: of the file.
        kind: of damage.
        text: what is there and what should be.
    """

    asset: str
    key: Key
    path: str
    kind: Kind
    text: str

    def as_text(self) -> str:
        """One line for people."""
        return f"{named(self.asset, self.key)}: {self.path} {self.text}".removeprefix(": ")


def damaged(pool: Pool, *, pictures: bool = False) -> list[Damage]:
    """Published files that are gone or of another size than their manifest says.

    It costs the manifests and a listing of every folder that has such files.

    Args:
        pool: the pool.
        pictures: those too, which nothing is made from.

    Raises:
        SchemaError: a manifest is damaged.
    """
    made = [m for asset in pool.assets.values() for m in finished(pool, asset)]
    return of_sizes(pool, made, pictures=pictures)


def finished(pool: Pool, asset: Asset, keys: Sequence[Key] | None = None) -> Iterator[Manifest]:
    """Manifests of an asset's keys, by default of all, whose files ought to be there."""
    wanted = pool.keys(asset.axis) if keys is None else keys
    pool.catalog.preload(asset.name, wanted)
    for key in wanted:
        manifest = pool.catalog.get(asset.name, key)
        if manifest is not None and manifest.code_version != UNFINISHED:
            yield manifest


def of_sizes(pool: Pool, made: Sequence[Manifest], *, pictures: bool) -> list[Damage]:
    """Those of ``damaged`` that some manifests have."""
    of_each = [(manifest, list(_expected(pool, manifest, pictures=pictures))) for manifest in made]
    folders = {output.path.rpartition("/")[0] for _, outputs in of_each for output in outputs}
    sizes = listed(pool.store, sorted(folders))
    suspects = [
        (manifest, damage)
        for manifest, outputs in of_each
        for output in outputs
        if (damage := _of_size(manifest, output, sizes.get(output.path)))
    ]
    return confirmed(pool, suspects)


def confirmed(pool: Pool, suspects: Iterable[tuple[Manifest, Damage]]) -> list[Damage]:
    """Those whose manifest is still the same: files of another were being replaced."""
    now = Catalog(pool.store)
    return [damage for manifest, damage in suspects if now.get(*_of(manifest)) == manifest]


def _of(manifest: Manifest) -> tuple[str, Key]:
    return manifest.asset, manifest.key


def _expected(pool: Pool, manifest: Manifest, *, pictures: bool) -> Iterator[Output]:
    """A key's files; those of an index version only while it is the newest."""
    asset = pool.assets[manifest.asset]
    has_versions = any(output.path.startswith(f"{layout.VERSIONS}/") for output in manifest.outputs)
    if has_versions and not asset.is_current(manifest, asset.made_from(pool, manifest.key)):
        return  # Retention may have removed them.
    for output in manifest.outputs:
        if pictures or not output.path.startswith(f"{layout.PICTURES}/"):
            yield output


def _of_size(manifest: Manifest, output: Output, size: int | None) -> Damage | None:
    if size == output.size_bytes:
        return None
    if size is None:
        kind, text = "gone", f"is gone; it had {output.size_bytes:,} bytes"
    else:
        kind, text = "size", f"has {size:,} bytes, not {output.size_bytes:,}"
    return Damage(manifest.asset, manifest.key, output.path, kind, text)
