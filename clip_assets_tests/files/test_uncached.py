"""A file that goes past the cache has the bytes that were appended, however they came."""

import errno
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from clip_assets.files import uncached
from clip_assets.files.uncached import BLOCK_BYTES, BUFFER_BYTES, UncachedFile

CONTENT = np.random.default_rng(0).bytes(2 * BUFFER_BYTES + 777)


@pytest.mark.parametrize("is_cached", [False, True])
@pytest.mark.parametrize("size", [1, BLOCK_BYTES, BUFFER_BYTES // 2 - 1, len(CONTENT)])
def test_bytes_arrive_in_order(tmp_path: Path, size: int, *, is_cached: bool) -> None:
    content = CONTENT[: min(len(CONTENT), 50_000 * size)]
    (path := tmp_path / "a").write_bytes(b"before")
    with UncachedFile(path, is_cached=is_cached) as file:
        for start in range(0, len(content), size):
            assert file.tell() == start
            file.write(content[start : start + size])
    assert path.read_bytes() == content


def test_bytes_may_be_put_into_the_file_s_own_memory(tmp_path: Path) -> None:
    size = BUFFER_BYTES // 2 - 512
    with UncachedFile(tmp_path / "a") as file:
        file.write(b"x")
        for number in range(5):
            room = file.room(size)
            room[:] = CONTENT[number : number + size]
            assert not number % 2 or not file.fill(size)
    told = b"".join(CONTENT[number : number + size] for number in (1, 3))
    assert (tmp_path / "a").read_bytes() == b"x" + told


@pytest.mark.parametrize("before", [1, BLOCK_BYTES])
def test_others_append_after_a_flush(tmp_path: Path, before: int) -> None:
    with UncachedFile(tmp_path / "a") as file:
        file.write(b"x" * before)
        file.flush()
        os.write(file.fileno(), b"y" * 10)
        assert file.tell() == before + 10
        file.write(CONTENT)
    assert (tmp_path / "a").read_bytes() == b"x" * before + b"y" * 10 + CONTENT


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="this system has nothing of the kind")
@pytest.mark.parametrize("failing", ["open", "write"])
def test_a_file_system_that_cannot_is_written_to_as_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    real_open, real_write = os.open, os.write
    refused: list[str] = []

    def opened(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT and failing == "open":
            refused.append(failing)
            raise OSError(errno.EINVAL, "no such thing here")
        return real_open(path, flags & ~os.O_DIRECT, mode)

    def written(file: int, content: memoryview) -> int:
        if failing == "write" and not refused:
            refused.append(failing)
            raise OSError(errno.EINVAL, "no such thing here")
        return real_write(file, content)

    monkeypatch.setattr(uncached.os, "open", opened)
    monkeypatch.setattr(uncached.os, "write", written)
    with UncachedFile(tmp_path / "a") as file:
        file.write(CONTENT)
    monkeypatch.undo()
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert len(refused) == 1


def test_what_fails_meanwhile_is_told_and_the_file_closed(tmp_path: Path) -> None:
    with suppress(KeyError), UncachedFile(tmp_path / "a") as file:
        file.room(10)[:] = b"0123456789"
        raise KeyError
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file.fileno())
    assert (tmp_path / "a").read_bytes() == b""
