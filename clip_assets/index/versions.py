"""Versions of the index: which there are, which is served, which may go.

A version's folder never changes once it is complete; what is served is one small file. Making
versions is the matter of ``index.faiss_index`` and ``index.id_mapping``.
"""

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import accumulate

from clip_assets import layout
from clip_assets.errors import (
    ConfigurationError,
    MissingArtifactError,
    SchemaError,
    StoreError,
)
from clip_assets.index.drift import Drift
from clip_assets.index.effort.reach import Reaches
from clip_assets.index.slots import Slot
from clip_assets.layout import PartitionKey
from clip_assets.storage.control import parsed
from clip_assets.storage.expected import REPAIR
from clip_assets.storage.store import Store

_REPAIR = f"Run: {REPAIR}"

_LONGEST = 80
# Characters of a version's name that an error has.


_NAME = re.compile(r"\d{5,}-[0-9a-f]{8}", re.ASCII)


def name_of(number: int, digest: str) -> str:
    """The name of a version, so that they stand in the order in which they were made.

    Args:
        number: of it, counted from 1.
        digest: of what it is made from, in hex digits.
    """
    return f"{number:05d}-{digest[:8]}"


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
        drift: by side, how far it has moved from what lists were trained on; empty where there are
            none, or too few vectors to tell.
        since_searched: vectors that came and went since it was searched what codes lose; 0 if that
            was done for this version, None where an earlier release did not tell.
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
    reach: Reaches = field(default_factory=Reaches)
    drift: dict[str, Drift] = field(default_factory=dict[str, Drift])
    since_searched: int | None = None

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
        SchemaError: what it says of itself is damaged.
    """
    path = layout.index_manifest(name)
    version = parsed(store.read_bytes(path), Version, store.uri(path), _REPAIR)
    told = [slot.start for slot in version.slots]
    ends = accumulate((slot.count for slot in version.slots), initial=0)
    vectors = sum(slot.count for slot, _ in version.used)
    if version.name != name or told != list(ends)[:-1] or vectors != version.vectors:
        raise SchemaError(
            store.uri(path),
            f"{vectors:,} vectors of version {version.name!r}, in ranges from {told[:4]} on",
            f"the {version.vectors:,} of {name!r}, in ranges without a gap",
            _REPAIR,
        )
    return version


def versions(store: Store, among: Sequence[str] | None = None) -> list[str]:
    """Names of all versions, or of some among them, that can be served, oldest first.

    Raises:
        SchemaError: what one says of itself is damaged.
    """
    files = set(store.list(layout.VERSIONS))
    names = _merged(files) if among is None else among
    return [name for name in names if _is_whole(store, name, files)]


def newest_whole(store: Store) -> str | None:
    """Name of the newest version that can be served, however damaged others are."""
    files = set(store.list(layout.VERSIONS))
    for name in reversed(_merged(files)):
        with suppress(StoreError):
            if _is_whole(store, name, files):
                return name
    return None


def _is_whole(store: Store, name: str, files: set[str]) -> bool:
    return files.issuperset(_files(read(store, name)))


def merged(store: Store) -> list[str]:
    """Names of all versions whose indices are written, oldest first; their rows may not be."""
    return _merged(store.list(layout.VERSIONS))


def current(store: Store) -> str | None:
    """Name of the version that is served, None if there is none yet.

    Raises:
        SchemaError: the file that says so names no version; the error has the one to go back to.
    """
    try:
        content = store.read_bytes(layout.CURRENT)
    except MissingArtifactError:
        return None
    name = content.decode(errors="replace").strip()
    # Asked for by name: a web server lists no folder.
    if name and "/" not in name and store.exists(layout.index_manifest(name)):
        return name
    told = f"{len(content):,} bytes that are" if len(name) > _LONGEST else f"{name!r}, which is"
    where = store.uri(layout.CURRENT)
    raise SchemaError(where, f"{told} no version of this pool", "the name of one", go_back(store))


def go_back(store: Store) -> str:
    """What to type where it is not told which version is served."""
    whole = newest_whole(store)
    if whole is None:
        return f"No version is whole: {_REPAIR}"
    return f"To serve the newest whole version: clip-assets index use {whole}"


def use(store: Store, name: str) -> None:
    """Serve a version.

    Raises:
        ConfigurationError: there is no such version, or it is not complete.
        SchemaError: what it says of itself is damaged.
    """
    files = set(store.list(layout.VERSIONS))
    is_merged = name in _merged(files)
    if not is_merged or not _is_whole(store, name, files):
        known = ", ".join(versions(store)) or "none yet"
        named = f"{name!r}, which is not complete" if is_merged else repr(name)
        raise no_version(named, f"a complete version ({known})")
    store.write_bytes(layout.CURRENT, f"{name}\n".encode())


def retire(store: Store, keep: int) -> list[str]:
    """Remove all but the newest versions; the served one stays, however old it is.

    Args:
        store: the pool's files.
        keep: how many stay.

    Returns:
        Names of the removed versions.
    """
    try:
        served = current(store)
    except SchemaError:
        return []  # Which one is in use cannot be told.
    old = [name for name in merged(store)[:-keep] if name != served]
    for name in old:
        # The manifest goes first: a half-removed folder is no version.
        store.delete(layout.index_manifest(name))
        store.delete(layout.version_folder(name))
    return old


def remove_unfinished(store: Store, recorded: str | None) -> None:
    """Remove folders of versions whose merging was cut off; only while none is being made.

    Args:
        store: the pool's files.
        recorded: the newest version that a manifest of the asset names. A newer one that has its
            own manifest, but no rows, was cut off at its very end.
    """
    files = set(store.list(layout.VERSIONS))
    for name in _named(files):
        is_newer = recorded is None or name > recorded
        is_merged = layout.index_manifest(name) in files
        if not is_merged or (is_newer and _is_of_no_use(store, name, files)):
            store.delete(layout.index_manifest(name))
            store.delete(layout.version_folder(name))


def _is_of_no_use(store: Store, name: str, files: set[str]) -> bool:
    """Whether a version has no rows, and nobody wants it served."""
    try:
        return name != current(store) and not _is_whole(store, name, files)
    except SchemaError:
        return False


def no_version(found: str, expected: str) -> ConfigurationError:
    """What to raise for a name that no version has."""
    return ConfigurationError("index version", found, expected, "See: clip-assets index list")


def _merged(files: Sequence[str] | set[str]) -> list[str]:
    return [name for name in _named(files) if layout.index_manifest(name) in files]


def _named(files: Iterable[str]) -> list[str]:
    """Folders that are called as versions are, whole or not; all others are somebody's own."""
    names = {path.split("/")[1] for path in files if path.count("/") > 1}
    return sorted(filter(_NAME.fullmatch, names))


def _files(version: Version) -> list[str]:
    """Every file of a complete version; a range without ids has none."""
    numbers = [number for number, slot in enumerate(version.slots) if slot.count]
    return [
        *(layout.index(version.name, side) for side in layout.SIDES),
        *(layout.index_rows(version.name, number) for number in numbers),
        *(layout.id_mapping(version.name, number) for number in numbers),
    ]
