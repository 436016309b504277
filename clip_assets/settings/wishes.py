"""What a subset by queries can be told: texts, images, vectors, pairs, and how much of each."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from clip_assets.settings.bases import SubsetSettings
from clip_assets.settings.sections import Section


class TermSettings(Section):
    """Something that pairs can be near to."""

    text: str | None = Field(default=None, min_length=1, description="Words")
    image: str | None = Field(default=None, description="Path or url of an image file")
    embedding: str | None = Field(default=None, description="Path or url of a .npy, (dim,)")
    uid: str | None = Field(
        default=None, pattern="^[0-9a-f]{32}$", description="A pair, by its image"
    )
    weight: float = Field(
        default=1.0, allow_inf_nan=False, description="Among terms; below 0 leads away"
    )

    @property
    def given(self) -> dict[str, str]:
        """What it is near to, by its kind."""
        kinds = ("text", "image", "embedding", "uid")
        return {kind: value for kind in kinds if (value := getattr(self, kind)) is not None}

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if type(self) is TermSettings and len(self.given) != 1:
            raise ValueError("say one of text, image, embedding and uid")
        if not self.weight:
            raise ValueError("a weight of 0 is no wish")
        return self


class QuerySettings(TermSettings):
    """One wish: near to what, and how many, how near, or which share."""

    terms: list[TermSettings] = Field(
        default_factory=list[TermSettings], description="Several as one, each with its weight"
    )
    side: Literal["image", "text"] = Field(
        default="image", description="Whether images are compared, or captions"
    )
    k: int | None = Field(default=None, ge=1, description="How many, nearest first; ties all stay")
    threshold: float | None = Field(
        default=None, allow_inf_nan=False, description="Least similarity, itself included"
    )
    share: float | None = Field(
        default=None, gt=0, description="Its part of the subset; 3 and 7 are 30 % and 70 %"
    )

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if len(self.given) + bool(self.terms) != 1:
            raise ValueError("say one of text, image, embedding, uid and terms")
        if self.k is not None and self.share is not None:
            raise ValueError("say either k or share")
        if self.weight != 1:
            raise ValueError("weight is for terms; say share")
        return self

    @property
    def every_term(self) -> Sequence[TermSettings]:
        """Its terms, or itself as the only one."""
        return self.terms or [self]


class Queried(SubsetSettings):
    """Pairs that are near to queries."""

    queries: list[QuerySettings] = Field(min_length=1, description="What is looked for")
    total: int | None = Field(
        default=None,
        ge=1,
        description="Pairs that shares are of; default: as many as shares and thresholds allow",
    )
    threshold: float | None = Field(
        default=None, allow_inf_nan=False, description="Of queries that have none of their own"
    )
    arch: Literal["own", "b32", "l14"] = Field(
        default="own",
        description="Whose vectors: the pool's own; of DataComp's folders b32 or l14",
    )

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        shares = [query.share is not None for query in self.queries]
        if any(shares) and not all(shares):
            raise ValueError("either every query has a share, or none")
        if self.total is not None and not any(shares):
            raise ValueError("total is of shares")
        for query in self.queries:
            bounds = (query.k, query.threshold, self.threshold, self.total)
            if all(bound is None for bound in bounds):
                raise ValueError("say how much of each query: k, threshold, or total of shares")
        return self

    @property
    def files(self) -> list[str]:
        """Images and vectors that queries are."""
        terms = [term.given for query in self.queries for term in query.every_term]
        return [given[kind] for given in terms for kind in ("image", "embedding") if kind in given]
