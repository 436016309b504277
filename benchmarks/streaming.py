r"""Decoded samples per second to a training loop, from the same tars, against other loaders.

Contestants give batches of 64 images of 224 pixels (uint8, shorter side resized, middle kept) with
captions, shuffled, each in a process of its own that may use one core or two:

* ``ours``: ``clip_assets.streaming``, by threads;
* ``ours workers``: the same by torch's worker processes;
* ``webdataset``: webdataset, PIL and torchvision, in torch's worker processes, with a buffer of
  1,000 samples;
* ``litdata``: LitData's chunks of the same JPEGs, which are made first, and its loader; in an
  environment of its own, whose python is given;
* ``mosaic``: MosaicML Streaming's shards of the same JPEGs, likewise, and torch's worker processes;
  in the same environment, decoded and resized as LitData does it.

The rate is that of ``--seconds`` after the first batch, processor time is that of the contestant
and its children. The second table tells how long it takes from an open data set to the first batch
at 80 % of an epoch, the last line how long one sample takes by its place in the index and by going
through the tar.
On a machine that others use too, compare rates by CPU time.

    python benchmarks/streaming.py generate build/images --tars 4 --samples 1000
    python benchmarks/streaming.py compare build/images --peers-python peers/bin/python
"""

import argparse
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BATCH, SIDE = 64, 224
CORES = (1, 2)


def generate(folder: Path, tars: int, samples: int) -> None:
    """Write tars of JPEGs of about 256 pixels and 20 KB, as img2dataset leaves them."""
    import numpy as np
    from PIL import Image

    from clip_assets.webdataset.write import end_tar, write_member

    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(tars):
        with (folder / f"{number:05d}.tar").open("wb") as file:
            for place in range(samples):
                width, height = random.integers(256, 400), 256
                coarse = random.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
                smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
                noise = random.integers(-14, 15, (height, width, 3))
                pixels = np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(jpeg := io.BytesIO(), "JPEG", quality=85)
                key = f"{number:05d}{place:04d}"
                told = {"uid": random.bytes(16).hex(), "caption": f"picture {key}"}
                write_member(file, f"{key}.jpg", jpeg.getvalue())
                write_member(file, f"{key}.json", json.dumps(told).encode())
                write_member(file, f"{key}.txt", told["caption"].encode())
            end_tar(file)


def _ours(folder: Path, cores: int, workers: int, start: float) -> Iterator[int]:
    from clip_assets.streaming import Batches, CenterCrop, Decoded, Loader, Stream, TarSamples

    stream = Stream(TarSamples(str(folder)), batch_size=BATCH)
    batches = Batches(stream, 0, 1, drop_last=True)
    loader = Loader(Decoded(stream, CenterCrop(SIDE)), batches, threads=cores, workers=workers)
    if start:
        position = int(len(stream) * start) // BATCH * BATCH
        loader.load_state_dict(loader.state_dict() | {"position": position})
    yield 0
    while True:
        for batch in loader:
            yield len(batch)


def ours(folder: Path, cores: int, start: float = 0.0) -> Iterator[int]:
    """By threads."""
    return _ours(folder, cores, 0, start)


def ours_workers(folder: Path, cores: int, start: float = 0.0) -> Iterator[int]:
    """By processes."""
    return _ours(folder, 1, cores, start)


def webdataset(folder: Path, cores: int, start: float = 0.0) -> Iterator[int]:
    """The usual pipeline of webdataset; it has no state, so going on is going through what was."""
    import webdataset as wds
    from torchvision import transforms
    from torchvision.transforms import InterpolationMode

    crop = transforms.Compose(
        [
            transforms.Resize(SIDE, InterpolationMode.BICUBIC),
            transforms.CenterCrop(SIDE),
            transforms.PILToTensor(),
        ]
    )

    def prepared(sample: tuple[Any, str]) -> tuple[Any, str]:
        return crop(sample[0].convert("RGB")), sample[1]

    tars = sorted(map(str, folder.glob("*.tar")))
    data = wds.WebDataset(tars, shardshuffle=100, nodesplitter=wds.split_by_node, seed=0)
    if start:  # what was seen is read, and not decoded
        seen = int(sum(1000 for _ in tars) * start) // cores
        data = data.slice(seen, 10**9)
    data = data.shuffle(1 if start else 1000).decode("pil").to_tuple("jpg", "txt").map(prepared)
    loader = wds.WebLoader(data.batched(BATCH, partial=False), batch_size=None, num_workers=cores)
    yield 0
    while True:
        for images, _ in loader:
            yield len(images)


