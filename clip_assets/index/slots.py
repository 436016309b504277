"""Vector ids: which range of them belongs to which partition, from version to version.

Pure arithmetic. A partition that did not change keeps its ids; one that is new or changed gets
fresh ones at the end; ids whose partition is gone stay unused, so that no id changes its
meaning between two versions, until too many are unused and all are given out anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clip_assets.layout import PartitionKey

MOST_UNUSED = 0.2
"""Of all ids; beyond it ids are given out anew."""


@dataclass(frozen=True, slots=True)
class Content:
    """The vectors of one partition.

    Args:
        partition: its key.
        digest: of its segment and of the rows that it describes.
        vectors: how many.
    """

    partition: PartitionKey
    digest: str
    vectors: int


@dataclass(frozen=True, slots=True)
class Slot:
    """A range of vector ids.

    Args:
        start: its first id.
        count: how many ids.
        content: whose they are; None for ids that are no longer in use.
    """

    start: int
    count: int
    content: Content | None


def allocate(previous: Sequence[Slot], wanted: Sequence[Content]) -> tuple[list[Slot], bool]:
    """Ranges of ids for these partitions.

    Args:
        previous: ranges of the version before, in id order; empty for the first.
        wanted: what the new version holds, in the pool's order.

    Returns:
        Ranges in id order without a gap from 0, and whether ids were given out anew.
    """
    stays = set(wanted)
    kept = [
        slot if slot.content in stays else Slot(slot.start, slot.count, None) for slot in previous
    ]
    held = {slot.content for slot in kept}
    slots = _append(kept, [content for content in wanted if content not in held])
    unused = sum(slot.count for slot in slots if slot.content is None)
    if unused > MOST_UNUSED * ids(slots):
        return _append([], wanted), True
    return slots, False


def ids(slots: Sequence[Slot]) -> int:
    """Ids of all ranges, unused ones too."""
    return slots[-1].start + slots[-1].count if slots else 0


def changed(before: Sequence[Slot], after: Sequence[Slot]) -> int:
    """Vectors that one version has and the other has not."""
    held = [{slot.content for slot in slots if slot.content} for slots in (before, after)]
    return sum(content.vectors for content in held[0] ^ held[1])


def _append(slots: Sequence[Slot], contents: Sequence[Content]) -> list[Slot]:
    result = list(slots)
    for content in contents:
        result.append(Slot(ids(result), content.vectors, content))
    return result
