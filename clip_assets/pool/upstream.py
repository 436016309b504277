"""What an asset that is made from all keys of another one finds: current, stale or missing.

Only looks at manifests; what a stage does about the stale and missing ones is its own matter.
"""

from dataclasses import dataclass

from clip_assets.layout import Key
from clip_assets.pool.pool import Pool


@dataclass(frozen=True, slots=True)
class Upstream:
    """Keys of an upstream asset, each list in the pool's order.

    Args:
        done: there, whatever they were made from.
        current: those of them made from the inputs and by the code of today.
        stale: the others of them.
        missing: not there.
    """

    done: list[Key]
    current: list[Key]
    stale: list[Key]
    missing: list[Key]


def upstream(pool: Pool, name: str) -> Upstream:
    """Sort the keys of an asset by what has become of them."""
    asset = pool.assets[name]
    keys = pool.keys(asset.axis)
    for read in (*asset.deps, name):
        if pool.assets[read].axis == asset.axis:
            pool.catalog.preload(read, keys)
    sorted_keys = Upstream([], [], [], [])
    for key in keys:
        manifest = pool.catalog.get(name, key)
        if manifest is None:
            sorted_keys.missing.append(key)
            continue
        sorted_keys.done.append(key)
        is_current = asset.is_current(manifest, asset.made_from(pool, key))
        (sorted_keys.current if is_current else sorted_keys.stale).append(key)
    return sorted_keys
