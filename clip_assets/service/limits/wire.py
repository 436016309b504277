"""What requests of ``/v1`` hold, and the bounds of each part.

What is answered is made where it is known; ``hosting.described`` tells its shape.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

MOST_RESULTS = 1_000
"""Of one answer; further ones are asked for by ``offset``."""

FARTHEST = 10_000
"""Results that ``offset`` can go beyond."""

MOST_TERMS = 16

MOST_EXPORTED = 100_000
"""Pairs of one file."""

MOST_TEXTS = 256
"""That are embedded for one request."""

MOST_TEXT = 10_000
"""Characters; no model reads more than some hundred of them."""

MOST_QUERIES = 256
"""Of a batch."""

MOST_OF_BATCH = 10_000
"""Results of all queries of a batch together."""

MOST_NUMBERS = 16_384
"""Of an embedding."""

MOST_WEIGHT = 100.0

KINDS = ("text", "image", "upload", "image_url", "embedding", "uid")
"""What a term can be."""

Text = Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]
Uid = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Side = Literal["image", "text"]


class SearchTerm(BaseModel):
    """One part of a query: exactly one of ``KINDS``, and its weight."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: Text | None = Field(default=None, description="words")
    image: str | None = Field(default=None, description="an image file in base64")
    upload: str | None = Field(
        default=None, max_length=100, description="field of the form that has an image file"
    )
    image_url: str | None = Field(
        default=None, max_length=4096, description="where an image is, if the service fetches"
    )
    embedding: list[FiniteFloat] | None = Field(
        default=None, min_length=1, max_length=MOST_NUMBERS, description="of the index's model"
    )
    uid: str | None = Field(default=None, max_length=100, description="a pair of the index")
    weight: FiniteFloat = Field(
        default=1.0, ge=-MOST_WEIGHT, le=MOST_WEIGHT, description="below 0: less like this"
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(KINDS)}, not {' and '.join(given) or 'none'}")
        return self

    @property
    def kind(self) -> str:
        """Which of ``KINDS`` it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)


class WhatIsSought(BaseModel):
    """What a search or a subset asks for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    index: str | None = Field(default=None, max_length=200, description="null: the first one")
    terms: list[SearchTerm] = Field(min_length=1, max_length=MOST_TERMS)
    side: Side = Field(default="image", description="what is compared: images or captions")
    k: int = Field(default=40, ge=1, le=MOST_RESULTS, description="results at most")
    threshold: FiniteFloat | None = Field(default=None, ge=-1, le=1)
    threshold_kind: Literal["absolute", "relative", "elbow"] = Field(
        default="absolute",
        description="absolute: least similarity; relative: share of the best one's; "
        "elbow: where relevance ends",
    )
    recall_target: FiniteFloat | None = Field(
        default=None, ge=0.5, le=0.99, description="share of what an exact search finds"
    )
    where: str | None = Field(
        default=None, max_length=4096, description="an SQL condition over columns of the pool"
    )
    fold: FiniteFloat | None = Field(
        default=None, gt=0, le=1, description="results more alike than this become one"
    )
    columns: list[str] | None = Field(
        default=None, max_length=100, description="further columns of each result"
    )


class SearchRequest(WhatIsSought):
    """What ``POST /v1/search`` asks for."""

    offset: int = Field(default=0, ge=0, le=FARTHEST, description="results left out before them")
    facets: bool = Field(default=False, description="whether to count what results are like")


class SubsetRequest(WhatIsSought):
    """What ``POST /v1/subsets`` asks for: pairs that a search finds, or some by their uids."""

    terms: list[SearchTerm] = Field(default_factory=list[SearchTerm], max_length=MOST_TERMS)
    k: int = Field(default=1_000, ge=1, le=MOST_EXPORTED, description="pairs at most")
    uids: list[Uid] | None = Field(default=None, min_length=1, max_length=MOST_EXPORTED)
    format: Literal["npy", "parquet", "urls"] = "npy"

    @model_validator(mode="after")
    def _is_one_choice(self) -> Self:
        if bool(self.terms) == bool(self.uids):
            raise ValueError("give terms or uids")
        return self

    @property
    def search(self) -> SearchRequest:
        """The search that finds the pairs; its ``k`` may be more than one of people has."""
        kept = {name: getattr(self, name) for name in WhatIsSought.model_fields}
        return SearchRequest.model_construct(**kept, offset=0, facets=False)


class BatchQuery(BaseModel):
    """One query of a batch."""

    model_config = ConfigDict(extra="forbid", strict=True)

    terms: list[SearchTerm] = Field(min_length=1, max_length=MOST_TERMS)


class BatchRequest(BaseModel):
    """What ``POST /v1/search/batch`` asks for: the nearest of each of many queries."""

    model_config = ConfigDict(extra="forbid", strict=True)

    index: str | None = Field(default=None, max_length=200, description="null: the first one")
    queries: list[BatchQuery] = Field(
        min_length=1,
        max_length=MOST_QUERIES,
        description=f"with up to {MOST_QUERIES} terms together, none of them an upload",
    )
    side: Side = Field(default="image", description="what is compared: images or captions")
    k: int = Field(
        default=10,
        ge=1,
        le=MOST_RESULTS,
        description=f"results of each query; of all together up to {MOST_OF_BATCH:,}",
    )
    recall_target: FiniteFloat | None = Field(default=None, ge=0.5, le=0.99)
    where: str | None = Field(default=None, max_length=4096, description="as in a search")
    columns: list[str] | None = Field(
        default=None, max_length=100, description="further columns of each result"
    )

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        terms, results = len(self.terms), self.k * len(self.queries)
        if terms > MOST_QUERIES:
            raise ValueError(f"{terms:,} terms: give {MOST_QUERIES} at most")
        if results > MOST_OF_BATCH:
            raise ValueError(f"k of each make {results:,}: ask for {MOST_OF_BATCH:,} at most")
        return self

    @property
    def terms(self) -> list[SearchTerm]:
        """Of all queries, one after another."""
        return [term for query in self.queries for term in query.terms]

    @property
    def search(self) -> SearchRequest:
        """What is the same for all queries."""
        names = set(BatchRequest.model_fields) & set(SearchRequest.model_fields)
        kept = {name: getattr(self, name) for name in names}
        return SearchRequest.model_construct(**kept, terms=[])


class EmbeddingsRequest(BaseModel):
    """What ``POST /v1/embeddings`` asks for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    index: str | None = Field(default=None, max_length=200, description="null: the first one")
    texts: list[Text] = Field(min_length=1, max_length=MOST_TEXTS)
