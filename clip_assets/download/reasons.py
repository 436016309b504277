"""The most frequent reasons why urls gave no image, in words, with what helps.

For people: counts are those of finished partitions' reports, and an example is read from the rows
of one shard or more.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from clip_assets import layout, schemas
from clip_assets.download.fetch import signals
from clip_assets.download.fetch.faults import MAY_PASS, TRANSIENT
from clip_assets.errors import ClipAssetsError, ConfigurationError
from clip_assets.layout import Key
from clip_assets.pool.pool import Pool
from clip_assets.storage import tables

SHOWN = 3
"""Reasons that are told."""

AGAIN = "fetch them again with clip-assets run --retry-failed"

WORDS = {
    "not_adopted": ("those who made the shards had no image of them", "nothing here"),
    "private_address": (
        "addresses of a private network, which are not fetched from unless they are named",
        "if they are yours, name them in download.allow_hosts of pool.yaml, then " + AGAIN,
    ),
    "policy_noai": (
        "the site does not want its images used so (X-Robots-Tag)",
        "leave them out; if download.respect_noai shall not obey, " + AGAIN,
    ),
    "policy_robots": (
        "the site's robots.txt keeps robots out",
        "leave them out; if download.respect_robots shall not obey, " + AGAIN,
    ),
    **{
        f"policy_{column}": (
            f"their owners reserve the use ({place})",
            "leave them out; if download.respect_opt_outs shall not obey, " + AGAIN,
        )
        for column, place in signals.WORDS.items()
    },
    "taken_down": ("pairs that were taken down", "nothing; see clip-assets takedown --list"),
    "dns": ("host names that do not exist", "nothing, if other hosts are found: they are gone"),
    "dns_unanswered": (
        "the nameserver did not answer",
        "name a faster one in download.nameservers, then " + AGAIN,
    ),
    "refused": ("nothing listens at the host", "see that the servers run, then " + AGAIN),
    "unreachable": ("no route to the host", "see that this machine is online, then " + AGAIN),
    "timeout": (
        "no answer in time",
        "raise download.read_timeout_s or lower download.concurrency, then " + AGAIN,
    ),
    "host_down": ("hosts that gave no answer several times", AGAIN),
    "robots_unanswered": ("hosts whose robots.txt could not be had", AGAIN),
    "reset": ("servers that closed the connection", AGAIN),
    "incomplete": ("answers that broke off", AGAIN),
    "tls": (
        "certificates that are not accepted",
        "if all are, check the clock and the installed certificate authorities",
    ),
    "url": ("what stands there is no url", "look at the url column of the source"),
    "scheme": ("urls of other protocols than http and https", "look at the source's url column"),
    "redirect": ("redirected too often, or nowhere", "download.max_redirects says how often"),
    "protocol": ("servers that do not speak HTTP", "nothing: look at one of them"),
    "too_large": ("files larger than download.max_bytes", "raise it, if memory allows"),
    "too_many_pixels": ("images larger than download.max_pixels", "raise it, if memory allows"),
    "too_small": ("images smaller than download.min_image_size", "lower it"),
    "aspect_ratio": ("images longer than download.max_aspect_ratio", "raise it"),
    "hash_mismatch": (
        "files whose hash is not the source's",
        "download.verify_hash: flag keeps them, marked",
    ),
    "not_an_image": ("answers that are no image", "look at one: a page with a picture, perhaps"),
    "decode": ("images that cannot be decoded", "nothing: the files are damaged"),
    "http_404": ("no longer there", "nothing: the files are gone"),
    "http_410": ("no longer there", "nothing: the files are gone"),
    "http_403": (
        "the server forbids it",
        "say who you are in download.contact; some servers answer browsers only",
    ),
    "http_429": (
        "the server wants fewer requests",
        "lower download.per_host or raise download.per_host_interval_s, then " + AGAIN,
    ),
}
"""What an error class means, and what helps."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why some urls of a pool gave no image.

    Args:
        error_class: see ``download.fetch.faults``.
        urls: how many.
        example: one of them, None if the rows cannot be read.
        meaning: in words.
        advice: what helps.
    """

    error_class: str
    urls: int
    example: str | None
    meaning: str
    advice: str

    def as_text(self) -> str:
        """Three lines for a terminal."""
        example = f"\n      such as {self.example}" if self.example else ""
        return f"  {self.urls:,} x {self.error_class}: {self.meaning}{example}\n      {self.advice}"


def most_frequent(pool: Pool, partitions: Iterable[Key]) -> list[Reason]:
    """The ``SHOWN`` most frequent reasons of these partitions, the most frequent first."""
    by_class: dict[str, dict[Key, int]] = {}
    for key in partitions:
        manifest = pool.catalog.get(layout.IMAGE_SHARDS, key)
        for error_class, count in (manifest.report.dropped if manifest else {}).items():
            by_class.setdefault(error_class, {})[key] = count
    totals = Counter({name: sum(counts.values()) for name, counts in by_class.items()})
    return [
        Reason(name, urls, _example(pool, by_class[name], name), *words(name))
        for name, urls in totals.most_common(SHOWN)
    ]


def kept_by_owners(pool: Pool, partitions: Iterable[Key]) -> dict[str, int]:
    """How many urls of these partitions their owners keep from us, by error class."""
    manifests = (pool.catalog.get(layout.IMAGE_SHARDS, key) for key in partitions)
    counts = Counter[str]()
    for manifest in manifests:
        counts.update(manifest.report.dropped if manifest else {})
    return {name: count for name, count in counts.most_common() if name in signals.REFUSALS}


def named(text: str) -> list[str]:
    """Error classes by their names.

    Args:
        text: names with commas between them.

    Raises:
        ConfigurationError: there is no such class.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = sorted({*WORDS, *MAY_PASS})
    for name in names:
        if name not in known and not re.fullmatch(r"http_\d{3}", name):
            near = difflib.get_close_matches(name, known, 1)
            advice = f"Did you mean {near[0]}? " if near else ""
            raise ConfigurationError(
                "--retry-failed",
                repr(name),
                "error classes with commas between them, or nothing for all that may have passed",
                f"{advice}They are: {', '.join(known)}, and http_ with any status.",
            )
    return names


def words(error_class: str) -> tuple[str, str]:
    """What an error class means, and what helps."""
    if error_class in WORDS:
        return WORDS[error_class]
    status = error_class.removeprefix("http_")
    if error_class in TRANSIENT:
        return f"the server could not answer, status {status}", AGAIN
    if status != error_class:
        return f"the server answered with status {status}", "nothing: look at one of them"
    return error_class.replace("_", " "), "look at one of them"


def _example(pool: Pool, counts: dict[Key, int], error_class: str) -> str | None:
    """A url of the partition where most failed so; looking for one never fails."""
    key = max(counts, key=counts.__getitem__)
    manifest = pool.catalog.require(layout.IMAGE_SHARDS, key)
    try:
        for output in manifest.of_kind(layout.shard_rows):
            columns = ["url", "error_class"]
            table = tables.read(pool.store, output.path, schemas.SHARD_ROWS, columns)
            for url, reason in zip(*(table[name].to_pylist() for name in columns), strict=True):
                if reason == error_class:
                    return str(url)
    except (ClipAssetsError, OSError):
        return None
    return None
