"""`clip-assets serve` against `clip-retrieval back`: same vectors, weights, requests and answers.

A pool of made-up vectors around those of scenes of the demo's kind (``served_pool``);
clip-retrieval has them as a folder of its own, with the index that its own `index` makes of them.
Both have the demo's model: the peer's open_clip is told its configuration and loads the same file
of weights, in float32 and without JIT. Both are asked at `/knn-service` for the 40 nearest images
with their rows, over loopback, by texts that are never the same, by images that are never the same
bytes, and by embeddings of texts. Both run at once and take turns to be measured, so what else the
machine does meets both. Beside them stands what the text tower does alone.

    python benchmarks/service.py --peer build/clip-retrieval-2.45 [--vectors 200000] [--workers 2]
    python benchmarks/service.py --alone [--vectors 2000000] [--model ViT-B-32] [--scenes 300]

``--peer`` is its environment, made as ``inference.py`` makes it if it is not there, and with
``faiss-cpu==1.13.2``: with later ones autofaiss fails. ``--alone`` measures ours without it, and
``--model`` then another model of open_clip, with random weights: queries cost what they cost, and
what they find means nothing. ``--data`` keeps pool, model and index for a next run.
"""

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import http_load, inference, served_pool, servers
from clip_assets.encoders.encoder import Encoder
from clip_assets.encoders.openclip.loading import DEMO_FOLDER, load_encoder
from clip_assets.settings import InferenceSettings

K = 40
CLIENTS = (1, 8, 32)
KINDS = ("text", "image", "embedding")

BACK = """
import sys
import flask, open_clip
run = flask.Flask.run
# It listens on all addresses and has no option for it.
flask.Flask.run = lambda self, **options: run(self, **(options | {"host": "127.0.0.1"}))
configs, weights, indices, port = sys.argv[1:]
open_clip.add_model_config(configs)
from clip_retrieval.clip_back import clip_back
clip_back(indices_paths=indices, port=int(port), enable_mclip_option=False, use_jit=False,
    provide_aesthetic_embeddings=False, clip_model=f"open_clip:demo-tiny/{weights}",
    enable_faiss_memory_mapping=True, columns_to_return=["url", "image_path", "caption"])
"""

TOWER = """
import sys, time
import open_clip, torch
configs, weights = sys.argv[1:]
open_clip.add_model_config(configs)
model = open_clip.create_model("demo-tiny", pretrained=weights).eval()
tokenizer = open_clip.get_tokenizer("demo-tiny")
texts = sys.stdin.read().splitlines()
with torch.no_grad():
    model.encode_text(tokenizer(texts[:1]))
    began, done = time.monotonic(), 0
    while time.monotonic() < began + 3:
        model.encode_text(tokenizer(texts[done % len(texts) :][:1]))
        done += 1
print(done / (time.monotonic() - began))
"""


def main() -> None:
    """Make data, start both, measure in turns, print a line of json for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vectors", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--peer", type=Path, default=Path("build/clip-retrieval-2.45"))
    parser.add_argument("--peer-threads", help="of its tower for a query; none: as it likes")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--scenes", type=int, default=served_pool.SCENES)
    options = parser.parse_args()
    if options.model != "demo" and not options.alone:
        parser.error("--model is of --alone")
    options.peer = options.peer.resolve()
    if not options.alone:
        inference.peer_environment(options.peer)
    with ExitStack() as stack:
        own = stack.enter_context(tempfile.TemporaryDirectory(prefix="clip-assets-service-"))
        compete(options, Path(own), stack)


def compete(options: argparse.Namespace, own: Path, stack: ExitStack) -> None:
    """All measurements."""
    data = options.data or own
    model = model_in(data, options.model)
    make(data, options, model)
    texts, images = served_pool.queries(1_000)
    threads = {"OMP_NUM_THREADS": options.peer_threads} if options.peer_threads else {}
    encoder = load_encoder(model, "cpu")
    tell({"our text tower, one core": tower(encoder, texts)})
    ask = Requests(texts, images, encoder)
    probe = json.loads(ask.body("text").decode())
    ports = servers.free_port(), servers.free_port()
    program = Path(sys.executable).parent / "clip-assets"
    serve = ["serve", f"pool={data / 'pool'}", "--port", ports[0], "--workers", options.workers]
    commands = {"ours": [program, *serve]}
    if not options.alone:
        configs, weights = model_of(own)
        (own / "indices.json").write_text(json.dumps({"pool": str(data / "peer-index")}))
        speed = peers_tower(options.peer, configs, weights, texts, threads)
        tell({"peer's text tower, one by one": speed})
        back = ["-c", BACK, configs, weights, own / "indices.json", ports[1]]
        commands["peer"] = [options.peer / "bin" / "python", *back]
    running = {
        name: stack.enter_context(
            servers.running(
                command,
                port,
                json.dumps(probe).encode(),
                "/knn-service",
                own / f"{name}.log",
                **(threads if name == "peer" else {}),
            )
        )
        for (name, command), port in zip(commands.items(), ports, strict=False)
    }
    for name, server in running.items():
        wait_until_warm(server, ask, options.workers)
        tell({"server": name, "start_s": server.start_s, "memory_mib": round(server.memory_mib)})
    for kind in options.kinds:
        for clients in CLIENTS:
            take_turns(options, running, ask, kind, clients)
    for name, server in running.items():
        tell({"server": name, "memory_mib_after": round(server.memory_mib)})


def take_turns(
    options: argparse.Namespace,
    running: Mapping[str, servers.Server],
    ask: "Requests",
    kind: str,
    clients: int,
) -> None:
    """One kind of query by so many clients; by the most of them at 80 % of the rate, too."""
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in running}
    for _ in range(options.rounds):
        for name, server in running.items():
            rounds[name].append(measured(server, ask, kind, clients, options.seconds))
    best = {name: max(own["qps"] for own in figures) for name, figures in rounds.items()}
    for name, figures in rounds.items():
        tell({"server": name, "kind": kind, "clients": clients, "rounds": figures})
    if "peer" in best:
        tell({"kind": kind, "clients": clients, "ours / peer": best["ours"] / best["peer"]})
    if clients == max(CLIENTS):
        for name, server in running.items():
            rate = 0.8 * best[name]
            heard = http_load.at_rate(
                server.url, ask.some(server.url, kind, 2_000), rate, 2 * options.seconds
            )
            tell({"server": name, "kind": kind, "at_rate": rate} | heard.figures())


class Requests:
    """Requests of which no two are the same.

    Args:
        texts: captions.
        images: files.
        encoder: of the embeddings.
    """

    def __init__(self, texts: Sequence[str], images: Sequence[bytes], encoder: Encoder) -> None:
        self._texts, self._images, self._numbers = texts, images, count()
        self._vectors = encoder.encode_text(list(texts)).astype(np.float32).tolist()

    def body(self, kind: str) -> bytes:
        """The next one's."""
        number = next(self._numbers)
        place = number % len(self._texts)
        query: dict[str, Any]
        if kind == "text":
            query = {"text": f"{self._texts[place]} {number}"}
        elif kind == "image":
            # Behind its end a JPEG may have anything.
            content = self._images[place] + str(number).encode()
            query = {"image": base64.b64encode(content).decode()}
        else:
            query = {"embedding_input": self._vectors[place]}
        further = {"modality": "image", "num_images": K, "indice_name": "pool"}
        return json.dumps(query | further).encode()

    def some(self, url: str, kind: str, number: int) -> list[bytes]:
        """The next requests of a kind."""
        return [http_load.request(url, "/knn-service", self.body(kind)) for _ in range(number)]


