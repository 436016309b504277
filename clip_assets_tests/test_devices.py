"""One process for a device, whatever the orchestrator thinks."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clip_assets import devices
from clip_assets.errors import DeviceBusyError

HOLDER = """
import os, sys, time
from pathlib import Path
from clip_assets import devices
with devices.leased(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])) as places:
    print(*places, os.environ.get("CUDA_VISIBLE_DEVICES", ""), flush=True)
    time.sleep(60)
"""


def holder(setting: str, folder: Path, count: int = 1, **variables: str) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if name != devices.VISIBLE}
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, setting, str(count), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment | variables,
    )


def answer(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def stop(*processes: "subprocess.Popen[str]") -> None:
    for process in processes:
        process.kill()
        process.communicate()


def test_each_process_sees_its_own_device(tmp_path: Path) -> None:
    first, second = holder("0,1", tmp_path), holder("0,1", tmp_path)
    try:
        assert {answer(first), answer(second)} == {"cuda:0 0", "cuda:0 1"}
    finally:
        stop(first, second)


def test_a_process_may_have_several_devices(tmp_path: Path) -> None:
    first = holder("0,1,2,3", tmp_path, 3)
    assert answer(first) == "cuda:0 cuda:1 cuda:2 0,1,2"
    second = holder("0,1,2,3", tmp_path, 2)
    _, errors = second.communicate(timeout=120)
    third = holder("0,1,2,3", tmp_path)
    try:
        assert "expected 2 free" in errors
        assert "concurrency set gpu 2" in errors
        assert answer(third) == "cuda:0 3", "what was not enough was given back"
    finally:
        stop(first, second, third)


def test_one_process_too_many_is_an_error_that_names_the_limit(tmp_path: Path) -> None:
    first = holder("0", tmp_path)
    assert answer(first) == "cuda:0 0"
    second = holder("0", tmp_path)
    try:
        _, errors = second.communicate(timeout=120)
        assert "DeviceBusyError" in errors
        assert "dagster instance concurrency set gpu 1" in errors
    finally:
        stop(first, second)


def test_killed_process_frees_its_device(tmp_path: Path) -> None:
    first = holder("0", tmp_path)
    assert answer(first) == "cuda:0 0"
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    second = holder("0", tmp_path)
    try:
        assert answer(second) == "cuda:0 0"
    finally:
        stop(second)


def test_choice_of_a_cluster_stands(tmp_path: Path) -> None:
    first, second = (holder("0", tmp_path, CUDA_VISIBLE_DEVICES="3") for _ in range(2))
    try:
        assert [answer(first), answer(second)] == ["cuda:0 3", "cuda:0 3"]
        assert list(tmp_path.iterdir()) == []
    finally:
        stop(first, second)


def test_machine_without_devices_computes_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(devices.VISIBLE, raising=False)
    with devices.leased("none", 2, tmp_path) as first, devices.leased("none") as second:
        assert first == second == ["cpu"]


def test_driver_is_asked_which_devices_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    query = tmp_path / "nvidia-smi"
    query.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    query.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert devices.installed() == ["0", "1"]
    query.write_text("#!/bin/sh\necho driver mismatch\nexit 9\n")
    with caplog.at_level("WARNING"):
        assert devices.installed() == []
    assert "nvidia-smi failed (9): driver mismatch" in caplog.text


@pytest.mark.parametrize(
    ("setting", "visible", "count", "places"),
    [
        ("none", "0", 1, ["cpu"]),
        ("auto", "", 1, ["cpu"]),
        ("auto", "-1", 2, ["cpu"]),
        ("auto", "3,4", 1, ["cuda:0"]),
        ("auto", "3,4,5", 2, ["cuda:0", "cuda:1"]),
    ],
)
def test_exported_variable_is_understood(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    visible: str,
    count: int,
    places: list[str],
) -> None:
    monkeypatch.setenv(devices.VISIBLE, visible)
    with devices.leased(setting, count, tmp_path) as leased:
        assert leased == places


def test_fewer_devices_than_a_step_wants_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(devices.VISIBLE, "3")
    with (
        pytest.raises(DeviceBusyError, match=r"1 devices \(3\), expected 2, as devices_per_step"),
        devices.leased("auto", 2),
    ):
        raise AssertionError


def test_lock_is_for_every_user_whatever_the_umask(tmp_path: Path) -> None:
    first = holder("0", tmp_path)
    try:
        assert answer(first) == "cuda:0 0"
        (lock,) = tmp_path.iterdir()
        assert lock.stat().st_mode & 0o777 == 0o666
    finally:
        stop(first)
    lock.chmod(0o444)
    second = holder("0", tmp_path)
    try:
        assert answer(second) == "cuda:0 0", "a file of another user is locked without writing"
    finally:
        stop(second)


def test_lock_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.delenv(devices.VISIBLE, raising=False)
    monkeypatch.setattr(devices, "_opened", refuse)
    with (
        pytest.raises(DeviceBusyError, match=r"device-0\.lock, which this user may not"),
        devices.leased("0", 1, tmp_path),
    ):
        pass
