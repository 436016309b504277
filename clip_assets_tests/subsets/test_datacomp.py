"""What DataComp's own script chose of a folder is chosen, byte for byte."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets.errors import ClipAssetsError, ConfigurationError, SchemaError, SourceError
from clip_assets.settings import SUBSETS, with_subset
from clip_assets.storage import sql
from clip_assets.subsets.candidates import MetadataFolder
from clip_assets.subsets.choosing import Picked, choose
from clip_assets.subsets.methods.image_based import TWO_WORDS
from clip_assets.subsets.wordnet import WordNet
from clip_assets_tests import datacomp

Rule = dict[str, Any]

MODEL: Rule = {"language_model": str(datacomp.language_model())}


@dataclass(frozen=True)
class Folder:
    """DataComp's metadata, and what its rules read beside them."""

    metadata: Path
    text_based: Rule
    image_based: Rule

    def choose(self, definition: Rule, target: Path | None = None) -> Picked:
        """By a definition."""
        named = with_subset(SUBSETS, "mine", definition)
        return choose(MetadataFolder(str(self.metadata)), named, "mine", target)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    place = tmp_path_factory.mktemp("datacomp")
    (place / "entities.txt").write_text("\n".join(datacomp.ENTITIES))
    np.save(place / "centroids.npy", datacomp.centroids())
    np.save(place / "targets.npy", datacomp.targets())
    return Folder(
        datacomp.metadata(place / "metadata"),
        {
            "baseline": "text_based",
            "entities": str(place / "entities.txt"),
            "wordnet": str(datacomp.wordnet(place / "wordnet")),
            **MODEL,
        },
        {
            "baseline": "image_based",
            "arch": "l14",
            "centroids": str(place / "centroids.npy"),
            "targets": str(place / "targets.npy"),
            **MODEL,
        },
    )


def definition(folder: Folder, name: str) -> Rule:
    """A baseline of DataComp's by its name there."""
    best = {"baseline": "clip_score", "arch": "l14", "fraction": 0.3, "datacomp_compat": True}
    return {
        "basic_filter": {"baseline": "basic_filter", **MODEL},
        "clip_score": best,
        "text_based": folder.text_based,
        "image_based": folder.image_based,
        "image_based_intersect_clip_score": {"of": best, **folder.image_based},
    }.get(name, {"baseline": name})


@pytest.mark.parametrize("name", datacomp.CHOSEN)
def test_the_file_is_the_one_that_the_script_wrote(
    folder: Folder, tmp_path: Path, name: str
) -> None:
    picked = folder.choose(definition(folder, name), tmp_path / "mine.npy")
    digest = hashlib.sha256((tmp_path / "mine.npy").read_bytes()).hexdigest()
    assert (picked.listed, digest) == datacomp.CHOSEN[name]
    assert picked.kept + sum(picked.dropped.values()) == picked.rows


def test_clusters_can_be_found_in_the_candidates(folder: Folder) -> None:
    rule = folder.image_based | {"clusters": 5}
    del rule["centroids"]
    picked = folder.choose(rule)
    told = picked.facts["image_based"]
    assert told["clusters"] == 5
    assert 1 <= told["wanted"] <= 5
    assert picked.kept or picked.dropped["other_cluster"]
    assert folder.choose(rule).kept == picked.kept


def test_what_does_not_fit_is_refused(folder: Folder, tmp_path: Path) -> None:
    (empty := tmp_path / "empty.txt").write_text("\n")
    (words := tmp_path / "words.txt").write_text("n02084071\ndog\n")
    (others := tmp_path / "others.txt").write_text("n00000001\nn00000002\n")
    np.save(long := tmp_path / "long.npy", np.ones((2, datacomp.DIM + 1), np.float32))
    text, image = folder.text_based, folder.image_based
    faults: list[tuple[Rule, type[ClipAssetsError], str]] = [
        (text | {"entities": str(empty)}, SourceError, "0 of 0 ids"),
        (text | {"entities": str(words)}, SourceError, "line 2: found 'dog'"),
        (text | {"entities": str(others)}, SourceError, r"0 of 2 ids.*WordNet 3\.0"),
        (text | {"wordnet": str(tmp_path)}, SourceError, r"index\.noun.* package wordnet-base"),
        (text | {"language_model": None}, ConfigurationError, "language_model"),
        (image | {"targets": str(long)}, SourceError, "vectors of 9"),
        (image | {"targets": str(long), "centroids": str(long)}, SourceError, "of 8"),
        (image | {"clusters": 5}, ConfigurationError, "either centroids or clusters"),
        (image | {"arch": "own"}, ConfigurationError, "b32, l14"),
    ]
    for rule, kind, fault in faults:
        with pytest.raises(kind, match=fault):
            folder.choose(rule)


