"""A scene in words, as people on the web would write them.

Captions are true but incomplete: they may leave out size, pattern or background, and use synonyms.
See ``demo.scenes`` for what they talk about.
"""

import numpy as np

from clip_assets.demo.scenes import Scene, Thing, pick

SHAPE_WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "circle": (("circle", "circles"), ("disc", "discs"), ("round dot", "round dots")),
    "square": (("square", "squares"), ("box", "boxes")),
    "triangle": (("triangle", "triangles"), ("pyramid", "pyramids")),
    "star": (("star", "stars"), ("five-pointed star", "five-pointed stars")),
    "heart": (("heart", "hearts"), ("love heart", "love hearts")),
    "cross": (("cross", "crosses"), ("plus sign", "plus signs")),
    "ring": (("ring", "rings"), ("donut", "donuts"), ("hoop", "hoops")),
    "crescent": (("crescent", "crescents"), ("moon", "moons")),
    "arrow": (("arrow", "arrows"), ("pointer", "pointers")),
    "flower": (("flower", "flowers"), ("blossom", "blossoms")),
    "diamond": (("diamond", "diamonds"), ("rhombus", "rhombuses")),
    "house": (("house", "houses"), ("home", "homes"), ("hut", "huts")),
}
"""(singular, plural); the first is the usual word."""

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "cyan": ("cyan", "turquoise", "aqua"),
    "blue": ("blue", "royal blue"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rose"),
    "brown": ("brown", "chocolate"),
    "black": ("black", "jet black"),
    "white": ("white", "snow white"),
    "gray": ("gray", "grey"),
}
SIZE_WORDS = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium sized", "mid-sized"),
    "large": ("large", "big", "huge"),
}
PATTERN_WORDS = {
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "polka dot"),
    "bordered": ("bordered", "outlined"),
}
TEXTURE_WORDS = {
    "plain": ("plain", "solid", "flat"),
    "gradient": ("gradient", "shaded"),
    "noisy": ("noisy", "grainy"),
    "striped": ("striped", "lined"),
}
COUNT_WORDS = {2: ("two", "2"), 3: ("three", "3"), 4: ("four", "4")}
OPENINGS = (
    "", "", "", "", "a photo of ", "a picture of ", "an image of ", "a drawing of ",
    "an illustration of ", "a painting of ", "clip art of ", "a sketch of ", "there is ",
    "this is ", "an icon of ", "a graphic of ", "a close-up of ", "the image shows ",
    "simple picture with ", "we see ", "a sticker of ", "a poster with ",
)  # fmt: skip

SYNONYM_SHARE = 0.3
"""One caption in so many uses a synonym where there is one."""

SHORT_CAPTIONS = 2
RICH_CAPTIONS = 6


def captions(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Describe ``scene`` eight times: two short captions first, then six rich ones."""
    short = [short_caption(scene, rng) for _ in range(SHORT_CAPTIONS)]
    return short + [rich_caption(scene, rng) for _ in range(RICH_CAPTIONS)]


def short_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Name colour and shape, sometimes only one of them."""
    opening = pick(rng, OPENINGS) if rng.random() < 0.5 else ""
    if scene.is_mixed:
        return opening + " and ".join(_noun(thing, rng) for thing in scene.things)
    return opening + _group(scene, rng, details=0.0)


def rich_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Name what a careful writer would: number, size, pattern, colour, shape, background."""
    opening = pick(rng, OPENINGS)
    if scene.is_mixed:
        joint = pick(rng, (" and ", " next to ", " beside ", " with ", " together with "))
        text = joint.join(_noun(thing, rng, details=0.3) for thing in scene.things)
    else:
        text = _group(scene, rng, details=0.5)
    return opening + text + _background(scene, rng)


def _group(scene: Scene, rng: np.random.Generator, details: float) -> str:
    first, count = scene.things[0], len(scene.things)
    if count == 1:
        return _noun(first, rng, details)
    number = pick(rng, COUNT_WORDS[count]) if rng.random() < 0.8 else "several"
    return f"{number} {_description(first, rng, details, plural=True)}"


def _noun(thing: Thing, rng: np.random.Generator, details: float = 0.0) -> str:
    """One object with its article, or a short clause such as "a circle that is red"."""
    draw = rng.random()
    colour, (shape, _) = _colour(thing.colour, rng), _shape(thing.shape, rng)
    if draw < 0.06:
        return with_article(f"{shape} that is {colour}")
    if draw < 0.10:
        return with_article(f"{shape} painted {colour}")
    if draw < 0.14:
        return f"{shape} in {colour}"
    text = _description(thing, rng, details, plural=False)
    return text if draw < 0.24 else with_article(text)


def _description(thing: Thing, rng: np.random.Generator, details: float, *, plural: bool) -> str:
    words: list[str] = []
    if not plural and rng.random() < details:
        words.append(pick(rng, SIZE_WORDS[thing.size]))
    if thing.pattern != "plain" and rng.random() < details:
        words.append(pick(rng, PATTERN_WORDS[thing.pattern]))
    kind = rng.random()
    # A search may name only a shape or only a colour, so one caption in ten does either.
    if kind >= 0.1:
        words.append(_colour(thing.colour, rng))
    if 0.1 <= kind < 0.2:
        words.append(pick(rng, ("objects", "shapes") if plural else ("object", "shape")))
    else:
        words.append(_shape(thing.shape, rng)[plural])
    return " ".join(words)


def _background(scene: Scene, rng: np.random.Generator) -> str:
    if rng.random() >= 0.45:
        return ""
    texture = pick(rng, TEXTURE_WORDS[scene.texture]) + " " if rng.random() < 0.5 else ""
    place = pick(rng, (" on ", " in front of ", " against ", " over "))
    surface = pick(rng, ("background", "background", "backdrop", "surface"))
    colour = _colour(scene.background, rng)
    return place + with_article(f"{texture}{colour} {surface}")


def with_article(text: str) -> str:
    """``text`` after "a" or "an"."""
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def _colour(colour: str, rng: np.random.Generator) -> str:
    words = COLOUR_WORDS[colour]
    return pick(rng, words) if rng.random() < SYNONYM_SHARE else words[0]


def _shape(shape: str, rng: np.random.Generator) -> tuple[str, str]:
    words = SHAPE_WORDS[shape]
    return pick(rng, words) if rng.random() < SYNONYM_SHARE else words[0]
