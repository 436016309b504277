"""The methods by which subsets are chosen: one module for each, and the table of them.

A module is imported when a definition asks for it: most choices take a second, and all modules
with what they need a tenth of that.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from clip_assets.settings import baselines, choices, curation, wishes
from clip_assets.settings.bases import SubsetSettings
from clip_assets.subsets.selection import Method

_HOMES: Mapping[type[SubsetSettings], str] = {
    baselines.NoFilter: "no_filter",
    baselines.BasicFilter: "basic_filter",
    baselines.ClipScore: "clip_score",
    baselines.Laion2b: "laion2b",
    baselines.TextBased: "text_based",
    baselines.ImageBased: "image_based",
    choices.Where: "where",
    choices.Ranked: "ranked",
    choices.Drawn: "sample",
    choices.SetUnion: "sets.UNION",
    choices.SetIntersection: "sets.INTERSECTION",
    choices.SetDifference: "sets.DIFFERENCE",
    choices.ListedUids: "listed.UIDS",
    choices.ListedUrls: "listed.URLS",
    choices.Adopted: "adopted",
    choices.Scored: "scored",
    choices.NegClipLoss: "by_vectors.NEG_CLIP_LOSS",
    choices.NormSim: "by_vectors.NORM_SIM",
    curation.NormSimD: "by_vectors.NORM_SIM_D",
    curation.SemDeDup: "alike",
    wishes.Queried: "queried",
    curation.RankedTogether: "ranked_together",
    curation.Capped: "capped",
    curation.SoftCapped: "soft_capped",
    curation.Pick: "picks.PICK",
    curation.DensityPruned: "picks.DENSITY",
    curation.Balanced: "balanced",
}
"""Of the class of definitions that each is for: its module, and its name there if not METHOD."""


class Methods(Mapping[type[SubsetSettings], Method[Any]]):
    """The methods by the class of definitions that each is for."""

    def __getitem__(self, settings: type[SubsetSettings]) -> Method[Any]:
        """Import a method."""
        module, _, name = _HOMES[settings].partition(".")
        return getattr(import_module(f"{__name__}.{module}"), name or "METHOD")

    def __iter__(self) -> Iterator[type[SubsetSettings]]:
        """Every class of definitions that has one."""
        return iter(_HOMES)

    def __len__(self) -> int:
        """How many there are."""
        return len(_HOMES)


METHODS = Methods()
