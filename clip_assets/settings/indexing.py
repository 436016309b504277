"""Settings of the index: how vectors are encoded, when lists are trained, what is served."""

from typing import Literal

from pydantic import Field

from clip_assets.settings.quantities import ByteCount
from clip_assets.settings.sections import Section


class IndexSettings(Section):
    """Which faiss index is built."""

    max_memory_bytes: ByteCount = Field(
        default=4 * 2**30,
        ge=2**20,
        description="Of each served index; decides how vectors are encoded",
    )
    flat_limit: int = Field(
        default=50_000, ge=1, description="Up to this many vectors the index is exact (Flat)"
    )
    train_limit: int = Field(
        default=1_000_000, ge=1, description="Vectors sampled for training at most"
    )
    retrain_grown: float = Field(
        default=4,
        ge=1,
        description="Lists are trained anew once the pool has more than so many times the vectors "
        "that it had when they were trained",
    )
    retrain_far: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Or once more than this share of its vectors is farther from the centre of "
        "its list than all but 0.05 were then; 1: never",
    )
    retrain_imbalance: float = Field(
        default=2,
        ge=1,
        description="Or once lists are so many times as uneven as then",
    )
    retrain: int = Field(
        default=0,
        ge=0,
        description="Or by hand: another number than before trains them anew",
    )
    recall_target: float = Field(
        default=0.95,
        ge=0.5,
        le=0.99,
        description="Share of what an exact search finds that a search aims at if it names none",
    )
    least_recall: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="A new index that finds less by captions at recall_target is not served",
    )
    most_recall_lost: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Nor is one that finds so much less than the version before it",
    )
    keep_versions: int = Field(default=3, ge=1, description="Index versions that retention leaves")
    missing_partitions: Literal["skip", "refuse"] = Field(
        default="skip", description="What fan-in assets do about partitions that are not done"
    )
    on_device: bool = Field(
        default=False,
        description="Let the accelerator compare vectors with centres and queries, in a step with "
        "the needs of embedding; read when Dagster loads the code location",
    )
