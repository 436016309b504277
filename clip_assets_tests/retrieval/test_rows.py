"""Rows by id and by uid are those of the partitions, in any order, mapped or not."""

import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip_assets import layout, schemas
from clip_assets.errors import SchemaError
from clip_assets.files.kept import Kept
from clip_assets.index import mapped_rows, versions
from clip_assets.retrieval import rows as rows_of
from clip_assets.retrieval.rows import Rows
from clip_assets.storage import uids
from clip_assets.storage.store import Store
from clip_assets_tests.index.conftest import RandomVectors
from clip_assets_tests.servers import Bucket

COUNTS = (5, 5000, 0, 40)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RandomVectors:
    """A pool whose second partition was embedded anew, so that ids of it are out of use."""
    pool = RandomVectors(Store.open(str(tmp_path_factory.mktemp("rows") / "pool")))
    for number, count in enumerate(COUNTS):
        pool.embed(number, count)
    pool.index()
    pool.embed(0, 7, content="new")
    pool.index()
    return pool


@pytest.fixture(params=["mapped", "parquet"])
def rows(made: RandomVectors, request: pytest.FixtureRequest) -> Iterator[Rows]:
    """The rows as a disk has them, and as an object store or an earlier release does."""
    version = versions.read(made.store, str(versions.current(made.store)))
    with ExitStack() as stack:
        opened = Rows(made.store, version, stack)
        if request.param == "parquet":
            opened._store = WithoutMapped(made.store)
        yield opened


class WithoutMapped(Store):
    """A store of files that were written before there were mapped ones."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.base)

    def exists(self, path: str) -> bool:
        return "/mapped/" not in path and super().exists(path)


def caption(place: int) -> str | None:
    """What was put there: the first partition's ids are out of use, its new ones are the last."""
    if place < COUNTS[0]:
        return None
    if place < COUNTS[0] + COUNTS[1]:
        return f"00001-{place - COUNTS[0]}"
    if place < sum(COUNTS):
        return f"00003-{place - COUNTS[0] - COUNTS[1]}"
    return f"00000new-{place - sum(COUNTS)}"


ALL = sum(COUNTS) + 7
ids = st.lists(st.integers(0, ALL - 1), max_size=30)
runs = st.tuples(st.integers(0, ALL), st.integers(0, ALL)).map(lambda ends: list(range(*ends)))
same_fixture = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@same_fixture
@given(wanted=ids | runs)
def test_rows_come_in_the_order_of_their_ids(rows: Rows, wanted: list[int]) -> None:
    table = rows.table(np.array(wanted, np.int64), ["caption", "width"])
    assert table.column_names == ["caption", "width"]
    assert table["caption"].to_pylist() == [caption(place) for place in wanted]


@same_fixture
@given(wanted=ids, others=st.lists(st.integers(0, 2**128 - 1), max_size=3))
def test_uids_lead_to_their_ids(rows: Rows, wanted: list[int], others: list[int]) -> None:
    used = [place for place in wanted if place >= COUNTS[0]]
    named = rows.table(np.array(used, np.int64), ["uid"])["uid"].to_pylist()
    found = rows.find([*named, *(f"{number:032x}" for number in others)])
    assert found[: len(used)].tolist() == used
    assert (found[len(used) :] == -1).all()


def test_whole_rows_are_those_of_the_parquet_file(made: RandomVectors, rows: Rows) -> None:
    stored = made.vectors(layout.partition_key(1))
    read = rows.read(range(COUNTS[0], COUNTS[0] + len(stored)))
    assert read == [
        dict.fromkeys(schemas.INDEX_ROWS.names)
        | row
        | {"image_path": f"00001/00000/{place:08d}", "key": f"{place:08d}"}
        for place, row in enumerate(made.rows(layout.partition_key(1), COUNTS[1]))
    ]


def test_what_is_no_uid_is_refused(rows: Rows) -> None:
    with pytest.raises(SchemaError, match="32 hex digits"):
        rows.find(["nothing"])


def test_of_uids_that_are_there_twice_the_first_row_is_found(tmp_path: Path) -> None:
    names = ["0" * 32, "f" * 32, "0" * 16 + "f" * 16, "f" * 32, "0" * 32]
    nothing = {name: [None] * len(names) for name in schemas.INDEX_ROWS.names}
    batch = pa.RecordBatch.from_pydict(nothing | {"uid": names}, schemas.INDEX_ROWS)
    keys = mapped_rows.write(tmp_path / "rows", [batch])
    mapped_rows.write_uids(tmp_path / "uids", keys)
    wanted = uids.pairs(pa.chunked_array([[*names, "0" * 31 + "1"]], pa.string()))
    with ExitStack() as stack:
        mapped = mapped_rows.MappedRows(tmp_path / "rows", tmp_path / "uids", stack, Kept())
        assert mapped.find(wanted).tolist() == [0, 1, 2, 1, 0, -1]


def test_what_is_kept_of_mapped_rows_stays_within_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_rows, "BATCH_ROWS", 2)
    names = [f"{number:032x}" for number in range(1_000)]
    texts = {field.name: names for field in schemas.INDEX_ROWS if field.type == pa.string()}
    every = dict.fromkeys(schemas.INDEX_ROWS.names, [7] * len(names)) | texts
    table = pa.Table.from_pydict(every, schemas.INDEX_ROWS)
    keys = mapped_rows.write(tmp_path / "rows", table.to_batches(max_chunksize=2))
    mapped_rows.write_uids(tmp_path / "uids", keys)
    most_bytes = 20 * mapped_rows.BATCH_BYTES
    with ExitStack() as stack:
        files = tmp_path / "rows", tmp_path / "uids"
        mapped = mapped_rows.MappedRows(*files, stack, kept := Kept(most_bytes))
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        for place, name in [*enumerate(names), (3, names[3])]:
            row = mapped.row(place)
            assert {column: row(column) for column in texts} == dict.fromkeys(texts, name)
        assert 0 < kept.size_bytes <= most_bytes
        assert tracemalloc.get_traced_memory()[0] < most_bytes


@pytest.mark.parametrize("files", ["mapped/uids", "metadata"])
def test_uids_of_an_object_store_lead_where_those_of_a_disk_do(
    made: RandomVectors, bucket: Bucket, files: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = versions.read(made.store, str(versions.current(made.store)))
    # Nothing else is needed: parquet by a release before there were others, and else none of it.
    for name in made.store.list(f"{layout.version_folder(version.name)}/{files.split('/')[0]}"):
        if files in name:
            bucket.put(name, made.store.read_bytes(name))
    with ExitStack() as stack:
        here, far = (Rows(store, version, stack) for store in (made.store, Store(bucket.url)))
        named = here.table(np.arange(ALL), ["uid"])["uid"].drop_null().to_pylist()
        for wanted in ([named[-1]], [], [*named[::7], "f" * 32, "0" * 32, *named[:2] * 2]):
            assert far.find(wanted).tolist() == here.find(wanted).tolist()
            asked = uids.pairs(pa.chunked_array([wanted], pa.string()))
            assert far.every(asked).tolist() == here.every(asked).tolist()
        monkeypatch.setattr(rows_of, "UID_BYTES", 1)  # range after range
        assert far.find(named[-2:]).tolist() == here.find(named[-2:]).tolist()
