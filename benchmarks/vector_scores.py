"""Subsets by vectors: what they cost, and how a cheap negCLIPLoss ranks beside the paper's.

    python benchmarks/vector_scores.py cost build/vectors --rows 200000
    python benchmarks/vector_scores.py agreement [--embeddings POOL/embeddings]

``cost`` writes a folder as DataComp's, of ``made_up_vectors`` with 512 dimensions in float16, and
chooses from it with ``clip-assets subset --metadata``; CPU time is that of the command, start and
temporary files included. Of the rows a hundredth are near-copies of others, 0.003 away. Peak
memory counts pages of files that are mapped. ``agreement`` scores pairs by 10 rounds of batches of
32,768, the paper's setting, and by cheaper ones; of real embeddings, which are fewer, by one batch
of all and by batches of as large a part as the cheaper ones are of the paper's.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from made_up_vectors import Source
from subsets import choose, write

from clip_assets.subsets.vector_scores import neg_clip_loss

DIM = 512
PER_FILE = 50_000
COPIES = 0.01
PAPER, CHEAPER = (32_768, 10), ((8_192, 2), (8_192, 1), (8_192, 10), (2_048, 2))
TOP = 0.3
TARGETS = 10_000

DEFINITIONS = {
    "negCLIPLoss, 2 rounds of 8,192": "{vectors: negcliploss, arch: b32, fraction: 0.3}",
    "NormSim-2": "{vectors: normsim, p: 2, targets: TARGETS, arch: b32, fraction: 0.3}",
    f"NormSim-inf, {TARGETS:,} targets": (
        "{vectors: normsim, p: inf, targets: TARGETS, arch: b32, fraction: 0.3}"
    ),
    "NormSim-D, 5 rounds": "{vectors: normsim_d, arch: b32, fraction: 0.3}",
    "SemDeDup": "{vectors: semdedup, arch: b32, threshold: 0.01}",
}

Halves = npt.NDArray[np.float16]


def generate(folder: Path, rows: int) -> None:
    """Write metadata and vectors, and vectors of targets."""
    (metadata := folder / "metadata").mkdir(parents=True)
    source = Source(DIM, max(rows // 200, 1))
    for number, start in enumerate(range(0, rows, PER_FILE)):
        count = min(PER_FILE, rows - start)
        images, texts = source.pairs(count, number)
        copies = int(count * COPIES)
        noise = np.random.default_rng(number).standard_normal((copies, DIM), np.float32)
        images[:copies] = images[-copies:] + np.float32(0.003 / DIM**0.5) * noise
        write(metadata / f"{number:032x}.parquet", number, count)
        sides = {"b32_img": images.astype(np.float16), "b32_txt": texts.astype(np.float16)}
        np.savez(metadata / f"{number:032x}.npz", **sides)
    np.save(folder / "targets.npy", source.pairs(TARGETS, rows)[0].astype(np.float32))


def cost(folder: Path, rows: int, chosen: str) -> None:
    """Choose by every score, or by those with a text in their name."""
    if not folder.exists():
        generate(folder, rows)
    print(f"{rows:,} rows of {DIM} dimensions\n")
    print("| | seconds | CPU seconds | rows per CPU second | peak memory |")
    print("|---|---:|---:|---:|---:|")
    for name, definition in DEFINITIONS.items():
        if chosen.lower() not in name.lower():
            continue
        said = definition.replace("TARGETS", str((folder / "targets.npy").absolute()))
        seen = choose(folder, folder / "metadata", ["--define", said])
        rate = f"{rows / seen.cpu_seconds:,.0f}"
        times = f"{seen.seconds:.0f} | {seen.cpu_seconds:.0f} | {rate} | {seen.peak_mb:,} MB"
        print(f"| {name} | {times} |", flush=True)


def agreement(embeddings: Path | None, rows: int) -> None:
    """Rank pairs by the paper's setting and by cheaper ones."""
    images, texts = _embedded(embeddings) if embeddings else _made_up(rows)
    keys = np.random.default_rng(0).integers(0, 2**63, len(images), np.uint64)
    scale = len(images) / PAPER[0] if len(images) < PAPER[0] else 1.0
    settings: Mapping[str, tuple[int, int]] = {
        f"{count} rounds of {int(size * scale):,}": (int(size * scale), count)
        for size, count in (PAPER, *CHEAPER)
    }
    scores = {
        name: neg_clip_loss(images, texts, keys, batch=size, rounds=count, temperature=0.01)
        for name, (size, count) in settings.items()
    }
    similar = np.einsum("nd,nd->n", images.astype(np.float32), texts.astype(np.float32))
    paper, *others = scores.items()
    print(f"{len(images):,} pairs, beside {paper[0]}\n")
    print(f"| | Spearman | of the best {TOP:.0%} in common |")
    print("|---|---:|---:|")
    for name, other in (*others, ("similarity alone", similar)):
        correlation = float(np.corrcoef(_ranks(paper[1]), _ranks(other))[0, 1])
        print(f"| {name} | {correlation:.4f} | {_in_common(paper[1], other):.1%} |")


def _ranks(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    return np.argsort(np.argsort(scores))


def _in_common(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    count = int(len(one) * TOP)
    best = [{*np.argsort(-scores)[:count].tolist()} for scores in (one, other)]
    return len(best[0] & best[1]) / count


def _made_up(rows: int) -> tuple[Halves, Halves]:
    images, texts = Source(DIM, rows // 200).pairs(rows, 0)
    return images.astype(np.float16), texts.astype(np.float16)


def _embedded(folder: Path) -> tuple[Halves, Halves]:
    sides = [sorted((folder / name).glob("*.npy")) for name in ("img_emb", "text_emb")]
    images, texts = (np.concatenate([np.load(file) for file in files]) for files in sides)
    return images, texts


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    costs = commands.add_parser("cost")
    costs.add_argument("folder", type=Path)
    costs.add_argument("--rows", type=int, default=200_000)
    costs.add_argument("--only", default="", help="part of a score's name")
    agrees = commands.add_parser("agreement")
    agrees.add_argument("--embeddings", type=Path)
    agrees.add_argument("--rows", type=int, default=2 * PAPER[0])
    given = parser.parse_args()
    if given.command == "cost":
        cost(given.folder, given.rows, given.only)
    else:
        agreement(given.embeddings, given.rows)


if __name__ == "__main__":
    sys.exit(main())
