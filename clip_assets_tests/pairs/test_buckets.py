"""Sources in buckets and on the hub, through the real protocols."""

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets.errors import SourceChangedError, SourceError, SourceMissingError
from clip_assets.files import fetching
from clip_assets.pairs.raw_pairs import raw_pairs
from clip_assets.partitions.ledger import PartitionPlan, add_sources
from clip_assets.partitions.listing import list_sources
from clip_assets.settings import SourceSettings
from clip_assets.storage.manifests import Report
from clip_assets.storage.store import Store
from clip_assets_tests.servers import Bucket, Hub
from clip_assets_tests.upstream import MadeUp

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body")  # gcsfs's own

ROWS = b"url,caption\n" + b"".join(b"http://x/%d,a\n" % number for number in range(1000))
BY_TEN_THOUSAND = SourceSettings(rows_per_partition=10_000)


def parquet(rows: int, group: int, tag: str = "") -> bytes:
    """Rows whose urls do not compress, 40 bytes each."""
    urls = [f"http://x/{os.urandom(16).hex()}{tag}" for _ in range(rows)]
    file = BytesIO()
    pq.write_table(pa.table({"url": urls}), file, row_group_size=group)
    return file.getvalue()


def read(store: Store, plan: PartitionPlan, options: SourceSettings = SourceSettings()) -> Report:  # noqa: B008
    return raw_pairs(MadeUp(store, sources=options).pool, plan.partition).manifest.report


def test_a_bucket_is_listed_and_planned_without_fetching_it(
    bucket: Bucket, local_store: Store
) -> None:
    content = parquet(100_000, 10_000)
    bucket.put("deep/er/b.parquet", content)
    bucket.put("a.csv.gz", b"not looked at")
    bucket.put("_unfinished/c.csv", ROWS)
    bucket.put("read.me", b"")
    before = bucket.relay.sent_bytes
    found = list_sources([bucket.url])
    assert [file.uri for file in found] == [
        f"{bucket.url}/{n}" for n in ("a.csv.gz", "deep/er/b.parquet")
    ]
    assert found[1].size_bytes == len(content)
    plans = add_sources(local_store, [f"{bucket.url}/deep"], BY_TEN_THOUSAND).plans
    assert [plan.ranges[0].rows for plan in plans] == [10_000] * 10
    assert bucket.relay.sent_bytes - before < len(content) / 4


def test_globs_in_a_bucket(bucket: Bucket) -> None:
    for name in ("a.csv", "b.csv", "c.jsonl", "folder/d.csv"):
        bucket.put(name, ROWS)
    found = [file.uri for file in list_sources([f"{bucket.url}/*.csv"])]
    assert found == [f"{bucket.url}/a.csv", f"{bucket.url}/b.csv"]
    assert list_sources([f"{bucket.url}/none*.csv"]) == []
    with pytest.raises(SourceMissingError, match=r"none\.csv"):
        list_sources([f"{bucket.url}/none.csv"])


def test_row_groups_in_a_bucket_are_read_where_they_are(bucket: Bucket, local_store: Store) -> None:
    content = parquet(600_000, 10_000)
    plans = add_sources(local_store, [bucket.put("a.parquet", content)], BY_TEN_THOUSAND).plans
    before = bucket.relay.sent_bytes
    assert read(local_store, plans[3], BY_TEN_THOUSAND).rows_out == 10_000
    assert bucket.relay.sent_bytes - before < len(content)
    assert local_store.list("work") == []


