"""Iterators that work ahead in threads: what a pipeline of read, decode and compute is made of.

Each takes an iterable and gives a generator, keeps the order, holds a bounded number of
items, and passes on the first error. Closing a generator (or an error in its consumer) stops
its threads and closes what it reads from. Threads, not processes: reading, image decoding and
matrix products release the interpreter's lock, and nothing is copied between processes.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice, repeat
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def mapped(
    function: Callable[[T], R],
    items: Iterable[T],
    threads: int,
    window: int,
    begin: Callable[[], None] | None = None,
) -> Generator[R]:
    """``function`` of each item, by several threads, at most ``window`` results ahead.

    Args:
        function: called in the threads.
        items: read by the consumer's thread, one for every result that is taken.
        threads: how many.
        window: items that are in work or done and not yet taken.
        begin: called first in each thread.
    """
    iterator = iter(items)
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="clip-assets", initializer=begin)

    def submit_next() -> None:
        try:
            item = next(iterator)
        except StopIteration:
            return
        except Exception as error:
            # It waits its turn, so that what came before it is not lost.
            failed: Future[R] = Future()
            failed.set_exception(error)
            pending.append(failed)
        else:
            pending.append(pool.submit(function, item))

    try:
        for _ in range(window):
            submit_next()
        while pending:
            result = pending.popleft().result()
            submit_next()
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        _close(iterator)


def ahead(items: Iterable[T], size: int) -> Generator[T]:
    """The items, fetched by a thread of their own that is at most ``size`` items ahead."""
    iterator, end = iter(items), object()
    with closing(mapped(lambda _: next(iterator, end), repeat(None), 1, size)) as fetched:
        try:
            for item in fetched:
                if item is end:
                    return
                yield item  # pyright: ignore[reportReturnType]
        finally:
            fetched.close()
            _close(iterator)


def batched(items: Iterable[T], size: int) -> Generator[list[T]]:
    """The items in lists of ``size``; the last may be shorter."""
    iterator = iter(items)
    try:
        while batch := list(islice(iterator, size)):
            yield batch
    finally:
        _close(iterator)


def _close(iterator: object) -> None:
    if isinstance(iterator, Generator):
        iterator.close()
