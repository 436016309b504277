"""What the shards of a subset can be told; which subsets there are is another section's."""

from pydantic import Field

from clip_assets.settings.sections import Section


class SubsetShardSettings(Section):
    """How the samples of a subset are dealt out into shards of its own."""

    shard_size: int = Field(default=10_000, ge=1, description="Samples of a shard")
    seed: int | None = Field(
        default=None,
        ge=0,
        description="Of the order of all samples; without one they are in the pool's order",
    )
