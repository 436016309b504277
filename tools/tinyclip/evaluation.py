"""Measures a folder with a tiny CLIP, on scenes drawn from a seed that training never saw.

Writes the numbers beside the weights and prints them as tables. See
``gallery`` and ``choices`` for what is measured.
"""

import argparse
import hashlib
import json
import logging
import sys
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

from clip_assets.demo.scenes import HELD_OUT_PAIRS, TRAINED_PAIRS, Variety
from tools.tinyclip.choices import Choice, choices
from tools.tinyclip.gallery import Quality, draw_gallery, quality
from tools.tinyclip.model import MODEL_FOLDER, WEIGHTS_NAME, TinyClip

logger = logging.getLogger(__name__)

QUALITY_NAME = "quality.json"

FRESH_SEED = 990_017
"""Far from the small numbers that people give to training."""

GALLERY_SCENES = 4000
GALLERIES = {
    "single objects": Variety(same=0.0, mixed=0.0),
    "one, several or two different": Variety(),
}


@dataclass(frozen=True, slots=True)
class Report:
    """What is known about one file of weights; galleries and choices by what they show."""

    weights_sha256: str
    weights_bytes: int
    seed: int
    scenes_per_gallery: int
    galleries: dict[str, Quality]
    choices: dict[str, Choice]


def evaluate(folder: Path, scenes: int = GALLERY_SCENES, seed: int = FRESH_SEED) -> Report:
    """Measure the model of ``folder``."""
    clip = TinyClip(folder)
    measured: dict[str, Quality] = {}
    told_apart: dict[str, Choice] = {}
    for number, (name, variety) in enumerate(GALLERIES.items()):
        gallery = draw_gallery(clip, scenes, seed + number, variety)
        logger.info("drew and embedded %d scenes: %s", scenes, name)
        measured[f"{name}; trained pairs"] = quality(clip, gallery, TRAINED_PAIRS)
        measured[f"{name}; never trained pairs"] = quality(clip, gallery, HELD_OUT_PAIRS)
        told_apart = choices(clip, gallery)
    weights = (folder / WEIGHTS_NAME).read_bytes()
    return Report(
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        weights_bytes=len(weights),
        seed=seed,
        scenes_per_gallery=scenes,
        galleries=measured,
        choices=told_apart,
    )


def as_markdown(report: Report) -> str:
    """The report as two tables."""
    return "\n".join(
        [
            _row("gallery", *[field.name for field in fields(Quality)]),
            _row(*["---"] * (len(fields(Quality)) + 1)),
            *[_row(name, *astuple(numbers)) for name, numbers in report.galleries.items()],
            "",
            _row("choice", *[field.name for field in fields(Choice)]),
            _row(*["---"] * (len(fields(Choice)) + 1)),
            *[_row(name, *astuple(numbers)) for name, numbers in report.choices.items()],
        ]
    )


def _row(*cells: object) -> str:
    texts = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells]
    return "| " + " | ".join(texts) + " |"


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, measure, write ``quality.json`` and print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.tinyclip.evaluation",
        description="Measure a tiny CLIP on freshly drawn scenes; takes about a minute.",
        epilog=f"Writes MODEL_DIR/{QUALITY_NAME} and prints the same numbers as markdown tables.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "folder",
        metavar="MODEL_DIR",
        type=Path,
        nargs="?",
        default=MODEL_FOLDER,
        help="an open_clip folder that tools.tinyclip.training wrote",
    )
    parser.add_argument("--scenes", type=int, default=GALLERY_SCENES, help="images per gallery")
    parser.add_argument("--seed", type=int, default=FRESH_SEED, help="decides the images")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(message)s")
    logger.setLevel(logging.INFO)
    report = evaluate(chosen.folder, chosen.scenes, chosen.seed)
    (chosen.folder / QUALITY_NAME).write_text(json.dumps(asdict(report), indent=2) + "\n")
    sys.stdout.write(as_markdown(report) + "\n")


if __name__ == "__main__":
    main()
