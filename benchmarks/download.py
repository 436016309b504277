"""Our downloads against img2dataset's, on local http and https servers.

Contestants fetch the same urls with the same concurrency and timeouts: ``ours``; ``stock``,
img2dataset as installed; ``patched``, img2dataset with one TLS context for all urls instead of one
for each; and, where it is named, ``streaming``: ``UrlStreamingDataset``, which makes batches of 224
pixels for a training that takes no time, and writes nothing. The servers are processes of their
own on loopback addresses, with a certificate of a test authority that is added to the system's
bundle, and answer with images of realistic sizes after realistic delays; some urls are dead.

Rates count from the first shard's start to the last shard's end, so imports and process
start-up, which a long download pays once, are left out; so is their CPU time, which a run over a
few urls tells. CPU seconds are those of a contestant and its children, while the servers, which
take the same cores, count in no contestant's. Contestants take turns in rounds.

    python benchmarks/download.py            # 10,000 urls, 3 rounds
    python benchmarks/download.py --quick    # 600 urls, 1 round
    python benchmarks/download.py --urls 4000 --contestants ours,streaming
"""

import argparse
import asyncio
import hashlib
import io
import ipaddress
import json
import math
import os
import random
import resource
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

ADDRESSES = [f"127.0.2.{i + 1}" for i in range(60)]
CONCURRENCY = 64
TIMEOUT_S = 5
PER_SHARD = 1000
STARTUP_URLS = 20

SETTINGS = {
    "samples_per_shard": PER_SHARD,
    "concurrency": CONCURRENCY,
    "connect_timeout_s": TIMEOUT_S,
    "read_timeout_s": TIMEOUT_S,
    "deadline_s": TIMEOUT_S,
    "allow_hosts": ["127.0.0.0/8"],
}
"""Ours; JSON of them is a ``pool.yaml``."""

PATCH = """
import ssl, urllib.request
urllib.request.install_opener(urllib.request.build_opener(
    urllib.request.HTTPSHandler(context=ssl.create_default_context())))
"""

PEER = """
import sys
import img2dataset
if __name__ == "__main__":
    img2dataset.download(
        url_list=sys.argv[1], output_folder=sys.argv[2], input_format="parquet",
        output_format="webdataset", caption_col="caption", save_additional_columns=["uid"],
        image_size=256, resize_mode="keep_ratio", resize_only_if_bigger=True, retries=1,
        number_sample_per_shard=int(sys.argv[3]), processes_count=int(sys.argv[4]),
        thread_count=int(sys.argv[5]), timeout=float(sys.argv[6]))
"""

OURS = """
import sys
from clip_assets import graph
from clip_assets.download.image_shards import image_shards
image_shards(graph.open_pool(sys.argv[1]), sys.argv[2])
"""

STREAMING = """
import json, sys, time
from pathlib import Path
from clip_assets import bricks
from clip_assets.settings import DownloadSettings
from clip_assets.streaming import UrlList, UrlStream, UrlStreamingDataset
import torch
torch.set_num_threads(1)
urls = UrlList.of("all", bricks.from_table(sys.argv[1]))
stream = UrlStream([urls], length=len(urls) + 63, batch_size=64, when_short="fewer")
start = time.time()
seen = sum(map(len, UrlStreamingDataset(stream, DownloadSettings(**json.loads(sys.argv[3])))))
told = {"start_time": start, "end_time": time.time(), "count": len(urls), "successes": seen}
Path(sys.argv[2]).mkdir()
Path(sys.argv[2], "00000_stats.json").write_text(json.dumps(told))
"""


