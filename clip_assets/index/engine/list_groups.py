"""The nearest of some queries by codes, and where they lie, found in one group of lists at a time.

Codes that have a fast form (``engine.fast_lists``) are put into it group by group and let go, so
memory does not grow with the index. Others are searched where they lie, as one group. What is made
of them is the matter of ``effort.code_ranks``.
"""

# faiss replaces the methods that SWIG declares, which are all that a type checker sees.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

from collections.abc import Iterator

import faiss  # noqa: TID253  (the module is itself imported lazily)
import numpy as np

from clip_assets.index.engine import ann, list_choice
from clip_assets.index.engine.ann import Floats, Ids, Index
from clip_assets.index.engine.fast_lists import EMPTY, ID_BYTES, form_of_some, has_fast_form
from clip_assets.index.engine.lists import blocks

GROUP_BYTES = 2**27
"""Of codes and ids in a group, twice while it is made; or one list, if it is longer."""

_PRIME = 3_266_489_917
# The rest of a place by it tells nearly all places apart in 32 bits.

BATCH = 64
"""Queries that are searched at once."""


def nearest(
    index: Index, queries: Floats, scores: Floats, gap: float, most: int
) -> tuple[Floats, Ids]:
    """The nearest by codes in the lists within a gap, best first; equal ones in a fixed order.

    Args:
        index: with lists.
        queries: (q, dim).
        scores: (q, lists) similarity of each query to each centre.
        gap: as in ``ann.search``.
        most: of each query.

    Returns:
        Similarities by codes, and where they lie, (q, most) each: above ``fast_lists.PLACE_BITS``
        the number of a list, below them the place in it; -inf and -1 where there are fewer.
    """
    lists = ann.inverted(index)
    assert lists is not None
    within = ann.inner(index, np.ascontiguousarray(queries, dtype=np.float32))
    top = scores.max(axis=1, keepdims=True)
    wanted = np.flatnonzero((scores >= top - np.float32(gap)).any(axis=0))
    best = np.full((len(queries), most), -np.inf, np.float32)
    places = np.full((len(queries), most), -1, np.int64)
    for count, numbers in enumerate(groups(lists, wanted)):
        group = _Group(lists, numbers)
        for start in range(0, len(queries), BATCH):
            batch = slice(start, start + BATCH)
            more = group.search(within[batch], scores[batch], top[batch], gap, most)
            if count:
                more = _joined(best[batch], places[batch], *more)
            best[batch, : more[0].shape[1]], places[batch, : more[1].shape[1]] = more
        del group  # before the next one is made
    order = _order(best, places)
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(places, order, axis=1)


def groups(lists: faiss.IndexIVF, wanted: Ids) -> Iterator[Ids]:
    """Numbers of lists that are searched together.

    Args:
        lists: of any codes.
        wanted: ascending numbers of lists; without vectors none is searched.
    """
    if not has_fast_form(lists):
        yield np.arange(lists.nlist)
        return
    sizes = np.array([lists.get_list_size(number) for number in wanted.tolist()], np.int64)
    wanted, sizes = wanted[sizes > 0], sizes[sizes > 0]
    for start, stop in blocks(sizes * (lists.code_size + ID_BYTES), GROUP_BYTES):
        yield wanted[start:stop]


class _Group:
    """Some lists in the form in which they are searched."""

    def __init__(self, lists: faiss.IndexIVF, numbers: Ids) -> None:
        self._numbers = numbers
        self._is_fast = has_fast_form(lists)
        # The fast form tells no places in lists by itself.
        self._form = form_of_some(lists, numbers) if self._is_fast else lists

    def search(
        self, rows: Floats, scores: Floats, top: Floats, gap: float, most: int
    ) -> tuple[Floats, Ids]:
        """Similarities and places of the nearest, (q, at most ``most``) each, best first."""
        near, numbers = list_choice.near(scores[:, self._numbers], top, gap)
        if self._is_fast:
            near, numbers = self._of_one_range(near, numbers, top, gap)
        most = min(most, self._form.ntotal)
        best = np.empty((len(rows), most), np.float32)
        places = np.empty((len(rows), most), np.int64)
        asked = [np.ascontiguousarray(one) for one in (rows, numbers, near)]
        query_rows, assigned, centres = map(faiss.swig_ptr, asked)
        similarities, labels = map(faiss.swig_ptr, (best, places))
        parameters = faiss.SearchParametersIVF(nprobe=numbers.shape[1])
        as_pairs = not self._is_fast  # of a list and a place in it, instead of ids
        self._form.search_preassigned_c(
            len(rows),
            query_rows,
            most,
            assigned,
            centres,
            similarities,
            labels,
            as_pairs,
            parameters,
        )
        best[places < 0] = -np.inf
        return best, places

    def _of_one_range(
        self, near: Floats, numbers: Ids, top: Floats, gap: float
    ) -> tuple[Floats, Ids]:
        """The same with an empty list at either end of the gap.

        Fast codes are rounded by the range of the scores, which thereby is the same in each group.
        """
        near = np.where(numbers < 0, top, near)
        ends = np.arange(EMPTY) + self._form.nlist - EMPTY
        ends = np.broadcast_to(ends, (len(near), EMPTY))
        lowest = top - np.float32(gap)
        return np.hstack([near, top, lowest]), np.hstack([numbers, ends])


def _joined(best: Floats, places: Ids, more: Floats, more_places: Ids) -> tuple[Floats, Ids]:
    """As many of both as there were of the first, in any order."""
    most = best.shape[1]
    best, places = np.hstack([best, more]), np.hstack([places, more_places])
    if best.shape[1] == most:
        return best, places
    some = np.argpartition(-best, most - 1, axis=1)[:, :most]
    return np.take_along_axis(best, some, 1), np.take_along_axis(places, some, 1)


def _order(best: Floats, places: Ids) -> Ids:
    """Of each row best first, equal ones in a fixed order: two keys that are sorted as one."""
    less = (-best).view(np.int32)
    less ^= (less >> 31) & np.int32(2**31 - 1)  # floats below 0 in their order, too
    keys = (less.astype(np.int64) << 32) | (places % _PRIME)
    return np.argsort(keys, axis=1)
