"""A pool: its files, its settings, its partitions and what is done of it, opened once.

Every step and every command opens one and hands it on, so all of them see the same plans,
manifests and settings. What other processes finish meanwhile is seen by ``Pool.renewed``.
"""

import hashlib
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, Literal, Self

from clip_assets import devices, layout
from clip_assets.encoders.encoder import Encoder, ModelIdentity
from clip_assets.encoders.identity import expected_identity, read_identity
from clip_assets.errors import MissingArtifactError, ModelLoadError
from clip_assets.layout import WHOLE, Artifact, Key, PartitionKey
from clip_assets.partitions import ledger
from clip_assets.partitions.ledger import PartitionPlan
from clip_assets.settings import Settings
from clip_assets.storage.catalog import Catalog
from clip_assets.storage.manifests import Manifest, Output
from clip_assets.storage.store import Store

if TYPE_CHECKING:
    from clip_assets.pool.asset import Asset

Axis = Literal["partition", "subset", "pool"]
"""What an asset is cut by: batches of source rows, names that users give, or nothing."""


@dataclass(frozen=True, slots=True)
class Mend:
    """Files of one key that are gone or damaged.

    Args:
        manifest: which says what their bytes were.
        paths: of them.
    """

    manifest: Manifest
    paths: frozenset[str]


@dataclass(frozen=True, slots=True)
class Onlooker:
    """Who is given the files of one kind as stages publish them, while their bytes are here.

    Args:
        kind: of the files.
        take: gets the key, what its manifest will say of the file, and the open file, which it
            closes. The stage waits for it.
    """

    kind: Artifact[...]
    take: Callable[[Key, Output, BinaryIO], object]


class Pool:
    """A pool as one step or command sees it.

    Args:
        store: its files.
        settings: its settings.
        assets: the table of the graph, by name, see ``graph``.
        encoder: loads its model; by default the one that the settings name.

    Attributes:
        catalog: its manifests and failures, each read once.
        to_mend: what a stage shall make again instead of making it anew.
        onlooker: who is given files that stages publish; None for nobody.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        assets: "Mapping[str, Asset]",
        encoder: Callable[[], Encoder] | None = None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.assets = assets
        self.catalog = Catalog(store)
        self.to_mend: Mend | None = None
        self.onlooker: Onlooker | None = None
        self._given = encoder
        self._loaded: Encoder | None = None
        self._unloadable: ModelLoadError | None = None
        self._store_wide: dict[str, str] = {}
        self._owner: ModelIdentity | None = None
        self._places: tuple[str, ...] = ("cpu",) if settings.devices == "none" else ()

    def renewed(self) -> Self:
        """The same pool as it is at this moment; a model that is loaded stays loaded."""
        pool = type(self)(self.store, self.settings, self.assets, self._given)
        pool._loaded, pool._places = self._loaded, self._places
        return pool

    def mending(self, manifest: Manifest, paths: Collection[str]) -> Self:
        """The pool as a stage sees it that is to make some of its files again, exactly."""
        pool = self.renewed()
        pool.to_mend = Mend(manifest, frozenset(paths))
        return pool

    @cached_property
    def plans(self) -> dict[PartitionKey, PartitionPlan]:
        """The source rows of every partition, in order of arrival."""
        return {plan.partition: plan for plan in ledger.plans(self.store)}

    @cached_property
    def partitions(self) -> list[PartitionKey]:
        """Every partition, in order of arrival."""
        return list(self.plans)

    def plan(self, partition: PartitionKey) -> PartitionPlan:
        """The source rows of one partition.

        Raises:
            MissingArtifactError: no such partition was planned.
        """
        if partition not in self.plans:
            raise MissingArtifactError(
                self.store.uri(layout.plan(partition)),
                "no plan",
                "one of a planned partition",
                "See: clip-assets status",
            )
        return self.plans[partition]

    def earlier(self, partition: PartitionKey) -> list[PartitionKey]:
        """Every partition before one, in order of arrival.

        Raises:
            MissingArtifactError: no such partition was planned.
        """
        return self.partitions[: self._place(partition)]

    def later(self, partition: PartitionKey) -> list[PartitionKey]:
        """Every partition after one, in order of arrival.

        Raises:
            MissingArtifactError: no such partition was planned.
        """
        return self.partitions[self._place(partition) + 1 :]

    def _place(self, partition: PartitionKey) -> int:
        self.plan(partition)
        return self._places_in_order[partition]

    @cached_property
    def _places_in_order(self) -> dict[PartitionKey, int]:
        return {key: place for place, key in enumerate(self.partitions)}

    def keys(self, axis: Axis) -> list[Key]:
        """The keys of an axis, in their order."""
        match axis:
            case "partition":
                return self.partitions
            case "subset":
                return [Key(name) for name in self.settings.subsets]
            case "pool":
                return [WHOLE]

    def store_wide(self, name: str) -> str:
        """Digest of what the whole pool has to heed, empty where there is no such thing."""
        if name not in self._store_wide:
            path = layout.store_wide(name)
            content = self.store.read_bytes(path) if self.store.exists(path) else b""
            self._store_wide[name] = hashlib.sha256(content).hexdigest() if content else ""
        return self._store_wide[name]

    @property
    def owner(self) -> ModelIdentity | None:
        """The model that the store belongs to, which never changes; None before it has one."""
        if self._owner is None:
            self._owner = read_identity(self.store)
        return self._owner

    @property
    def model_digest(self) -> str:
        """Of the identity of the loaded model, else of the one that the store expects."""
        if self._loaded is not None:
            return self._loaded.identity.digest()
        return self._expected_digest

    @cached_property
    def _expected_digest(self) -> str:
        return expected_identity(self.store, self.settings.inference)

    def encoder(self) -> Encoder:
        """The pool's model, loaded when first asked for.

        Raises:
            ModelLoadError: it cannot be loaded.
        """
        if self._unloadable is not None:
            # Every key of the step would wait for the same answer.
            raise self._unloadable
        if self._loaded is None:
            # Asked of this pool, not of the one that it renews: devices are leased by each.
            try:
                self._loaded = (self._given or self._load_encoder)()
            except ModelLoadError as error:
                self._unloadable = error
                raise
        return self._loaded

    def _load_encoder(self) -> Encoder:
        from clip_assets.encoders.openclip import loading

        # Frozen models of pydantic are hashable, which their types do not say.
        inference = self.settings.inference
        return loading.loaded(inference, *self._places)  # pyright: ignore[reportArgumentType]

    @property
    def places(self) -> tuple[str, ...]:
        """What torch calls the leased devices, ``cpu`` if there are none; empty without lease."""
        return self._places

    @contextmanager
    def leased_devices(self) -> Generator[None]:
        """For the time of the block the model may run on the accelerators of one step.

        Raises:
            DeviceBusyError: other steps have all of them.
        """
        before = self._places
        wanted = self.settings
        with devices.leased(wanted.devices, wanted.devices_per_step) as places:
            self._places = tuple(places)
            try:
                yield
            finally:
                self._places = before
