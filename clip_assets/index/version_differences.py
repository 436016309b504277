"""What changed from one version of the index to another, by what both hold.

Which versions there are is said by ``index.versions``; what each finds of some queries is compared
by ``retrieval.comparing``.
"""

from dataclasses import dataclass

from clip_assets.index import versions
from clip_assets.layout import PartitionKey
from clip_assets.storage.store import Store


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one version to another.

    Args:
        added: partitions that only the second has.
        removed: partitions that only the first has.
        changed: partitions with other vectors or rows.
        moved: partitions with the same vectors under other ids.
        vectors: of the first and of the second.
        keys: of the first and of the second.
        models: of the first and of the second, in words.
    """

    added: list[PartitionKey]
    removed: list[PartitionKey]
    changed: list[PartitionKey]
    moved: list[PartitionKey]
    vectors: tuple[int, int]
    keys: tuple[str, str]
    models: tuple[str, str]


def compare(store: Store, first: str, second: str) -> Difference:
    """Compare two versions by what they hold; no index is read.

    Raises:
        ConfigurationError: there is no such version.
    """
    known = versions.merged(store)
    for name in (first, second):
        if name not in known:
            raise versions.no_version(repr(name), f"a version ({', '.join(known) or 'none yet'})")
    old, new = versions.read(store, first), versions.read(store, second)
    before = {partition: slot for slot, partition in old.used}
    after = {partition: slot for slot, partition in new.used}
    both = [partition for partition in before if partition in after]
    same = [p for p in both if before[p].content == after[p].content]
    return Difference(
        added=sorted(after.keys() - before.keys()),
        removed=sorted(before.keys() - after.keys()),
        changed=sorted(set(both) - set(same)),
        moved=sorted(p for p in same if before[p].start != after[p].start),
        vectors=(old.vectors, new.vectors),
        keys=(old.key, new.key),
        models=(old.model_name, new.model_name),
    )
