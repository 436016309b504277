"""Balanced batches come nearer to their target than chance, and go on as others do."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from clip_assets.errors import ConfigurationError
from clip_assets.streaming.dealing import Batches
from clip_assets.streaming.even_batches import Balance, BalancedOrder, distribution
from clip_assets.streaming.loader import Loader
from clip_assets.streaming.stream import Stream
from clip_assets.streaming.tar_samples import TarSamples

SIZE, BATCH = 4000, 50


def zipf(samples: int, concepts: int) -> list[list[int]]:
    """One concept of each, the n-th a n-th as frequent as the first; every tenth has two."""
    random = np.random.default_rng(0)
    chances = 1 / np.arange(1, concepts + 1)
    drawn = random.choice(concepts, samples, p=chances / chances.sum())
    return [[int(n), *([0] if n and place % 10 == 0 else [])] for place, n in enumerate(drawn)]


CONCEPTS = zipf(SIZE, 8)


def far(balance: Balance, rows: np.ndarray) -> float:
    """The total variation between what rows have and the target."""
    return float(np.abs(distribution(balance, rows) - balance.target).sum() / 2)


@pytest.mark.parametrize("target", [None, [4, 1, 1, 1, 1, 1, 1, 2]])
def test_batches_come_near_to_the_target(target: Sequence[float] | None) -> None:
    balance = Balance(CONCEPTS, target, surplus=5)
    order = BalancedOrder(SIZE, balance, BATCH, seed=1)
    by_chance = np.random.default_rng(1).permutation(SIZE)
    ours, others = 0.0, 0.0
    for number in range(10):
        rows = order.pick(0, np.arange(number * BATCH, (number + 1) * BATCH)).rows
        assert len(set(rows.tolist())) == BATCH
        chance = by_chance[number * BATCH : (number + 1) * BATCH]
        ours, others = ours + far(balance, rows), others + far(balance, chance)
    assert ours < 0.5 * others
    whole = order.pick(0, np.arange(order.length)).rows
    assert len(np.unique(whole)) == order.length == SIZE // 250 * BATCH


def test_a_batch_is_the_same_however_it_is_asked_for() -> None:
    order = BalancedOrder(SIZE, Balance(CONCEPTS), BATCH, seed=1)
    whole = order.pick(2, np.arange(order.length)).rows
    other = pickle.loads(pickle.dumps(BalancedOrder(SIZE, Balance(CONCEPTS), BATCH, seed=1)))
    positions = np.random.default_rng(5).permutation(order.length)
    assert (other.pick(2, positions).rows == whole[positions]).all()
    assert (order.pick(3, np.arange(BATCH)).rows != whole[:BATCH]).any()


def test_a_balanced_stream_goes_on_with_other_ranks(tars: Path) -> None:
    samples = TarSamples(str(tars))
    concepts = [[row % 3] if row % 7 else [] for row in range(len(samples))]
    stream = Stream.balanced(samples, Balance(concepts, surplus=2), batch_size=6)
    assert len(stream) == 24
    loader = Loader(stream, Batches(stream, 0, 1))
    batches = [batch.uids for batch in loader]
    loader.load_state_dict(loader.state_dict() | {"epoch": 0, "position": 12})
    ranks = [Loader(stream, Batches(stream, rank, 2)) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(loader.state_dict())
    halves = zip(*([batch.uids for batch in rank] for rank in ranks), strict=True)
    assert [one + two for one, two in halves] == batches[2:]
    plain = Stream(samples, batch_size=6)
    assert len({stream.digest, plain.digest, _other(samples, concepts).digest}) == 3


def _other(samples: TarSamples, concepts: list[list[int]]) -> Stream:
    return Stream.balanced(samples, Balance(concepts, [1, 2, 3], surplus=2), batch_size=6)


@pytest.mark.parametrize(
    ("concepts", "target", "surplus"),
    [
        ([[]] * 53, None, 2),
        ([[-1]] * 53, None, 2),
        ([[3]] * 53, [1, 1], 2),
        ([[0]] * 53, [0], 2),
        ([[0]] * 53, [float("nan")], 2),
        ([[0]] * 53, None, 0),
        ([[0]] * 52, None, 2),
        ([[0]] * 53, None, 20),
    ],
)
def test_what_cannot_be_balanced_is_refused(
    tars: Path, concepts: list[list[int]], target: list[float] | None, surplus: int
) -> None:
    with pytest.raises(ConfigurationError, match="balance"):
        Stream.balanced(TarSamples(str(tars)), Balance(concepts, target, surplus), batch_size=6)


def test_newer_samples_enter_at_the_border_of_an_epoch(tars: Path) -> None:
    older, newer = Stream(TarSamples(str(tars / "a.tar")), batch_size=6), TarSamples(str(tars))
    loader = Loader(older, Batches(older, 0, 1))
    epoch = iter(loader)
    next(epoch)
    with pytest.raises(ConfigurationError, match="sample 6 of epoch 0"):
        loader.enter(Stream(newer, batch_size=6))
    seen = 1 + sum(1 for _ in epoch)
    assert seen == 5  # the epoch was the older samples' alone
    loader.enter(stream := Stream(newer, batch_size=6))
    assert loader.state_dict() == {"stream": stream.digest, "epoch": 1, "position": 0}
    uids = [uid for batch in loader for uid in batch.uids]
    assert len(set(uids)) == len(newer)
    assert loader.epoch == 2
