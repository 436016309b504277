"""Scenes as arrays: the pixels and captions that ``training`` learns from.

Images go through JPEG and through the same resize as open_clip's preprocessing, because that is
what the model meets in a pool. See ``demo.scenes`` for what is drawn.
"""

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
from PIL import Image

from clip_assets.demo.captions import captions
from clip_assets.demo.drawing import draw
from clip_assets.demo.pictures import as_jpeg
from clip_assets.demo.scenes import TRAINED_PAIRS, Pair, Scene, random_scene
from tools.tinyclip.model import IMAGE_PX

CHUNK_SCENES = 500
MIXED = -1


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Row i of every array is scene i.

    Args:
        pixels: (n, 64, 64, 3) uint8.
        captions: eight captions of each scene, the short ones first.
        pair: (n,) place of the scene's pair in ``TRAINED_PAIRS``; -1 if it shows two.
        is_easy: (n,) whether it shows one plain, not small object on a plain background.
    """

    pixels: npt.NDArray[np.uint8]
    captions: list[list[str]]
    pair: npt.NDArray[np.int64]
    is_easy: npt.NDArray[np.bool_]


def render_training_set(scenes: int, seed: int, processes: int = 2) -> Iterator[TrainingSet]:
    """Yield ``scenes`` training scenes in chunks; the same for any number of ``processes``."""
    sizes = [min(CHUNK_SCENES, scenes - start) for start in range(0, scenes, CHUNK_SCENES)]
    seeds = np.random.SeedSequence(seed).spawn(len(sizes))
    # Spawned workers do not inherit the threads and locks of torch.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_render_chunk, sizes, seeds)


def joined(chunks: Sequence[TrainingSet]) -> TrainingSet:
    """All ``chunks`` as one set."""
    return TrainingSet(
        pixels=np.concatenate([chunk.pixels for chunk in chunks]),
        captions=[texts for chunk in chunks for texts in chunk.captions],
        pair=np.concatenate([chunk.pair for chunk in chunks]),
        is_easy=np.concatenate([chunk.is_easy for chunk in chunks]),
    )


def model_input(image: Image.Image) -> Image.Image:
    """``image`` as open_clip resizes it: bicubic by the shorter side, then the centre."""
    shorter = min(image.size)
    width, height = (int(IMAGE_PX * side / shorter) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - IMAGE_PX) / 2), round((height - IMAGE_PX) / 2)
    return resized.crop((left, top, left + IMAGE_PX, top + IMAGE_PX))


def _render_chunk(scenes: int, seed: np.random.SeedSequence) -> TrainingSet:
    rng = np.random.default_rng(seed)
    place = {pair: number for number, pair in enumerate(TRAINED_PAIRS)}
    chosen = [random_scene(rng, TRAINED_PAIRS) for _ in range(scenes)]
    return TrainingSet(
        pixels=np.stack([_pixels(scene, rng) for scene in chosen]),
        captions=[captions(scene, rng) for scene in chosen],
        pair=np.array([MIXED if scene.is_mixed else place[_pair(scene)] for scene in chosen]),
        is_easy=np.array([_is_easy(scene) for scene in chosen]),
    )


def _pixels(scene: Scene, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    data = as_jpeg(draw(scene), quality=int(rng.integers(75, 96)))
    return np.asarray(model_input(Image.open(io.BytesIO(data))))


def _pair(scene: Scene) -> Pair:
    return scene.things[0].pair


def _is_easy(scene: Scene) -> bool:
    first = scene.things[0]
    return (
        len(scene.things) == 1
        and first.size != "small"
        and first.pattern == "plain"
        and scene.texture == "plain"
    )
