"""What the tiny CLIP tells apart beyond colour and shape, and what it cannot.

Each choice offers texts that differ in one detail, the true one first. Colour and shape, which it
knows well, are measured in ``gallery``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from clip_assets.demo.captions import SHAPE_WORDS, with_article
from clip_assets.demo.scenes import COLOURS, RADIUS, Scene
from tools.tinyclip.gallery import Gallery
from tools.tinyclip.model import TinyClip

COUNTS = ("a", "two", "three", "four")
PATTERNS = ("striped", "dotted", "bordered")
SIZES = ("small", "medium sized", "large")


@dataclass(frozen=True, slots=True)
class Choice:
    """How often the true one of several texts was the nearest."""

    ways: int
    scenes: int
    correct: float


def choices(clip: TinyClip, gallery: Gallery) -> dict[str, Choice]:
    """Measure every choice on the scenes of ``gallery`` that it makes sense for."""
    return {name: _measure(clip, gallery, texts_of) for name, texts_of in ASKED.items()}


def _measure(clip: TinyClip, gallery: Gallery, texts_of: Callable[[Scene], list[str]]) -> Choice:
    asked = [(row, texts) for row, scene in enumerate(gallery.scenes) if (texts := texts_of(scene))]
    if not asked:
        return Choice(0, 0, 0.0)
    distinct = list(dict.fromkeys(text for _, texts in asked for text in texts))
    features = dict(zip(distinct, clip.encode_texts(distinct), strict=True))
    wins = [
        all(
            gallery.features[row] @ features[texts[0]] >= gallery.features[row] @ features[text]
            for text in texts
        )
        for row, texts in asked
    ]
    return Choice(len(asked[0][1]), len(asked), round(sum(wins) / len(wins), 4))


def _size_texts(scene: Scene) -> list[str]:
    if len(scene.things) != 1:
        return []
    thing = scene.things[0]
    true = SIZES[list(RADIUS).index(thing.size)]
    return [f"a {size} {thing.colour} {thing.shape}" for size in _first(true, SIZES)]


def _pattern_texts(scene: Scene) -> list[str]:
    thing = scene.things[0]
    if len(scene.things) != 1 or thing.pattern not in PATTERNS:
        return []
    return [
        f"a {pattern} {thing.colour} {thing.shape}" for pattern in _first(thing.pattern, PATTERNS)
    ]


def _count_texts(scene: Scene) -> list[str]:
    if scene.is_mixed:
        return []
    thing = scene.things[0]
    true = COUNTS[len(scene.things) - 1]
    return [
        f"{count} {thing.colour} {_plural(thing.shape) if count != 'a' else thing.shape}"
        for count in _first(true, COUNTS)
    ]


def _background_texts(scene: Scene) -> list[str]:
    if scene.is_mixed:
        return []
    thing = scene.things[0]
    group = with_article(f"{thing.colour} {thing.shape}")
    return [
        f"{group} on {with_article(colour)} background"
        for colour in _first(scene.background, tuple(COLOURS))
    ]


def _bare_background_texts(scene: Scene) -> list[str]:
    colours = _first(scene.background, tuple(COLOURS))
    return [f"something on {with_article(colour)} background" for colour in colours]


def _binding_texts(scene: Scene) -> list[str]:
    """The true text of two objects, and the one with their colours exchanged."""
    if not scene.is_mixed:
        return []
    one, other = scene.things
    if one.colour == other.colour or one.shape == other.shape:
        return []
    return [
        f"a {one.colour} {one.shape} and a {other.colour} {other.shape}",
        f"a {other.colour} {one.shape} and a {one.colour} {other.shape}",
    ]


def _plural(shape: str) -> str:
    return SHAPE_WORDS[shape][0][1]


def _first(true: str, options: tuple[str, ...]) -> list[str]:
    return [true, *(option for option in options if option != true)]


ASKED: dict[str, Callable[[Scene], list[str]]] = {
    "size, given colour and shape": _size_texts,
    "pattern, given colour and shape": _pattern_texts,
    "count, given colour and shape": _count_texts,
    "background colour, given colour and shape": _background_texts,
    "background colour alone": _bare_background_texts,
    "which of two objects has which colour": _binding_texts,
}
