"""Sources behind a real web server, which also misbehaves."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets.errors import (
    ConfigurationError,
    SourceChangedError,
    SourceError,
    SourceMissingError,
)
from clip_assets.files import fetching
from clip_assets.pairs.raw_pairs import raw_pairs
from clip_assets.partitions.ledger import add_sources
from clip_assets.partitions.listing import list_sources
from clip_assets.settings import SourceSettings
from clip_assets.storage.store import Store
from clip_assets_tests.upstream import MadeUp
from clip_assets_tests.websites import Site


@pytest.fixture
def ingest(local_store: Store) -> Callable[..., Any]:
    def read(*patterns: str) -> Any:
        options = SourceSettings()
        (plan,) = add_sources(local_store, patterns, options).plans
        return raw_pairs(MadeUp(local_store, sources=options).pool, plan.partition).manifest.report

    return read


ROWS = b"url,caption\n" + b"".join(b"http://x/%d,a\n" % number for number in range(1000))


def test_a_directory_page_is_a_listing(site: Site) -> None:
    site.files["/pool/"] = b'<a href="b.csv">b</a> <a href="a.parquet">a</a> <a href="x.md">x</a>'
    site.files |= {"/pool/a.parquet": b"1", "/pool/b.csv": b"22", "/pool/x.md": b""}
    found = list_sources([f"{site.url}/pool/"])
    assert [file.uri.removeprefix(site.url) for file in found] == ["/pool/a.parquet", "/pool/b.csv"]
    assert [file.size_bytes for file in found] == [1, 2]
    assert not any(request.startswith("GET /pool/a") for request in site.requests)


def test_remote_text_is_fetched_and_read(site: Site, ingest: Any, local_store: Store) -> None:
    site.files["/a.csv"] = ROWS
    assert ingest(f"{site.url}/a.csv").rows_out == 1000
    assert local_store.list("work") == []


def test_remote_row_groups_are_read_where_they_are(
    site: Site, local_store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    noise = [f"http://x/{hash(str(number))}" for number in range(200_000)]
    pq.write_table(pa.table({"url": noise}), path, row_group_size=20_000)
    site.files["/a.parquet"] = path.read_bytes()
    options = SourceSettings(rows_per_partition=20_000)
    plans = add_sources(local_store, [f"{site.url}/a.parquet"], options).plans
    assert len(plans) == 10
    site.requests.clear()
    report = raw_pairs(
        MadeUp(local_store, sources=options).pool, plans[4].partition
    ).manifest.report
    assert report.rows_out == 20_000


def test_a_server_without_ranges_sends_a_file_once(
    site: Site, local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.knows_ranges = False
    site.files["/a.csv"] = b"url,caption\n" + (b"http://x/1," + b"y" * 1000 + b"\n") * 20_000
    monkeypatch.setattr(fetching, "BLOCK_BYTES", 1 << 20)
    (plan,) = add_sources(local_store, [f"{site.url}/a.csv"], SourceSettings()).plans
    site.sent_bytes = 0
    report = raw_pairs(MadeUp(local_store).pool, plan.partition).manifest.report
    assert report.rows_out == 20_000
    # Besides the file there is what a broken-off connection holds on its way.
    assert site.sent_bytes < 1.7 * len(site.files["/a.csv"])


def test_a_parquet_file_is_read_from_a_server_without_ranges(
    site: Site, local_store: Store, tmp_path: Path
) -> None:
    site.knows_ranges = False
    pq.write_table(pa.table({"url": ["http://x/1"] * 100}), tmp_path / "a", row_group_size=10)
    site.files["/a.parquet"] = (tmp_path / "a").read_bytes()
    options = SourceSettings(rows_per_partition=10)
    (plan,) = add_sources(local_store, [f"{site.url}/a.parquet"], options).plans
    report = raw_pairs(MadeUp(local_store, sources=options).pool, plan.partition).manifest.report
    assert report.rows_out == 100
    assert local_store.list("work") == []


def test_an_archive_that_is_called_an_encoding_arrives_as_it_is(site: Site, ingest: Any) -> None:
    site.encoding = "gzip"
    site.files["/a.csv.gz"] = gzip.compress(ROWS)
    assert ingest(f"{site.url}/a.csv.gz").rows_out == 1000


def test_many_files_are_looked_into_side_by_side(site: Site, local_store: Store) -> None:
    site.answers_slowly = True
    names = [f"/{number}.csv" for number in range(12)]
    site.files |= dict.fromkeys(names, ROWS)
    add_sources(local_store, [site.url + name for name in names], SourceSettings())
    assert site.most_at_once > 1


def test_a_file_that_changed_on_the_server_is_told(site: Site, local_store: Store) -> None:
    site.files["/a.csv"] = ROWS
    (plan,) = add_sources(local_store, [f"{site.url}/a.csv"], SourceSettings()).plans
    site.etags["/a.csv"] = '"2"'
    with pytest.raises(SourceChangedError, match="add --refresh"):
        raw_pairs(MadeUp(local_store).pool, plan.partition)


def test_a_file_that_is_gone_from_the_server_is_told(site: Site, local_store: Store) -> None:
    site.files["/a.csv"] = ROWS
    (plan,) = add_sources(local_store, [f"{site.url}/a.csv"], SourceSettings()).plans
    del site.files["/a.csv"]
    with pytest.raises(SourceMissingError, match=r"a\.csv"):
        raw_pairs(MadeUp(local_store).pool, plan.partition)


@pytest.mark.parametrize("knows_ranges", [True, False])
@pytest.mark.parametrize("lie", ["says_bytes_more", "head_says_bytes_more"])
def test_a_server_that_lies_about_the_length_is_told(
    site: Site, ingest: Any, lie: str, knows_ranges: bool
) -> None:
    site.knows_ranges = knows_ranges
    setattr(site, lie, 100)
    site.files["/a.csv"] = ROWS
    with pytest.raises(SourceError, match=r"a\.csv"):
        ingest(f"{site.url}/a.csv")


@pytest.mark.parametrize(
    ("name", "label", "pack"),
    [
        ("a.csv", "gzip", gzip.compress),
        ("a.csv", "", lambda content: pa.compress(content, codec="zstd", asbytes=True)),
        ("a.csv.gz", "gzip", lambda content: gzip.compress(gzip.compress(content))),
        ("a.csv.gz", "", bytes),
        ("a.csv.br", "", lambda content: pa.compress(content, codec="brotli", asbytes=True)),
        ("a.csv", "gzip", bytes),
    ],
    ids=["labelled", "zstd", "twice", "named", "brotli", "a label that is not true"],
)
def test_what_is_compressed_is_read_whatever_it_is_called(
    site: Site, ingest: Any, name: str, label: str, pack: Callable[[bytes], bytes]
) -> None:
    site.files[f"/{name}"] = pack(ROWS)
    site.encoding = label
    assert ingest(f"{site.url}/{name}").rows_out == 1000


def test_a_parquet_file_that_is_compressed_on_its_way_is_read(
    site: Site, ingest: Any, tmp_path: Path
) -> None:
    """Its parts are no parts of the file, though the server sends them."""
    pq.write_table(pa.table({"url": ["http://x/1"]}), path := tmp_path / "a.parquet")
    site.files["/a.parquet"] = gzip.compress(path.read_bytes())
    site.encoding = "gzip"
    assert ingest(f"{site.url}/a.parquet").rows_out == 1


def test_a_secret_can_be_a_variable_of_the_environment(
    site: Site, local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["/a.csv?auth=s3cr3tvalue"] = ROWS
    named = f"{site.url}/a.csv?auth=${{SOURCE_AUTH}}"
    with pytest.raises(ConfigurationError, match="SOURCE_AUTH in the environment"):
        list_sources([named])
    monkeypatch.setenv("SOURCE_AUTH", "s3cr3tvalue")
    (plan,) = add_sources(local_store, [named], SourceSettings()).plans
    assert [source.uri for source in plan.ranges] == [named]
    pool = MadeUp(local_store).pool
    assert raw_pairs(pool, plan.partition).manifest.report.rows_out == 1000
    site.status = 403
    with pytest.raises(SourceError) as refused:
        list_sources([named])
    files = [path for path in Path(local_store.base).rglob("*") if path.is_file()]
    stored = b"".join(file.read_bytes() for file in files)
    assert "s3cr3t" not in str(refused.value)
    assert b"s3cr3t" not in stored


@pytest.mark.parametrize("name", ["a%3Fb.csv", "a%23b.csv", "a%20%E9.csv"])
def test_signs_in_a_name_that_is_listed_are_part_of_it(site: Site, ingest: Any, name: str) -> None:
    site.files |= {"/pool/": f'<a href="{name}">a</a>'.encode(), f"/pool/{name}": ROWS}
    assert ingest(f"{site.url}/pool/").rows_out == 1000
