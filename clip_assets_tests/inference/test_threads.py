"""Iterators that work ahead keep order, bounds and errors, and leave no thread behind."""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets.inference.threads import ahead, batched, mapped
from clip_assets_tests.threads import left_over


@given(items=st.lists(st.integers()), threads=st.integers(1, 3), window=st.integers(1, 9))
def test_mapped_is_map(items: list[int], threads: int, window: int) -> None:
    assert list(mapped(lambda item: item * 2, items, threads, window)) == [i * 2 for i in items]


@given(items=st.lists(st.integers()), size=st.integers(1, 5))
def test_ahead_and_batched_lose_nothing(items: list[int], size: int) -> None:
    batches = list(batched(ahead(items, size), size))
    assert [item for batch in batches for item in batch] == items
    assert all(len(batch) == size for batch in batches[:-1])


def test_nothing_is_read_beyond_the_window() -> None:
    read = 0

    def source() -> Iterator[int]:
        nonlocal read
        for number in range(1000):
            read += 1
            yield number

    results = mapped(lambda item: item, source(), 2, 10)
    next(results)
    time.sleep(0.2)
    assert read <= 11
    results.close()


@pytest.mark.parametrize("iterator", [lambda s: ahead(s, 3), lambda s: mapped(abs, s, 2, 3)])
def test_an_error_of_the_source_arrives_after_what_came_before(iterator: object) -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("broken source")

    results = iterator(source())  # type: ignore[operator]
    assert next(results) == 1
    with pytest.raises(ValueError, match="broken source"):
        next(results)


def test_an_error_of_the_function_arrives() -> None:
    with pytest.raises(ZeroDivisionError):
        list(mapped(lambda item: 1 // item, [1, 0, 1], 2, 3))


def test_closing_stops_threads_and_closes_the_source() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    before = threading.enumerate()
    results = mapped(lambda item: item, ahead(source(), 2), 2, 3)
    next(results)
    results.close()
    assert closed.is_set()
    assert left_over(before) == []
