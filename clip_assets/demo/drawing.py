"""A scene as pixels.

Everything is a polygon in a square from -1 to 1, tilted, drawn three times too large and reduced,
which is what smooths its edges. The same scene gives the same pixels in every process.
See ``demo.scenes`` for what a scene is, and ``demo.pictures`` for image files.
"""

from collections.abc import Callable
from functools import cache
from math import cos, pi, sin

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from clip_assets.demo.scenes import COLOURS, Rgb, Scene, Thing

Points = npt.NDArray[np.float64]
Radius = Callable[[float], float]
OVERSAMPLING = 3

HUE_JITTER = 14
"""How far the exact hue of a named colour may lie from its nominal value, per channel."""

ACCENT = 0.28
"""Bright colours get darker accents and dark ones brighter ones; a quarter keeps the colour's name
true (orange that is darkened by half is brown)."""

DARKENED = frozenset({"red", "yellow", "cyan", "pink", "white"})


def draw(scene: Scene) -> Image.Image:
    """Draw ``scene`` as an RGB image of its width and height."""
    rng = np.random.default_rng(scene.seed)
    image = _backdrop(scene, rng)
    for thing in scene.things:
        _paint(image, thing, _hue(thing.colour, rng), rng)
    return image


def accent(colour: str, rgb: Rgb) -> Rgb:
    """The shade of ``rgb`` that stripes, dots and borders of a ``colour`` object have."""
    towards = 0 if colour in DARKENED else 255
    red, green, blue = (round(value + (towards - value) * ACCENT) for value in rgb)
    return red, green, blue


def _hue(colour: str, rng: np.random.Generator) -> Rgb:
    shift = rng.integers(-HUE_JITTER, HUE_JITTER + 1, 3)
    red, green, blue = (int(value) for value in np.clip(np.add(COLOURS[colour], shift), 0, 255))
    return red, green, blue


