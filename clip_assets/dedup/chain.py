"""One digest for everything that came earlier.

``chain(p) = sha256(chain(p - 1) + digest(p - 1))``: whether any earlier partition's keys
changed is one comparison, and a pass over all partitions computes each link once.
"""

import hashlib
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from clip_assets import layout
from clip_assets.layout import PartitionKey
from clip_assets.pool.asset import Inputs
from clip_assets.pool.pool import Pool
from clip_assets.storage.catalog import Catalog
from clip_assets.storage.manifests import ABSENT

START = hashlib.sha256(b"").hexdigest()
"""What the first partition of a pool comes after."""

NONE = "no keys"
"""Digest of the keys of a partition without pairs."""

_Links = list[tuple[PartitionKey, str, str]]

_known: WeakKeyDictionary[Catalog, tuple[_Links, int]] = WeakKeyDictionary()


def keys_digest(pool: Pool, partition: PartitionKey) -> str:
    """Digest of a partition's deduplication keys, ``ABSENT`` when they are not there."""
    manifest = pool.catalog.get(layout.RAW_PAIRS, partition)
    if manifest is None:
        return ABSENT
    path = layout.pair_keys(partition)  # compared as text: a chain asks for it very often
    none = ABSENT if manifest.report.rows_out else NONE
    return next((output.sha256 for output in manifest.outputs if output.path == path), none)


def has_keys(pool: Pool, partition: PartitionKey) -> bool:
    """Whether there is a file of a partition's keys."""
    return keys_digest(pool, partition) not in (ABSENT, NONE)


def link(before: str, digest: str) -> str:
    """The chain with one more partition."""
    return hashlib.sha256((before + digest).encode()).hexdigest()


def chain(pool: Pool, earlier: Sequence[PartitionKey]) -> str:
    """Digest of the keys of all earlier partitions, in order."""
    if not earlier:
        return START
    changes = pool.catalog.changes
    links, checked = _known.get(pool.catalog, ([], changes))
    if (
        checked == changes
        and len(links) >= len(earlier)
        and links[len(earlier) - 1][0] == earlier[-1]
    ):
        # A look at all partitions asks for every chain; what did not change is not gone through.
        return links[len(earlier) - 1][2]
    pool.catalog.preload(layout.RAW_PAIRS, earlier[len(links) :])
    for number, partition in enumerate(earlier):
        digest = keys_digest(pool, partition)
        if number < len(links) and links[number][:2] == (partition, digest):
            continue
        del links[number:]
        before = links[-1][2] if links else START
        links.append((partition, digest, link(before, digest)))
    _known[pool.catalog] = links, changes
    return links[len(earlier) - 1][2]


def inputs(pool: Pool, partition: PartitionKey, before: str) -> Inputs:
    """What the unique pairs of a partition depend on.

    Args:
        pool: the pool.
        partition: which one.
        before: the chain of all earlier partitions.
    """
    own = pool.catalog.digest(layout.RAW_PAIRS, partition)
    return {layout.RAW_PAIRS: own, "earlier": before}
