"""Choosing subsets of DataComp's metadata beside DataComp's own script, on the same files.

    python benchmarks/subsets.py [PEER] [--files 8] [--rows 100000]

PEER is a checkout of mlfoundations/datacomp. Its functions are called as its ``baselines.py`` calls
them, in processes of their own; modules that it imports and that the chosen rules do not use
(language models, WordNet) are empty ones. Files of both must be the same bytes.
"""

import argparse
import filecmp
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PEERS = """
import argparse, json, sys
from baselines.apply_filter import apply_filter
if __name__ == "__main__":
    apply_filter(argparse.Namespace(**json.loads(sys.argv[1])))
"""

OURS = "from clip_assets.cli import main; main()"

UNUSED = {
    "fasttext": "class FastText: pass",
    "gcld3": "",
    "nltk/__init__": "",
    "nltk/corpus": "wordnet = None",
}
"""Modules that the peer imports and these rules do not use."""

CASES = {
    "no_filter": ({"name": "no_filter"}, ["--baseline", "no_filter"]),
    "clip_score l14, fraction 0.3": (
        {"name": "clip_score", "arch": "l14", "fraction": 0.3},
        ["--define", "{baseline: clip_score, arch: l14, fraction: 0.3, datacomp_compat: true}"],
    ),
    "clip_score b32, threshold 0.25": (
        {"name": "clip_score", "arch": "b32", "threshold": 0.25},
        ["--baseline", "clip_score", "--arch", "b32", "--threshold", "0.25"],
    ),
}

OURS_ALONE = {
    "no_filter": ["--baseline", "no_filter"],
    "clip_score l14, fraction 0.3": [
        "--define",
        "{baseline: clip_score, arch: l14, fraction: 0.3}",
    ],
    "where": ["--where", "original_width >= 512 AND text ILIKE '%7%' AND len(face_bboxes) = 0"],
}


@dataclass(frozen=True)
class Measured:
    """What a command took: seconds of the clock and of CPU, and the MB of its largest process."""

    seconds: float
    cpu_seconds: float
    peak_mb: int

    @property
    def told(self) -> str:
        """For people."""
        return f"{self.seconds:.2f} s, {self.cpu_seconds:.2f} s of CPU, {self.peak_mb:,} MB"


def main() -> None:
    """Measure every case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", type=Path, nargs="?", help="without it, ours alone is measured")
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--rows", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clip-assets-") as name:
        folder = Path(name)
        (metadata := folder / "metadata").mkdir()
        for number in range(asked.files):
            write(metadata / f"{number:032x}.parquet", number, asked.rows)
        for module, text in UNUSED.items():
            file = folder / "unused" / f"{module}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        print(f"{asked.files} files of {asked.rows:,} rows, {os.cpu_count()} cores")
        for case, (peers, ours) in CASES.items() if asked.peer else ():
            theirs = _peer(asked.peer, folder, metadata, peers)
            own = choose(folder, metadata, ours)
            same = filecmp.cmp(folder / "peer.npy", folder / "ours.npy", shallow=False)
            print(
                f"{case}: peer {theirs.told}; ours {own.told}; "
                f"{theirs.seconds / own.seconds:.1f} times, of CPU "
                f"{theirs.cpu_seconds / own.cpu_seconds:.1f}; "
                f"{'same bytes' if same else 'OTHER BYTES'}"
            )
        for case, ours in OURS_ALONE.items():
            print(f"{case}: ours {choose(folder, metadata, ours).told}")


def write(file: Path, seed: int, rows: int) -> None:
    """A file of metadata as CommonPool's are."""
    random = np.random.default_rng(seed)
    digits = random.bytes(16 * rows).hex()
    uids = [digits[start : start + 32] for start in range(0, len(digits), 32)]
    sizes = random.integers(64, 2048, (2, rows), np.int32)
    scores = [pa.array(random.normal(mean, 0.06, rows).astype(np.float32)) for mean in (0.22, 0.18)]
    table = pa.table(
        {
            "uid": pa.array(uids),
            "url": pa.array([f"https://host{n % 997}.example/{n}.jpg" for n in range(rows)]),
            "text": pa.array([f"caption number {n} of something seen" for n in range(rows)]),
            "original_width": pa.array(sizes[0]),
            "original_height": pa.array(sizes[1]),
            "clip_b32_similarity_score": scores[0],
            "clip_l14_similarity_score": scores[1],
            "face_bboxes": pa.array([[]] * rows, pa.list_(pa.list_(pa.float64()))),
            "sha256": pa.array([f"{uid}{uid}" for uid in uids]),
        }
    )
    pq.write_table(table, file)


def _peer(peer: Path, folder: Path, metadata: Path, named: Mapping[str, object]) -> Measured:
    chosen = {"arch": None, "fraction": None, "threshold": None, **named}
    chosen["metadata_dir"] = str(metadata)
    chosen["save_path"] = str(folder / "peer.npy")
    chosen["num_workers"] = os.cpu_count()
    (script := folder / "peer.py").write_text(PEERS)
    path = os.pathsep.join([str(folder / "unused"), str(peer)])
    return timed([sys.executable, str(script), json.dumps(chosen)], path)


def choose(folder: Path, metadata: Path, definition: list[str]) -> Measured:
    """Choose from a folder of metadata into ``ours.npy``."""
    root = ["--root", str(folder / "pool"), "--metadata", str(metadata)]
    command = ["subset", "mine", *definition, *root, "--output", str(folder / "ours.npy")]
    checkout = str(Path(__file__).parents[1])
    return timed([sys.executable, "-c", OURS, *command], checkout)


def timed(command: list[str], path: str) -> Measured:
    """Run a command with a path of modules."""
    start = time.monotonic()
    environment = os.environ | {"PYTHONPATH": path}
    script = (
        "import resource, subprocess, sys\n"
        "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, "
        "stderr=subprocess.PIPE, text=True)\n"
        "sys.stderr.write(code.stderr if code.returncode else '')\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss // 1000)\n"
        "sys.exit(code.returncode)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds = time.monotonic() - start
    cpu_seconds, peak_mb = done.stdout.split()
    return Measured(seconds, float(cpu_seconds), int(peak_mb))


if __name__ == "__main__":
    main()
