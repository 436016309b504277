r"""Our resharding against DataComp's resharder, and against copying files.

Contestants copy half of the samples of a folder of tars into new ones:

* ``ours``: ``clip-assets reshard``, its indices of the tars kept from an earlier run;
* ``first``: the same with none kept, so that it goes through all headers and json members;
* ``peer``: DataComp's ``resharder.py``, whose path is given, in an environment of its own (it needs
  ``webdataset==0.2.31``, img2dataset, cloudpathlib, pysimdjson, opencv), a process for each core;
* ``cp``: as many bytes of the input copied by ``cp``, with a sync; the bandwidth of the disk.

Rounds go through the contestants one after the other, on tars that were read just before. Ours and
the peer's outputs have to hold the same samples, member for member. Wall time includes the start of
the processes, CPU time is that of a contestant and its children. On a machine that others use too,
compare the latter.

    python benchmarks/reshard.py generate build/tars --tars 10 --samples 4000
    python benchmarks/reshard.py compare build/tars --peer resharder.py \
        --peer-python peer/bin/python
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from clip_assets.storage import uids
from clip_assets.webdataset.indices import Tar, index_of
from clip_assets.webdataset.write import end_tar, write_member

IMAGE_BYTES = 25_000
"""Of an image on average, as LAION's are at 256 pixels."""

SHARE = 0.5


def generate(folder: Path, tars: int, samples: int) -> None:
    """Write tars as img2dataset does, with random bytes for images, and a subset."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    blob = random.bytes(3 * IMAGE_BYTES)
    for number in range(tars):
        with (folder / f"{number:08d}.tar").open("wb") as file:
            for place in range(samples):
                key = f"{number:08d}{place:04d}"
                start = int(random.integers(IMAGE_BYTES))
                stop = start + int(random.integers(IMAGE_BYTES // 2, 3 * IMAGE_BYTES // 2))
                write_member(file, f"{key}.jpg", blob[start:stop])
                write_member(file, f"{key}.json", _json(key, random.bytes(16).hex()))
                write_member(file, f"{key}.txt", b"a photo of a red car by the sea")
            end_tar(file)
        (folder / f"{number:08d}_stats.json").write_text(json.dumps({"successes": samples}))
    every = [uid for tar in sorted(folder.glob("*.tar")) for uid in index_of(Tar(str(tar))).uids()]
    chosen = random.permutation(len(every))[: int(len(every) * SHARE)]
    pairs = uids.pairs(pa.chunked_array([[every[number] for number in chosen]], pa.string()))
    np.save(folder.with_suffix(".npy"), uids.in_order(pairs))


def _json(key: str, uid: str) -> bytes:
    url = f"http://images.example/{key}.jpg"
    said = {"uid": uid, "caption": "a photo of a red car by the sea", "url": url, "key": key}
    said |= {"status": "success", "error_message": None, "width": 256, "height": 192}
    return json.dumps(said | {"exif": "{}", "sha256": uid * 2}, indent=4).encode()


def ours(folder: Path, output: Path, cache: Path) -> list[str]:
    """The command, with its cache of indices somewhere."""
    program = "from clip_assets.cli import main; main()"
    command = ["env", f"XDG_CACHE_HOME={cache}", sys.executable, "-c", program, "-q", "reshard"]
    subset = folder.with_suffix(".npy")
    return [*command, "--subset", str(subset), "--input", str(folder), "--output", str(output)]


def peer(folder: Path, output: Path, script: str, python: str) -> list[str]:
    """DataComp's resharder."""
    output.mkdir()
    subset = str(folder.with_suffix(".npy"))
    cores = str(len(os.sched_getaffinity(0)))
    quiet = ["env", "NO_ALBUMENTATIONS_UPDATE=1", python, script, "-q", "-q"]
    return [*quiet, "-i", str(folder), "-o", str(output), "-s", subset, "-j", cores]


def cp(folder: Path, output: Path) -> list[str]:
    """As many bytes, copied."""
    tars = sorted(folder.glob("*.tar"))
    some = " ".join(map(str, tars[: int(len(tars) * SHARE)]))
    return ["sh", "-c", f"mkdir {output} && cp {some} {output} && sync {output}/*"]


def measured(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def digest(output: Path) -> str:
    """Of every sample of an output, in no order: key, extensions and contents."""
    lines: list[str] = []
    for path in output.glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None
                lines.append(f"{member.name} {hashlib.sha256(content.read()).hexdigest()}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def compare(folder: Path, rounds: int, script: str | None, python: str) -> None:
    """Measure every contestant and print a table."""
    build = folder.parent / f"{folder.name}-out"
    cache = build / "cache"
    contestants: dict[str, Callable[[Path], list[str]]] = {
        "first": lambda output: ours(folder, output, build / f"empty-{time.monotonic_ns()}"),
        "ours": lambda output: ours(folder, output, cache),
        "cp": lambda output: cp(folder, output),
    }
    if script is not None:
        contestants["peer"] = lambda output: peer(folder, output, script, python)
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir()
    measured(ours(folder, build / "kept", cache))
    expected = digest(build / "kept")
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, command_of in contestants.items():
            subprocess.run(f"cat {folder}/*.tar > /dev/null", shell=True, check=True)
            output = build / name
            seen[name].append(measured(command_of(output)))
            if name != "cp" and digest(output) != expected:
                raise SystemExit(f"{name} wrote other samples")
            shutil.rmtree(output)
    samples = len(np.load(folder.with_suffix(".npy")))
    size = sum(path.stat().st_size for path in (build / "kept").glob("*.tar"))
    shutil.rmtree(build)
    print(f"{samples:,} samples, {size / 1e6:,.0f} MB, {len(os.sched_getaffinity(0))} cores\n")
    print("| | seconds | CPU seconds | samples/s | samples/s and CPU second | MB/s |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, times in seen.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        rates = f"{samples / wall:,.0f} | {samples / cpu:,.0f} | {size / 1e6 / wall:,.0f}"
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {rates} |")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("generate")
    made.add_argument("folder", type=Path)
    made.add_argument("--tars", type=int, default=10)
    made.add_argument("--samples", type=int, default=4_000)
    measure = commands.add_parser("compare")
    measure.add_argument("folder", type=Path)
    measure.add_argument("--rounds", type=int, default=3)
    measure.add_argument("--peer", help="path of DataComp's resharder.py")
    measure.add_argument("--peer-python", default=sys.executable)
    given = parser.parse_args()
    if given.command == "generate":
        generate(given.folder, given.tars, given.samples)
    else:
        compare(given.folder, given.rounds, given.peer, given.peer_python)


if __name__ == "__main__":
    main()
