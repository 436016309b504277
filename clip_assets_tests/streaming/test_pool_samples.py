"""A pool's samples are those of its tars, and a subset's are the uids that its file lists."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clip_assets import layout, schemas
from clip_assets.errors import (
    ConfigurationError,
    DamagedError,
    MissingArtifactError,
    SourceFormatError,
)
from clip_assets.layout import Key
from clip_assets.pool import takedowns
from clip_assets.storage import uids
from clip_assets.storage.store import Store
from clip_assets.streaming.pool_samples import PoolSamples
from clip_assets.streaming.stream import Stream
from clip_assets_tests.streaming.conftest import Streamed, uid_of


@pytest.fixture
def made(streamed: Streamed) -> Streamed:
    streamed.add(0, [range(10), range(10, 15)])
    streamed.add(1, [range(20, 31)])
    return streamed


@pytest.fixture
def made_here(local_store: Store) -> Streamed:
    made = Streamed(local_store)
    made.add(0, [range(10), range(10, 15)])
    return made


def listed(*numbers: int) -> uids.UidPairs:
    return uids.pairs(pa.chunked_array([[uid_of(number) for number in numbers]], pa.string()))


def numbers(samples: PoolSamples) -> list[int]:
    return [samples.read(row).fields["number"] for row in range(len(samples))]


def test_samples_are_in_the_order_of_the_pool(made: Streamed) -> None:
    there = [number for number in [*range(15), *range(20, 31)] if number % 4]
    assert numbers(PoolSamples(made.pool)) == there


def test_columns_of_the_metadata_are_the_samples_own(made: Streamed) -> None:
    samples = PoolSamples(made.pool, columns=["aesthetic", "status"])
    for row in range(len(samples)):
        fields = samples.read(row).fields
        assert fields["aesthetic"] == fields["number"] / 8
        assert fields["status"] == "success"


def test_a_subset_has_its_uids_as_often_as_it_lists_them(made: Streamed) -> None:
    samples = PoolSamples(made.pool, listed(25, 3, 3, 11, 25, 25), columns=["aesthetic"])
    assert numbers(samples) == [25, 3, 3, 11, 25, 25]
    assert [samples.read(row).fields["aesthetic"] * 8 for row in range(2)] == [25, 3]
    stream = Stream(samples, batch_size=4)
    epoch = sorted(sample.fields["number"] for sample in stream.read_many(range(6)))
    assert epoch == [3, 3, 11, 25, 25, 25]


def test_what_is_taken_down_is_no_sample(made: Streamed) -> None:
    before = PoolSamples(made.pool)
    none = pa.table({"uid": pa.array([], pa.string()), "url": pa.array([], pa.string())})
    takedowns.take_down(made.store, [uid_of(3), uid_of(25), uid_of(99)], [], none, None)
    samples = PoolSamples(made.pool, columns=["aesthetic"])
    there = [number for number in numbers(before) if number not in (3, 25)]
    assert (numbers(samples), samples.taken_down) == (there, 2)
    assert samples.read(len(there) - 1).fields["aesthetic"] == there[-1] / 8
    assert samples.digest != before.digest
    chosen = PoolSamples(made.pool, listed(25, 3, 3, 11))
    assert (numbers(chosen), chosen.taken_down, chosen.left_out) == ([11], 3, 0)


def test_a_subset_is_named_or_is_a_file(made: Streamed, tmp_path: Path) -> None:
    np.save(file := tmp_path / "chosen.npy", listed(5, 22))
    made.make(
        layout.SUBSETS,
        Key("no_filter"),
        2,
        {layout.subset("no_filter"): lambda part: part.write_bytes(file.read_bytes())},
    )
    by_name, by_file = PoolSamples(made.pool, "no_filter"), PoolSamples(made.pool, str(file))
    assert numbers(by_name) == numbers(by_file) == [5, 22]
    assert by_name.digest == by_file.digest != PoolSamples(made.pool).digest
    with pytest.raises(MissingArtifactError, match="basic_filter"):
        PoolSamples(made.pool, "basic_filter")


def test_uids_that_are_gone_are_refused_or_left_out(made_here: Streamed) -> None:
    chosen = listed(7, 4, 999, 5)  # 4 was not fetched, 999 is nobody's
    message = rf"2 of 4 uids without a sample, such as {uid_of(4)}"
    with pytest.raises(MissingArtifactError, match=message):
        PoolSamples(made_here.pool, chosen)
    samples = PoolSamples(made_here.pool, chosen, gone="leave out")
    assert (numbers(samples), samples.left_out) == ([7, 5], 2)


def test_the_digest_is_of_the_samples(made_here: Streamed) -> None:
    before = PoolSamples(made_here.pool).digest
    assert PoolSamples(made_here.pool).digest == before
    made_here.add(1, [[21]])
    assert PoolSamples(made_here.pool).digest != before


def test_what_is_no_subset_is_refused(made_here: Streamed, tmp_path: Path) -> None:
    np.save(numbers_file := tmp_path / "n.npy", np.arange(3))
    (words := tmp_path / "words.npy").write_text("uid\n")
    for file, found in ((numbers_file, "int64 of 1 dim"), (words, "no array")):
        with pytest.raises(SourceFormatError, match=found):
            PoolSamples(made_here.pool, str(file))
    for array in (np.arange(3), [uid_of(3)], np.array([uid_of(3)])):
        with pytest.raises(SourceFormatError, match="expected uids as DataComp has them"):
            PoolSamples(made_here.pool, array)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match=r"no such subset, and no file .*one of .*basic_f"):
        PoolSamples(made_here.pool, "basic_fliter")
    with pytest.raises(ConfigurationError, match="expected 'refuse' or 'leave out'"):
        PoolSamples(made_here.pool, gone="leave_out")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match="found 'beauty', expected some of uid"):
        PoolSamples(made_here.pool, columns=["beauty"])
    with pytest.raises(ConfigurationError, match=r"Write \['aesthetic'\]"):
        PoolSamples(made_here.pool, columns="aesthetic")
    with pytest.raises(
        ConfigurationError, match=r"found '123', and no file .* a version: 4 or more"
    ):
        PoolSamples(made_here.pool, "no_filter@123")
    with pytest.raises(ConfigurationError, match=r"Write open_pool\('somewhere'\)"):
        PoolSamples("somewhere")  # pyright: ignore[reportArgumentType]


def test_a_pool_without_samples_says_what_to_run(local_store: Store) -> None:
    with pytest.raises(MissingArtifactError, match=f"--select {layout.IMAGE_SHARDS}"):
        PoolSamples(Streamed(local_store).pool)


def test_metadata_that_are_missing_or_of_other_samples_are_not_used(local_store: Store) -> None:
    made = Streamed(local_store)
    made.add(0, [[1, 2]], metadata=False)
    with pytest.raises(MissingArtifactError, match=layout.POOL_METADATA):
        PoolSamples(made.pool, columns=["aesthetic"]).read(0)
    made.add(0, [[1, 2]])
    made.add(0, [[3, 2]], metadata=False)
    with pytest.raises(DamagedError, match="metadata of other samples"):
        PoolSamples(made.pool, columns=["aesthetic"]).read(0)


def test_a_shard_of_another_length_than_its_table_is_named(made_here: Streamed) -> None:
    samples = PoolSamples(made_here.pool)
    tars = Path(made_here.store.base, layout.shard_folder(layout.partition_key(0)))
    (tars / "00001.tar").replace(tars / "00000.tar")
    with pytest.raises(DamagedError, match=r"00000\.tar: found 4 samples, expected 7"):
        samples.read(0)
    assert schemas.SHARD_ROWS is layout.shard_rows.schema


def test_samples_that_meet_a_condition(made: Streamed) -> None:
    chosen = PoolSamples(made.pool, where="aesthetic >= 1 AND aesthetic < 3")
    there = [number for number in [*range(15), *range(20, 31)] if number % 4]
    assert numbers(chosen) == [number for number in there if 8 <= number < 24]
    some = PoolSamples(made.pool, listed(25, 3, 9, 3), where="aesthetic < 2", columns=["aesthetic"])
    assert numbers(some) == [3, 9, 3]
    assert chosen.digest != PoolSamples(made.pool).digest
    with pytest.raises(ConfigurationError, match="beauty"):
        PoolSamples(made.pool, where="beauty > 1")


def test_samples_are_counted_without_reading_a_table(made_here: Streamed) -> None:
    key = layout.partition_key(0)
    store = made_here.pool.store
    for number, count in enumerate((7, 4)):
        stats = layout.shard_stats(key, number)
        store.write_bytes(stats, f'{{"successes": {count}}}'.encode())
        store.delete(layout.shard_rows(key, number))
    assert numbers(PoolSamples(made_here.pool)) == [n for n in range(15) if n % 4]
    # One that says another number than its tar holds is found when it is read.
    store.write_bytes(layout.shard_stats(key, 0), b'{"successes": 8}')
    with pytest.raises(DamagedError, match="7 samples, expected 8"):
        PoolSamples(made_here.pool).read(0)
