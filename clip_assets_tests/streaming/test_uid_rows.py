"""A pool's samples are looked up by uid in files that are made once, and may go at any time."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clip_assets import layout
from clip_assets.pool import takedowns
from clip_assets.storage.store import Store
from clip_assets.storage.uids import UidPairs
from clip_assets.streaming import uid_rows
from clip_assets.streaming.pool_samples import PoolSamples
from clip_assets.streaming.uid_rows import AllBut, UidRows
from clip_assets_tests.streaming.conftest import Streamed, uid_of
from clip_assets_tests.streaming.test_pool_samples import listed, numbers


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "clip-assets" / uid_rows.FOLDER


@pytest.fixture
def made(local_store: Store) -> Streamed:
    made = Streamed(local_store)
    made.add(0, [range(10), range(10, 15)])
    return made


def pairs(*uids: tuple[int, int]) -> UidPairs:
    return np.array(list(uids), np.dtype("u8,u8"))


def test_the_first_of_many_samples_of_a_uid_is_found() -> None:
    known = [pairs(*((number % 3, 0) for number in range(300)))]
    assert UidRows.of(known).find(pairs((0, 0), (1, 0), (2, 0))).tolist() == [0, 1, 2]


def test_halves_that_are_the_same_are_told_apart() -> None:
    known = [pairs((5, 1), (5, 2), (9, 9)), pairs((2**64 - 1, 0), (5, 2), (5, 3))]
    rows = UidRows.of(known)
    wanted = pairs((5, 3), (5, 2), (9, 9), (5, 4), (1, 1), (2**64 - 1, 0), (2**64 - 1, 1), (5, 2))
    assert rows.find(wanted).tolist() == [5, 1, 2, -1, -1, 3, -1, 1]
    assert rows.every(pairs((5, 2), (9, 9), (7, 7))).tolist() == [1, 2, 4]
    assert (rows.find(wanted[:0]).tolist(), rows.counts.tolist()) == ([], [3, 3])
    assert UidRows.of([]).find(wanted).tolist() == [-1] * 8


@pytest.mark.parametrize("gone", [[], [0], [9], [0, 1, 2], [3, 4, 9], list(range(10))])
def test_all_but_some(gone: Sequence[int]) -> None:
    rows = AllBut(10, np.array(gone, np.int64))
    left = [number for number in range(10) if number not in gone]
    assert [rows[row] for row in range(len(rows))] == left


def test_a_second_opening_reads_no_table(made: Streamed, cache: Path) -> None:
    first = PoolSamples(made.pool, listed(13, 3, 3))
    key = layout.partition_key(0)
    for number in range(2):
        made.store.delete(layout.shard_rows(key, number))
    second = PoolSamples(made.pool, listed(13, 3, 3))
    assert (numbers(second), second.digest) == (numbers(first), first.digest)
    assert numbers(PoolSamples(made.pool, listed(5, 14))) == [5, 14]
    none = pa.table({"uid": pa.array([], pa.string()), "url": pa.array([], pa.string())})
    takedowns.take_down(made.store, [uid_of(1), uid_of(9)], [], none, None)
    assert numbers(PoolSamples(made.pool)) == [2, 3, 5, 6, 7, 10, 11, 13, 14]
    assert len(list(cache.glob("*/*"))) == 1


def test_what_was_found_for_a_subset_is_found_again(
    made: Streamed, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uid_rows, "MOST_FOUND", 2)
    wanted = listed(13, 3, 99, 3)
    assert numbers(PoolSamples(made.pool, wanted, gone="leave out")) == [13, 3, 3]
    [kept] = cache.glob("*/*/found/*")
    np.save(kept, np.array([4, 5, -1, 6]))
    again = PoolSamples(made.pool, wanted, gone="leave out")
    assert (numbers(again), again.left_out) == ([6, 7, 9], 1)
    np.save(kept, np.array([4]))  # of other uids
    assert numbers(PoolSamples(made.pool, wanted, gone="leave out")) == [13, 3, 3]
    os.utime(kept, (0, 0))
    for number in range(3):
        PoolSamples(made.pool, listed(number + 5))
    assert len(list(kept.parent.iterdir())) == 2
    assert not kept.exists()


def test_a_pool_that_changed_is_looked_up_anew(made: Streamed, cache: Path) -> None:
    PoolSamples(made.pool, listed(3))
    made.add(1, [[21, 22]])
    assert numbers(PoolSamples(made.pool, listed(22, 3))) == [22, 3]
    [folder] = cache.glob("*/*")  # the older one went
    (folder / "rows.npy").write_bytes(b"half")
    assert numbers(PoolSamples(made.pool, listed(22, 3))) == [22, 3]
    np.save(folder / "rows.npy", np.zeros(1, np.int64))
    # In another order, as what was found for the first one is kept.
    assert numbers(PoolSamples(made.pool, listed(3, 22))) == [3, 22]


def test_what_cannot_be_kept_is_told_and_does_no_harm(
    made: Streamed, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert numbers(PoolSamples(made.pool, listed(13, 3))) == [13, 3]
    assert "cannot be kept" in caplog.text
