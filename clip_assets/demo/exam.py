"""Pictures that no pool has, with captions and classes: what an experiment asks its models.

One tar; the json of a sample says its class: colour and shape of what it shows, such as "red
circle". ``python -m clip_assets.demo.exam FILE`` writes it.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from clip_assets.demo.captions import short_caption
from clip_assets.demo.drawing import draw
from clip_assets.demo.pictures import as_jpeg
from clip_assets.demo.scenes import Variety, random_scene
from clip_assets.files.whole import whole_file
from clip_assets.webdataset.write import end_tar, write_member

SEED = 770_019
"""Far from those of worlds, which are small numbers."""

VARIETY = Variety(shorter_side_px=(96, 160), same=0.0, mixed=0.0)
QUALITY = 90


def write_exam(file: Path, pictures: int = 1000, seed: int = SEED) -> None:
    """Write a tar of pictures of one object each.

    Args:
        file: the tar.
        pictures: how many.
        seed: of what they show.
    """
    random = np.random.default_rng(seed)
    with whole_file(file) as part, part.open("wb") as tar:
        for number in range(pictures):
            scene = random_scene(random, variety=VARIETY)
            [pair] = scene.pairs
            caption = short_caption(scene, random)
            told = {"class": f"{pair.colour} {pair.shape}", "caption": caption}
            members = {
                "jpg": as_jpeg(draw(scene), QUALITY),
                "json": json.dumps(told).encode(),
                "txt": caption.encode(),
            }
            for extension, content in members.items():
                write_member(tar, f"{number:06d}.{extension}", content)
        end_tar(tar)


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(prog="python -m clip_assets.demo.exam", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--pictures", type=int, default=1000)
    chosen = parser.parse_args(arguments)
    write_exam(chosen.file, chosen.pictures)


if __name__ == "__main__":
    main()
