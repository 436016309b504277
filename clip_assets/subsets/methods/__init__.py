"""The methods by which subsets are chosen: one module for each, and the table of them."""

from collections.abc import Mapping
from typing import Any

from clip_assets.settings.bases import SubsetSettings
from clip_assets.subsets.methods import (
    adopted,
    alike,
    balanced,
    basic_filter,
    by_vectors,
    capped,
    clip_score,
    image_based,
    laion2b,
    listed,
    no_filter,
    picks,
    queried,
    ranked,
    ranked_together,
    sample,
    scored,
    sets,
    soft_capped,
    text_based,
    where,
)
from clip_assets.subsets.selection import Method

METHODS: Mapping[type[SubsetSettings], Method[Any]] = {
    method.settings: method
    for method in (
        no_filter.METHOD,
        basic_filter.METHOD,
        clip_score.METHOD,
        laion2b.METHOD,
        text_based.METHOD,
        image_based.METHOD,
        where.METHOD,
        ranked.METHOD,
        sample.METHOD,
        sets.UNION,
        sets.INTERSECTION,
        sets.DIFFERENCE,
        listed.UIDS,
        listed.URLS,
        adopted.METHOD,
        scored.METHOD,
        by_vectors.NEG_CLIP_LOSS,
        by_vectors.NORM_SIM,
        by_vectors.NORM_SIM_D,
        alike.METHOD,
        queried.METHOD,
        ranked_together.METHOD,
        capped.METHOD,
        soft_capped.METHOD,
        picks.PICK,
        picks.DENSITY,
        balanced.METHOD,
    )
}
"""By the class of definitions that each is for."""
