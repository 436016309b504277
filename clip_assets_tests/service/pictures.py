"""A small pool of real pictures, made by every real stage, and what a search of it should find."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ExifTags import IFD, Base

from clip_assets import graph
from clip_assets.demo.captions import rich_caption, with_article
from clip_assets.demo.drawing import draw
from clip_assets.demo.pictures import as_jpeg
from clip_assets.demo.scenes import ALL_PAIRS, EASY, USUAL, Pair, Scene, scene_of
from clip_assets.download.image_shards import IMAGE_SHARDS
from clip_assets.partitions.ledger import add_sources
from clip_assets_tests.pools import write_settings
from clip_assets_tests.websites import Site

EACH = 2
"""Pictures of every colour and shape; the second one is as varied as those of the demo."""

LANGUAGES = ("en", "en", "de")


@dataclass(frozen=True)
class Pictures:
    """A finished pool.

    Args:
        root: of it.
        shown: what the picture of a caption shows; captions of several pictures show the same.
        files: bytes of each picture, by its url's path.
    """

    root: Path
    shown: dict[str, Pair]
    files: dict[str, bytes]


def caption(pair: Pair) -> str:
    """What the first picture of a colour and a shape is called."""
    return with_article(f"{pair.colour} {pair.shape}")


def taken_in(year: int, jpeg: bytes) -> bytes:
    """The same picture, as a camera says when it took it."""
    told = Image.Exif()
    told.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = f"{year}:06:01 12:00:00"
    with Image.open(io.BytesIO(jpeg)) as picture, io.BytesIO() as file:
        picture.save(file, "JPEG", quality="keep", exif=told)
        return file.getvalue()


def make(folder: Path, site: Site) -> Pictures:
    """A pool of two partitions whose pictures a site has, at two names of one host."""
    rng = np.random.default_rng(7)
    shown: dict[str, Pair] = {}
    files: dict[str, bytes] = {}
    lines: list[list[str]] = [["url,caption,language"], ["url,caption,language"]]
    for number, pair in enumerate(ALL_PAIRS * EACH):
        is_plain = number < len(ALL_PAIRS)
        scene: Scene = scene_of(rng, pair, EASY if is_plain else USUAL)
        words = caption(pair) if is_plain else rich_caption(scene, rng).replace("\n", " ")
        path = f"/{number:03d}.jpg"
        shown[words] = pair
        files[path] = taken_in(2000 + number % 20, as_jpeg(draw(scene), 90))
        base = site.url if number % 3 else site.url.replace("127.0.0.1", "localhost")
        quoted = words.replace('"', '""')
        lines[number % 2].append(f'{base}{path},"{quoted}",{LANGUAGES[number % 3]}')
    site.files |= files
    root, sources = folder / "pictures", folder / "sources"
    for place in (root, sources):
        place.mkdir()
    for number, content in enumerate(lines):
        (sources / f"{number}.csv").write_text("\n".join(content) + "\n")
    settings = {
        "sources": {"rows_per_partition": len(ALL_PAIRS)},
        "download": {"allow_hosts": ["127.0.0.1", "localhost"], "retries": 0, "per_host": 32},
        "inference": {"model": "demo"},
        "devices": "none",
    }
    write_settings(root, settings)
    pool = graph.open_pool(str(root), create=True)
    add_sources(pool.store, [str(sources)], pool.settings.sources)
    for asset in graph.ASSETS.values():
        pool = graph.open_pool(str(root))
        for key in pool.keys(asset.axis):
            asset.make(pool, key)
    for key in pool.keys(IMAGE_SHARDS.axis):
        assert pool.catalog.require(IMAGE_SHARDS.name, key).report.dropped == {}
    return Pictures(root, shown, files)
