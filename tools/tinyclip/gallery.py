"""How well the tiny CLIP guesses and finds scenes: accuracies and ranks, as plain arithmetic.

Details beyond colour and shape are measured in ``choices``; files and commands are
``evaluation``'s.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt

from clip_assets.demo.captions import with_article
from clip_assets.demo.drawing import draw
from clip_assets.demo.pictures import as_jpeg
from clip_assets.demo.scenes import (
    ALL_PAIRS,
    COLOURS,
    SHAPES,
    Pair,
    Scene,
    Variety,
    random_scene,
)
from tools.tinyclip.model import Features, TinyClip

SHAPE_PROMPTS = ("a photo of a {}", "a {}", "an image of a {}")
JPEG_QUALITY = 90

IN_PROCESS_SCENES = 1000
"""Starting processes takes as long as drawing about so many scenes."""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Scenes and their image features, row by row."""

    scenes: list[Scene]
    features: Features


@dataclass(frozen=True, slots=True)
class Quality:
    """How well some pairs are understood; every number but the counts is a share of 1.

    Args:
        scenes: images whose colour, shape and pair were guessed; never those with two pairs.
        colour: guessed among 12, by one prompt.
        shape: guessed among 12, by three prompts.
        joint: guessed among 144, by one prompt.
        queries: the pairs searched for in the whole gallery, where some image shows them.
        precision_at_1: how often the first image shows the pair that was searched.
        r_precision: of the first R images the share that match, when R match.
    """

    scenes: int
    colour: float
    shape: float
    joint: float
    queries: int
    precision_at_1: float
    r_precision: float


def draw_gallery(clip: TinyClip, scenes: int, seed: int, variety: Variety) -> Gallery:
    """Draw ``scenes`` scenes, every pair about equally often, and embed them."""
    rng = np.random.default_rng(seed)
    chosen = [random_scene(rng, variety=variety) for _ in range(scenes)]
    if scenes <= IN_PROCESS_SCENES:
        jpegs = [_jpeg(scene) for scene in chosen]
    else:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            jpegs = list(pool.map(_jpeg, chosen, chunksize=100))
    return Gallery(chosen, clip.encode_jpegs(jpegs))


def quality(clip: TinyClip, gallery: Gallery, pairs: Sequence[Pair]) -> Quality:
    """Guess and search ``pairs``; the guesses and the searched gallery include all others."""
    allowed = frozenset(pairs)
    rows = [
        row
        for row, scene in enumerate(gallery.scenes)
        if not scene.is_mixed and scene.pairs <= allowed
    ]
    truth = [gallery.scenes[row].things[0].pair for row in rows]
    features = gallery.features[rows]
    colour = _guesses(features, _prompts(clip, tuple(COLOURS), ("a photo of a {} object",)))
    shape = _guesses(features, _prompts(clip, SHAPES, SHAPE_PROMPTS))
    joint = _guesses(features, clip.encode_texts([query_text(pair) for pair in ALL_PAIRS]))
    colours = tuple(COLOURS)
    ranks = [ranking(clip, gallery, pair) for pair in pairs]
    hits = [rank for rank in ranks if rank.any()]
    return Quality(
        scenes=len(rows),
        colour=_share([colours[g] == pair.colour for g, pair in zip(colour, truth, strict=True)]),
        shape=_share([SHAPES[g] == pair.shape for g, pair in zip(shape, truth, strict=True)]),
        joint=_share([ALL_PAIRS[g] == pair for g, pair in zip(joint, truth, strict=True)]),
        queries=len(hits),
        precision_at_1=_share([bool(hit[0]) for hit in hits]),
        r_precision=_share([float(hit[: hit.sum()].mean()) for hit in hits]),
    )


def query_text(pair: Pair) -> str:
    """What somebody types who wants ``pair``."""
    return with_article(f"{pair.colour} {pair.shape}")


def ranking(clip: TinyClip, gallery: Gallery, pair: Pair) -> npt.NDArray[np.bool_]:
    """Whether the image at each rank shows ``pair``, best first."""
    scores = gallery.features @ clip.encode_texts([query_text(pair)])[0]
    order = np.argsort(-scores, kind="stable")
    return np.array([pair in gallery.scenes[row].pairs for row in order])


def _prompts(clip: TinyClip, names: Sequence[str], templates: Sequence[str]) -> Features:
    """One direction for each name: the mean of its texts in all ``templates``."""
    texts = [clip.encode_texts([template.format(name) for name in names]) for template in templates]
    mean = np.mean(texts, axis=0)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def _guesses(image: Features, text: Features) -> list[int]:
    return [int(guess) for guess in (image @ text.T).argmax(axis=1)]


def _share(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


def _jpeg(scene: Scene) -> bytes:
    return as_jpeg(draw(scene), JPEG_QUALITY)
