"""What is alike: representatives, their groups, and the lists that are looked into."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from clip_assets import layout, schemas
from clip_assets.errors import ConfigurationError, NotReadyError
from clip_assets.layout import Key, partition_key
from clip_assets.storage import tables
from clip_assets.storage.store import Store
from clip_assets.subsets import buckets
from clip_assets.subsets.methods import alike
from clip_assets.subsets.methods.alike import nearest_earlier
from clip_assets.subsets.subset_files import subset_groups
from clip_assets_tests.outcomes import Pair
from clip_assets_tests.subsets.test_by_vectors import made_up, unit
from clip_assets_tests.subsets.vectored import Vectored, uid

ROWS = 60
IMAGES, TEXTS = made_up(ROWS)
# Ten near-copies of the first ten.
IMAGES[50:] = IMAGES[:10] + np.float16(0.01)
# Far from each other, and one picture by their hashes.
TWINS = [20, 25, 45]
NAME = Key("mine")
THRESHOLD = 0.02
ONE = {"vectors": "semdedup", "threshold": THRESHOLD, "clusters": 1, "hashes": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Vectored:
    """Sixty pairs in two partitions; three images have the same perceptual hash."""
    made = Vectored(Store(str(tmp_path_factory.mktemp("pool"))))
    for part in range(2):
        numbers = range(30 * part, 30 * part + 30)
        hashes = [f"{7 if n in TWINS else 1000 + n:016x}" for n in numbers]
        some = [
            Pair(uid=uid(n), perceptual_hash=digits)
            for n, digits in zip(numbers, hashes, strict=True)
        ]
        made.embed(part, some, IMAGES[numbers], TEXTS[numbers])
    made.metadata()
    return made


def groups(made: Vectored) -> dict[int, tuple[int, int, float]]:
    """Group, list and similarity of each image of the subset's table, in its order."""
    numbers = {uid(n): n for n in range(ROWS)}
    path = subset_groups(NAME)
    rows = tables.read(made.store, path, schemas.SUBSET_GROUPS).to_pylist()
    return {
        numbers[row["uid"]]: (numbers[row["group"]], row["list"], row["similarity"]) for row in rows
    }


def in_order(keep: str) -> npt.NDArray[np.intp]:
    """All images as one list."""
    rows = unit(IMAGES)
    near = rows @ unit(rows.sum(0, keepdims=True))[0]
    return np.argsort(near if keep == "outlier" else -near)


@pytest.mark.parametrize("keep", ["outlier", "typical"])
def test_what_is_alike_is_kept_once(made: Vectored, keep: str) -> None:
    rows, order = unit(IMAGES), in_order(keep)
    expected = [
        int(number)
        for place, number in enumerate(order)
        if 1 - max([-1.0, *(rows[order[:place]] @ rows[number])]) >= THRESHOLD
    ]
    assert made.chosen(ONE | {"keep": keep}, ROWS) == sorted(expected)
    assert len(expected) == 50
    told = groups(made)
    assert [*told] == order.tolist()
    for number, (group, _, similarity) in told.items():
        near = rows[expected] @ rows[number]
        assert group == (number if number in expected else expected[int(near.argmax())])
        assert similarity == pytest.approx(rows[group] @ rows[number], abs=2e-3)
    report = made.pool.catalog.require(layout.SUBSETS, NAME).report
    assert "semdedup: share kept by threshold" in report.pictures
    assert report.figures["semdedup of"]["lists_of"] == "the subset"


def test_lists_in_any_number_of_files_give_the_same(
    made: Vectored, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = ONE | {"clusters": 4}
    chosen = made.chosen(definition, ROWS)
    told = groups(made)
    assert len(chosen) >= 50
    assert [place for _, place, _ in told.values()] == sorted(
        place for _, place, _ in told.values()
    )
    monkeypatch.setattr(buckets, "BUCKET_BYTES", 500)
    monkeypatch.setattr(alike, "BLOCK_CELLS", 40)
    made.set(subsets={"mine": {"vectors": "semdedup", "threshold": 0.5}})
    made.subset("mine")
    assert made.chosen(definition, ROWS) == chosen
    assert groups(made) == told
    some = unit(made_up(50)[0]).astype(np.float32)
    blocks = nearest_earlier(some)
    monkeypatch.undo()
    assert np.allclose(blocks, nearest_earlier(some))
    assert blocks[0] == 2


def test_one_picture_by_its_hash_is_one_group_wherever_it_lies(made: Vectored) -> None:
    definition = ONE | {"clusters": 8, "hashes": True, "threshold": 1e-6}
    apart = made.chosen(definition | {"hashes": False}, ROWS)
    assert {*TWINS} <= {*apart}
    assert len({groups(made)[number][1] for number in TWINS}) > 1
    together = made.chosen(definition, ROWS)
    assert len({*TWINS} & {*together}) == 1
    told = [groups(made)[number] for number in TWINS]
    assert {group for group, _, _ in told} == {*TWINS} & {*together}
    assert min(similarity for _, _, similarity in told) < 0.9
    report = made.pool.catalog.require(layout.SUBSETS, NAME).report
    assert report.figures["semdedup of"]["copies_by_perceptual_hash"] == 2


def put_lists(made: Vectored, of_number: Any) -> None:
    """Make up segments; rows of embeddings lie in another order than the pairs."""
    for part in range(2):
        numbers = np.arange(30 * part, 30 * part + 30)[::-1]
        key = partition_key(part)
        files: dict[str, Any] = {}
        if of_number is not None:
            lists = np.array([of_number(number) for number in numbers], np.int32)
            files[layout.segment_lists(key)] = partial(put, lists=lists)
        made.make(layout.INDEX_SEGMENTS, key, len(numbers), files)


def put(part: Path, lists: npt.NDArray[np.int32]) -> None:
    with part.open("wb") as file:
        np.save(file, lists)


def test_the_lists_of_the_index_are_looked_into(made: Vectored) -> None:
    definition = ONE | {"clusters": "index"}
    with pytest.raises(NotReadyError, match="missing"):
        made.chosen(definition, ROWS)
    put_lists(made, None)
    with pytest.raises(ConfigurationError, match="exact index"):
        made.chosen(definition, ROWS)
    # The copies of 0 to 4 are in their list, the others are not.
    put_lists(made, lambda number: (5 <= number < 10) * 3)
    chosen = made.chosen(definition, ROWS)
    assert len(chosen) == 55
    assert {place for _, place, _ in groups(made).values()} == {0, 3}
    record = made.pool.assets[layout.SUBSETS]
    assert record.state(made.pool, NAME) == "done"
    put_lists(made, lambda _: 1)
    assert record.state(made.pool, NAME) == "stale"
    assert len(made.chosen(definition, ROWS)) == 50
    made.set(subsets={"above": definition, "mine": {"of": "above", "sample": 1.0}})
    assert "lists/00000" in record.made_from(made.pool, NAME)
    made.subset("mine")
    assert not made.store.exists(subset_groups(NAME))
