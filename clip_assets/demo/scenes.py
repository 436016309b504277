"""What a demo image shows: coloured shapes on a background, as data.

A scene says everything about an image: the right answers to a search are known without labelling.
Pixels are made from it by ``demo.drawing`` and words by ``demo.captions``, not here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar, cast

import numpy as np

Rgb = tuple[int, int, int]
Size = Literal["small", "medium", "large"]
Pattern = Literal["plain", "striped", "dotted", "bordered"]
Texture = Literal["plain", "gradient", "noisy", "striped"]
T = TypeVar("T")

SHAPES = (
    "circle", "square", "triangle", "star", "heart", "cross",
    "ring", "crescent", "arrow", "flower", "diamond", "house",
)  # fmt: skip
COLOURS: dict[str, Rgb] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (245, 222, 50),
    "green": (45, 160, 70),
    "cyan": (50, 205, 215),
    "blue": (45, 85, 210),
    "purple": (130, 55, 170),
    "pink": (245, 150, 190),
    "brown": (120, 75, 40),
    "black": (25, 25, 25),
    "white": (245, 245, 245),
    "gray": (135, 135, 135),
}


class Pair(NamedTuple):
    """One colour with one shape, the unit of most queries."""

    colour: str
    shape: str


ALL_PAIRS = tuple(Pair(colour, shape) for colour in COLOURS for shape in SHAPES)

HELD_OUT_PAIRS = tuple(
    Pair(list(COLOURS)[(5 * place + 3) % 12], shape) for place, shape in enumerate(SHAPES)
)
"""Every shape and every colour is held out exactly once (5 and 12 have no common divisor), so the
trained pairs still show each of them eleven times."""

TRAINED_PAIRS = tuple(pair for pair in ALL_PAIRS if pair not in HELD_OUT_PAIRS)

MIN_CONTRAST = 105.0
"""An object must be visible: the euclidean distance of its colour from the background's in RGB."""

RADIUS: dict[Size, tuple[float, float]] = {
    "small": (0.15, 0.19),
    "medium": (0.25, 0.31),
    "large": (0.38, 0.45),
}
"""Radius as a share of the image's shorter side. The gaps make the three words learnable."""

MAX_TILT_DEG = {"square": 12.0, "diamond": 12.0, "house": 12.0, "cross": 14.0, "arrow": 20.0}
"""A tilted square is not a diamond and a tilted arrow still points to the right."""

ANY_TILT_DEG = 25.0
FAVOURITE_BACKGROUNDS = ("white", "white", "black", "gray")


@dataclass(frozen=True, slots=True)
class Thing:
    """One object; ``x``, ``y`` and ``radius`` are shares of the shorter side, from the centre."""

    shape: str
    colour: str
    size: Size
    pattern: Pattern
    x: float
    y: float
    radius: float
    tilt_deg: float

    @property
    def pair(self) -> Pair:
        """Its colour and shape."""
        return Pair(self.colour, self.shape)


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything an image shows; ``seed`` decides noise and exact hues when it is drawn."""

    width: int
    height: int
    things: tuple[Thing, ...]
    background: str
    texture: Texture
    seed: int

    @property
    def pairs(self) -> frozenset[Pair]:
        """The colour and shape of every object; one element if all look the same."""
        return frozenset(thing.pair for thing in self.things)

    @property
    def is_mixed(self) -> bool:
        """Whether two different objects are in it."""
        return len(self.pairs) > 1


@dataclass(frozen=True, slots=True)
class Variety:
    """How varied a batch of scenes is.

    ``same`` and ``mixed`` are the shares of images with two to four equal objects and with two
    different ones; the others show a single object. ``fancy`` is the share of patterned objects
    and of textured backgrounds.
    """

    shorter_side_px: tuple[int, int] = (96, 256)
    same: float = 0.15
    mixed: float = 0.15
    fancy: float = 0.4


USUAL = Variety()
EASY = Variety(same=0.0, mixed=0.0, fancy=0.0)


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of ``options``, each as likely as the others."""
    return options[int(rng.integers(len(options)))]


