"""What a subset can be told: a class for each method, found by the word that names the method.

A definition says one method and what belongs to it. Where it names other subsets it may have their
definitions in place. DataComp's baselines are in ``baselines``. What methods do is said by
``subsets.methods``.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag
from typing_extensions import TypeAliasType

from clip_assets.settings import baselines, bases, curation, wishes
from clip_assets.settings.baselines import (
    BasicFilter,
    ClipScore,
    ImageBased,
    Laion2b,
    NoFilter,
    TextBased,
)
from clip_assets.settings.bases import (
    ScoreSettings,
    SubsetSettings,
    VectorSettings,
    score_alone,
    unbounded,
)
from clip_assets.settings.curation import (
    Balanced,
    Capped,
    DensityPruned,
    NormSimD,
    Pick,
    RankedTogether,
    SemDeDup,
    SoftCapped,
)
from clip_assets.settings.wishes import Queried

SECTION = "subsets"
"""The setting that has them."""


class Where(SubsetSettings):
    """Pairs of which a condition is true."""

    where: str = Field(description="One SQL expression over columns of the metadata")


class Ranked(ScoreSettings):
    """Pairs by a column of numbers."""

    by: str = Field(description="A column of numbers; the greatest are the best")


class Drawn(SubsetSettings):
    """Pairs drawn at random, the same ones in every run, however many pairs arrive later."""

    sample: float = Field(ge=0, le=1, description="Share of the candidates, each drawn by its uid")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Another one draws others")


class SetUnion(SubsetSettings):
    """Pairs of any of several subsets."""

    union: "list[Chosen]" = Field(min_length=1, description="Names of subsets, or definitions")

    @property
    def others(self) -> "Sequence[Chosen]":
        """The subsets."""
        return self.union


class SetIntersection(SubsetSettings):
    """Pairs of each of several subsets."""

    intersection: "list[Chosen]" = Field(min_length=1, description="Likewise")

    @property
    def others(self) -> "Sequence[Chosen]":
        """The subsets."""
        return self.intersection


class SetDifference(SubsetSettings):
    """Pairs of the first subset that no other one has."""

    difference: "list[Chosen]" = Field(min_length=2, description="Likewise")

    @property
    def others(self) -> "Sequence[Chosen]":
        """The subsets."""
        return self.difference


class ListedUids(SubsetSettings):
    """Pairs whose uids a text file lists."""

    FILES = ("uids",)
    uids: str = Field(description="Path or url of a text with one uid a line")


class ListedUrls(SubsetSettings):
    """Pairs whose urls a text file lists."""

    FILES = ("urls",)
    urls: str = Field(description="Path or url of a text with one url a line")


class Adopted(SubsetSettings):
    """Pairs of a subset that somebody published."""

    FILES = ("published",)
    published: str = Field(alias="from", description="Path or url of its .npy, DataComp's form")


class Scored(ScoreSettings):
    """Pairs by scores that somebody published."""

    FILES = ("scores",)
    scores: str = Field(description="Path or url of a parquet with uid and a column of scores")
    column: str = Field(default="score", description="Which column")


class NegClipLoss(VectorSettings):
    """Pairs that stand out of others: similarity, less how well both go with a batch's others."""

    vectors: Literal["negcliploss"] = Field(description="The score by its name")
    batch: int = Field(default=8192, ge=2, description="Pairs of a batch; the paper has 32,768")
    rounds: int = Field(default=2, ge=1, description="Batches of each pair; the paper has 10")
    temperature: float = Field(default=0.01, gt=0, description="By which similarities are divided")


class NormSim(VectorSettings):
    """Pairs whose images are near target images: NormSim."""

    FILES = ("targets",)
    vectors: Literal["normsim"] = Field(description="The score by its name")
    targets: str = Field(description="Path or url of a .npy, (n, dim): images of the targets")
    p: Literal[2, "inf"] = Field(
        default=2, description="2: near all targets together; inf: near the nearest one"
    )