@pytest.mark.parametrize(
    ("word", "sense"),
    [
        ("Dogs", 2084071),
        ("geese", 1855672),
        ("hot_dog", 10187710),
        ("churches", 8082602),
        ("newest", 1640850),
        ("poured", 2069569),
        ("leave", None),
        ("", None),
    ],
)
def test_words_have_their_first_sense(folder: Folder, word: str, sense: int | None) -> None:
    assert WordNet(Path(folder.text_based["wordnet"])).first(word) == sense


def fasttext_tokens(text: str) -> list[str]:
    """As fastText's documentation says: runs of what is no space, and newlines."""
    for space in "\r\t\v\f\0":
        text = text.replace(space, " ")
    return [word for word in text.replace("\n", " \n ").split(" ") if word]


def test_words_are_those_of_fasttext() -> None:
    letters = " \n\r\t\v\f\0\u00a0aé"
    texts = ["".join(some) for length in range(5) for some in product(letters, repeat=length)]
    with sql.connection(2**28) as database:
        rows = database.from_arrow(pa.table({"text": pa.array(texts, pa.string())}))
        judged = rows.project(f"regexp_matches(text, '{TWO_WORDS}')").fetchall()
    assert [more for (more,) in judged] == [len(fasttext_tokens(text)) > 1 for text in texts]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda uid: uid[:31], "found '[0-9a-f]{31}',"),
        (lambda uid: f"-{uid[1:]}", "found '-[0-9a-f]{31}',"),
        (lambda _uid: None, "found null"),
        (lambda uid: bytes.fromhex(uid), r"found binary"),
    ],
)
def test_what_is_no_uid_is_told_with_its_file(
    folder: Folder, tmp_path: Path, change: Callable[[str], Any], fault: str
) -> None:
    table = pq.read_table(next(folder.metadata.glob("*.parquet")))
    strange = pa.array([change(uid) for uid in table["uid"].to_pylist()])
    column = strange.cast(pa.string()) if pa.types.is_null(strange.type) else strange
    pq.write_table(table.set_column(0, "uid", column), tmp_path / "strange.parquet")
    other = Folder(tmp_path, {}, {})
    with pytest.raises(SchemaError, match=rf"strange\.parquet: uid.*{fault}"):
        other.choose({"baseline": "no_filter"})


def test_uids_in_capitals_are_the_same(folder: Folder, tmp_path: Path) -> None:
    table = pq.read_table(first := next(folder.metadata.glob("*.parquet")))
    capitals = pa.array([uid.upper() for uid in table["uid"].to_pylist()])
    for place, written in (("a", table), ("b", table.set_column(0, "uid", capitals))):
        (tmp_path / place).mkdir()
        pq.write_table(written, tmp_path / place / first.name)
        Folder(tmp_path / place, {}, {}).choose(
            {"baseline": "no_filter"}, tmp_path / f"{place}.npy"
        )
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_a_file_without_uids_is_named(folder: Folder, tmp_path: Path) -> None:
    table = pq.read_table(next(folder.metadata.glob("*.parquet")))
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table.drop(["uid"]), tmp_path / "b.parquet")
    with pytest.raises(SchemaError, match=r"b\.parquet.* also uid"):
        Folder(tmp_path, {}, {}).choose({"baseline": "no_filter"})


@pytest.mark.parametrize(
    "bound",
    [{"threshold": 0.1}, {"fraction": 0.3}, {"fraction": 0.3, "datacomp_compat": True}],
)
def test_scores_that_are_no_numbers_keep_nothing(
    folder: Folder, tmp_path: Path, bound: Rule
) -> None:
    table = pq.read_table(next(folder.metadata.glob("*.parquet")))
    place = table.column_names.index("clip_b32_similarity_score")
    nan = pa.array([float("nan")] * len(table), pa.float32())
    pq.write_table(table.set_column(place, table.column_names[place], nan), tmp_path / "a.parquet")
    rule = {"baseline": "clip_score", "arch": "b32", **bound}
    picked = Folder(tmp_path, {}, {}).choose(rule, tmp_path / "mine.npy")
    assert (picked.kept, picked.dropped) == (0, {"no_score": len(table), "low_score": 0})
    assert np.load(tmp_path / "mine.npy").shape == (0,)
