"""What site owners ask of us, read from the headers of an answer."""

import contextlib
import email.utils
import importlib.metadata
import math
import re
import time
from collections.abc import Iterable
from datetime import datetime

from multidict import CIMultiDictProxy

ROBOT = "clip_assets"
"""Our name in robots.txt and in X-Robots-Tag."""

EVERYONE = frozenset({"", "*", "robots"})
"""Names of a robot that mean every robot."""

DISALLOWING = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
"""Directives of X-Robots-Tag that refuse the use of an image: img2dataset's list, and ``none``,
which stands for ``noindex, nofollow``."""

WITH_VALUE = frozenset({"max-snippet", "max-image-preview", "max-video-preview"})
"""Directives that are followed by a colon, as else only the name of a robot is."""

_UNAVAILABLE = re.compile(r"unavailable_after\s*:\s*(?:[a-z]+,\s*)?([^,;]*)[,;]?")
# The date may begin with the name of a day, whose comma ends no directive.


def user_agent(contact: str) -> str:
    """Who we are, for the site owner's log."""
    version = importlib.metadata.version("clip-assets")
    return f"Mozilla/5.0 (compatible; {ROBOT}/{version}{f'; +{contact}' if contact else ''})"


def refuses_use(values: Iterable[str]) -> bool:
    """Whether X-Robots-Tag headers refuse the use of an image by us.

    Args:
        values: every value of the header. ``noai, noindex`` addresses everyone; from
            ``name:`` on a value addresses the robot of that name, up to the next name.

    Source: Google, "Robots meta tag, data-nosnippet, and X-Robots-Tag specifications".
    """
    return any(_refuses(value.lower()) for value in values)


def _refuses(value: str) -> bool:
    robot = ""
    rest = _UNAVAILABLE.sub("noindex," if _is_over(value) else ",", value)
    for item in re.split("[,;]", rest):
        *names, words = map(str.strip, item.split(":"))
        for name in names:
            if name in DISALLOWING:
                words += f" {name}"
            elif name not in WITH_VALUE:
                robot = name
        if (robot == ROBOT or robot in EVERYONE) and DISALLOWING.intersection(words.split()):
            return True
    return False


def _is_over(value: str) -> bool:
    """Whether the time is past until which a value allows the use of an image."""
    until = _UNAVAILABLE.search(value)
    return until is not None and (_timestamp(until[1].strip()) or math.inf) < time.time()


def _timestamp(date: str) -> float | None:
    """Seconds since 1970 of a date of RFC 822, RFC 850 or ISO 8601; None if it is none of them."""
    for parse in (datetime.fromisoformat, email.utils.parsedate_to_datetime):
        with contextlib.suppress(ValueError, OverflowError):
            return parse(date.upper()).timestamp()
    return None


def retry_after_s(headers: CIMultiDictProxy[str]) -> float | None:
    """Seconds until the server wants to be asked again, None when it does not say."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