def photographs(count: int) -> list[bytes]:
    """Encoded images with the spectrum of photographs; 85 % JPEG, 10 % PNG, 5 % WebP.

    Their mean is near the 97 KB that img2dataset's README implies (1,345 images and 130 MB a
    second).
    """
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    encoded = []
    for number in range(count):
        width = int(np.clip(rng.lognormal(math.log(440), 0.45), 120, 2000)) // 2 * 2
        height = int(np.clip(width * rng.lognormal(-0.15, 0.25), 120, 2000)) // 2 * 2
        frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(width), np.fft.fftfreq(height)))
        frequency[0, 0] = 1
        noise = rng.normal(size=(height, width, 3))
        spectrum = np.fft.rfft2(noise, axes=(0, 1)) / frequency[..., None] ** 1.2
        pixels = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
        pixels = 128 + 55 * (pixels - pixels.mean()) / pixels.std()
        form = rng.choice(["JPEG", "PNG", "WEBP"], p=[0.85, 0.10, 0.05])
        quality = int(rng.choice([70, 80, 90]))
        if form == "PNG":
            pixels = pixels[: min(height, 500), : min(width, 500)]
        content = io.BytesIO()
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(content, str(form), quality=quality)
        encoded.append(content.getvalue())
        if number % 16 == 15:
            print(f"drew {number + 1} of {count} images", file=sys.stderr)
    return encoded


class Server(asyncio.Protocol):
    """HTTP/1.1 with kept connections; the path says what is answered and when.

    ``/<image>/<delay in ms>/<name>``; image ``-`` is a 404, ``x`` never answers.
    """

    images: ClassVar[list[bytes]] = []

    def connection_made(self, transport):  # noqa: D102
        self.transport = transport
        self.buffer = b""

    def data_received(self, data):  # noqa: D102
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            image, delay = head.split(b" ", 2)[1].split(b"/")[1:3]
            is_last = b"connection: close" in head.lower()
            if image != b"x":
                loop = asyncio.get_running_loop()
                loop.call_later(int(delay) / 1000, self.answer, image, is_last)

    def answer(self, image: bytes, is_last: bool) -> None:  # noqa: FBT001
        """Write an image, or that there is none."""
        if image == b"-":
            self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        else:
            body = self.images[int(image)]
            head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
            self.transport.write(head % len(body) + body)
        if is_last:
            self.transport.close()


def serve(folder: Path) -> None:
    """Serve http and https until the process is ended; the ports go into a file."""
    import uvloop

    Server.images = [path.read_bytes() for path in sorted(folder.glob("*.image"))]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")

    async def run():
        loop = asyncio.get_running_loop()
        plain = await loop.create_server(Server, ADDRESSES[0], 0, backlog=4096)
        secure = await loop.create_server(Server, ADDRESSES[0], 0, ssl=context, backlog=4096)
        ports = [server.sockets[0].getsockname()[1] for server in (plain, secure)]
        await loop.create_server(Server, ADDRESSES[1:], ports[0], backlog=4096)
        await loop.create_server(Server, ADDRESSES[1:], ports[1], ssl=context, backlog=4096)
        (folder / "ports.json").write_text(json.dumps(ports))
        await asyncio.Event().wait()

    uvloop.run(run())


