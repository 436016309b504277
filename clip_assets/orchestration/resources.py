"""Configuration in, a pool out."""

import dagster as dg

from clip_assets import graph
from clip_assets.pool.pool import Pool


class PoolResource(dg.ConfigurableResource):  # pyright: ignore[reportMissingTypeArgument]
    """The pool that the graph works on.

    Empty fields are filled from ``CLIP_ASSETS_ROOT`` and ``CLIP_ASSETS_POOL`` when a step
    runs, not when the code location is loaded.
    """

    root: str = ""
    settings_file: str = ""

    def open(self) -> Pool:
        """The pool as it is now; made if it is not there."""
        return graph.open_pool(self.root or None, self.settings_file or None, create=True)