def measured(
    server: servers.Server, ask: Requests, kind: str, clients: int, seconds: float
) -> dict[str, float]:
    """Figures of some seconds."""
    requests = ask.some(server.url, kind, int(seconds * (1_500 if kind != "image" else 300)))
    before_s = server.cpu_s
    heard = http_load.steadily(server.url, requests, clients, seconds)
    answers = max(1, heard.statuses[200])
    results = [len(json.loads(body)) for body in heard.bodies]
    cpu_ms = round(1000 * (server.cpu_s - before_s) / answers, 2)
    load = round(os.getloadavg()[0], 1)
    return heard.figures() | {"cpu_ms": cpu_ms, "results": min(results, default=0), "load": load}


def wait_until_warm(server: servers.Server, ask: Requests, workers: int) -> None:
    """Ask until each of several processes has loaded its model."""
    http_load.steadily(server.url, ask.some(server.url, "text", 100), 4 * workers, 2)


def make(data: Path, options: argparse.Namespace, model: InferenceSettings) -> None:
    """The pool, and the peer's folder and index of the same vectors, if they are not there."""
    if not (data / "pool" / "index" / "CURRENT").exists():
        began_s = time.monotonic()
        served_pool.pool(data / "pool", options.vectors, model=model, drawn_scenes=options.scenes)
        tell({"our pool and index": round(time.monotonic() - began_s, 1)})
    if not options.alone and not (data / "peer-index" / "image.index").exists():
        served_pool.clip_retrieval(data / "pool", data / "peer")
        program = options.peer / "bin" / "clip-retrieval"
        folders = ["--embeddings_folder", data / "peer", "--index_folder", data / "peer-index"]
        began_s = time.monotonic()
        subprocess.run([program, "index", *folders], check=True, capture_output=True)
        tell({"peer's index": round(time.monotonic() - began_s, 1)})


def model_of(folder: Path) -> tuple[Path, Path]:
    """The demo model's configuration as open_clip takes it by name, and its weights."""
    config = json.loads((DEMO_FOLDER / "open_clip_config.json").read_text())["model_cfg"]
    configs = folder / "configs"
    configs.mkdir()
    (configs / "demo-tiny.json").write_text(json.dumps(config))
    return configs, DEMO_FOLDER / "open_clip_model.safetensors"


def model_in(data: Path, name: str) -> InferenceSettings:
    """The demo's model, or one of open_clip with random weights, which are kept."""
    if name == "demo":
        return InferenceSettings(model="demo", pretrained=None)
    weights = data / f"{name}.pt"
    if not weights.exists():
        import open_clip
        import torch

        data.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        torch.save(open_clip.create_model(name).state_dict(), weights)
    return InferenceSettings(model=name, pretrained=str(weights))


def peers_tower(
    peer: Path, configs: Path, weights: Path, texts: Sequence[str], threads: dict[str, str]
) -> float:
    """Texts a second of the peer's text tower alone, one by one."""
    command = [peer / "bin" / "python", "-c", TOWER, configs, weights]
    told = subprocess.run(
        [str(part) for part in command],
        input="\n".join(texts),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | threads,
    )
    return round(float(told.stdout), 1)


def tower(encoder: Encoder, texts: Sequence[str]) -> float:
    """Texts a second of our text tower alone, in batches of 8."""
    encoder.begin_work()
    began_s, done = time.monotonic(), 0
    while time.monotonic() < began_s + 3:
        place = done % (len(texts) - 8)
        encoder.encode_text(texts[place : place + 8])
        done += 8
    return round(done / (time.monotonic() - began_s), 1)


def tell(figures: dict[str, Any]) -> None:
    """A line of json."""
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
