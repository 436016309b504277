"""A fused pool against the two stages, one after the other: the same site, urls and model.

Both make one partition in a process of their own, whose imports do not count; loading the model
does. The site is another process on loopback addresses, with realistic images and delays, and one
in ten urls is dead. Bytes read are those that the stages asked the store for, counted where they
ask, as a bucket would send them. In each round the two take turns in being first; what they
made is compared, and a round in which a byte differs fails.

At the end: what it would save if the model saw pixels that pass no encoder, and how far its
vectors would be from those of the stored files.

    python benchmarks/fused.py                       # 3,000 urls, 3 rounds
    python benchmarks/fused.py --model ViT-B-32      # random weights
"""

import argparse
import asyncio
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import download

PER_SHARD = 500
NAMES = ("two stages", "fused")

WORK = """
import json, resource, sys, time
from contextlib import contextmanager
from clip_assets import graph, layout
from clip_assets.download.image_shards import image_shards
from clip_assets.inference.embedding_ahead import embedding_ahead
from clip_assets.inference.embeddings import embeddings
from clip_assets.encoders.openclip import loading
from clip_assets.storage.store import Store
import open_clip, torch

class Counting(Store):
    read = 0

    @contextmanager
    def local(self, path):
        with super().local(path) as file:
            Counting.read += file.stat().st_size
            yield file

    def read_bytes(self, path):
        content = super().read_bytes(path)
        Counting.read += len(content)
        return content

name, root, key = sys.argv[1:]
pool = graph.open_pool(root)
pool.store = pool.catalog.store = Counting(root)
usage = resource.getrusage(resource.RUSAGE_SELF)
begun, cpu = time.monotonic(), usage.ru_utime + usage.ru_stime
if name == "fused":
    with embedding_ahead(pool) as paces:
        shards = image_shards(pool, key).manifest
    fetched_s = time.monotonic() - begun
    vectors = embeddings(pool, key, paces.get(key)).manifest
else:
    shards = image_shards(pool, key).manifest
    fetched_s = time.monotonic() - begun
    vectors = embeddings(pool, key).manifest
wall, usage = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_SELF)
made = [*shards.of_kind(layout.shard_tar), *vectors.outputs]
print(json.dumps({
    "wall_s": wall,
    "until_shards_s": fetched_s,
    "cpu_s": usage.ru_utime + usage.ru_stime - cpu,
    "read_mb": Counting.read / 1e6,
    "memory_mib": usage.ru_maxrss / 1024,
    "images": vectors.report.rows_out,
    "tars_mb": sum(one.size_bytes for one in shards.of_kind(layout.shard_tar)) / 1e6,
    "bytes": sorted([one.path, one.sha256] for one in made),
}))
"""


def serve(folder: Path) -> None:
    """Serve images until the process is ended; the port goes into a file."""
    download.Server.images = [path.read_bytes() for path in sorted(folder.glob("*.image"))]

    async def run() -> None:
        loop = asyncio.get_running_loop()
        first = await loop.create_server(download.Server, download.ADDRESSES[0], 0, backlog=4096)
        port = first.sockets[0].getsockname()[1]
        await loop.create_server(download.Server, download.ADDRESSES[1:], port, backlog=4096)
        (folder / "port.part").write_text(str(port))
        (folder / "port.part").rename(folder / "port")
        await asyncio.Event().wait()

    asyncio.run(run())


def contest(name: str, folder: Path, table, model: str) -> dict:
    """Make the partition in a new pool, in a process of its own."""
    from clip_assets import layout, schemas
    from clip_assets.storage import tables
    from clip_assets.storage.store import Store
    from clip_assets_tests.upstream import MadeUp

    key = layout.partition_key(0)
    with tempfile.TemporaryDirectory(dir=folder) as root:
        files = {layout.unique(key): lambda part: tables.write(part, table, schemas.PAIRS)}
        MadeUp(Store.open(root)).make(layout.UNIQUE_PAIRS, key, table.num_rows, files)
        settings = {
            "download": download.SETTINGS | {"samples_per_shard": PER_SHARD},
            "inference": {"model": model, "pretrained": None},
            "devices": "none",
        }
        Path(root, layout.SETTINGS_FILE).write_text(json.dumps(settings))
        command = [sys.executable, "-c", WORK, name, root, key]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        return json.loads(done.stdout.splitlines()[-1])


