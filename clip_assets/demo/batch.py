"""One batch of new pairs: invents scenes, draws their files, and says what is true about each url.

``demo.world`` deals the rows to source files and adds duplicates.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clip_assets.demo.captions import captions
from clip_assets.demo.misbehaviour import DEAD_HOST, GOOD, MISBEHAVIOURS
from clip_assets.demo.pictures import ImageFile, write_images
from clip_assets.demo.scenes import Scene, Variety, pick, random_scene, scene_of
from clip_assets.demo.sources import Row
from clip_assets.demo.truth import ADVERTISED_PAIRS, Picture

VARIETY = Variety(shorter_side_px=(96, 400), same=0.1, mixed=0.1)
ADVERTISED_VARIETY = Variety(shorter_side_px=(240, 400), same=0.0, mixed=0.0)

ADVERTISED_SHARE = 24 / 4000
"""Of all pairs; 24 images for each advertised query in a world of 4000."""

SECOND_CAPTION_SHARE = 0.02
"""The share of images that a second row describes in other words."""

WRONG_CAPTION_SHARE = 0.06
DECORATED_SHARE = 0.15

TRUE_SIMILARITY = (0.31, 0.025)
"""Mean and deviation of the similarity that a publisher's CLIP would have given."""

WRONG_SIMILARITY = (0.18, 0.025)
MIN_COMPLETE_URLS = 40

WITHOUT_FILE = frozenset(
    {"missing", "gone", "forbidden", "500", "redirect-loop", "html", "empty", "reset", "huge"}
    | {DEAD_HOST.name}
)
"""Behind these urls nobody ever sees a file."""

DECORATIONS = (
    "{}, free clip art",
    "{} | stock photo",
    "Vector: {} (isolated)",
    "{}, größe A4",
    'The "{}" sign',
    "{}\nfrom our new collection",
    '{}: "as seen" on the wall\n\n5 € only',
)


@dataclass(frozen=True, slots=True)
class WorldBatch:
    """Unique rows, the truth about their urls, and the number of rows by kind of url."""

    rows: list[Row]
    pictures: list[Picture]
    expected: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Plan:
    """One url to be: what it shows, how it answers, and its file's name and quality."""

    name: str
    kind: str
    scene: Scene
    quality: int
    is_described: bool


def publish_batch(
    folder: Path, base_url: str, pairs: int, number: int, rng: np.random.Generator
) -> WorldBatch:
    """Write the images of batch ``number`` and return its ``pairs`` unique rows."""
    second_captions = round(pairs * SECOND_CAPTION_SHARE)
    plans = _plans(pairs - second_captions, number, rng)
    files = [
        ImageFile(plan.name, plan.scene, plan.quality)
        for plan in plans
        if plan.kind not in WITHOUT_FILE
    ]
    digests = write_images(folder / "images", files)
    sha256 = dict(zip([file.name for file in files], digests, strict=True))
    rows = [_row(plan, _url(base_url, plan), sha256, rng) for plan in plans]
    kinds = [plan.kind for plan in plans]
    twice = [place for place, plan in enumerate(plans) if plan.kind == GOOD and plan.is_described]
    for place in rng.choice(twice, size=second_captions, replace=False):
        plan, first = plans[place], rows[place]
        second = first
        while second.caption == first.caption:
            second = _row(plan, first.url, sha256, rng)
        rows.append(second)
        kinds.append(GOOD)
    pictures = [_picture(plan) for plan in plans]
    return WorldBatch(rows, pictures, dict(sorted(Counter(kinds).items())))


def _plans(urls: int, number: int, rng: np.random.Generator) -> list[_Plan]:
    # Every kind and every advertised pair occurs, unless there is hardly room for the good ones.
    least = 1 if urls >= MIN_COMPLETE_URLS else 0
    kinds: list[str] = []
    for kind in (*MISBEHAVIOURS, DEAD_HOST):
        kinds += [kind.name] * max(least, round(kind.share * urls))
    repeats = max(least, round(urls * ADVERTISED_SHARE))
    scenes = [
        scene_of(rng, pair, ADVERTISED_VARIETY) for pair in ADVERTISED_PAIRS for _ in range(repeats)
    ]
    good = urls - len(kinds)
    scenes += [random_scene(rng, variety=VARIETY) for _ in range(urls - len(scenes))]
    kinds = [GOOD] * good + kinds
    return [
        _plan(f"{number:02d}-{place:05d}", kind, scene, rng)
        for place, (kind, scene) in enumerate(zip(kinds, scenes, strict=True))
    ]


def _plan(stem: str, kind: str, scene: Scene, rng: np.random.Generator) -> _Plan:
    # Noise does not compress without loss: a PNG of it would be a hundred times the others' size.
    suffixes = (".jpg", ".webp") if scene.texture == "noisy" else (".jpg", ".jpg", ".png", ".webp")
    return _Plan(
        name=stem + pick(rng, suffixes),
        kind=kind,
        scene=scene,
        quality=int(rng.integers(78, 96)),
        is_described=bool(rng.random() >= WRONG_CAPTION_SHARE),
    )


def _url(base_url: str, plan: _Plan) -> str:
    if plan.kind == DEAD_HOST.name:
        return f"http://pictures-{Path(plan.name).stem}.invalid/{plan.name}"
    return f"{base_url}/{plan.kind}/{plan.name}"


def _row(plan: _Plan, url: str, sha256: dict[str, str], rng: np.random.Generator) -> Row:
    scene = plan.scene if plan.is_described else random_scene(rng)
    mean, deviation = TRUE_SIMILARITY if plan.is_described else WRONG_SIMILARITY
    return Row(
        url=url,
        caption=_caption(captions(scene, rng), rng),
        width=plan.scene.width,
        height=plan.scene.height,
        similarity=float(rng.normal(mean, deviation)),
        sha256=sha256.get(plan.name) or hashlib.sha256(url.encode()).hexdigest(),
    )


def _caption(options: Sequence[str], rng: np.random.Generator) -> str:
    text = pick(rng, options)
    if rng.random() >= DECORATED_SHARE:
        return text
    return pick(rng, DECORATIONS).format(text)


def _picture(plan: _Plan) -> Picture:
    return Picture(
        name=plan.name,
        kind=plan.kind,
        pairs=tuple(sorted(plan.scene.pairs)),
        width=plan.scene.width,
        height=plan.scene.height,
        is_described=plan.is_described,
    )
