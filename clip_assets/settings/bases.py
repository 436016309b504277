"""What definitions of subsets have in common; the classes of methods are in ``choices``."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import ConfigDict, Field, model_validator

from clip_assets.settings.sections import Section

if TYPE_CHECKING:
    Chosen: TypeAlias = "str | SubsetSettings"
    Scoring: TypeAlias = "ScoreSettings"


class SubsetSettings(Section):
    """What every definition may say beside its method."""

    # Methods are many, and each can have any other one in it: those alone that are used are built.
    model_config = ConfigDict(serialize_by_alias=True, defer_build=True)
    FILES: ClassVar[tuple[str, ...]] = ()
    """Fields that are paths or urls of files."""

    of: "Chosen | None" = Field(
        default=None, description="Choose from this other subset; default: from the whole pool"
    )
    leave_out_opt_outs: bool = Field(
        default=False, description="Leave out images whose use anything reserves, see opt_outs"
    )
    with_image: bool = Field(
        default=True,
        description="Only pairs whose image was had. DataComp's rules do not ask for one, so its "
        "no_filter is every pair",
    )

    @property
    def others(self) -> Sequence["Chosen"]:
        """Other subsets that it is made of, but for ``of``."""
        return ()

    @property
    def files(self) -> list[str]:
        """Paths and urls of files that it reads."""
        return [name for field in self.FILES if (name := getattr(self, field))]


class ScoreSettings(SubsetSettings):
    """Of pairs with a score: those from a value on, or the best share of them."""

    threshold: float | None = Field(
        default=None, allow_inf_nan=False, description="Least score, itself included"
    )
    fraction: float | None = Field(
        default=None, ge=0, le=1, description="Share of the candidates, best first; ties all stay"
    )
    k: int | None = Field(
        default=None, ge=1, description="How many, best first; ties with the last one all stay"
    )
    model: str | None = Field(
        default=None,
        description="By whom the score has to be, such as ViT-B-32/openai: known scores of another "
        "model are refused, as a threshold means something for one model alone",
    )
    datacomp_compat: bool = Field(
        default=False,
        description="A fraction as DataComp's script takes it: one pair more, the best ones at 0, "
        "and 1 refused",
    )

    @model_validator(mode="after")
    def _has_one_bound(self) -> Self:
        if [self.threshold, self.fraction, self.k].count(None) != 2:
            raise ValueError("say either threshold or fraction, or k")
        if self.datacomp_compat and self.fraction == 1:
            raise ValueError("DataComp's script fails at a fraction of 1; leave out the filter")
        return self


class VectorSettings(ScoreSettings):
    """Pairs by a score that follows from their vectors; those without vectors have none."""

    arch: Literal["own", "b32", "l14"] = Field(
        default="own",
        description="Whose vectors: the pool's own; of DataComp's folders b32 or l14",
    )


def unbounded(given: Any) -> Any:
    """A score as people write it inside of another definition, which bounds it."""
    bounds = ("threshold", "fraction", "k")
    if isinstance(given, Mapping) and not any(bound in given for bound in bounds):
        return {**given, "fraction": 1.0}
    return given


def score_alone(score: ScoreSettings) -> ScoreSettings:
    """Refuse what a score inside of another definition cannot say.

    Raises:
        ValueError: it has a bound or candidates of its own.
    """
    if score.fraction != 1 or score.of is not None or score.leave_out_opt_outs:
        raise ValueError("is a score alone: bounds and of belong to the definition that has it")
    return score