def certify(folder: Path) -> Path:
    """A server certificate, and the system's bundle with its authority; returns the bundle."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def certificate(name, key, issuer, issuer_key, *extensions):
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            key.public_key(),
            x509.random_serial_number(),
            now - timedelta(days=1),
            now + timedelta(days=9),
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(issuer_key, hashes.SHA256())

    pem = serialization.Encoding.PEM
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = certificate(
        "ca", authority_key, "ca", authority_key, x509.BasicConstraints(ca=True, path_length=None)
    )
    names = [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
    own = certificate("server", key, "ca", authority_key, x509.SubjectAlternativeName(names))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(secret + own.public_bytes(pem))
    system = ssl.get_default_verify_paths().cafile
    if system is None:
        import certifi

        system = certifi.where()
    bundle = folder / "bundle.pem"
    bundle.write_bytes(Path(system).read_bytes() + b"\n" + authority.public_bytes(pem))
    return bundle


def pairs(ports: list[int], images: int, count: int, https: float):
    """Urls on hosts of different sizes; 10 % are dead, and 1 in 500 never answers.

    Those are in the first half: a long download does not end with waiting for one of them, and
    a short one shall not either.
    """
    import pyarrow as pa

    draw = random.Random(0)
    weights = [1 / (rank + 5) for rank in range(len(ADDRESSES))]
    rows = []
    for number in range(count):
        host = draw.choices(ADDRESSES, weights)[0]
        secure = draw.random() < https
        fate = draw.random()
        image = (
            "x"
            if fate < 0.002 and number < count // 2
            else "-"
            if fate < 0.1
            else str(draw.randrange(images))
        )
        delay = int(min(2000, draw.lognormvariate(math.log(80), 0.8)))
        scheme, port = ("https", ports[1]) if secure else ("http", ports[0])
        url = f"{scheme}://{host}:{port}/{image}/{delay}/{number}.jpg"
        rows.append({"uid": hashlib.md5(url.encode()).hexdigest(), "url": url, "caption": url})
    from clip_assets import schemas

    fill = dict.fromkeys(schemas.PAIRS.names)
    return pa.Table.from_pylist([fill | row for row in rows], schema=schemas.PAIRS)


def steps(images: list[bytes], table, bundle: Path) -> dict[str, float]:
    """CPU milliseconds of one url by step, in this process."""
    import cv2
    import numpy as np

    from clip_assets.download.fetch.fetcher import open_fetcher
    from clip_assets.download.resize import ImageResizer
    from clip_assets.settings import DownloadSettings

    settings = DownloadSettings(
        allow_hosts=["127.0.0.0/8"], per_host=CONCURRENCY, concurrency=CONCURRENCY
    )
    resize = ImageResizer(settings)
    pair = {"face_bboxes": None}
    cv2.setNumThreads(1)
    os.environ["SSL_CERT_FILE"] = str(bundle)
    urls = [url for url in table["url"].to_pylist() if "/x/" not in url]

    def shrink(pixels):
        scale = 256 / min(pixels.shape[:2])
        area = cv2.INTER_AREA
        return pixels if scale >= 1 else cv2.resize(pixels, None, None, scale, scale, area)

    async def fetch() -> None:
        async with open_fetcher(settings) as fetcher:
            for number, url in enumerate(urls):
                fetcher.submit(number, url)

            async def work() -> None:
                for _ in range(len(urls) // CONCURRENCY):
                    await fetcher.next()

            await asyncio.gather(*(work() for _ in range(CONCURRENCY)))

    def spent(work, items) -> tuple[float, list]:
        start = time.process_time()
        made = [work(item) for item in items]
        return 1000 * (time.process_time() - start) / len(made), made

    sources = [np.frombuffer(content, np.uint8) for content in images]
    resize(images[0], pair)
    whole_ms, _ = spent(lambda content: resize(content, pair), images)
    decode_ms, decoded = spent(lambda source: cv2.imdecode(source, -1), sources)
    shrink_ms, small = spent(shrink, decoded)
    encode_ms, _ = spent(lambda pixels: cv2.imencode(".jpg", pixels, [1, 95]), small)
    hash_ms, _ = spent(lambda content: hashlib.sha256(content).hexdigest(), images)
    start = time.process_time()
    asyncio.run(fetch())
    fetch_ms = 1000 * (time.process_time() - start) / len(urls)
    known_ms = decode_ms + shrink_ms + encode_ms + hash_ms
    return {
        "fetch": fetch_ms,
        "decode": decode_ms,
        "resize": shrink_ms,
        "encode": encode_ms,
        "hash": hash_ms,
        "rest of the resizer": whole_ms - known_ms,
    }


def measure(command: list[str], environment: dict[str, str], shards: Path) -> dict[str, float]:
    """Run a contestant; rate, success rate and its CPU seconds, those of its children too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, check=False)
    if done.returncode:
        sys.exit(done.stderr.decode()[-3000:])
    wall_s = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    stats = [json.loads(path.read_text()) for path in shards.rglob("*_stats.json")]
    spent_s = max(s["end_time"] for s in stats) - min(s["start_time"] for s in stats)
    count, successes = sum(s["count"] for s in stats), sum(s["successes"] for s in stats)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "urls_per_s": count / spent_s,
        "images_per_s": successes / spent_s,
        "success_rate": successes / count,
        "download_s": spent_s,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
    }