def random_scene(
    rng: np.random.Generator,
    pairs: Sequence[Pair] = ALL_PAIRS,
    variety: Variety = USUAL,
) -> Scene:
    """Invent a scene whose objects all are of ``pairs``."""
    kind = rng.random()
    if kind < variety.mixed and len(pairs) > 1:
        things = _two_different(rng, pairs, variety)
    elif kind < variety.mixed + variety.same:
        things = _several_equal(rng, pick(rng, pairs), variety)
    else:
        things = (_single(rng, pick(rng, pairs), variety),)
    width, height = _canvas(rng, variety)
    fancy_background = rng.random() < variety.fancy
    return Scene(
        width=width,
        height=height,
        things=things,
        background=_background(rng, {thing.colour for thing in things}),
        texture=cast("Texture", pick(rng, ("gradient", "noisy", "striped")))
        if fancy_background
        else "plain",
        seed=int(rng.integers(2**32)),
    )


def scene_of(rng: np.random.Generator, pair: Pair, variety: Variety = EASY) -> Scene:
    """Invent a scene that shows objects of ``pair`` and nothing else."""
    return random_scene(rng, (pair,), variety)


def contrast(one: str, other: str) -> float:
    """Euclidean distance in RGB of two named colours."""
    return float(np.linalg.norm(np.subtract(COLOURS[one], COLOURS[other])))


def _thing(
    rng: np.random.Generator,
    pair: Pair,
    size: Size,
    radius: float,
    place: tuple[float, float],
    pattern: Pattern,
) -> Thing:
    tilt = MAX_TILT_DEG.get(pair.shape, ANY_TILT_DEG)
    return Thing(
        shape=pair.shape,
        colour=pair.colour,
        size=size,
        pattern=pattern,
        x=place[0],
        y=place[1],
        radius=radius,
        tilt_deg=float(rng.uniform(-tilt, tilt)),
    )


def _pattern(rng: np.random.Generator, variety: Variety) -> Pattern:
    if rng.random() >= variety.fancy:
        return "plain"
    return cast("Pattern", pick(rng, ("striped", "dotted", "bordered")))


def _single(rng: np.random.Generator, pair: Pair, variety: Variety) -> Thing:
    size = pick(rng, tuple(RADIUS))
    radius = float(rng.uniform(*RADIUS[size]))
    room = 0.49 - radius
    place = (float(rng.uniform(-room, room)), float(rng.uniform(-room, room)))
    return _thing(rng, pair, size, radius, place, _pattern(rng, variety))


def _several_equal(rng: np.random.Generator, pair: Pair, variety: Variety) -> tuple[Thing, ...]:
    count = int(rng.integers(2, 5))
    corners = [(-0.24, -0.24), (0.24, 0.24), (0.24, -0.24), (-0.24, 0.24)]
    pattern = _pattern(rng, variety)
    radius = float(rng.uniform(0.17, 0.21))
    return tuple(
        _thing(rng, pair, "small", radius, _near(rng, corner), pattern)
        for corner in corners[:count]
    )


def _two_different(
    rng: np.random.Generator, pairs: Sequence[Pair], variety: Variety
) -> tuple[Thing, ...]:
    first = second = pick(rng, pairs)
    while second == first:
        second = pick(rng, pairs)
    slope = float(rng.uniform(-0.2, 0.2))
    radius = float(rng.uniform(0.2, 0.235))
    left = _thing(rng, first, "medium", radius, (-0.25, slope), _pattern(rng, variety))
    right = _thing(rng, second, "medium", radius, (0.25, -slope), _pattern(rng, variety))
    return left, right


def _near(rng: np.random.Generator, place: tuple[float, float]) -> tuple[float, float]:
    right, down = rng.uniform(-0.03, 0.03, 2)
    return place[0] + float(right), place[1] + float(down)


def _canvas(rng: np.random.Generator, variety: Variety) -> tuple[int, int]:
    shorter = int(rng.integers(variety.shorter_side_px[0], variety.shorter_side_px[1] + 1))
    if rng.random() >= 0.25:
        return shorter, shorter
    longer = int(shorter * rng.uniform(1.1, 1.6))
    return (longer, shorter) if rng.random() < 0.5 else (shorter, longer)


def _background(rng: np.random.Generator, colours: set[str]) -> str:
    candidates = FAVOURITE_BACKGROUNDS if rng.random() < 0.4 else tuple(COLOURS)
    visible = [
        name
        for name in candidates
        if all(contrast(name, colour) >= MIN_CONTRAST for colour in colours)
    ] or [max(COLOURS, key=lambda name: min(contrast(name, colour) for colour in colours))]
    return pick(rng, visible)
