"""Our inference against `clip-retrieval inference` 2.45, images and captions, ViT-B-32.

Both embed the same webdataset with the same randomly initialised checkpoint. The peer runs in an
environment of its own, which is made once, with its default settings and with the best we know
for this machine. Every contestant runs over a short and over a long input; the rate is that of
the difference, so imports, loading and warm-up, which a long run pays once, are left out and
told apart. In the same run the embeddings are compared: key by key, and by nearest neighbours.

    python benchmarks/inference.py            # 512 and 2,048 samples, 3 rounds
    python benchmarks/inference.py --quick    # 128 and 256 samples, 1 round
"""

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np

MODEL = "ViT-B-32"
SIDES = ("image", "text")

LENGTHS = ("short_s", "long_s")

FLOAT16_ERROR = 5e-5
"""Of a cosine, from storing two unit rows of 512 numbers as float16."""

SHARDS = 4
"""The peer fails on fewer shards than its four default workers."""

PEER = [
    "clip-retrieval==2.45.0",
    "torch==2.13.0",
    "torchvision==0.28.0",
    "open-clip-torch==2.32.0",
    "transformers==4.57.6",
    "pyarrow==15.0.2",
    "numpy==1.26.4",
    "fire==0.5.0",
    "webdataset==0.2.111",
    "setuptools<81",
]

PEER_SETTINGS = {
    "peer, defaults": [],
    "peer, tuned": ["--num_prepro_workers", "1", "--batch_size", "64"],
}

OURS = """
import json, sys, time
start = time.monotonic()
from clip_assets.encoders.openclip.loading import load_encoder
from clip_assets.inference.sources import MemberNames, input_of
from clip_assets.inference.standalone import embed_pieces
from clip_assets.settings import InferenceSettings
settings = InferenceSettings(model=sys.argv[1], pretrained=sys.argv[2])
encoder = load_encoder(settings)
loaded = time.monotonic() - start
report = embed_pieces(input_of(sys.argv[3], MemberNames()).pieces, sys.argv[4], settings, encoder)
print(json.dumps({"load_s": loaded, "precision": encoder.identity.precision, **report.figures}))
"""

PARTS = """
import glob, json, sys, time
from pathlib import Path
from clip_assets.inference import samples
from clip_assets.webdataset.read import read_tar
from clip_assets.encoders.openclip.loading import load_encoder
from clip_assets.settings import InferenceSettings
settings = InferenceSettings(model=sys.argv[1], pretrained=sys.argv[2])
encoder = load_encoder(settings, "cpu")
encoder.begin_work()
members = []
start = time.monotonic()
for tar in sorted(glob.glob(sys.argv[3])):
    with open(tar, "rb") as file:
        found = read_tar(file, tar, samples.MEMBERS)
        members += [samples.parse_any(one, "", "txt") for one in found]
read = time.monotonic() - start
members = members[:256]
start = time.monotonic()
pixels = [encoder.preprocess(member.image) for member in members]
decode = time.monotonic() - start
encoder.encode_images(pixels[:64])
start = time.monotonic()
for first in range(0, len(pixels), 64):
    encoder.encode_images(pixels[first : first + 64])
image = time.monotonic() - start
encoder.encode_text([member.caption for member in members])
start = time.monotonic()
encoder.encode_text([member.caption for member in members])
text = time.monotonic() - start
count = len(members)
print(json.dumps({"read and parse": count / read, "decode and resize": count / decode,
    "image tower": count / image, "text tower": count / text}))
"""

WORDS = (
    "a",
    "the",
    "of",
    "red",
    "small",
    "house",
    "dog",
    "street",
    "water",
    "photo",
    "view",
    "landscape",
    "vintage",
    "people",
)


def photographs(count: int) -> list[bytes]:
    """JPEGs of 256 pixels with the spectrum of photographs."""
    from PIL import Image

    random = np.random.default_rng(0)
    encoded = []
    for _ in range(count):
        size = (256, int(random.integers(192, 385)))
        layers = [
            Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize(
                size, Image.Resampling.BICUBIC
            )
            for side in (3, 9, 31, 97)
        ]
        image = layers[0]
        for layer in layers[1:]:
            image = Image.blend(image, layer, 0.3)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=95)
        encoded.append(file.getvalue())
    return encoded


def write_webdataset(folder: Path, images: list[bytes]) -> None:
    """The samples in ``SHARDS`` tars, in img2dataset's form."""
    random = np.random.default_rng(1)
    folder.mkdir()
    per_shard = len(images) // SHARDS
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for number in range(shard * per_shard, (shard + 1) * per_shard):
                key, length = f"{number:09d}", int(random.integers(4, 21))
                caption = " ".join(random.choice(WORDS, length))
                fields = {"caption": caption, "uid": f"{number:032x}", "key": key}
                for extension, content in (
                    ("jpg", images[number]),
                    ("txt", caption.encode()),
                    ("json", json.dumps(fields).encode()),
                ):
                    member = tarfile.TarInfo(f"{key}.{extension}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def peer_environment(folder: Path) -> Path:
    """The peer's own environment; made once."""
    program = folder / "bin" / "clip-retrieval"
    if not program.exists():
        uv = shutil.which("uv") or ".tools/bin/uv"
        subprocess.run([uv, "venv", "--quiet", "--python", "3.11", folder], check=True)
        python = folder / "bin" / "python"
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *PEER], check=True)
    return program


