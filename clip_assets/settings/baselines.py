"""DataComp's baselines as definitions; other methods are in ``choices``.

What they choose is said by ``subsets.methods``.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from clip_assets.settings.bases import ScoreSettings, SubsetSettings

ANY = "any"
"""In place of a language: captions of all."""

LANGUAGE_MODEL = "fastText's lid.176.bin (docs/subsets.md#language-models says where to get it)"

BY_ITS_NAME = "DataComp's rule by its name"


class NoFilter(SubsetSettings):
    """Every pair."""

    baseline: Literal["no_filter"] = Field(description=BY_ITS_NAME)


class ClipScore(ScoreSettings):
    """Pairs whose image and caption are alike."""

    baseline: Literal["clip_score"] = Field(description=BY_ITS_NAME)
    arch: Literal["b32", "l14", "own"] = Field(
        default="own", description="Whose similarity: OpenAI's ViT-B/32, ViT-L/14, the pool's own"
    )


class LanguageSettings(SubsetSettings):
    """Of captions in one language."""

    FILES = ("language_model",)
    language: str = Field(
        default="en",
        min_length=1,
        description="Of captions, as the model calls it; DataComp's is en. any: whatever it is",
    )
    language_model: str | None = Field(
        default=None,
        description="Path of a fastText model that tells languages, DataComp's is lid.176.bin; or "
        "url, if need be with #sha256= and the hash of the file",
    )

    @model_validator(mode="after")
    def _has_model(self) -> Self:
        asks = self.language != ANY
        if asks and self.language_model is None:
            raise ValueError(
                f"the rule asks for captions in {self.language}, so say language_model, the path "
                f"of {LANGUAGE_MODEL}; language: {ANY} leaves that rule out"
            )
        if not asks and self.language_model is not None:
            raise ValueError(f"language: {ANY} asks no language_model")
        return self


class BasicFilter(LanguageSettings):
    """DataComp's limits of captions and image sizes."""

    baseline: Literal["basic_filter"] = Field(description=BY_ITS_NAME)


class Laion2b(SubsetSettings):
    """How LAION-2B was chosen: ViT-B/32's similarity from 0.28 on, English by CLD3."""

    baseline: Literal["laion2b"] = Field(description=BY_ITS_NAME)


class TextBased(LanguageSettings):
    """Captions with a word for something of a list."""

    FILES = (*LanguageSettings.FILES, "entities")
    baseline: Literal["text_based"] = Field(description=BY_ITS_NAME)
    entities: str = Field(
        description="Path or url of a text with one id of WordNet a line, such as n02084071; "
        "DataComp's has those of ImageNet-21k"
    )
    wordnet: str = Field(
        default="/usr/share/wordnet",
        description="Folder of WordNet 3.0's files, where Debian's wordnet-base puts them",
    )


class ImageBased(LanguageSettings):
    """Images in the clusters of images that are wanted."""

    FILES = (*LanguageSettings.FILES, "targets", "centroids")
    baseline: Literal["image_based"] = Field(description=BY_ITS_NAME)
    arch: Literal["own", "b32", "l14"] = Field(
        default="own",
        description="Whose vectors: the pool's own; of DataComp's folders b32 or l14, its own l14",
    )
    targets: str = Field(description="Path or url of a .npy, (n, dim): images that are wanted")
    centroids: str | None = Field(
        default=None, description="Path or url of a .npy, (k, dim): the clusters"
    )
    clusters: int | None = Field(
        default=None, ge=1, description="Without centroids: how many are found in the candidates"
    )

    @model_validator(mode="after")
    def _has_clusters(self) -> Self:
        if (self.centroids is None) == (self.clusters is None):
            raise ValueError("say either centroids or clusters")
        return self
