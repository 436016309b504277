"""What the shards of a subset can be told; which subsets there are is another section's."""

from pydantic import Field

from clip_assets.settings.sections import Section


class SubsetShardSettings(Section):
    """How the samples of a subset are dealt out into shards of its own: what reshard takes."""

    shard_size: int = Field(default=10_000, ge=1, description="Samples of a shard")
    seed: int | None = Field(
        default=None,
        ge=0,
        description="Of the order of all samples; without one they are in the pool's order",
    )
    columns: tuple[str, ...] = Field(
        default=(), description="Of the metadata, put into the json of samples"
    )
    blur_faces: bool = Field(
        default=False, description="Blur face_bboxes; these images are encoded again"
    )
    metadata: str = Field(
        default="",
        description="A parquet with uid, or a folder of such, for columns and blur_faces; default: "
        "the pool's own",
    )

    @property
    def changes_samples(self) -> bool:
        """Whether samples are others than in the pool."""
        return bool(self.columns or self.blur_faces)

    def told(self) -> str:
        """As text; what nobody said of samples that are changed is left out."""
        added = ("columns", "blur_faces", "metadata")
        return self.model_dump_json(exclude={name for name in added if not getattr(self, name)})