def timed(command: list[object]) -> tuple[float, str]:
    """Seconds that a command takes, and its last line."""
    start = time.monotonic()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    seconds = time.monotonic() - start
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr[-3000:]}")
    return seconds, (done.stdout.strip().splitlines() or [""])[-1]


def run(name: str, data: Path, output: Path, options: argparse.Namespace) -> float:
    """Seconds of one run of one contestant."""
    shutil.rmtree(output, ignore_errors=True)
    checkpoint = options.folder / "random.pt"
    if name == "ours":
        command = [sys.executable, "-c", OURS, MODEL, checkpoint, data, output]
        seconds, last = timed(command)
        print(f"    {last}", flush=True)
        return seconds
    command = [
        options.peer / "bin" / "clip-retrieval", "inference",
        "--input_dataset", f"{data}/{{00000..{SHARDS - 1:05d}}}.tar",
        "--output_folder", output, "--input_format", "webdataset",
        "--enable_metadata", "True", "--clip_model", f"open_clip:{MODEL}/{checkpoint}",
        *PEER_SETTINGS[name],
    ]  # fmt: skip
    return timed(command)[0]


def embeddings(output: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Image and text vectors by key."""
    import pyarrow.parquet as pq

    found = {}
    for rows in sorted((output / "metadata").glob("*.parquet")):
        part = rows.stem.rpartition("_")[2]
        image, text = (np.load(output / s / f"{s}_{part}.npy") for s in ("img_emb", "text_emb"))
        keys = pq.read_table(rows, columns=["image_path"])["image_path"].to_pylist()
        found |= {key: (image[row], text[row]) for row, key in enumerate(keys)}
    return found


def agreement(ours: Path, theirs: Path) -> dict[str, float]:
    """Mean cosine to the peer's float32, and shared ten nearest neighbours of each search.

    Neighbours once as they are, and once counting those as shared that are as near as the
    peer's tenth by what float16 can tell.
    """
    mine, peers = embeddings(ours), embeddings(theirs)
    if mine.keys() != peers.keys():
        sys.exit(f"{len(mine)} samples against the peer's {len(peers)}")
    a, b = (
        [np.stack([one[key][place] for key in mine]).astype(np.float32) for place in range(2)]
        for one in (mine, peers)
    )
    told = {f"{side} cosine": float((a[i] * b[i]).sum(1).mean()) for i, side in enumerate(SIDES)}
    for (q, query), (s, searched) in product(enumerate(SIDES), repeat=2):
        near, true = a[q] @ a[s].T, b[q] @ b[s].T
        found = np.take_along_axis(true, np.argsort(-near, 1, kind="stable")[:, :10], 1)
        tenth = -np.sort(-true, 1)[:, 9:10]
        told[f"{query} to {searched}"] = float((found >= tenth).mean())
        told[f"{query} to {searched}, float16"] = float((found >= tenth - FLOAT16_ERROR).mean())
    return told


def rate(rounds: list[dict[str, float]], samples: tuple[int, int]) -> dict[str, float]:
    """Samples per second after the start, and the start, of the median runs."""
    short, long = (statistics.median(one[which] for one in rounds) for which in LENGTHS)
    per_second = (samples[1] - samples[0]) / (long - short)
    return {"samples_per_s": per_second, "start_s": short - samples[0] / per_second}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--samples", type=int, nargs=2, default=(512, 2048))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-rounds", type=int, default=2)
    parser.add_argument("--contestants", default="ours;peer, defaults;peer, tuned")
    parser.add_argument("--peer", type=Path, default=Path("build/clip-retrieval-2.45"))
    options = parser.parse_args()
    if options.quick:
        options.samples, options.rounds = (128, 256), 1
    names = options.contestants.split(";")
    options.peer = options.peer.resolve()
    if any(name in PEER_SETTINGS for name in names):
        peer_environment(options.peer)
    with tempfile.TemporaryDirectory(prefix="clip-assets-benchmark-") as folder:
        options.folder = Path(folder)
        compete(names, options)


def compete(names: list[str], options: argparse.Namespace) -> None:
    """All rounds, medians, and the agreement of the last outputs."""
    import open_clip
    import torch

    torch.manual_seed(0)
    torch.save(open_clip.create_model(MODEL).state_dict(), options.folder / "random.pt")
    images = photographs(max(options.samples))
    data = [options.folder / f"data-{count}" for count in options.samples]
    for folder, count in zip(data, options.samples, strict=True):
        write_webdataset(folder, images[:count])
    parts = timed(
        [sys.executable, "-c", PARTS, MODEL, options.folder / "random.pt", f"{data[0]}/*.tar"]
    )
    print(f"one core, per second: {parts[1]}", flush=True)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            if name != "ours" and number >= options.peer_rounds:
                continue
            output = options.folder / name.replace(", ", "-")
            one = {"load": os.getloadavg()[0]}
            for which, folder in zip(LENGTHS, data, strict=True):
                one[which] = run(name, folder, output, options)
            results[name].append(one)
            print(f"round {number + 1} {name}: {json.dumps(one)}", flush=True)
    medians = {name: rate(rounds, options.samples) for name, rounds in results.items()}
    print(json.dumps({"medians": medians, "rounds": results}, indent=1))
    for name in (name for name in names if name != "ours" and "ours" in names):
        faster = medians["ours"]["samples_per_s"] / medians[name]["samples_per_s"]
        print(f"ours / {name}: {faster:.2f}x samples per second")
        theirs = options.folder / name.replace(", ", "-")
        print(f"agreement: {json.dumps(agreement(options.folder / 'ours', theirs))}")


if __name__ == "__main__":
    main()
