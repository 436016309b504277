"""kill -9 at random moments: nothing half is ever seen, and the end is the same to the byte."""

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clip_assets import layout
from clip_assets.inference.embeddings import EMBEDDINGS
from clip_assets.settings import InferenceSettings
from clip_assets.storage.leftovers import sweep
from clip_assets.storage.store import Store
from clip_assets_tests.inference.shards import P, Pair, image_shards, made_up

OUTPUTS = (layout.img_emb(P), layout.text_emb(P), layout.embedding_rows(P))

# Loads the model once and forks before every attempt, so that 20 attempts cost one import.
ATTEMPTS = """
import os, signal, sys, time
from clip_assets import graph
from clip_assets.inference.embeddings import embeddings
from clip_assets.pool.pool import Pool
from clip_assets.encoders.openclip.loading import load_encoder
from clip_assets.settings import InferenceSettings, Settings
from clip_assets.storage.store import Store

settings = Settings(inference=InferenceSettings.model_validate_json(sys.argv[1]))
encoder = load_encoder(settings.inference, "cpu")
for line in sys.stdin:
    root, after = line.split()
    start = time.monotonic()
    child = os.fork()
    if not child:
        pool = Pool(Store.open(root), settings, graph.ASSETS, lambda: encoder)
        embeddings(pool, sys.argv[2])
        os._exit(0)
    if float(after) >= 0:
        time.sleep(float(after))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    print(status, time.monotonic() - start, flush=True)
"""


def sha256(store: Store, path: str) -> str:
    return hashlib.sha256(store.read_bytes(path)).hexdigest()


def chunks(store: Store) -> dict[str, int]:
    """Chunk files and their inodes."""
    folder = Path(store.base, layout.work(layout.EMBEDDINGS, P))
    return {file.name: file.stat().st_ino for file in folder.glob("*.arrow")}


Attempt = Callable[[Store, float], tuple[int, float]]
"""Embeds a pool in a process that is killed after some seconds, or never if they are negative: its
status and how long it ran."""


@contextmanager
def attempts_of(inference: InferenceSettings) -> Generator[Attempt]:
    """Attempts in processes that share one loaded model."""
    one_core = os.environ | {"OMP_NUM_THREADS": "1"}
    attempts = subprocess.Popen(
        [sys.executable, "-c", ATTEMPTS, inference.model_dump_json(), P],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=one_core,
        bufsize=1,
    )
    assert attempts.stdin is not None
    assert attempts.stdout is not None

    def attempt(store: Store, kill_after_s: float) -> tuple[int, float]:
        attempts.stdin.write(f"{store.base} {kill_after_s}\n")  # type: ignore[union-attr]
        status, seconds = attempts.stdout.readline().split()  # type: ignore[union-attr]
        return int(status), float(seconds)

    with attempts:
        yield attempt
        attempts.stdin.close()


def attempt_all(attempt: Attempt, calm: Store, killed: Store) -> None:
    """Make one pool without a kill, and the other with twenty of them."""
    status, calm_s = attempt(calm, -1)
    assert status == 0
    moments = random.Random(0)
    kills = 0
    while kills < 20:
        before = chunks(killed)
        status, _ = attempt(killed, moments.uniform(0, calm_s / 4))
        for path in OUTPUTS:
            assert not killed.exists(path) or sha256(killed, path) == sha256(calm, path)
        if status == 9:
            kills += 1
            assert before.items() <= chunks(killed).items() or killed.exists(OUTPUTS[0])
        else:
            for path in (layout.manifest(layout.EMBEDDINGS, P), *OUTPUTS):
                killed.delete(path)
    assert attempt(killed, -1)[0] == 0


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was_and_ends_the_same(
    tmp_path: Path, inference: InferenceSettings
) -> None:
    stores = [Store.open(str(tmp_path / name)) for name in ("calm", "killed")]
    shards = [[Pair(10 * tar + n) for n in range(10)] for tar in range(20)]
    for store in stores:
        image_shards(made_up(store, inference), shards)
    calm, killed = stores
    with attempts_of(inference) as attempt:
        attempt_all(attempt, calm, killed)
    for path in OUTPUTS:
        assert sha256(killed, path) == sha256(calm, path)
    assert killed.list("work") == []
    sweep(killed)
    assert killed.list(layout.TEMPORARY) == []


@pytest.mark.slow
def test_a_killed_run_over_a_changed_tar_keeps_what_the_last_one_published(
    tmp_path: Path, inference: InferenceSettings
) -> None:
    shards = [[Pair(10 * tar + n) for n in range(10)] for tar in range(12)]
    grown = [*shards[:5], [*shards[5], Pair(500)], *shards[6:]]
    calm, killed = (Store.open(str(tmp_path / name)) for name in ("calm", "killed"))
    with attempts_of(inference) as attempt:
        for store in (calm, killed):
            image_shards(made_up(store, inference), shards)
            assert attempt(store, -1)[0] == 0
            image_shards(made_up(store, inference), grown)
        status, calm_s = attempt(calm, -1)
        assert status == 0
        moments = random.Random(0)
        for _ in range(10):
            before = chunks(killed)
            attempt(killed, moments.uniform(0, calm_s))
            if EMBEDDINGS.state(made_up(killed, inference).pool, P) == "done":
                break
            assert before.items() <= chunks(killed).items()
        assert attempt(killed, -1)[0] == 0
    for path in (*OUTPUTS, layout.embedding_inputs(P)):
        assert sha256(killed, path) == sha256(calm, path)
    assert killed.list("work") == []
