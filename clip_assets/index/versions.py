"""Versions of the index: which there are, which is served, which may go.

A version's folder never changes once it is complete; what is served is one small file. Making
versions is the matter of ``index.faiss_index`` and ``index.id_mapping``.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clip_assets import layout
from clip_assets.errors import ConfigurationError, MissingArtifactError
from clip_assets.index.reach import Reach, Reaches
from clip_assets.index.slots import Content, Slot
from clip_assets.layout import PartitionKey
from clip_assets.storage.store import Store


@dataclass(frozen=True, slots=True)
class Version:
    """What an index version holds; the content of ``layout.index_manifest``.

    Args:
        name: of its folder.
        previous: the version whose ids it goes on with, if any.
        is_renumbered: whether all ids were given out anew.
        model: digest of the model identity of its vectors.
        model_name: the model in words.
        dim: of its vectors.
        key: of faiss' index factory.
        recipe: digest of the trained, empty indices.
        vectors: how many each side holds.
        slots: ranges of ids, in id order; number i has files ``index_rows(name, i)``.
        partitions_used: whose vectors it holds.
        partitions_missing: not yet encoded when it was made.
        partitions_stale: encoded, but not as they are today; left out.
        reach: how far searches go; empty in versions of releases that knew only a number of lists.
    """

    name: str
    previous: str | None
    is_renumbered: bool
    model: str
    model_name: str
    dim: int
    key: str
    recipe: str
    vectors: int
    slots: list[Slot]
    partitions_used: list[PartitionKey]
    partitions_missing: list[PartitionKey]
    partitions_stale: list[PartitionKey]
    reach: Reaches

    def to_json(self) -> bytes:
        """As ``read`` takes it."""
        return json.dumps(asdict(self), indent=1).encode()

    @property
    def used(self) -> list[tuple[Slot, PartitionKey]]:
        """Ranges of ids in use, each with its partition, in id order."""
        return [(slot, slot.content.partition) for slot in self.slots if slot.content]

    @property
    def unused_ids(self) -> int:
        """Ids that belong to no vector."""
        return sum(slot.count for slot in self.slots if slot.content is None)


def read(store: Store, name: str) -> Version:
    """What a version holds.

    Raises:
        MissingArtifactError: there is no such version.
    """
    return parsed(store.read_bytes(layout.index_manifest(name)))


def parsed(content: bytes) -> Version:
    """The version that a ``layout.index_manifest`` tells of."""
    read: dict[str, Any] = json.loads(content)
    read["slots"] = [
        Slot(slot["start"], slot["count"], Content(**slot["content"]) if slot["content"] else None)
        for slot in read["slots"]
    ]
    read["reach"] = {
        side: {kind: [Reach(**known) for known in reaches] for kind, reaches in kinds.items()}
        for side, kinds in read.get("reach", {}).items()
    }
    return Version(**read)


def versions(store: Store, among: Sequence[str] | None = None) -> list[str]:
    """Names of all versions, or of some among them, that can be served, oldest first."""
    files = set(store.list(layout.VERSIONS))
    names = _merged(files) if among is None else among
    return [name for name in names if files.issuperset(_files(read(store, name)))]


def merged(store: Store) -> list[str]:
    """Names of all versions whose indices are written, oldest first; their rows may not be."""
    return _merged(store.list(layout.VERSIONS))


def current(store: Store) -> str | None:
    """Name of the version that is served, None if there is none yet."""
    try:
        return store.read_bytes(layout.CURRENT).decode().strip()
    except MissingArtifactError:
        return None


def use(store: Store, name: str) -> None:
    """Serve a version.

    Raises:
        ConfigurationError: there is no such version, or it is not complete.
    """
    complete = versions(store)
    if name not in complete:
        known = ", ".join(complete) or "none yet"
        named = f"{name!r}, which is not complete" if name in merged(store) else repr(name)
        raise _no_version(named, f"a complete version ({known})")
    store.write_bytes(layout.CURRENT, f"{name}\n".encode())


def retire(store: Store, keep: int) -> list[str]:
    """Remove all but the newest versions; the served one stays, however old it is.

    Args:
        store: the pool's files.
        keep: how many stay.

    Returns:
        Names of the removed versions.
    """
    old = [name for name in merged(store)[:-keep] if name != current(store)]
    for name in old:
        # The manifest goes first: a half-removed folder is no version.
        store.delete(layout.index_manifest(name))
        store.delete(layout.version_folder(name))
    return old


def remove_unfinished(store: Store) -> None:
    """Remove folders of versions whose merging was cut off; only while none is being made."""
    files = store.list(layout.VERSIONS)
    names = {path.split("/")[1] for path in files if path.count("/") > 1}
    for name in names.difference(_merged(files)):
        store.delete(layout.version_folder(name))


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
    known = merged(store)
    for name in (first, second):
        if name not in known:
            raise _no_version(repr(name), f"a version ({', '.join(known) or 'none yet'})")
    old, new = read(store, first), read(store, second)
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


def _no_version(found: str, expected: str) -> ConfigurationError:
    return ConfigurationError("index version", found, expected, "See: clip-assets index list")


def _merged(files: Sequence[str] | set[str]) -> list[str]:
    names = {path.split("/")[1] for path in files if path.count("/") > 1}
    return sorted(name for name in names if layout.index_manifest(name) in files)


def _files(version: Version) -> list[str]:
    """Every file of a complete version; a range without ids has none."""
    numbers = [number for number, slot in enumerate(version.slots) if slot.count]
    return [
        *(layout.index(version.name, side) for side in layout.SIDES),
        *(layout.index_rows(version.name, number) for number in numbers),
        *(layout.id_mapping(version.name, number) for number in numbers),
    ]
