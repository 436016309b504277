"""What definitions can say whose methods balance, cap, combine scores or thin out what is alike."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from clip_assets.settings.bases import ScoreSettings, SubsetSettings, VectorSettings

if TYPE_CHECKING:
    from clip_assets.settings.bases import Scoring

Arch = Literal["own", "b32", "l14"]

INDEX = "index"
"""Clusters that are the lists of the pool's index."""

ARCH = "Whose vectors: the pool's own; of DataComp's folders b32 or l14"
CLUSTERS = "How many; default: the root of the number of images, at most 10,000"


class RankedTogether(ScoreSettings):
    """Pairs that are good by each of several scores: by the worst of their ranks."""

    ranks: "list[Scoring]" = Field(min_length=2, description="Methods with a score, without bounds")

    @property
    def others(self) -> "list[Scoring]":
        """The scores."""
        return self.ranks


class Capped(SubsetSettings):
    """At most so many pairs of each host, cluster or value of a column."""

    cap: int = Field(ge=1, description="Pairs of each")
    per: str = Field(description="host, cluster, or a column of the metadata")
    score: "Scoring | None" = Field(
        default=None, description="Which are taken: the best; default: drawn by uid"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Another one draws others")
    clusters: int | None = Field(default=None, ge=1, description=CLUSTERS)
    arch: Arch = Field(default="own", description=ARCH)

    @property
    def others(self) -> "list[Scoring]":
        """The score."""
        return [self.score] if self.score else []


class SoftCapped(SubsetSettings):
    """Pairs drawn by their score, again and again; each draw makes the next one less likely."""

    soft_cap: int = Field(ge=1, description="Entries of the subset, repeated pairs included")
    score: "Scoring" = Field(description="A method with a score, without bounds")
    alpha: float = Field(default=0.15, ge=0, description="What a draw takes off the score")
    temperature: float = Field(
        default=1.0, gt=0, description="By which scores are divided first; of cosines about 0.01"
    )
    batch: int | None = Field(
        default=None, ge=1, description="Drawn at once, each at most once; default: a hundredth"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Another one draws others")

    @property
    def others(self) -> "list[Scoring]":
        """The score."""
        return [self.score]


class Pick(ScoreSettings):
    """Pairs by where their images lie among others."""

    pick: Literal["typical", "outlier", "diverse"] = Field(
        description="Near the middle of their cluster, far from it, or of each cluster in turn"
    )
    clusters: int | None = Field(default=None, ge=1, description=CLUSTERS)
    seed: int = Field(default=0, ge=0, lt=2**63, description="Another one draws other clusters")
    arch: Arch = Field(default="own", description=ARCH)


class DensityPruned(SubsetSettings):
    """A share of the pairs, more of clusters that are wide and far from others (DBP)."""

    density: float = Field(gt=0, le=1, description="The share of the candidates")
    temperature: float = Field(default=0.1, gt=0, description="How much clusters differ; paper's")
    clusters: int | None = Field(default=None, ge=1, description=CLUSTERS)
    seed: int = Field(default=0, ge=0, lt=2**63, description="Another one draws other clusters")
    arch: Arch = Field(default="own", description=ARCH)


class Balanced(SubsetSettings):
    """Pairs whose captions have entries of a list, frequent ones less often (MetaCLIP)."""

    FILES = ("entries",)
    entries: str = Field(
        description="A text, one entry a line, or a json list: path or url; or WordNet's folder"
    )
    t: int | None = Field(default=None, ge=1, description="Pairs of an entry that all stay")
    tail: float | None = Field(
        default=None, gt=0, lt=1, description="Instead: the share of matches of rarer entries"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Another one draws others")

    @model_validator(mode="after")
    def _has_one_t(self) -> Self:
        if (self.t is None) == (self.tail is None):
            raise ValueError("say either t or tail")
        return self


class NormSimD(VectorSettings):
    """Pairs whose images are near what is kept of the pool itself: NormSim-D."""

    vectors: Literal["normsim_d"] = Field(description="The score by its name")
    rounds: int = Field(default=5, ge=1, description="Steps in which the share is come down to")


class SemDeDup(VectorSettings):
    """Pairs whose images lie apart from each other: the score is the distance to an earlier one."""

    vectors: Literal["semdedup"] = Field(description="The score by its name")
    keep: Literal["outlier", "typical"] = Field(
        default="outlier", description="Of images that are alike: the farthest from the middle"
    )
    hashes: bool = Field(
        default=True,
        description="Images with the same perceptual hash as another one have a distance of 0",
    )
    clusters: Annotated[int, Field(ge=1)] | Literal["index"] | None = Field(
        default=None, description=f"{CLUSTERS}; index: the lists of the pool's index are"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Another one draws other clusters")
