"""Counts of pool rows that can be added: of one partition, of several, of the pool.

What is counted follows the numbers that LAION published with its pools. Reading partitions
and writing reports is the business of ``metadata_stats``.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from clip_assets import layout
from clip_assets.storage.control import parsed
from clip_assets.storage.expected import REPAIR

SIZE_CLASSES = (64, 128, 256, 512, 1024)
"""Lower ends, in pixels, of classes of an image's shorter side; the first class is below."""

CAPTION_CLASSES = (1, 6, 11, 26, 51, 101, 251, 501, 1001)
"""Lower ends, in characters, of classes of a caption's length; the first is no caption."""

SCORE_BINS = 50
"""Bins of a score's histogram."""

SCORES: dict[str, tuple[float, float]] = {
    "clip_similarity_score": (-0.2, 0.8),
    "clip_b32_similarity_score": (-0.2, 0.8),
    "clip_l14_similarity_score": (-0.2, 0.8),
    "similarity": (-0.2, 0.8),
    "punsafe": (0.0, 1.0),
    "pwatermark": (0.0, 1.0),
    "aesthetic": (0.0, 10.0),
}
"""Scores with the range of their histogram; values outside count in the outermost bins. The
first is by the store's own model, the others are as the sources have them."""

KEPT_VALUES = 1000
"""Most frequent values (domains above all) that are kept by name; others count together."""

OTHER_VALUES = "(other)"


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of some rows.

    Args:
        rows: pairs.
        status, error_class, nsfw, language, license: rows by value; ``(none)`` where null.
        size: images by class of their shorter side, as many as ``SIZE_CLASSES`` and one.
        caption: rows by class of their caption's length.
        domains: rows by domain.
        scores: rows by bin, for every score that the rows have.
    """

    rows: int = 0
    status: dict[str, int] = field(default_factory=dict[str, int])
    error_class: dict[str, int] = field(default_factory=dict[str, int])
    nsfw: dict[str, int] = field(default_factory=dict[str, int])
    language: dict[str, int] = field(default_factory=dict[str, int])
    license: dict[str, int] = field(default_factory=dict[str, int])
    size: list[int] = field(default_factory=lambda: [0] * (len(SIZE_CLASSES) + 1))
    caption: list[int] = field(default_factory=lambda: [0] * (len(CAPTION_CLASSES) + 1))
    domains: dict[str, int] = field(default_factory=dict[str, int])
    scores: dict[str, list[int]] = field(default_factory=dict[str, list[int]])

    def content(self) -> bytes:
        """The summary as it is stored."""
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def parsed(cls, content: bytes) -> "Summary":
        """A stored summary.

        Raises:
            SchemaError: it is damaged.
        """
        return parsed(content, cls, layout.stats(), f"Run: {REPAIR}")


def total(summaries: Iterable[Summary]) -> Summary:
    """The summary of all rows together; the order does not matter but for rare values.

    A value that is not among a partition's ``KEPT_VALUES`` most frequent ones counts as other
    there, so a pool's count of a domain is a lower bound.
    """
    pool = Summary()
    for summary in summaries:
        pool = _sum(pool, summary)
    return pool


def _sum(one: Summary, two: Summary) -> Summary:
    return Summary(
        rows=one.rows + two.rows,
        status=_counts(one.status, two.status),
        error_class=_counts(one.error_class, two.error_class),
        nsfw=_counts(one.nsfw, two.nsfw),
        language=_counts(one.language, two.language),
        license=_counts(one.license, two.license),
        size=_bins(one.size, two.size),
        caption=_bins(one.caption, two.caption),
        domains=_counts(one.domains, two.domains),
        scores={
            name: _bins(one.scores.get(name, zeros), two.scores.get(name, zeros))
            for name in sorted(one.scores.keys() | two.scores.keys())
            for zeros in [[0] * SCORE_BINS]
        },
    )


def frequent(counts: Mapping[str, int], kept: int) -> dict[str, int]:
    """The most frequent values, the others added up; by count, then name."""
    other = counts.get(OTHER_VALUES, 0)
    named = sorted(
        ((name, count) for name, count in counts.items() if name != OTHER_VALUES),
        key=lambda item: (-item[1], item[0]),
    )
    other += sum(count for _, count in named[kept:])
    return dict(named[:kept]) | ({OTHER_VALUES: other} if other else {})


def _counts(one: dict[str, int], two: dict[str, int]) -> dict[str, int]:
    both = Counter(one)
    both.update(two)
    return frequent(both, KEPT_VALUES)


def _bins(one: list[int], two: list[int]) -> list[int]:
    return [a + b for a, b in zip(one, two, strict=True)]
