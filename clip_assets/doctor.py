"""What could be wrong with this machine, the store and the Dagster instance.

Each finding is one sentence with what to do; nothing is changed. What killed runs left is
removed only on request, by ``storage.leftovers``.
"""

import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clip_assets import devices, layout, states
from clip_assets.errors import ClipAssetsError
from clip_assets.pool.pool import Pool
from clip_assets.settings import Settings, dagster_home
from clip_assets.storage.expected import REPAIR
from clip_assets.storage.store import Store
from clip_assets.verification import served

LEAST_FREE_BYTES = 5 * 2**30
LEAST_OPEN_FILES = 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    text: str
    is_good: bool


def examine(pool: Pool) -> list[Finding]:
    """Look at everything that has stopped people before."""
    return [*_store(pool.store), *_machine(pool.settings), *_partitions(pool), _instance(pool)]


def _store(store: Store) -> Iterator[Finding]:
    probe = f"{layout.TEMPORARY}/probe"
    try:
        store.write_bytes(probe, b"probe")
        store.delete(probe)
        yield Finding("store", f"{store.uri()} can be written", is_good=True)
    except (OSError, ClipAssetsError) as error:
        yield Finding("store", f"{store.uri()} cannot be written: {error}", is_good=False)
    if store.is_local:
        free = shutil.disk_usage(store.base).free
        text = f"{free / 2**30:.1f} GiB free, at least {LEAST_FREE_BYTES / 2**30:.0f} wanted"
        yield Finding("disk", text, is_good=free >= LEAST_FREE_BYTES)


def _machine(settings: Settings) -> Iterator[Finding]:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{files} files may be open, at least {LEAST_OPEN_FILES} wanted (ulimit -n)"
    yield Finding("open files", text, is_good=files >= LEAST_OPEN_FILES)
    installed = devices.installed(settings.devices)
    absent = [number for number in installed if number not in devices.installed()]
    text = f"CUDA devices {', '.join(installed)}" if installed else "none; models run on the CPU"
    if absent:
        text = f"this machine has no CUDA device {', '.join(absent)}; correct the setting devices"
    yield Finding("accelerators", text, is_good=not absent)


def _partitions(pool: Pool) -> Iterator[Finding]:
    yield Finding("pool", f"{len(pool.partitions)} partitions", is_good=True)
    yield _files(pool)
    broken = states.failed(pool, pool.assets.values(), "partition")
    if broken:
        text = f"{len(broken)} partitions failed: {', '.join(broken[:10])} (clip-assets status)"
        yield Finding("pool", text, is_good=False)


def _files(pool: Pool) -> Finding:
    damaged = served.noticed(pool)
    if not damaged:
        return Finding("files", "every published file is there, in its size", is_good=True)
    text = f"{len(damaged)} published files are damaged, first {damaged[0].as_text()}; {REPAIR}"
    return Finding("files", text, is_good=False)


def _instance(pool: Pool) -> Finding:
    from clip_assets.orchestration.instance import opened
    from clip_assets.orchestration.partitions import AXES, unknown, unregistered

    try:
        with opened() as instance:
            new = unregistered(instance, pool)
            strange = [repr(key) for axis in AXES for key in unknown(instance, pool, axis)]
    except Exception as error:  # whatever Dagster raises is the finding
        return Finding("dagster", f"the instance cannot be opened: {error}", is_good=False)
    if new:
        text = f"{len(new)} partitions are not registered yet; clip-assets run does it"
        return Finding("dagster", text, is_good=False)
    if strange:
        text = f"the pool has no {', '.join(strange[:10])}; delete these keys in Dagster's UI"
        return Finding("dagster", text, is_good=False)
    is_kept = dagster_home() or Path("dagster.yaml").exists()
    lost = " (neither DAGSTER_HOME nor dagster.yaml here: events are not kept)"
    return Finding(
        "dagster", f"the instance knows every partition{'' if is_kept else lost}", is_good=True
    )
