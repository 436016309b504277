"""Sources behind a real web server, which also misbehaves."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets.errors import SourceChangedError, SourceError, SourceMissingError
from clip_assets.pairs import fetching
from clip_assets.pairs.ingest import raw_pairs
from clip_assets.partitions import remote
from clip_assets.partitions.ledger import add_sources
from clip_assets.partitions.listing import list_sources
from clip_assets.settings import Sources
from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store


@dataclass
class Site:
    """What the server has, and how it behaves."""

    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    etags: dict[str, str] = field(default_factory=dict[str, str])
    requests: list[str] = field(default_factory=list[str])
    knows_ranges: bool = True
    says_bytes_more: int = 0
    stalls: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    url: str = ""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    found = Site()
    # One file system per url and process is kept by fsspec; its session ends with the server.
    monkeypatch.setattr(remote, "STALL_S", 1)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            content = found.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            asked = self.headers.get("Range")
            found.requests.append(f"{self.command} {self.path} {asked or ''}".strip())
            status, total = 200, len(content)
            if asked and found.knows_ranges:
                first, _, last = asked.removeprefix("bytes=").partition("-")
                status, content = 206, content[int(first) : int(last or total) + 1]
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) + found.says_bytes_more))
            self.send_header("ETag", found.etags.get(self.path, '"1"'))
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "x/y")
            if found.knows_ranges:
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Range", f"bytes 0-{len(content) - 1}/{total}")
            self.end_headers()
            if with_body:
                if found.stalls:
                    found.stop.wait(20)
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    found.stop.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def ingest(local_store: Store) -> Callable[..., Any]:
    def read(*patterns: str) -> Any:
        options = Sources()
        (plan,) = add_sources(local_store, patterns, options).plans
        return raw_pairs(Catalog(local_store), plan.partition, options).manifest.report

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
    options = Sources(rows_per_partition=20_000)
    plans = add_sources(local_store, [f"{site.url}/a.parquet"], options).plans
    assert len(plans) == 10
    site.requests.clear()
    report = raw_pairs(Catalog(local_store), plans[4].partition, options).manifest.report
    assert report.rows_out == 20_000


def test_a_fetch_that_was_cut_off_goes_on(
    site: Site, ingest: Any, local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "BLOCK_BYTES", 1000)
    site.files["/a.csv"] = ROWS
    folder = Path(local_store.base, "work/raw_pairs/00000")
    (plan,) = add_sources(local_store, [f"{site.url}/a.csv"], Sources(), dry_run=True).plans
    whole = fetching.fetched(plan.ranges[0], folder)
    whole.rename(whole.with_suffix(".part")).open("r+b").close()
    with whole.with_suffix(".part").open("r+b") as part:
        part.truncate(5500)
    site.requests.clear()
    assert ingest(f"{site.url}/a.csv").rows_out == 1000
    starts = [
        request.split("bytes=")[1].split("-")[0] for request in site.requests if "bytes=" in request
    ]
    assert starts[-1] == str(len(ROWS) // 1000 * 1000)
    assert "5000" in starts
    assert not {"1000", "2000", "3000", "4000"} & set(starts)


def test_a_server_without_ranges_sends_everything_once(site: Site, ingest: Any) -> None:
    site.knows_ranges = False
    site.files["/a.csv"] = ROWS
    assert ingest(f"{site.url}/a.csv").rows_out == 1000


def test_a_file_that_changed_on_the_server_is_told(site: Site, local_store: Store) -> None:
    site.files["/a.csv"] = ROWS
    (plan,) = add_sources(local_store, [f"{site.url}/a.csv"], Sources()).plans
    site.etags["/a.csv"] = '"2"'
    with pytest.raises(SourceChangedError, match="add --refresh"):
        raw_pairs(Catalog(local_store), plan.partition, Sources())


def test_a_file_that_is_gone_from_the_server_is_told(site: Site, local_store: Store) -> None:
    site.files["/a.csv"] = ROWS
    (plan,) = add_sources(local_store, [f"{site.url}/a.csv"], Sources()).plans
    del site.files["/a.csv"]
    with pytest.raises(SourceMissingError, match=r"a\.csv"):
        raw_pairs(Catalog(local_store), plan.partition, Sources())


def test_a_server_that_lies_about_the_length_is_told(site: Site, ingest: Any) -> None:
    site.says_bytes_more = 100
    site.files["/a.csv"] = ROWS
    with pytest.raises(SourceError, match=r"a\.csv"):
        ingest(f"{site.url}/a.csv")


def test_a_server_that_stalls_is_told(site: Site, local_store: Store) -> None:
    site.files["/a.csv"] = ROWS
    (plan,) = add_sources(local_store, [f"{site.url}/a.csv"], Sources()).plans
    site.stalls = True
    with pytest.raises(SourceError, match=r"a\.csv"):
        raw_pairs(Catalog(local_store), plan.partition, Sources())
