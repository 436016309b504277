"""What a demo world holds and what a search of it should find.

Every image was drawn from a known scene, so the right answers to a query are known without anybody
labelling them. Worlds are written by ``demo.world``.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from clip_assets.demo.captions import COLOUR_WORDS, SHAPE_WORDS
from clip_assets.demo.misbehaviour import delivers
from clip_assets.demo.scenes import Pair
from clip_assets.errors import ConfigurationError

MARKER_NAME = "world.json"

ADVERTISED_PAIRS = (
    Pair("red", "circle"),
    Pair("green", "triangle"),
    Pair("blue", "star"),
    Pair("yellow", "arrow"),
    Pair("pink", "flower"),
    Pair("orange", "house"),
    Pair("black", "heart"),
    Pair("purple", "ring"),
    Pair("green", "circle"),
    Pair("gray", "square"),
    Pair("black", "star"),
    Pair("cyan", "crescent"),
)
"""Each has at least 20 matching images, of 240 pixels and more, in a world of 4000 pairs. The last
four were never trained with: the model knows the colour and the shape, but not both together."""

ADVERTISED_QUERIES = tuple(
    f"{'an' if colour == 'orange' else 'a'} {colour} {shape}" for colour, shape in ADVERTISED_PAIRS
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """The colour and the shape a query names; None is any."""

    colour: str | None
    shape: str | None

    def matches(self, pair: Pair) -> bool:
        """Whether an object of ``pair`` is what is wanted."""
        return self.colour in (None, pair.colour) and self.shape in (None, pair.shape)


@dataclass(frozen=True, slots=True)
class Picture:
    """One url of a world.

    Args:
        name: the file's name, which no other url has.
        kind: "images", or the misbehaviour that the url meets.
        pairs: what the image shows.
        width: in pixels.
        height: in pixels.
        is_described: whether its caption is about it; some captions on the web are not.
    """

    name: str
    kind: str
    pairs: tuple[Pair, ...]
    width: int
    height: int
    is_described: bool


@dataclass(frozen=True, slots=True)
class World:
    """A written world; ``pictures`` is by file name, the last part of a url.

    Args:
        folder: holds ``images/`` and ``sources/``.
        base_url: of the server that the urls name.
        sources: the csv and parquet files, in the order they were added.
        rows: of all sources, duplicates included.
        unique_pairs: different (url, caption) pairs.
        expected: unique pairs by kind of url.
        pictures: the ground truth.
    """

    folder: Path
    base_url: str
    sources: tuple[Path, ...]
    rows: int
    unique_pairs: int
    expected: dict[str, int]
    pictures: dict[str, Picture]

    @property
    def successes(self) -> int:
        """Unique pairs that a patient and polite client gets an image for."""
        return sum(pairs for kind, pairs in self.expected.items() if delivers(kind))

    @property
    def failures(self) -> int:
        """Unique pairs that nobody gets an image for, or should not keep it."""
        return self.unique_pairs - self.successes

    def picture(self, url: str) -> Picture:
        """What is known about the image at ``url``, whatever host and port it names."""
        return self.pictures[url.rsplit("/", 1)[-1]]

    def matches(self, url: str, query: str) -> bool:
        """Whether the image at ``url`` shows what ``query`` asks for."""
        asked = wanted(query)
        return any(asked.matches(pair) for pair in self.picture(url).pairs)

    def matching_images(self, query: str, min_side_px: int = 0) -> int:
        """How many images that can be downloaded show what ``query`` asks for."""
        asked = wanted(query)
        return sum(
            delivers(picture.kind)
            and min(picture.width, picture.height) >= min_side_px
            and any(asked.matches(pair) for pair in picture.pairs)
            for picture in self.pictures.values()
        )


def wanted(query: str) -> Meaning:
    """Read the colour and the shape out of ``query``.

    Raises:
        ConfigurationError: it names neither.
    """
    text = f" {query.lower()} "
    colour = _named(text, {name: list(words) for name, words in COLOUR_WORDS.items()})
    shape = _named(text, {name: list(chain(*words)) for name, words in SHAPE_WORDS.items()})
    if colour is None and shape is None:
        raise ConfigurationError(
            f"the query {query!r}",
            "no colour and no shape",
            "one of the demo's",
            f"Name one of: {', '.join([*COLOUR_WORDS, *SHAPE_WORDS])}.",
        )
    return Meaning(colour, shape)


def write_world(world: World, arguments: dict[str, Any]) -> None:
    """Write the marker that says that the rest of the world is complete."""
    content = {
        "arguments": arguments,
        "sources": [source.name for source in world.sources],
        "rows": world.rows,
        "expected": world.expected,
        "pictures": [asdict(picture) for picture in world.pictures.values()],
    }
    part = world.folder / f".{MARKER_NAME}.part"
    part.write_text(json.dumps(content))
    part.replace(world.folder / MARKER_NAME)


def read_world(folder: Path) -> tuple[World, dict[str, Any]] | None:
    """The complete world in ``folder``, if there is one, and the arguments that built it."""
    marker = folder / MARKER_NAME
    if not marker.exists():
        return None
    content = json.loads(marker.read_text())
    pictures = [_picture(fields) for fields in content["pictures"]]
    world = World(
        folder=folder,
        base_url=content["arguments"]["base_url"],
        sources=tuple(folder / "sources" / name for name in content["sources"]),
        rows=content["rows"],
        unique_pairs=sum(content["expected"].values()),
        expected=content["expected"],
        pictures={picture.name: picture for picture in pictures},
    )
    return world, content["arguments"]


def merged(counts: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    """The sums of two counts."""
    return dict(sorted((Counter(counts) + Counter(more)).items()))


def _picture(fields: dict[str, Any]) -> Picture:
    pairs = tuple(Pair(colour, shape) for colour, shape in fields.pop("pairs"))
    return Picture(pairs=pairs, **fields)


def _named(text: str, words: dict[str, list[str]]) -> str | None:
    """The name whose longest word stands in ``text``."""
    hits = [(word, name) for name, options in words.items() for word in options]
    hits_in_text = [(len(word), name) for word, name in hits if f" {word} " in text]
    return max(hits_in_text)[1] if hits_in_text else None