def litdata(folder: Path, cores: int, start: float = 0.0) -> Iterator[int]:
    """LitData's loader over its chunks; a JPEG is decoded by torchvision, as it does by itself."""
    from litdata import StreamingDataLoader, StreamingDataset
    from torchvision.transforms.v2 import CenterCrop, Compose, InterpolationMode, Resize

    crop = Compose([Resize(SIDE, InterpolationMode.BICUBIC, antialias=True), CenterCrop(SIDE)])

    class Cropped(StreamingDataset):
        def __getitem__(self, index: Any) -> Any:
            image, caption = super().__getitem__(index)
            return crop(image), caption

    data = Cropped(str(_chunks(folder)), shuffle=True, drop_last=True)
    loader = StreamingDataLoader(data, batch_size=BATCH, num_workers=cores, drop_last=True)
    if start:
        other = StreamingDataLoader(
            Cropped(str(_chunks(folder)), shuffle=True, drop_last=True),
            batch_size=BATCH, num_workers=cores, drop_last=True,
        )  # fmt: skip
        wanted = int(len(data) * start) // BATCH
        for number, _ in enumerate(other):
            if number + 1 == wanted:
                break
        loader.load_state_dict(other.state_dict())
    yield 0
    while True:
        for images, _ in loader:
            yield len(images)


