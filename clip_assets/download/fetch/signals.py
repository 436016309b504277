"""What was said of the use of an image when it was fetched, and what of it refuses the image.

Each place where something can be said has a column of ``schemas.SHARD_ROWS``. What is said is
recorded in any case; which of it refuses an image is decided by the settings. Headers are read
here, a site's files in ``robots`` and ``tdmrep``, and image files in ``embedded``.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import http_sf
from multidict import CIMultiDictProxy

from clip_assets.download.fetch import policy
from clip_assets.settings import DownloadSettings

COLUMNS = (
    "robots",
    "robots_content_usage",
    "robots_content_signal",
    "tdmrep_json",
    "x_robots_tag",
    "content_usage",
    "tdm_reservation",
    "data_mining",
    "c2pa_training",
)
"""Of ``schemas.SHARD_ROWS``, by where something is said."""

VALUE_LIMIT = 500
"""Characters of what one place said that are kept; all of it counts."""

USAGE_LIMIT = 4096
"""Characters of a Content-Usage that are parsed; a longer one says nothing."""

TRAINING = frozenset({"train-ai", "train-genai", "ai", "genai", "tdm"})
"""Uses of AIPREF's vocabulary that a pool serves, those of its earlier drafts too."""

WORDS = {
    "robots_content_usage": "Content-Usage of robots.txt",
    "robots_content_signal": "Content-Signal of robots.txt",
    "tdmrep_json": "tdmrep.json of the site",
    "content_usage": "header Content-Usage",
    "tdm_reservation": "header tdm-reservation",
    "data_mining": "IPTC/PLUS data mining in the file",
    "c2pa_training": "C2PA training assertion in the file",
}
"""What ``settings.respect_opt_outs`` may name, in words."""


REFUSALS = frozenset({"policy_robots", "policy_noai"} | {f"policy_{column}" for column in WORDS})
"""Error classes of images that their owners keep from us."""


@dataclass(slots=True)
class Signals:
    """What was said of one image's use.

    Args:
        said: by column, at most ``VALUE_LIMIT`` characters each.
        opt_outs: the columns of it that reserve the use.
        site_asked_at: when the site's files were read, None if they were not.
        is_heard: an image came, so that silence says something, too.
    """

    said: dict[str, str] = field(default_factory=dict[str, str])
    opt_outs: set[str] = field(default_factory=set[str])
    site_asked_at: datetime | None = None
    is_heard: bool = False

    def take(self, column: str, value: str, *, reserves: bool) -> None:
        """Record what one place said.

        Args:
            column: of ``COLUMNS``. Where redirects lead to a second place of the kind, the one that
                reserves stays.
            value: what was said.
            reserves: whether it reserves the use.
        """
        if column not in self.opt_outs:
            self.said[column] = _told(value)
        if reserves:
            self.opt_outs.add(column)

    def asked(self, at: datetime) -> None:
        """Take note of when a file of the site was read; of several the earliest counts."""
        self.site_asked_at = min(at, self.site_asked_at or at)

    def take_headers(self, headers: CIMultiDictProxy[str]) -> None:
        """Record what the headers of an image's answer said."""
        self.is_heard = True
        if tags := headers.getall("X-Robots-Tag", ()):
            self.take("x_robots_tag", " | ".join(tags), reserves=policy.refuses_use(tags))
        if usages := headers.getall("Content-Usage", ()):
            usage = ", ".join(usages)
            self.take("content_usage", usage, reserves=reserves_training(usage))
        if reservation := headers.get("tdm-reservation", "").strip():
            told = f"{reservation} {headers.get('tdm-policy', '')}"
            self.take("tdm_reservation", told, reserves=reservation == "1")
            if reservation in ("0", "1"):  # what comes with the image counts before the site's file
                self.opt_outs.discard("tdmrep_json")

    def refusal(self, settings: DownloadSettings) -> tuple[str, str] | None:
        """Why the settings refuse the image, beside ``robots``: an error class and a message."""
        if settings.respect_noai and "x_robots_tag" in self.opt_outs:
            return "policy_noai", "Use of image disallowed by X-Robots-Tag directive"
        for column in settings.respect_opt_outs:
            if column in self.opt_outs:
                return f"policy_{column}", f"Use of image reserved by {WORDS[column]}"
        return None

    def as_columns(self) -> dict[str, Any]:
        """A row's part."""
        opt_outs = [column for column in COLUMNS if column in self.opt_outs]
        return {
            **{column: self.said.get(column) for column in COLUMNS},
            "site_asked_at": self.site_asked_at,
            "opt_outs": opt_outs if self.is_heard or self.said else None,
        }


def lifted(settings: DownloadSettings) -> set[str]:
    """Those of ``REFUSALS`` that the settings no longer make."""
    made = {f"policy_{column}" for column in settings.respect_opt_outs}
    made |= {"policy_noai"} if settings.respect_noai else set()
    made |= {"policy_robots"} if settings.respect_robots else set()
    return {*REFUSALS} - made


def reserves_training(usage: str) -> bool:
    """Whether a value of Content-Usage disallows training.

    Source: draft-ietf-aipref-vocab; what cannot be parsed says nothing, as there.
    """
    if len(usage) > USAGE_LIMIT:
        return False
    try:
        preferences = http_sf.parse(usage.encode("ascii"), tltype="dictionary")
    except (http_sf.StructuredFieldError, ValueError):
        return False
    assert isinstance(preferences, dict)
    return any(
        isinstance(value, tuple) and isinstance(value[0], http_sf.Token) and str(value[0]) == "n"
        for use, value in preferences.items()
        if use in TRAINING
    )


def signals_no_training(signal: str) -> bool:
    """Whether a value of Content-Signal disallows training.

    Source: contentsignals.org, which many sites' robots.txt have by Cloudflare's default.
    """
    pairs = (pair.partition("=") for pair in signal.lower().split(","))
    return any((name.strip(), said.strip()) == ("ai-train", "no") for name, _, said in pairs)


def _told(value: str) -> str:
    """A stranger's value as one line of printable characters."""
    start = value[: 2 * VALUE_LIMIT]
    printable = "".join(c if c.isprintable() else " " for c in start)
    return " ".join(printable.split())[:VALUE_LIMIT]
