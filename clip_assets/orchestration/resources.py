"""Configuration in, a pool out."""

import os
from typing import Self

import dagster as dg

from clip_assets import graph, settings
from clip_assets.errors import ClipAssetsError
from clip_assets.masking import holds_secret
from clip_assets.pool.pool import Pool


class PoolResource(dg.ConfigurableResource):  # pyright: ignore[reportMissingTypeArgument]
    """The pool that the graph works on.

    Empty fields are filled from ``CLIP_ASSETS_ROOT`` and ``CLIP_ASSETS_POOL`` when a step
    runs, not when the code location is loaded.
    """

    root: str = ""
    settings_file: str = ""

    @classmethod
    def of(cls, root: str, settings_file: str) -> Self:
        """The resource of a pool that this process and its children work on.

        A root with a secret goes to them by the environment: Dagster's database keeps what a
        resource is configured with.
        """
        if holds_secret(root):
            os.environ["CLIP_ASSETS_ROOT"] = root
            root = ""
        return cls(root=root, settings_file=settings_file)

    def is_fused(self) -> bool:
        """Whether its settings fuse downloading and embedding into one step."""
        read = self._settings()
        return read is not None and read.inference.fused

    def is_on_device(self) -> bool:
        """Whether its settings let an accelerator compare vectors for the index."""
        read = self._settings()
        return read is not None and read.index.on_device

    def _settings(self) -> settings.Settings | None:
        """As they are now; None where they cannot be read: what is wrong says every step."""
        try:
            return settings.load(self.root or None, self.settings_file or None)
        except ClipAssetsError:
            return None

    def open(self) -> Pool:
        """The pool as it is now; made if it is not there."""
        return graph.open_pool(self.root or None, self.settings_file or None, create=True)