def mosaic(folder: Path, cores: int, start: float = 0.0) -> Iterator[int]:
    """MosaicML Streaming's data set over its shards."""
    import torch
    from streaming import StreamingDataLoader, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms.v2 import CenterCrop, Compose, InterpolationMode, Resize

    crop = Compose([Resize(SIDE, InterpolationMode.BICUBIC, antialias=True), CenterCrop(SIDE)])

    class Cropped(StreamingDataset):
        def __getitem__(self, at: Any) -> Any:
            sample = super().__getitem__(at)
            content = torch.frombuffer(bytearray(sample["image"]), dtype=torch.uint8)
            return crop(decode_jpeg(content, ImageReadMode.RGB)), sample["caption"]

    clean_stale_shared_memory()
    data = Cropped(local=str(_chunks(folder, "mosaic")), shuffle=True, batch_size=BATCH)
    loader = StreamingDataLoader(data, batch_size=BATCH, num_workers=cores, drop_last=True)
    if start:
        state = data.state_dict(int(len(data) * start) // BATCH * BATCH, from_beginning=True)
        loader.load_state_dict(state)
    yield 0
    while True:
        for images, _ in loader:
            yield len(images)


def _chunks(folder: Path, peer: str = "litdata") -> Path:
    return folder.parent / f"{folder.name}-{peer}"


def _as_chunk(tar: str) -> Iterator[Any]:
    import tarfile

    from PIL import Image

    with tarfile.open(tar) as members:
        for member in members:
            if member.name.endswith(".jpg"):
                content = members.extractfile(member)
                assert content is not None
                image = Image.open(io.BytesIO(content.read()))
                yield image, f"picture {member.name[:-4]}"


def convert(folder: Path, peer: str) -> None:
    """The tars in a peer's own form."""
    if peer == "mosaic":
        _convert_for_mosaic(folder)
        return
    from litdata import optimize

    shutil.rmtree(_chunks(folder), ignore_errors=True)
    optimize(
        _as_chunk, sorted(map(str, folder.glob("*.tar"))), str(_chunks(folder)),
        chunk_bytes="64MB", num_workers=len(os.sched_getaffinity(0)),
    )  # fmt: skip


def _convert_for_mosaic(folder: Path) -> None:
    import tarfile

    from streaming import MDSWriter

    shutil.rmtree(_chunks(folder, "mosaic"), ignore_errors=True)
    columns = {"image": "bytes", "caption": "str"}
    with MDSWriter(out=str(_chunks(folder, "mosaic")), columns=columns) as shards:
        for tar in sorted(folder.glob("*.tar")):
            with tarfile.open(tar) as members:
                for member in members:
                    if member.name.endswith(".jpg"):
                        content = members.extractfile(member)
                        assert content is not None
                        told = {"image": content.read(), "caption": f"picture {member.name[:-4]}"}
                        shards.write(told)


PEERS = ("litdata", "mosaic")

ALONE = ("-P", __file__)
# A peer's package has the name of this script.

CONTESTANTS: dict[str, Callable[..., Iterator[int]]] = {
    "ours": ours,
    "ours workers": ours_workers,
    "webdataset": webdataset,
    "litdata": litdata,
    "mosaic": mosaic,
}


def run(folder: Path, name: str, cores: int, seconds: float, start: float) -> None:
    """Measure one contestant in this process, and print it as json."""
    import torch

    torch.set_num_threads(1)
    batches = CONTESTANTS[name](folder, cores, start)
    next(batches)
    began = time.monotonic()
    next(batches)
    first = time.monotonic() - began
    seen, began, cpu = 0, time.monotonic(), _cpu()
    while time.monotonic() - began < seconds:
        seen += next(batches)
    wall = time.monotonic() - began
    batches.close()  # pyright: ignore[reportAttributeAccessIssue] - a generator
    print(json.dumps({"first": first, "seen": seen, "wall": wall, "cpu": _cpu() - cpu}), flush=True)
    # Loaders whose worker processes are busy take seconds to end.
    os.killpg(0, 9)


def _cpu() -> float:
    """Processor time of this process and its children, those that run too."""
    ticks, own = os.sysconf("SC_CLK_TCK"), resource.getrusage(resource.RUSAGE_SELF)
    total = own.ru_utime + own.ru_stime
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total += ended.ru_utime + ended.ru_stime
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def measured(folder: Path, name: str, cores: int, seconds: float, start: float, python: str) -> Any:
    """A contestant in a process of its own, on some cores."""
    chosen = ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores]))
    command = ["taskset", "-c", chosen, python, *ALONE, "run", str(folder), "--name", name]
    command += ["--cores", str(cores), "--seconds", str(seconds), "--start", str(start)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, start_new_session=True
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"first"')]
    if not lines:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    return json.loads(lines[0])


def compare(folder: Path, rounds: int, seconds: float, peers_python: str | None) -> None:
    """Measure every contestant and print tables."""
    pythons = {name: sys.executable for name in CONTESTANTS if name not in PEERS}
    if peers_python is not None:
        pythons |= dict.fromkeys(PEERS, peers_python)
    for peer in [name for name in pythons if name in PEERS]:
        began, command = time.monotonic(), [pythons[peer], *ALONE, "convert", str(folder)]
        subprocess.run([*command, "--name", peer], check=True)
        print(f"{peer}'s conversion: {time.monotonic() - began:.1f} s")
    subprocess.run(f"cat {folder}/*.tar > /dev/null", shell=True, check=True)
    print("| loader | cores | samples a second | by CPU time, a core | first batch s |")
    for cores in [number for number in CORES if number <= len(os.sched_getaffinity(0))]:
        seen: dict[str, list[Any]] = {name: [] for name in pythons}
        for _ in range(rounds):
            for name, python in pythons.items():
                seen[name].append(measured(folder, name, cores, seconds, 0.0, python))
        for name, told in seen.items():
            rate = statistics.median(one["seen"] / one["wall"] for one in told)
            by_cpu = statistics.median(one["seen"] / one["cpu"] for one in told)
            first = statistics.median(one["first"] for one in told)
            print(f"| {name} | {cores} | {rate:,.0f} | {by_cpu:,.0f} | {first:.2f} |")
    print("| loader | first batch at 80 % of an epoch, s |")
    for name, python in pythons.items():
        told = [measured(folder, name, 1, 0.0, 0.8, python)["first"] for _ in range(rounds)]
        print(f"| {name} | {statistics.median(told):.2f} |")
    access(folder)


def access(folder: Path, reads: int = 300) -> None:
    """Print what one sample costs by its place, and by going through its tar."""
    import random
    import tarfile

    from clip_assets.streaming import TarSamples

    samples = TarSamples(str(folder))
    chosen = random.Random(0).sample(range(len(samples)), reads)
    samples.read(0)
    began = time.monotonic()
    for row in chosen:
        samples.read(row)
    by_place = (time.monotonic() - began) / reads
    [tar, *_] = sorted(folder.glob("*.tar"))
    times: list[float] = []
    for row in random.Random(1).sample(range(1000), 20):
        began = time.monotonic()
        with tarfile.open(tar) as members:
            for member in members:
                if member.name == f"{tar.stem}{row:04d}.jpg":
                    members.extractfile(member).read()  # pyright: ignore[reportOptionalMemberAccess]
                    break
        times.append(time.monotonic() - began)
    print(f"one sample: {1e3 * by_place:.2f} ms by its place, ", end="")
    print(f"{1e3 * statistics.mean(times):.1f} ms by going through a tar with tarfile")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("task", choices=["generate", "compare", "run", "convert"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tars", type=int, default=4)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--peers-python")
    parser.add_argument("--name", choices=[*CONTESTANTS])
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--start", type=float, default=0.0)
    chosen = parser.parse_args()
    folder = chosen.folder.absolute()
    match chosen.task:
        case "generate":
            generate(folder, chosen.tars, chosen.samples)
        case "compare":
            compare(folder, chosen.rounds, chosen.seconds, chosen.peers_python)
        case "convert":
            convert(folder, chosen.name or "litdata")
        case _:
            run(folder, chosen.name, chosen.cores, chosen.seconds, chosen.start)


if __name__ == "__main__":
    main()
