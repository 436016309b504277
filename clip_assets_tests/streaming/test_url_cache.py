"""Files are kept within bytes, survive kills and full disks, and may become shards."""

import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets import bricks
from clip_assets.bricks.datum import Datum
from clip_assets.errors import ConfigurationError
from clip_assets.partitions.adoptable import shards_in
from clip_assets.pool import takedowns
from clip_assets.settings import DownloadSettings
from clip_assets.streaming import url_cache
from clip_assets.streaming.url_cache import UrlCache
from clip_assets_tests.models import draw, encoded
from clip_assets_tests.streaming.conftest import Streamed, uid_of

SETTINGS = DownloadSettings(image_size=32, extract_exif=False)


def datum(number: int, image: bytes | None = None) -> Datum:
    fields = {"uid": uid_of(number), "url": f"http://h/{number}.jpg", "query": "red"}
    image = encoded(draw(number)) if image is None else image
    return Datum(uid_of(number), f"caption {number}", fields, image)


def there(cache: UrlCache, numbers: range) -> list[int]:
    return [number for number in numbers if cache.read(datum(number)) is not None]


def stored_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if len(file.name) == 32)


def test_a_file_is_what_was_kept(tmp_path: Path) -> None:
    UrlCache(tmp_path / "c").keep(datum(1))
    again = UrlCache(tmp_path / "c")
    assert uid_of(1) in again
    assert again.read(datum(1, b"")) == datum(1)
    other = Datum(uid_of(1), "caption 1", {"uid": uid_of(1), "url": "http://other/1.jpg"})
    assert again.read(other) is None  # a uid that another source gives another url


def test_the_oldest_go_for_newer_ones(tmp_path: Path) -> None:
    size = len(encoded(draw(0))) + 500
    cache = UrlCache(tmp_path, max_bytes=10 * size)
    for number in range(30):
        cache.keep(datum(number, bytes(size - 300)))
        assert stored_bytes(tmp_path) <= 10 * size
    kept = there(cache, range(30))
    assert kept == [*range(30 - len(kept), 30)]
    assert len(kept) >= 8
    # A process that opens it later keeps to the same bytes.
    later = UrlCache(tmp_path, max_bytes=5 * size)
    later.keep(datum(30, bytes(size - 300)))
    assert stored_bytes(tmp_path) <= 5 * size
    cache.keep(datum(31, bytes(11 * size)))  # larger than all
    assert uid_of(31) not in cache
    with pytest.raises(ConfigurationError, match="max_bytes: found 0"):
        UrlCache(tmp_path, max_bytes=0)


def test_processes_keep_to_the_bytes_together(tmp_path: Path) -> None:
    whole = UrlCache(tmp_path, max_bytes=20_000)
    for number in range(16):
        whole.keep(datum(number, bytes(1_000)))
    shares = [whole.of_process(number, 2) for number in range(2)]
    for number in range(100, 140):
        shares[number % 2].keep(datum(number, bytes(1_000)))
    assert 10_000 < stored_bytes(tmp_path) <= 20_000
    # A file that another process removed is none, not an error.
    removed = next(number for number in range(16) if uid_of(number) in shares[0])
    UrlCache(tmp_path).remove(uid_of(removed))
    assert shares[0].read(datum(removed)) is None


PROGRAM = """
import sys
from clip_assets.bricks.datum import Datum
from clip_assets.streaming.url_cache import UrlCache
cache = UrlCache(sys.argv[1])
for number in range(10**6):
    uid = f"{number:032x}"
    cache.keep(Datum(uid, None, {"uid": uid, "url": uid}, bytes(50_000)))
    cache.keep_fault(f"{number + 10**7:032x}", "http 404")
"""


def test_a_killed_process_leaves_whole_files_alone(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)])
    while len(list(tmp_path.rglob("*"))) < 200:
        time.sleep(0.01)
    process.kill()
    process.wait()
    cache = UrlCache(tmp_path)
    assert len(cache) >= 50
    for uid in (f"{number:032x}" for number in range(len(cache))):
        found = cache.read(Datum(uid, None, {"uid": uid, "url": uid}))
        assert found is not None
        assert found.image == bytes(50_000)
    assert cache.fault(f"{10**7:032x}") == "http 404"
    # What it was writing is removed when nobody can be writing it any more.
    (part := tmp_path / f"{url_cache.PART}x").write_bytes(b"half")
    UrlCache(tmp_path)
    assert part.exists()


def test_what_is_cut_or_no_file_of_ours_counts_as_none(tmp_path: Path) -> None:
    cache = UrlCache(tmp_path)
    cache.keep(datum(1))
    cache.keep(datum(2))
    file = tmp_path / uid_of(1)[:2] / uid_of(1)
    file.write_bytes(file.read_bytes()[:-5])
    (tmp_path / uid_of(2)[:2] / uid_of(2)).write_bytes(b"[1]\nimage")
    (tmp_path / "faults.txt").write_bytes(b"\xff\xfe broken\nhalf a line")
    cache = UrlCache(tmp_path)
    assert there(cache, range(3)) == []
    assert list(cache.data()) == []
    cache.keep(datum(1))
    assert there(cache, range(3)) == [1]


def test_what_was_in_vain_is_tried_again_another_day(tmp_path: Path) -> None:
    cache = UrlCache(tmp_path)
    cache.keep_fault(uid_of(1), "http_404")
    old = f"{uid_of(2)} {time.time() - url_cache.FAULT_S - 9:.0f} http_404\n"
    with (tmp_path / url_cache.FAULTS).open("a") as file:
        file.write(old)
    again = UrlCache(tmp_path)
    assert [again.fault(uid_of(number)) for number in (1, 2, 3)] == ["http_404", None, None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    (folder := tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_told_once_and_is_no_cache(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = UrlCache(disk)
    with caplog.at_level(logging.WARNING):
        for number in range(40):
            cache.keep(datum(number, bytes(50_000)))
            cache.keep_fault(uid_of(number + 100), "http_404")
    assert [record.message.partition(": ")[2] for record in caplog.records] == [
        "nothing more is kept there: No space left on device"
    ]
    kept = there(cache, range(40))
    assert 5 < len(kept) < 40
    assert shutil.disk_usage(disk).free < 100_000


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigurationError, match="a folder to write in"):
        UrlCache(tmp_path / "file")


def test_what_is_there_becomes_shards(streamed: Streamed, tmp_path: Path) -> None:
    cache = UrlCache(tmp_path / "cache")
    for number in range(25):
        cache.keep(datum(number))
    cache.keep(datum(25, b"no image"))
    none = pa.table({"uid": pa.array([], pa.string()), "url": pa.array([], pa.string())})
    takedowns.take_down(streamed.store, [uid_of(7)], [], none, None)
    where = str(tmp_path / "tars")
    outcomes = cache.to_tars(where, SETTINGS, shard=10, pool=streamed.pool)
    assert (outcomes.data, dict(outcomes.faults)) == (25, {"not_an_image": 1})
    assert [piece.piece.rows for piece in shards_in(where)] == [10, 10, 5]
    rows = pq.read_table(f"{where}/00000.parquet").to_pylist()
    assert {"uid", "url", "caption", "key", "status", "width", "sha256"} <= rows[0].keys()
    told = {sample.uid: sample.caption for sample in bricks.from_tars(where)}
    assert told == {uid_of(n): f"caption {n}" for n in range(25) if n != 7}