def _backdrop(scene: Scene, rng: np.random.Generator) -> Image.Image:
    rgb = _hue(scene.background, rng)
    size = (scene.width, scene.height)
    if scene.texture == "plain":
        return Image.new("RGB", size, rgb)
    if scene.texture == "gradient":
        # Two columns of colour, stretched: the cheapest smooth gradient there is.
        ramp = Image.new("RGB", (2, 1), rgb)
        ramp.putpixel((1, 0), accent(scene.background, rgb))
        return ramp.resize(size, Image.Resampling.BILINEAR, box=(0.5, 0, 1.5, 1))
    if scene.texture == "noisy":
        noise = rng.normal(0, 9, (scene.height, scene.width, 1)) + np.asarray(rgb)
        return Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
    image = Image.new("RGB", size, rgb)
    pen = ImageDraw.Draw(image)
    step = max(6, min(size) // 8)
    for left in range(0, scene.width, 2 * step):
        pen.rectangle((left, 0, left + step - 1, scene.height), fill=_fainter(scene, rgb))
    return image


def _fainter(scene: Scene, rgb: Rgb) -> Rgb:
    strong = accent(scene.background, rgb)
    red, green, blue = ((one + other) // 2 for one, other in zip(rgb, strong, strict=True))
    return red, green, blue


def _paint(image: Image.Image, thing: Thing, rgb: Rgb, rng: np.random.Generator) -> None:
    """Paint ``thing`` over ``image``, at its place in the central square."""
    unit = min(image.size)
    radius = thing.radius * unit
    side = max(8, round(2 * radius))
    fill = _filling(thing, rgb, side, rng)
    mask = _silhouette(thing.shape, thing.tilt_deg, side)
    left = round(image.width / 2 + thing.x * unit - side / 2)
    top = round(image.height / 2 + thing.y * unit - side / 2)
    if thing.pattern == "bordered":
        image.paste(accent(thing.colour, rgb), (left, top), mask)
        inner = round(side * 0.74)
        inset = (side - inner) // 2
        left, top = left + inset, top + inset
        fill, mask = fill.resize((inner, inner)), mask.resize((inner, inner))
    image.paste(fill, (left, top), mask)


def _filling(thing: Thing, rgb: Rgb, side: int, rng: np.random.Generator) -> Image.Image:
    fill = Image.new("RGB", (side, side), rgb)
    pen = ImageDraw.Draw(fill)
    colour = accent(thing.colour, rgb)
    step = max(3, side // 8)
    start = int(rng.integers(-step, 1))
    if thing.pattern == "striped":
        for top in range(start, side, 2 * step):
            pen.rectangle((0, top, side, top + step - 1), fill=colour)
    elif thing.pattern == "dotted":
        for top in range(start, side, 2 * step):
            for left in range(start, side, 2 * step):
                pen.ellipse((left, top, left + step, top + step), fill=colour)
    return fill


def _silhouette(shape: str, tilt_deg: float, side: int) -> Image.Image:
    """A mask of ``side`` x ``side`` pixels, white where the tilted shape is."""
    large = side * OVERSAMPLING
    mask = Image.new("L", (large, large), 0)
    pen = ImageDraw.Draw(mask)
    angle = tilt_deg * pi / 180
    turn = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
    for outline, shade in _outlines(shape):
        corners = (outline @ turn + 1) * (large / 2)
        pen.polygon([(float(x), float(y)) for x, y in corners], fill=shade)
    return mask.reduce(OVERSAMPLING)


@cache
def _outlines(shape: str) -> tuple[tuple[Points, int], ...]:
    """Polygons to draw one after the other: 255 adds to the shape, 0 cuts out of it."""
    solid, hole = 255, 0
    circle = _polar(lambda _: 0.92, 48)
    match shape:
        case "circle":
            return ((circle, solid),)
        case "ring":
            return (circle, solid), (circle * 0.56, hole)
        case "crescent":
            return (circle, solid), (circle * 0.86 + np.array([0.42, -0.12]), hole)
        case "flower":
            petals = _polar(lambda angle: 0.64 + 0.32 * cos(6 * angle), 96)
            return (petals, solid), (circle * 0.2, hole)
        case "house":
            walls = _polygon(-0.62, 0.0, 0.62, 0.0, 0.62, 0.82, -0.62, 0.82)
            roof = _polygon(-0.92, 0.02, 0.0, -0.9, 0.92, 0.02)
            door = _polygon(-0.17, 0.84, -0.17, 0.34, 0.17, 0.34, 0.17, 0.84)
            return (walls, solid), (roof, solid), (door, hole)
        case "star":
            return ((_polar(lambda _: 0.97, 5, inner=0.4), solid),)
        case "heart":
            return ((_heart(), solid),)
        case _:
            return ((_polygon(*CORNERS[shape]), solid),)


CORNERS: dict[str, tuple[float, ...]] = {
    "square": (-0.72, -0.72, 0.72, -0.72, 0.72, 0.72, -0.72, 0.72),
    "triangle": (0.0, -0.92, 0.88, 0.68, -0.88, 0.68),
    "diamond": (0.0, -0.97, 0.58, 0.0, 0.0, 0.97, -0.58, 0.0),
    "cross": (
        -0.27, -0.9, 0.27, -0.9, 0.27, -0.27, 0.9, -0.27, 0.9, 0.27, 0.27, 0.27,
        0.27, 0.9, -0.27, 0.9, -0.27, 0.27, -0.9, 0.27, -0.9, -0.27, -0.27, -0.27,
    ),
    "arrow": (
        -0.92, -0.24, 0.1, -0.24, 0.1, -0.68, 0.95, 0.0,
        0.1, 0.68, 0.1, 0.24, -0.92, 0.24,
    ),
}  # fmt: skip


def _polygon(*numbers: float) -> Points:
    return np.array(numbers).reshape(-1, 2)


def _polar(radius: Radius, points: int, inner: float | None = None) -> Points:
    """Points around the centre, from the top; with ``inner`` a notch of that radius after each."""
    angles = np.arange(points) * 2 * pi / points
    outer = np.array([[radius(a) * sin(a), -radius(a) * cos(a)] for a in angles])
    if inner is None:
        return outer
    between = angles + pi / points
    notches = inner * np.stack([np.sin(between), -np.cos(between)], axis=1)
    return np.stack([outer, notches], axis=1).reshape(-1, 2)


def _heart() -> Points:
    angle = np.linspace(0, 2 * pi, 48, endpoint=False)
    across = 16 * np.sin(angle) ** 3
    down = -(13 * np.cos(angle) - 5 * np.cos(2 * angle) - 2 * np.cos(3 * angle) - np.cos(4 * angle))
    return np.stack([across, down - 2.5], axis=1) / 17.0