def random_model(folder: Path, name: str) -> str:
    """A folder of a model with random weights, as the setting names it."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(0)
    model = open_clip.create_model(name)
    keys = ("mean", "std", "interpolation", "resize_mode")
    seen = {k: v for k, v in open_clip.get_model_preprocess_cfg(model).items() if k in keys}
    config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": seen}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def without_the_encoder(images: list[bytes], model: str) -> dict[str, float]:
    """What pixels that pass no encoder would save, and change."""
    import numpy as np
    from PIL import Image

    from clip_assets.download.resize import ImageResizer
    from clip_assets.encoders.openclip.loading import load_encoder
    from clip_assets.settings import DownloadSettings, InferenceSettings

    pair = {"face_bboxes": None}
    forms = (DownloadSettings(), DownloadSettings(encode_format="png", encode_quality=1))
    resizers = [ImageResizer(settings) for settings in forms]
    stored = [resize(content, pair).scaled.image for resize in resizers for content in images]
    files, lossless = stored[: len(images)], stored[len(images) :]
    encoder = load_encoder(InferenceSettings(model=model, pretrained=None), "cpu")
    encoder.begin_work()

    def spent_ms(work, items) -> float:
        start = time.process_time()
        for item in items:
            work(item)
        return 1000 * (time.process_time() - start) / len(items)

    decoded = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    encoder.preprocess(files[0])
    vectors = [
        encoder.encode_images([encoder.preprocess(file) for file in some]).astype(np.float32)
        for some in (files, lossless)
    ]
    cosines = np.einsum("nd,nd->n", *vectors)
    return {
        "cpu_ms_decoding_and_fitting_a_stored_file": spent_ms(encoder.preprocess, files),
        "cpu_ms_decoding_alone": spent_ms(
            lambda file: Image.open(io.BytesIO(file)).convert("RGB"), files
        ),
        "pixels": float(np.mean([one.shape[0] * one.shape[1] for one in decoded])),
        "cosine_least": float(cosines.min()),
        "cosine_mean": float(cosines.mean()),
    }


def compete(options: argparse.Namespace, folder: Path, table, model: str) -> None:
    """All rounds, and medians at the end."""
    results: dict[str, list[dict]] = {name: [] for name in NAMES}
    for number in range(options.rounds):
        made = {}
        for name in NAMES if number % 2 else NAMES[::-1]:
            found = contest(name, folder, table, model)
            made[name] = found.pop("bytes")
            results[name].append(found)
            told = "  ".join(f"{key} {value:.4g}" for key, value in found.items())
            print(f"round {number + 1} {name:10} {told}  load {os.getloadavg()[0]:.1f}", flush=True)
        if made[NAMES[0]] != made[NAMES[1]]:
            sys.exit("the two made different bytes")
    medians = {
        name: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        for name, rounds in results.items()
    }
    print(json.dumps(medians, indent=1))


def main() -> None:
    """Serve, measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--urls", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="demo", help="demo, or an open_clip name")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    with tempfile.TemporaryDirectory(prefix="clip-assets-benchmark-") as name:
        folder = Path(name)
        images = download.photographs(64)
        for number, content in enumerate(images):
            (folder / f"{number:03d}.image").write_bytes(content)
        demo = options.model == "demo"
        model = "demo" if demo else random_model(folder / "model", options.model)
        server = subprocess.Popen([sys.executable, __file__, "--serve", name])
        try:
            while not (folder / "port").exists():
                time.sleep(0.1)
            port = int((folder / "port").read_text())
            table = download.pairs([port, port], len(images), options.urls, 0.0)
            compete(options, folder, table, model)
            print(json.dumps(without_the_encoder(images, model), indent=1))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
