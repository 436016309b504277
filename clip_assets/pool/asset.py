"""What an asset of the graph is: one record beside its stage.

Order, Dagster's dependencies, states and documents are derived from these records, which
``graph`` lists; nothing else says what is made from what.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clip_assets.errors import CheckFailedError
from clip_assets.layout import Key
from clip_assets.pool.pool import Axis, Pool
from clip_assets.storage.manifests import Manifest, State

Inputs = dict[str, str]
"""What one key of an asset is made from: digests of upstream assets and other texts, by name."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished stage: its manifest, and whether it was already there."""

    manifest: Manifest
    reused: bool


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset of the graph.

    Args:
        name: its only name, which ``layout`` spells where others read it.
        version: raised when the same inputs would give other outputs.
        make: brings one key of it up to date.
        inputs: what one key of it would be made from today; found without doing the work.
        axis: what it is cut by.
        deps: names of the assets that it reads.
        settings: names of the inputs that are no assets: settings, plans, models.
        rows_from: the one of ``deps`` whose rows out are this asset's rows in, key by key; empty
            where there is none. A difference stops the stage.
        heeds: names of store-wide inputs, see ``layout.store_wide``.
    """

    name: str
    version: str
    make: Callable[[Pool, Key], Outcome]
    inputs: Callable[[Pool, Key], Inputs]
    axis: Axis = "partition"
    deps: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    rows_from: str = ""
    heeds: tuple[str, ...] = ()

    def made_from(self, pool: Pool, key: Key) -> Inputs:
        """Its inputs, store-wide ones too.

        Raises:
            CheckFailedError: an input is neither a dependency nor a setting.
        """
        inputs = self.inputs(pool, key)
        strange = {name.partition("/")[0] for name in inputs} - {*self.deps, *self.settings}
        if strange:
            raise CheckFailedError(
                f"inputs of {self.name}",
                ", ".join(sorted(strange)),
                f"only its deps ({', '.join(self.deps) or 'none'}) and settings "
                f"({', '.join(self.settings) or 'none'})",
                "This is a defect of the asset's record; please report it.",
            )
        heeded = {name: pool.store_wide(name) for name in self.heeds}
        return inputs | {name: digest for name, digest in heeded.items() if digest}

    def is_current(self, manifest: Manifest, inputs: Inputs) -> bool:
        """Whether a manifest is of these inputs and of today's code."""
        return (manifest.inputs, manifest.code_version) == (inputs, self.version)

    def states(self, pool: Pool, keys: Sequence[Key]) -> Mapping[Key, State]:
        """State of each of its keys."""
        pool.catalog.preload(self.name, keys)
        return {key: self.state(pool, key) for key in keys}

    def state(self, pool: Pool, key: Key) -> State:
        """Whether a key is done, and made from today's inputs by today's code."""
        if pool.catalog.failure(self.name, key):
            return "failed"
        manifest = pool.catalog.get(self.name, key)
        if manifest is None:
            return "missing"
        is_current = self.is_current(manifest, self.made_from(pool, key))
        return "done" if is_current else "stale"
