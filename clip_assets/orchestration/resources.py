"""Configuration in, plain objects out."""

import dagster as dg

from clip_assets import settings
from clip_assets.settings import Settings
from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store


class Pool(dg.ConfigurableResource[Store]):
    """The pool that the graph works on.

    Empty fields are filled from ``CLIP_ASSETS_ROOT`` and ``CLIP_ASSETS_POOL`` when a step
    runs, not when the code location is loaded.
    """

    root: str = ""
    pool: str = ""

    def settings(self) -> Settings:
        """Settings of the pool as they are now."""
        return settings.load(self.root or None, self.pool or None)

    def store(self) -> Store:
        """The pool's files."""
        return Store.open(self.settings().root)

    def catalog(self) -> Catalog:
        """What is done, as this step sees it."""
        return Catalog(self.store())