CLASSES: dict[str, type[SubsetSettings]] = {
    "no_filter": NoFilter,
    "basic_filter": BasicFilter,
    "clip_score": ClipScore,
    "laion2b": Laion2b,
    "text_based": TextBased,
    "image_based": ImageBased,
    "where": Where,
    "by": Ranked,
    "sample": Drawn,
    "union": SetUnion,
    "intersection": SetIntersection,
    "difference": SetDifference,
    "uids": ListedUids,
    "urls": ListedUrls,
    "from": Adopted,
    "scores": Scored,
    "negcliploss": NegClipLoss,
    "normsim": NormSim,
    "normsim_d": NormSimD,
    "semdedup": SemDeDup,
    "queries": Queried,
    "ranks": RankedTogether,
    "cap": Capped,
    "soft_cap": SoftCapped,
    "pick": Pick,
    "density": DensityPruned,
    "entries": Balanced,
}
"""Every class by its method: the value of ``baseline`` or ``vectors``, or the word that stands in
their place."""

_BY_VALUE = {
    word: [method for method, kind in CLASSES.items() if word in kind.model_fields]
    for word in ("baseline", "vectors")
}
_WORDS = [method for method in CLASSES if not any(method in of for of in _BY_VALUE.values())]
_NAME = "name"
# Tag of a subset that is named and not defined in place.
_UNTAGGED = ("queries", "terms")
# Lists of what is no definition.


def _method(given: Any) -> str | None:
    """The method of a definition, as people write it or as an object."""
    if isinstance(given, str):
        return _NAME
    if isinstance(given, SubsetSettings):
        return next(method for method, kind in CLASSES.items() if type(given) is kind)
    if not isinstance(given, Mapping):
        return None
    for word in _BY_VALUE:
        if word in given:
            return str(given[word])
    return next((word for word in _WORDS if word in given), None)


if TYPE_CHECKING:
    Definition: TypeAlias = SubsetSettings
    Chosen: TypeAlias = str | SubsetSettings
    Scoring: TypeAlias = ScoreSettings
else:
    _VALUES = [f"{word} ({', '.join(of)})" for word, of in _BY_VALUE.items()]
    _TOLD = f"needs one of {', '.join((*_VALUES, *_WORDS))}, and what belongs to it"
    _BY_METHOD = Discriminator(_method, custom_error_type="method", custom_error_message=_TOLD)
    _TAGGED = tuple(Annotated[kind, Tag(method)] for method, kind in CLASSES.items())
    Definition = Annotated[reduce(or_, _TAGGED), _BY_METHOD]
    # Named, so that pydantic refers to it where it meets it again: otherwise each class is
    # described inside of the one before, hundreds of calls deep.
    Chosen = TypeAliasType(
        "Chosen", Annotated[reduce(or_, _TAGGED, Annotated[str, Tag(_NAME)]), _BY_METHOD]
    )
    _BY_SCORE = Discriminator(
        _method, custom_error_type="method", custom_error_message="needs a method with a score"
    )
    _SCORES = (
        Annotated[kind, Tag(method)]
        for method, kind in CLASSES.items()
        if issubclass(kind, ScoreSettings)
    )
    Scoring = TypeAliasType(
        "Scoring",
        Annotated[
            reduce(or_, _SCORES), _BY_SCORE, BeforeValidator(unbounded), AfterValidator(score_alone)
        ],
    )
    # Names that fields of definitions mean; each class is described when it is first needed, and
    # all at once with the settings that have them.
    for _module in (bases, baselines, curation, wishes):
        vars(_module).update(Chosen=Chosen, Scoring=Scoring)


def without_tags(place: tuple[str, ...]) -> tuple[str, ...]:
    """Where something is wrong in ``subsets``, as people write it: without pydantic's tags."""
    kept, rest = list(place[:2]), list(place[2:])
    while rest:
        if kept[-1] not in _UNTAGGED and not (kept[-1].isdigit() and kept[-2] in _UNTAGGED):
            rest.pop(0)  # the tag of the definition that what follows is in
        if rest:
            kept.append(rest.pop(0))
        if rest and rest[0].isdigit():
            kept.append(rest.pop(0))
    return tuple(kept)


def fields() -> Iterator[str]:
    """Every field of every method."""
    for kind in CLASSES.values():
        for name, field in kind.model_fields.items():
            yield field.alias or name
