"""Whole epochs are the same samples at every number of ranks, and go on from any state."""

import json
from collections import Counter
from collections.abc import Callable
from itertools import chain, islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_assets.errors import ConfigurationError
from clip_assets.inference.samples import Sample
from clip_assets.streaming.dealing import Batches
from clip_assets.streaming.stream import Stream


class Numbers:
    """A set whose samples are their numbers."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.digest, self._size = name, f"{name} {size}", size

    def __len__(self) -> int:
        return self._size

    def read(self, row: int) -> Sample:
        return Sample(f"{self.name}{row}")


def mixture(seed: int = 0, **changes: object) -> Stream:
    sets = [Numbers("a", 100), Numbers("b", 37), Numbers("c", 260)]
    shares = [0.5, 0.2, 0.3]
    arguments = {"shares": shares, "batch_size": 24, "length": 480} | changes
    return Stream(sets, seed=seed, **arguments)  # pyright: ignore[reportArgumentType]


def alone(seed: int = 0) -> Stream:
    return Stream(Numbers("a", 517), seed=seed, batch_size=24)


def trained(stream: Stream, ranks: int, batches: int, state: dict[str, Any]) -> list[list[str]]:
    """The samples of coming global batches, as the ranks together have them."""
    sampled = [Batches(stream, rank, ranks) for rank in range(ranks)]
    for one in sampled:
        one.load_state_dict(state)
    dealt = zip(*(islice(one, batches) for one in sampled), strict=True)
    positions = [[*chain.from_iterable(parts)] for parts in dealt]
    keys = iter([sample.key for sample in stream.read_many([*chain.from_iterable(positions)])])
    return [[next(keys) for _ in batch] for batch in positions]


def state_after(stream: Stream, epoch: int, batches: int) -> dict[str, Any]:
    start = Batches(stream)
    start.load_state_dict({"stream": stream.digest, "epoch": epoch, "position": 0})
    return {"stream": stream.digest} | vars(start.after(batches))


@pytest.mark.parametrize("make", [alone, mixture])
@pytest.mark.parametrize("epoch", [0, 3])
def test_an_epoch_is_the_same_at_three_world_sizes(make: type, epoch: int) -> None:
    stream = make()
    start = state_after(stream, epoch, 0)
    one, *others = (trained(stream, ranks, 1_000, start) for ranks in (1, 3, 8))
    assert sum(map(len, one)) == len(stream)
    assert all(other == one for other in others)


@pytest.mark.parametrize("make", [alone, mixture])
@settings(max_examples=20)
@given(first=st.integers(1, 24), then=st.integers(1, 24), batches=st.integers(0, 22))
def test_it_goes_on_with_the_next_sample_at_another_world_size(
    make: type, first: int, then: int, batches: int
) -> None:
    stream = make()
    whole = trained(stream, 1, 1_000, state_after(stream, 1, 0))
    before = trained(stream, first, batches, state_after(stream, 1, 0))
    state = state_after(make(), 1, batches)
    if batches >= len(whole):
        assert state == {"stream": stream.digest, "epoch": 2, "position": 0}
        assert before == whole
    else:
        assert before + trained(stream, then, 1_000, state) == whole


def test_an_epoch_has_every_sample_once_and_the_next_one_in_another_order() -> None:
    stream = alone()
    epochs = [
        [key for batch in trained(stream, 2, 1_000, state_after(stream, epoch, 0)) for key in batch]
        for epoch in range(3)
    ]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert Counter(epochs[0]).most_common(1)[0][1] == 1


def test_seeds_give_other_orders() -> None:
    assert alone(0).places(range(517)) != alone(1).places(range(517))
    assert alone(0).places(range(517)) == alone(0).places(range(517))
    assert mixture(0).places(range(480)) != mixture(1).places(range(480))


def test_every_global_batch_has_the_shares() -> None:
    stream = Stream(
        [Numbers("a", 1_000), Numbers("b", 400), Numbers("c", 90)],
        shares=[5, 3, 2], batch_size=20, length=2_000,
    )  # fmt: skip
    for batch in trained(stream, 2, 1_000, state_after(stream, 0, 0)):
        assert Counter(key[0] for key in batch) == {"a": 10, "b": 6, "c": 4}


def test_ranks_are_dealt_every_set() -> None:
    """Slots of a batch are shuffled: else one rank would have all of a set."""
    stream = Stream([Numbers("a", 1_000), Numbers("b", 1_000)], shares=[1, 1], batch_size=100)
    places = stream.places(next(iter(Batches(stream, 0, 2))))
    assert 10 < sum(number for number, _ in places) < 40


def test_a_set_is_gone_through_before_a_sample_comes_again() -> None:
    stream = mixture(length=2_400)
    places = Counter(stream.places(range(2 * 2_400)))
    for number, size in enumerate((100, 37, 260)):
        times = [places[number, row] for row in range(size)]
        assert max(times) - min(times) <= 1


def test_without_a_length_no_set_is_asked_for_more_than_it_has() -> None:
    stream = mixture(length=None)
    counts = Counter(number for number, _ in stream.places(range(len(stream))))
    assert all(counts[number] <= size for number, size in enumerate((100, 37, 260)))
    assert len(stream) == 24 * 7  # of "b" a batch has 4 or 5, and there are 37


def test_the_last_batch_is_dealt_or_dropped() -> None:
    stream = alone()
    parts = [list(Batches(stream, rank, 4)) for rank in range(4)]
    assert [len(part[-1]) for part in parts] == [3, 3, 3, 4]  # 517 is 21 * 24 + 13
    dropped = [list(Batches(stream, rank, 4, drop_last=True)) for rank in range(4)]
    assert dropped == [part[:-1] for part in parts]


def test_a_state_is_small_and_of_its_stream() -> None:
    state = Batches(mixture()).state_dict()
    assert len(json.dumps(state)) < 1_000
    for other in (mixture(1), mixture(batch_size=12), mixture(shares=[5, 2, 4]), alone()):
        with pytest.raises(ConfigurationError, match="found that of stream"):
            Batches(other).load_state_dict(state)
    with pytest.raises(ConfigurationError, match="state"):
        Batches(mixture()).load_state_dict({})
    for place in ({"position": len(mixture())}, {"position": -1}, {"epoch": -1}):
        with pytest.raises(ConfigurationError, match="expected a position below"):
            Batches(mixture()).load_state_dict(state | place)


def test_one_set_goes_on_with_another_batch_size() -> None:
    small, large = (Stream(Numbers("a", 100), batch_size=size) for size in (10, 25))
    done = Batches(small).after(3)
    rest = Batches(large)
    rest.load_state_dict(vars(done))
    assert [*chain.from_iterable(rest)] == list(range(30, 100))


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: mixture(length=None, batch_size=200), "share of b: found 37 samples"),
        (lambda: mixture(shares=[1, 0, 1]), "share of b: found 0"),
        (lambda: mixture(shares=[1, 1]), "2 shares"),
        (lambda: Stream([Numbers("a", 1), Numbers("a", 2)]), "sets a, a"),
        (lambda: Stream([Numbers("a", 9), Numbers("b", 0)], shares=[1, 1]), "share of b"),
        (lambda: Stream(Numbers("a", 0)), "no samples"),
        (lambda: Stream([]), "no set"),
        (lambda: Stream(Numbers("a", 5), batch_size=0), "batch_size"),
        (lambda: Batches(alone(), 4, 4), "4 of 4"),
        (lambda: Batches(alone(), 0, 25), "for batches of 24"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], found: str) -> None:
    with pytest.raises(ConfigurationError, match=found):
        make()


def test_a_hundred_million_rows_are_gone_on_with_at_once() -> None:
    """Nothing is held per row: a position in the middle of an epoch is computed."""
    stream = Stream(Numbers("a", 10**8), batch_size=4096)
    middle = Batches(stream, 1, 8)
    middle.load_state_dict({"stream": stream.digest, "epoch": 4, "position": 4096 * 12_000})
    places = stream.places(next(iter(middle)))
    assert len({row for _, row in places}) == 512
