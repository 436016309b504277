"""A run that was killed at any moment is gone on with, and gives the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clip_assets.errors import SchemaError
from clip_assets.reshard.resharding import Options, reshard
from clip_assets.webdataset.indices import Tar, index_of
from clip_assets_tests.reshard.tars import folder, pair, subset, written


def finished(out: Path) -> int:
    return len([*out.glob("*_stats.json")])


@pytest.mark.parametrize("after", [0, 20])
def test_a_killed_run_is_gone_on_with(tmp_path: Path, after: int) -> None:
    source = folder(tmp_path / "in", {"0": [pair(n) for n in range(150)]})
    file, out = subset(tmp_path / "s.npy", range(150)), tmp_path / "out"
    options = ["--input", str(source), "--shard-size", "1", "--shuffle", "1", "--workers", "2"]
    probe = "from clip_assets.cli import main; main()"
    command = [sys.executable, "-c", probe, "-q", "reshard", "--subset", file]
    process = subprocess.Popen([*command, "--output", str(out), *options])
    while not (out / "sample_ids.npy").exists() or finished(out) < after:
        assert process.poll() is None, "it is killed before it is done"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = finished(out)
    assert after <= before < 150

    done = reshard(file, str(out), [str(source)], Options(1, seed=1))

    assert (done.samples, done.kept) == (150, before)
    reshard(file, str(tmp_path / "whole"), [str(source)], Options(1, seed=1))
    assert written(out) == written(tmp_path / "whole")
    assert not (out / ".tmp").exists()


def test_a_tar_without_its_stats_is_written_again(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"0": [pair(n) for n in range(4)]})
    file, out = subset(tmp_path / "s.npy", range(4)), tmp_path / "out"
    reshard(file, str(out), [str(source)], Options(2))
    whole = written(out)
    (out / "00000001_stats.json").unlink()
    (out / "00000001.tar").write_bytes(b"half")
    assert reshard(file, str(out), [str(source)], Options(2)).kept == 1
    assert written(out) == whole
    assert json.loads((out / "meta.json").read_text())["shards"] == 2


def test_of_shards_that_fail_the_first_is_told_and_whole_ones_stay(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {str(n): [pair(n)] for n in range(9)})
    file, out = subset(tmp_path / "s.npy", range(9)), tmp_path / "out"
    # Its index is kept, and it is cut since, at the same time.
    tar, before = source / "7.tar", (source / "7.tar").stat()
    index_of(Tar(str(tar)))
    tar.write_bytes(bytes(before.st_size))
    os.utime(tar, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(SchemaError, match="changed") as caught:
        reshard(file, str(out), [str(source)], Options(1, workers=1))
    assert caught.value.where == str(tar)
    assert not [*out.glob("00000007*")]
    assert finished(out) >= 7
    assert not (out / "meta.json").exists()
