"""Accelerators of this machine, each for one process.

A file lock per device, held for the time of a lease and freed by the kernel whatever ends
the process. It stands outside the orchestrator on purpose: should a concurrency limit there
be wrong, the result is an error and never two models on one card.
"""

import fcntl
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from clip_assets.errors import DeviceBusyError

logger = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"

NONE_VISIBLE = ("", "-1")
"""Values of the variable that hide every device."""

_kept: list[str] = []
"""The devices this process was given first: CUDA cannot move once it has started."""


def installed(setting: str = "auto") -> list[str]:
    """Device numbers that may be leased; empty on a machine without an accelerator.

    Args:
        setting: ``auto`` asks the driver, ``none`` is no device, else numbers: ``0,1``.
    """
    if setting == "none":
        return []
    if setting != "auto":
        return [number.strip() for number in setting.split(",") if number.strip()]
    query = shutil.which("nvidia-smi")
    if query is None:
        return []
    command = [query, "--query-gpu=index", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except subprocess.CalledProcessError as error:
        said = (error.stdout + error.stderr).strip()
        logger.warning("no accelerator is used: nvidia-smi failed (%s): %s", error.returncode, said)
        return []
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.warning("no accelerator is used: nvidia-smi did not answer: %s", error)
        return []
    return answer.stdout.split()


@contextmanager
def leased(
    setting: str = "auto", count: int = 1, folder: Path | None = None
) -> Generator[list[str]]:
    """Hold devices for the time of the block.

    Args:
        setting: see ``installed``.
        count: how many.
        folder: where the locks are; by default one place for the machine.

    Yields:
        Names for torch, ``cuda:0`` and so on, with ``CUDA_VISIBLE_DEVICES`` naming the leased
        devices, or ``cpu`` alone on a machine without one. Where somebody else has set
        ``CUDA_VISIBLE_DEVICES`` (Ray, Kubernetes), that choice stands, and no lock is taken.

    Raises:
        DeviceBusyError: fewer devices are free, or were given by somebody else.
    """
    chosen = os.environ.get(VISIBLE)  # noqa: TID251  (CUDA's own variable)
    if chosen is not None and setting != "none" and not _kept:
        yield ["cpu"] if chosen.strip() in NONE_VISIBLE else _names(_given(chosen, count))
        return
    devices = installed(setting)
    if not devices:
        yield ["cpu"]
        return
    locks: dict[str, int] = {}
    try:
        _take(_kept or devices, count, folder or Path(tempfile.gettempdir()), locks)
        _kept[:] = locks
        os.environ[VISIBLE] = ",".join(locks)  # noqa: TID251
        yield _names(list(locks))
    finally:
        for lock in locks.values():
            os.close(lock)


def _names(devices: list[str]) -> list[str]:
    """What torch calls the visible devices: their places, not their numbers."""
    return [f"cuda:{place}" for place in range(len(devices))]


def _given(chosen: str, count: int) -> list[str]:
    """The first devices of a choice that somebody else made."""
    devices = chosen.split(",")
    if len(devices) < count:
        raise DeviceBusyError(
            VISIBLE,
            f"{len(devices)} devices ({chosen})",
            f"{count}, as devices_per_step says",
            "On Ray and Kubernetes set CLIP_ASSETS_DEVICES_PER_STEP where the code location is "
            "loaded, too: steps ask for as many.",
        )
    return devices[:count]


def _take(devices: list[str], count: int, folder: Path, locks: dict[str, int]) -> None:
    """Add the locks of ``count`` devices."""
    reasons: list[str] = []
    for device in devices:
        path = folder / f"clip-assets-device-{device}.lock"
        try:
            lock = _opened(path)
        except PermissionError:
            reasons.append(f"{path}, which this user may not read,")
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            reasons.append("a running process")
            continue
        locks[device] = lock
        if len(locks) == count:
            return
    raise DeviceBusyError(
        f"devices {', '.join(devices)}",
        " and ".join(dict.fromkeys(reasons)) + f" on {len(reasons)} of {len(devices)}",
        f"{count} free",
        f"Limit Dagster's pool: dagster instance concurrency set gpu {len(devices) // count}"
        if len(devices) >= count
        else f"Set devices_per_step to {len(devices)} at most.",
    )


def _opened(path: Path) -> int:
    """A lock file for every user of the machine; reading it is enough to lock it."""
    try:
        # Not O_CREAT at once: in /tmp, Linux refuses that for files of other users.
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        pass
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return os.open(path, os.O_RDONLY)
    os.fchmod(lock, 0o666)  # whatever the umask
    return lock