def test_text_in_a_bucket_is_fetched_and_goes_on_after_a_cut(
    bucket: Bucket, local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = b"url\n" + b"http://x/y\n" * 100_000
    (plan,) = add_sources(local_store, [bucket.put("a.csv", rows)], SourceSettings()).plans
    folder = Path(local_store.base, "work/raw_pairs/00000")
    monkeypatch.setattr(fetching, "BLOCK_BYTES", 100_000)
    whole = fetching.fetched(plan.ranges[0].file, folder)
    assert whole.read_bytes() == rows
    part = whole.rename(whole.with_suffix(".part"))
    with part.open("r+b") as file:
        file.truncate(950_000)
    before = bucket.relay.sent_bytes
    fetching.fetched(plan.ranges[0].file, folder)
    assert 200_000 <= bucket.relay.sent_bytes - before < 300_000
    assert read(local_store, plan).rows_out == 100_000


def test_a_file_of_a_bucket_that_changed_or_went_is_told(
    bucket: Bucket, local_store: Store
) -> None:
    uri = bucket.put("a.csv", ROWS)
    (plan,) = add_sources(local_store, [uri], SourceSettings()).plans
    assert add_sources(local_store, [uri, bucket.url], SourceSettings()).unchanged == 1
    bucket.put("a.csv", ROWS.replace(b"http://x/7,", b"http://y/7,"))
    with pytest.raises(SourceChangedError, match="add --refresh"):
        read(local_store, plan)
    (plan,) = add_sources(local_store, [uri], SourceSettings(), refresh=True).refreshed
    assert read(local_store, plan).rows_out == 1000
    fs, path = fsspec.url_to_fs(uri)
    fs.rm_file(path)
    (again,) = add_sources(local_store, [bucket.put("b.csv", ROWS)], SourceSettings()).plans
    fs.rm_file(path.replace("a.csv", "b.csv"))
    with pytest.raises(SourceMissingError, match=r"b\.csv"):
        read(local_store, again)


@pytest.mark.parametrize("uri", ["gs://nobody/a.csv", "s3://nobody/a.csv"])
def test_a_bucket_that_is_not_there_is_told(bucket: Bucket, uri: str) -> None:
    with pytest.raises(SourceMissingError, match="nobody"):
        list_sources([uri])


NAMES = [f"{number:032x}.parquet" for number in range(4)]


def test_a_published_pool_is_listed_by_name_and_planned_by_row_groups(
    hub: Hub, local_store: Store
) -> None:
    files = {name: parquet(20_000, 10_000) for name in NAMES}
    hub.files["mlfoundations/datacomp_xlarge"] = {
        **{f"part_{number % 2}/{name}": files[name] for number, name in enumerate(NAMES)},
        "README.md": b"",
        f"part_0/{NAMES[0]}.npz": b"",
    }
    found = list_sources(["datacomp:xlarge"])
    base = "hf://datasets/mlfoundations/datacomp_xlarge"
    assert [file.uri for file in found] == [
        f"{base}/part_{part}/{NAMES[2 * half + part]}" for part in (0, 1) for half in (0, 1)
    ]
    assert not any("/stored/" in request for request in hub.requests)
    added = add_sources(local_store, ["datacomp:xlarge"], BY_TEN_THOUSAND)
    assert [plan.ranges[0].rows for plan in added.plans] == [10_000] * 8
    assert all("bytes=" in request for request in hub.requests if "/stored/" in request)
    assert read(local_store, added.plans[5], BY_TEN_THOUSAND).rows_out == 10_000
    assert add_sources(local_store, [base], BY_TEN_THOUSAND).unchanged == 4


def test_a_data_set_of_the_hub_is_read_by_path(hub: Hub, local_store: Store) -> None:
    hub.files["some/data"] = {"train/a.csv": ROWS, "train/b.jsonl": b'{"url": "http://x/1"}\n'}
    (plan,) = add_sources(local_store, ["hf://datasets/some/data/train"], SourceSettings()).plans
    assert read(local_store, plan).rows_out == 1001
    assert list_sources(["hf://datasets/some/data/train/*.csv"])[0].size_bytes == len(ROWS)


def test_a_file_of_the_hub_that_changed_or_went_is_told(hub: Hub, local_store: Store) -> None:
    hub.files["some/data"] = {"a.csv": ROWS}
    (plan,) = add_sources(local_store, ["hf://datasets/some/data"], SourceSettings()).plans
    hub.files["some/data"]["a.csv"] = ROWS.replace(b"http://x/7,", b"http://y/7,")
    with pytest.raises(SourceChangedError, match="add --refresh"):
        read(local_store, plan)
    hub.files["some/data"] = {"b.csv": ROWS}
    with pytest.raises(SourceMissingError, match=r"a\.csv"):
        read(local_store, plan)
    with pytest.raises(SourceMissingError, match="some/other"):
        list_sources(["hf://datasets/some/other"])


LIST = """
import sys
from clip_assets.partitions.listing import list_sources
print(*(file.uri for file in list_sources(sys.argv[1:])), sep="\\n")
"""


def test_the_hub_that_the_environment_names_is_asked(hub: Hub) -> None:
    hub.files |= {
        f"mlfoundations/datacomp_{size}": {f"{size}.parquet": b"x"}
        for size in ("small", "medium", "large", "1b")
    }
    names = [f"datacomp:{size}" for size in ("small", "medium", "large", "1b", "datacomp_1b")]
    found = subprocess.run(
        [sys.executable, "-c", LIST, *names],
        env=os.environ | {"HF_ENDPOINT": hub.url},
        capture_output=True,
        text=True,
        check=True,
    )
    base = "hf://datasets/mlfoundations/datacomp_"
    assert found.stdout.split() == [
        f"{base}{size}/{size}.parquet" for size in ("1b", "large", "medium", "small")
    ]


def test_a_hub_that_nobody_answers_for_is_told(
    monkeypatch: pytest.MonkeyPatch, unused_url: str
) -> None:
    monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": unused_url})
    with pytest.raises(SourceError, match="network"):
        list_sources(["hf://datasets/some/data"])