def contest(name: str, folder: Path, table, bundle: Path) -> dict[str, float]:
    """One round of one contestant in a fresh folder."""
    from clip_assets import layout, schemas
    from clip_assets.storage import tables
    from clip_assets.storage.store import Store
    from clip_assets_tests.upstream import MadeUp

    shutil.rmtree(folder, ignore_errors=True)
    key = layout.partition_key(0)
    environment = {"SSL_CERT_FILE": str(bundle), "NO_ALBUMENTATIONS_UPDATE": "1"}
    environment["WANDB_MODE"] = "disabled"

    files = {layout.unique(key): lambda part: tables.write(part, table, schemas.PAIRS)}
    made = MadeUp(Store.open(str(folder)))
    made.make(layout.UNIQUE_PAIRS, key, table.num_rows, files)
    python = sys.executable
    if name == "ours":
        (folder / layout.SETTINGS_FILE).write_text(json.dumps({"download": SETTINGS}))
        command = [python, "-c", OURS, str(folder), key]
        return measure(command, environment, folder / "shards")
    source = str(folder / layout.unique(key))
    if name == "streaming":
        command = [python, "-c", STREAMING, source, str(folder / "shards"), json.dumps(SETTINGS)]
        return measure(command, environment, folder / "shards")
    processes = len(os.sched_getaffinity(0))
    script = folder / "peer.py"
    script.write_text((PATCH if name == "patched" else "") + PEER)
    threads = CONCURRENCY // processes
    options = [str(PER_SHARD), str(processes), str(threads), str(TIMEOUT_S)]
    command = [python, str(script), source, str(folder / "shards"), *options]
    return measure(command, environment, folder / "shards")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--urls", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--https", type=float, default=0.8, help="share of https urls")
    parser.add_argument("--contestants", default="ours,patched,stock")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    if options.quick:
        options.urls, options.rounds = 600, 1
    with tempfile.TemporaryDirectory(prefix="clip-assets-benchmark-") as name:
        folder = Path(name)
        bundle = certify(folder)
        images = photographs(64)
        for number, content in enumerate(images):
            (folder / f"{number:03d}.image").write_bytes(content)
        server = subprocess.Popen([sys.executable, __file__, "--serve", name])
        try:
            while not (folder / "ports.json").exists():
                time.sleep(0.1)
            ports = json.loads((folder / "ports.json").read_text())
            table = pairs(ports, len(images), options.urls, options.https)
            mean = sum(map(len, images)) / len(images) / 1000
            print(f"{options.urls} urls, {options.https:.0%} https, images of {mean:.0f} KB")
            told = steps(images, table, bundle)
            print("CPU ms:", ", ".join(f"{step} {ms:.2f}" for step, ms in told.items()))
            compete(options, folder, table, bundle)
        finally:
            server.terminate()
            server.wait()


def compete(options: argparse.Namespace, folder: Path, table, bundle: Path) -> None:
    """All rounds, and medians at the end."""
    names = options.contestants.split(",")
    few = table.slice(0, STARTUP_URLS)
    startup = {name: contest(name, folder / "contest", few, bundle)["cpu_s"] for name in names}
    print("CPU s of start-up:", ", ".join(f"{name} {s:.1f}" for name, s in startup.items()))
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            found = contest(name, folder / "contest", table, bundle)
            spent_s = found["cpu_s"] - startup[name]
            found["cpu_ms_per_url"] = 1000 * spent_s / (table.num_rows - STARTUP_URLS)
            results[name].append(found)
            told = "  ".join(f"{key} {value:.4g}" for key, value in results[name][-1].items())
            print(f"round {number + 1} {name:8} {told}", flush=True)
    medians = {
        name: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        for name, rounds in results.items()
    }
    print(json.dumps({"medians": medians, "rounds": results}, indent=1))
    if "ours" in medians:
        for name in names:
            rate = medians["ours"]["urls_per_s"] / medians[name]["urls_per_s"]
            cpu = medians[name]["cpu_ms_per_url"] / medians["ours"]["cpu_ms_per_url"]
            print(f"ours / {name}: {rate:.2f}x urls per second, {cpu:.2f}x urls per CPU second")


if __name__ == "__main__":
    main()
