"""What is wrong with settings, setting by setting, and which name was perhaps meant."""

import difflib
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from clip_assets.settings import choices

Place = tuple[str, ...]
"""Where a setting is: section and name, ``("download", "retries")``."""


def faults(error: ValidationError, known: Sequence[Place]) -> Mapping[Place, str]:
    """What is wrong, by place.

    Args:
        error: of pydantic.
        known: places of all settings.
    """
    told: dict[Place, str] = {}
    for item in error.errors(include_input=False, include_url=False):
        place = tuple(map(str, item["loc"]))
        if place[0] == choices.SECTION:
            place = choices.without_tags(place)
        is_unknown = item["type"] == "extra_forbidden"
        why = item["msg"].removeprefix("Value error, ")
        told[place] = _unknown(place, known) if is_unknown else why
    return told


def _unknown(place: Place, known: Sequence[Place]) -> str:
    nearest = nearest_to(place, known)
    told = f"; the nearest is {'.'.join(filter(None, nearest))}" if nearest else ""
    return f"no such setting{told}"


def nearest_to(place: Place, known: Sequence[Place]) -> Place | None:
    """The setting with the nearest name: of the same section, else of any."""
    alike = [other for other in known if other[:-1] == place[:-1]]
    if place[0] == choices.SECTION:
        # Whatever their names and wherever they stand in each other.
        alike = [other for other in known if other[:2] == (choices.SECTION, "")]
    for candidates in (alike, known):
        by_name = {other[-1]: other for other in reversed(candidates)}
        for name in difflib.get_close_matches(place[-1].lower().replace("-", "_"), by_name, 1):
            return by_name[name]
    return None
