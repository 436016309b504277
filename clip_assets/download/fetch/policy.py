"""What site owners ask of us, read from the headers of an answer."""

import email.utils
import importlib.metadata
import time
from collections.abc import Iterable

from multidict import CIMultiDictProxy

ROBOT = "clip_assets"
"""Our name in robots.txt and in X-Robots-Tag."""

DISALLOWING = frozenset({"noai", "noimageai", "noindex", "noimageindex"})
"""Directives of X-Robots-Tag that refuse the use of an image; img2dataset's list."""


def user_agent(contact: str) -> str:
    """Who we are, for the site owner's log."""
    version = importlib.metadata.version("clip-assets")
    return f"Mozilla/5.0 (compatible; {ROBOT}/{version}{f'; +{contact}' if contact else ''})"


def refuses_use(values: Iterable[str]) -> bool:
    """Whether X-Robots-Tag headers refuse the use of an image by us.

    Args:
        values: every value of the header; ``noai, noindex`` addresses everyone and
            ``name: noai`` the robot of that name.
    """
    for value in values:
        name, colon, rest = value.partition(":")
        if colon and name.strip().lower() != ROBOT:
            continue
        directives = {word.strip().lower() for word in (rest if colon else value).split(",")}
        if directives & DISALLOWING:
            return True
    return False


def retry_after_s(headers: CIMultiDictProxy[str]) -> float | None:
    """Seconds until the server wants to be asked again, None when it does not say."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
