"""Components: what another Dagster project writes in a ``defs.yaml`` to have a pool.

See ``docs/components.md``. ``dg list components`` finds them by the entry point that pyproject
declares; what they are made of is imported when they are built.
"""

import dagster as dg
from pydantic import Field


class ClipPool(dg.Component, dg.Model, dg.Resolvable):
    """A pool of images, captions, embeddings and an index, made by this project.

    Assets, sensors and schedule of the whole graph. Steps run where the project's executor puts
    them. A project has one pool: asset keys and partitions carry no prefix, so a second one is a
    second project.
    """

    root: str = Field(
        default="",
        description="Where the pool lives, a path or url. Empty: CLIP_ASSETS_ROOT, then data",
    )
    settings_file: str = Field(
        default="",
        description="Its settings. Empty: CLIP_ASSETS_POOL, then pool.yaml in the root",
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002
        """The graph over that pool."""
        from clip_assets.definitions import graph_defs
        from clip_assets.orchestration.resources import PoolResource

        return graph_defs(PoolResource(root=self.root, settings_file=self.settings_file))


class ClipPoolAssets(dg.Component, dg.Model, dg.Resolvable):
    """The assets of a pool that another project makes, to depend on.

    They have the keys, partitions and dependencies of that project's, and nothing makes them
    here.
    """

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002
        """The assets without what makes them."""
        from clip_assets.definitions import graph_defs

        made = graph_defs().resolve_all_asset_specs()
        return dg.Definitions(
            assets=[spec.replace_attributes(automation_condition=None) for spec in made]
        )
