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
        """Whether its settings fuse downloading and embedding into one step.

        Settings that cannot be read fuse nothing: what is wrong with them says every step.
        """
        try:
            return settings.load(self.root or None, self.settings_file or None).inference.fused
        except ClipAssetsError:
            return False

    def open(self) -> Pool:
        """The pool as it is now; made if it is not there."""
        return graph.open_pool(self.root or None, self.settings_file or None, create=True)
