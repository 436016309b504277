"""Shares are met by every batch to the rounding, and by all parts together to the sample."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets.errors import ConfigurationError
from clip_assets.streaming.shares import Shares

parts = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@given(parts, st.integers(1, 70))
def test_every_batch_has_what_a_share_amounts_to_rounded(weights: list[int], size: int) -> None:
    shares = Shares({str(number): weight for number, weight in enumerate(weights)}, size)
    quota = np.array(weights) * size / sum(weights)
    done = np.zeros(len(weights), np.int64)
    for batch in range(shares.period):
        assert shares.before(batch).tolist() == done.tolist()
        counts = shares.of(batch)
        assert counts.sum() == size
        assert (np.abs(counts - quota) < 1).all()
        done += counts
    assert done.tolist() == (quota * shares.period).round().tolist()


def test_whole_quotas_are_met_by_every_batch() -> None:
    shares = Shares({"a": 0.5, "b": "0.25", "c": 0.25}, 64)
    assert {tuple(shares.of(batch)) for batch in range(100)} == {(32, 16, 16)}


def test_a_small_share_has_its_turn() -> None:
    shares = Shares({"most": 0.999, "few": 0.001}, 100)
    assert shares.before(10).tolist() == [999, 1]
    assert shares.before(10**12).tolist() == [999 * 10**11, 10**11]


@pytest.mark.parametrize("share", [0, -1, "x", float("nan"), float("inf"), "1/0"])
def test_no_share_is_refused(share: object) -> None:
    with pytest.raises(ConfigurationError, match="share of b"):
        Shares({"a": 1, "b": share}, 8)  # pyright: ignore[reportArgumentType]


def test_thirds_are_thirds() -> None:
    shares = Shares({"a": 1 / 3, "b": 2 / 3}, 100)
    assert shares.period == 3
    assert shares.before(3).tolist() == [100, 200]
