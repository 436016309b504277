"""Queries are encoded in batches, once each, and in bounded number."""

import asyncio
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from clip_assets.errors import DeviceLostError
from clip_assets.service.limits.refusals import RefusalError
from clip_assets.service.limits.turns import Turns
from clip_assets.service.search import encoding
from clip_assets.service.search.encoding import Encoding
from clip_assets_tests.retrieval.conftest import WordEncoder
from clip_assets_tests.vectors import Halves


class SlowEncoder(WordEncoder):
    """Encodes when it is let, and remembers the batches."""

    batch_size = 8

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Semaphore(0)
        self.batches: list[list[str]] = []

    def encode_text(self, captions: Sequence[str]) -> Halves:
        self.may.acquire()
        self.batches.append(list(captions))
        if "lost" in captions:
            raise DeviceLostError("gpu", "an error", "none", "Restart.")
        return super().encode_text(captions)


@pytest.fixture
def slow() -> Iterator[tuple[Encoding, SlowEncoder]]:
    queries = Encoding()
    yield queries, SlowEncoder()
    queries.close()


async def until_waiting(queries: Encoding, number: int) -> None:
    while queries.waiting < number:
        await asyncio.sleep(0.001)


def test_what_comes_while_a_batch_is_computed_is_the_next(
    slow: tuple[Encoding, SlowEncoder],
) -> None:
    queries, encoder = slow

    async def ask() -> list[Halves]:
        first = asyncio.create_task(queries.text(encoder, "first"))
        while not queries.batches:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(queries.text(encoder, f"text {n}")) for n in range(10)]
        await until_waiting(queries, 10)
        encoder.may.release(3)
        return [await first, *await asyncio.gather(*others)]

    vectors = asyncio.run(ask())
    assert [len(batch) for batch in encoder.batches] == [1, 8, 2]
    expected = WordEncoder().encode_text(["first", *(f"text {n}" for n in range(10))])
    assert np.array_equal(vectors, expected)


def test_what_follows_is_done_for_all_of_a_round(slow: tuple[Encoding, SlowEncoder]) -> None:
    queries, encoder = slow
    rounds: list[list[str]] = []

    def following(vectors: Sequence[tuple[str, Halves]]) -> list[object]:
        rounds.append([own for own, _ in vectors])
        return [KeyError(own) if own == "wrong" else (own, vector) for own, vector in vectors]

    async def ask() -> list[object]:
        first = asyncio.create_task(queries.followed(encoder, "first", following, "first"))
        while not queries.batches:
            await asyncio.sleep(0.001)
        given = np.ones(24, np.float32)
        others = [
            queries.followed(encoder, "cat", following, "cat"),
            queries.followed(None, given, following, "given"),
            queries.followed(encoder, "dog", following, "wrong"),
        ]
        running = [first, *map(asyncio.create_task, others)]
        await until_waiting(queries, 3)
        encoder.may.release(2)
        return await asyncio.gather(*running, return_exceptions=True)

    first, cat, given, wrong = asyncio.run(ask())
    assert [sorted(own) for own in rounds] == [["first"], ["cat", "given", "wrong"]]
    assert encoder.batches == [["first"], ["cat", "dog"]]
    assert (first[0], cat[0], given[0]) == ("first", "cat", "given")
    assert np.array_equal(cat[1], WordEncoder().encode_text(["cat"])[0])
    assert isinstance(wrong, KeyError)


def test_what_was_encoded_is_remembered(slow: tuple[Encoding, SlowEncoder]) -> None:
    queries, encoder = slow
    encoder.may.release(1)
    first = asyncio.run(queries.text(encoder, "cat"))
    assert np.array_equal(asyncio.run(queries.text(encoder, "cat")), first)
    assert (queries.remembered, encoder.batches) == (1, [["cat"]])
    # Another model's vectors are others.
    other = WordEncoder("other")
    assert asyncio.run(queries.text(other, "cat")) is not first


def test_a_fault_reaches_those_of_its_batch_and_no_other(
    slow: tuple[Encoding, SlowEncoder],
) -> None:
    queries, encoder = slow
    encoder.may.release(2)
    with pytest.raises(DeviceLostError):
        asyncio.run(queries.text(encoder, "lost"))
    assert len(asyncio.run(queries.text(encoder, "cat"))) == 24


def test_too_many_are_asked_to_come_later(
    slow: tuple[Encoding, SlowEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, encoder = slow
    monkeypatch.setattr(encoding, "MOST_WAITING", 2)

    async def ask() -> None:
        running = [asyncio.create_task(queries.text(encoder, "0"))]
        while not queries.batches:
            await asyncio.sleep(0.001)
        running += [asyncio.create_task(queries.text(encoder, f"{n}")) for n in (1, 2)]
        await until_waiting(queries, 2)
        with pytest.raises(RefusalError) as refused:
            await queries.text(encoder, "3")
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "2"})
        encoder.may.release(3)
        await asyncio.gather(*running)

    asyncio.run(ask())


def test_turns_are_bounded() -> None:
    turns = Turns(1, 1, "test")
    may_end = threading.Event()

    async def ask() -> None:
        running = [asyncio.create_task(turns.do(may_end.wait)) for _ in range(2)]
        while turns.taken < 2:
            await asyncio.sleep(0.001)
        with pytest.raises(RefusalError):
            await turns.do(lambda: None)
        may_end.set()
        assert await asyncio.gather(*running) == [True, True]
        assert await turns.do(lambda: 5) == 5

    asyncio.run(ask())
    turns.close()
