"""One digest for everything that came earlier.

``chain(p) = sha256(chain(p - 1) + digest(p - 1))``: whether any earlier partition's keys
changed is one comparison, and a pass over all partitions computes each link once.
"""

import hashlib
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from clip_assets import layout
from clip_assets.layout import PartitionKey
from clip_assets.storage.manifests import ABSENT, Catalog

START = hashlib.sha256(b"").hexdigest()
"""What the first partition of a pool comes after."""

_Links = list[tuple[PartitionKey, str, str]]

_known: WeakKeyDictionary[Catalog, _Links] = WeakKeyDictionary()


def keys_digest(catalog: Catalog, partition: PartitionKey) -> str:
    """Digest of a partition's deduplication keys, ``ABSENT`` when they are not there."""
    manifest = catalog.get("raw_pairs", partition)
    if manifest is None:
        return ABSENT
    path = layout.pair_keys(partition)
    return next((output.sha256 for output in manifest.outputs if output.path == path), ABSENT)


def link(before: str, digest: str) -> str:
    """The chain with one more partition."""
    return hashlib.sha256((before + digest).encode()).hexdigest()


def chain(catalog: Catalog, earlier: Sequence[PartitionKey]) -> str:
    """Digest of the keys of all earlier partitions, in order."""
    links = _known.setdefault(catalog, [])
    catalog.preload("raw_pairs", earlier[len(links) :])
    for number, partition in enumerate(earlier):
        digest = keys_digest(catalog, partition)
        if number < len(links) and links[number][:2] == (partition, digest):
            continue
        del links[number:]
        before = links[-1][2] if links else START
        links.append((partition, digest, link(before, digest)))
    return links[len(earlier) - 1][2] if earlier else START


def inputs(catalog: Catalog, partition: PartitionKey, before: str) -> dict[str, str]:
    """What the unique pairs of a partition depend on.

    Args:
        catalog: the pool's manifests.
        partition: which one.
        before: the chain of all earlier partitions.
    """
    return {"raw_pairs": catalog.digest("raw_pairs", partition), "earlier": before}
