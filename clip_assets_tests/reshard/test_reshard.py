"""A subset's samples arrive whole, once for each time that they are wanted, in one order."""

import json
from collections.abc import Sequence
from pathlib import Path
from tarfile import RECORDSIZE

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets import layout
from clip_assets.reshard.resharding import Options, Resharded, reshard
from clip_assets.webdataset.indices import Tar, index_of
from clip_assets_tests.inference.shards import image_shards, tar_bytes
from clip_assets_tests.reshard.tars import (
    contents,
    every_key,
    folder,
    pair,
    pairs_of,
    subset,
    uid,
    written,
)
from clip_assets_tests.servers import Bucket
from clip_assets_tests.upstream import MadeUp

TARS = {f"{n:08d}": [pair(n * 10 + i) for i in range(10)] for n in (0, 1, 5)}
"""A gap in the numbers is no end."""

NUMBERS = [*range(20), *range(50, 60)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three tars of ten samples."""
    return folder(tmp_path / "in", TARS)


def run(tmp_path: Path, wanted: Sequence[int], *inputs: Path, **options: object) -> Resharded:
    """Reshard into ``out``."""
    file = subset(tmp_path / "subset.npy", wanted)
    given = Options(**{"shard_size": 4, **options})  # pyright: ignore[reportArgumentType]
    return reshard(file, str(tmp_path / "out"), [*map(str, inputs)], given)


def test_samples_are_what_they_were_under_new_keys(source: Path, tmp_path: Path) -> None:
    wanted = [3, 7, 12, 52, 58, 59]
    done = run(tmp_path, wanted, source)
    assert (done.samples, done.shards, done.kept, done.missing) == (6, 2, 0, 0)
    assert every_key(tmp_path / "out") == [f"{uid(number)}-0" for number in wanted]
    found = {k: v for tar in written(tmp_path / "out") for k, v in contents(tar).items()}
    for number in wanted:
        key = f"{number // 10:08d}{number % 10:09d}"
        assert found[f"{uid(number)}-0"] == pair(number).members(key)


def test_the_layout_is_datacomps(source: Path, tmp_path: Path) -> None:
    run(tmp_path, [3, 3, 52], source)
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "00000000.tar", "00000000_stats.json", "meta.json", "reshard.json", "sample_ids.npy",
    ]  # fmt: skip
    ids = np.load(out / "sample_ids.npy")
    assert (ids == np.load(tmp_path / "subset.npy")).all()
    meta = json.loads((out / "meta.json").read_text())
    assert (meta["samples"], meta["seed"], meta["inputs"]) == (3, None, [str(source)])


def test_a_uid_is_written_as_often_as_it_is_wanted(source: Path, tmp_path: Path) -> None:
    run(tmp_path, [3, 3, 3, 5], source)
    assert every_key(tmp_path / "out") == [f"{uid(3)}-{j}" for j in range(3)] + [f"{uid(5)}-0"]


def test_a_seed_shuffles_over_all_samples(source: Path, tmp_path: Path) -> None:
    orders: list[list[str]] = []
    for seed in (1, 1, 2):
        here = tmp_path / str(len(orders))
        here.mkdir()
        run(here, NUMBERS + NUMBERS[:5], source, seed=seed)
        orders.append(every_key(here / "out"))
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])
    tar_of = {uid(number): number // 10 for number in NUMBERS}
    assert all(
        len({tar_of[key.partition("-")[0]] for key in orders[0][start : start + 10]}) > 1
        for start in range(0, 30, 10)
    ), "samples of several tars in each stretch"


@pytest.mark.parametrize("workers", [1, 7])
def test_the_same_bytes_come_from_any_number_of_threads(
    source: Path, tmp_path: Path, workers: int
) -> None:
    run(tmp_path, NUMBERS, source, seed=0, workers=workers)
    tars = written(tmp_path / "out")
    other = tmp_path / "other"
    other.mkdir()
    run(other, NUMBERS, source, seed=0, workers=3)
    assert written(other / "out") == tars


def test_the_first_of_two_samples_with_a_uid_counts(source: Path, tmp_path: Path) -> None:
    second = folder(tmp_path / "second", {"00000000": [pair(3, 77), pair(100)]})
    done = run(tmp_path, [3, 100], source, second)
    assert (done.samples, done.repeated) == (2, 1)
    found = contents(written(tmp_path / "out")[0])
    assert found[f"{uid(3)}-0"]["jpg"] == pair(3).image


def test_inputs_may_be_tars_and_globs_and_be_named_twice(source: Path, tmp_path: Path) -> None:
    one, glob = source / "00000000.tar", source / "0000000[05].tar"
    done = run(tmp_path, [3, 52], one, glob, source, one)
    assert (done.samples, done.repeated) == (2, 0)


def test_the_output_is_no_input(source: Path, tmp_path: Path) -> None:
    file = subset(tmp_path / "subset.npy", [3, 52])
    for kept in (0, 1):
        done = reshard(file, str(source / "out"), [str(source)])
        assert (done.samples, done.kept, done.repeated) == (2, kept, 0)


def test_a_pool_is_an_input(made: MadeUp, tmp_path: Path) -> None:
    image_shards(made, [TARS["00000000"], TARS["00000001"]])
    for number in (0, 1):
        made.store.write_bytes(layout.shard_stats(layout.partition_key(0), number), b"{}")
    file = subset(tmp_path / "subset.npy", [2, 15])
    reshard(file, str(tmp_path / "out"), [made.store.uri()])
    assert every_key(tmp_path / "out") == [f"{uid(2)}-0", f"{uid(15)}-0"]


def rows(path: Path) -> None:
    """Rows beside each tar, with a failure that has a uid and no sample."""
    for name, pairs in TARS.items():
        keys = [f"{name}{place:09d}" for place in range(len(pairs))]
        columns = {"key": keys, "uid": [uid(one.number) for one in pairs], "url": keys}
        pq.write_table(pa.table(columns), path / f"{name}.parquet")


def test_tars_are_not_opened_whose_rows_have_no_uid_that_is_wanted(
    source: Path, tmp_path: Path
) -> None:
    rows(source)
    for name in ("00000000", "00000005"):
        (source / f"{name}.tar").write_bytes(b"never read")
    assert run(tmp_path, [12, 19], source).samples == 2


def test_a_subset_of_a_hundredth_does_not_read_the_rest(bucket: Bucket, tmp_path: Path) -> None:
    tars = {f"{n:08d}": [pair(n * 25 + i, 30_000) for i in range(25)] for n in range(8)}
    stored = {name: tar_bytes(pairs) for name, pairs in tars.items()}
    for name, content in stored.items():
        index_of(Tar(bucket.put(f"in/{name}.tar", content)))
    total = sum(map(len, stored.values()))
    before = bucket.relay.sent_bytes
    file = subset(tmp_path / "subset.npy", [60, 150])
    done = reshard(file, str(tmp_path / "out"), [f"{bucket.url}/in"])
    assert (done.samples, every_key(tmp_path / "out")) == (2, [f"{uid(60)}-0", f"{uid(150)}-0"])
    # The samples, a hundredth of it, the listing, and what servers say of each file.
    assert bucket.relay.sent_bytes - before < total / 50


def test_from_a_bucket_to_a_bucket(bucket: Bucket, tmp_path: Path) -> None:
    for name, pairs in TARS.items():
        bucket.put(f"in/{name}.tar", tar_bytes(pairs, prefix=name))
    file = bucket.put("subset.npy", Path(subset(tmp_path / "s.npy", NUMBERS)).read_bytes())
    for kept in (0, 8):
        done = reshard(file, f"{bucket.url}/out", [f"{bucket.url}/in"], Options(4, seed=5))
        assert (done.samples, done.shards, done.kept) == (30, 8, kept)
    run(tmp_path, NUMBERS, folder(tmp_path / "in", TARS), seed=5)
    fs, path = fsspec.url_to_fs(f"{bucket.url}/out", use_listings_cache=False)
    assert [fs.cat_file(f"{path}/{n:08d}.tar") for n in range(8)] == written(tmp_path / "out")


def test_samples_larger_than_what_is_read_at_once_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clip_assets.reshard.output.LARGE", 10_000)
    source = folder(tmp_path / "in", {"0": [pair(0, 9_000), pair(1, 70_000), pair(2, 10)]})
    run(tmp_path, [0, 1, 1, 2], source)
    (tar,) = written(tmp_path / "out")
    assert len(tar) % RECORDSIZE == 0
    found = contents(tar)
    assert found[f"{uid(1)}-1"] == pair(1, 70_000).members("0000000001")
    assert found[f"{uid(1)}-1"] == found[f"{uid(1)}-0"]


def test_uids_with_a_common_half_are_told_apart(tmp_path: Path) -> None:
    texts = [f"{first:016x}{second:016x}" for first in range(3) for second in range(40)]
    pairs = [pair(number) for number in range(len(texts))]
    for one, text in zip(pairs, texts, strict=True):
        one.fields["uid"] = text
    source = folder(tmp_path / "in", {"0": pairs})
    np.save(tmp_path / "s.npy", pairs_of(texts[::7]))
    reshard(str(tmp_path / "s.npy"), str(tmp_path / "out"), [str(source)])
    assert every_key(tmp_path / "out") == [f"{text}-0" for text in texts[::7]]
