"""Codes of four bits in the order in which a processor compares 32 of them at once.

faiss calls that form FastScan. It can be neither joined nor mapped, so files have the plain one,
and this is made of it in memory where it is searched. Which codes there are is said by
``engine.kinds``.
"""

# faiss replaces the methods that SWIG declares, which are all that a type checker sees.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import logging
from collections.abc import Callable
from contextlib import ExitStack
from threading import Thread
from typing import Any

import faiss  # noqa: TID253  (the module is itself imported lazily)
import numpy as np
import psutil

from clip_assets.index.engine import ann
from clip_assets.index.engine.ann import Ids, Index

logger = logging.getLogger(__name__)

BITS = 4
"""Of one number of a product code that has the form."""

ID_BYTES = 8

PLACE_BITS = 32
"""Of a place in a list, below the list's number."""

PLACE = (1 << PLACE_BITS) - 1
"""Which bits they are."""

EMPTY = 2
"""Lists without vectors at the end of ``form_of_some``."""

ROOM = 4
"""Memory that is free, in times of what the form takes: other processes may make theirs, too."""


def has_fast_form(index: Index) -> bool:
    """Whether an index is of a kind that has the form, or is in it."""
    lists = ann.inverted(index)
    if isinstance(lists, faiss.IndexIVFPQFastScan):
        return True
    return isinstance(lists, faiss.IndexIVFPQ) and lists.pq.nbits == BITS


def fast_form(index: Index) -> Index | None:
    """The same index in that form; None of a kind that has none.

    Memory: the codes and ids once more.

    Args:
        index: with all vectors; it stays open, as its centres are not copied.
    """
    lists = ann.inverted(index)
    if not isinstance(lists, faiss.IndexIVFPQ) or not has_fast_form(index):
        return None
    fast: Any = faiss.IndexIVFPQFastScan(lists)
    # Centres and directions stay those of the index, which therefore must not be deleted.
    fast.referenced_objects = [index]
    if not isinstance(index, faiss.IndexPreTransform):
        return fast
    turned = faiss.IndexPreTransform(fast)
    for place in reversed(range(index.chain.size())):
        turned.prepend_transform(index.chain.at(place))
    return turned


def form_of_some(lists: faiss.IndexIVF, numbers: Ids) -> faiss.IndexIVF:
    """The form of some lists: list i is number i of them, and there are two empty ones more.

    An id in it tells where a vector lies: its list's number above 32 bits of its place there.

    Memory: the codes and ids of the lists; twice while it is made.

    Args:
        lists: of codes that have the form; they stay open, as their centres are not copied.
        numbers: (n,) of lists.
    """
    assert isinstance(lists, faiss.IndexIVFPQ)
    held: Any = lists.invlists
    count = len(numbers) + EMPTY
    plain: Any = faiss.IndexIVFPQ(
        lists.quantizer, lists.d, count, lists.pq.M, BITS, lists.metric_type
    )
    plain.pq, plain.by_residual, plain.is_trained = lists.pq, lists.by_residual, True
    for own, number in enumerate(numbers.tolist()):
        size = lists.get_list_size(number)
        places = np.arange(size, dtype=np.int64) | (number << PLACE_BITS)
        codes = held.get_codes(number)
        plain.invlists.add_entries(own, size, faiss.swig_ptr(places), codes)
        held.release_codes(number, codes)
    plain.ntotal = plain.invlists.compute_ntotal()
    fast: Any = faiss.IndexIVFPQFastScan(plain)
    fast.referenced_objects = [lists]
    return fast


def has_room(index: Index, free_bytes: int) -> bool:
    """Whether the form of an index fits into so much memory that is free.

    Args:
        index: with lists.
        free_bytes: of the machine.
    """
    lists = ann.inverted(index)
    assert lists is not None
    return ROOM * lists.ntotal * (lists.code_size + ID_BYTES) <= free_bytes


def make(
    index: Index,
    take: Callable[[Index], None],
    stack: ExitStack,
    free_bytes: int | None = None,
) -> None:
    """Make the form beside other work, as it takes 0.1 s for each million vectors.

    Args:
        index: see ``fast_form``; nothing is done for a kind without it, or without the memory.
        take: is given the form when it is there.
        stack: waits for that before it is closed.
        free_bytes: memory; None: what the machine has.
    """
    if not has_fast_form(index):
        return
    free = psutil.virtual_memory().available if free_bytes is None else free_bytes
    if not has_room(index, free):
        logger.info("codes are searched as they lie in the file: memory has no room for others")
        return

    def run() -> None:
        if fast := fast_form(index):
            take(fast)

    making = Thread(target=run, name="fast-lists")
    making.start()
    stack.callback(making.join)
