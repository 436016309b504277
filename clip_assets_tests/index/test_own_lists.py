"""A partition of new contents brings lists of its own, and nothing else is touched."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from benchmarks.made_up_vectors import Source
from clip_assets import layout
from clip_assets.errors import DamagedError
from clip_assets.index import own_lists, recipe_file, versions
from clip_assets.index.drift import FAR
from clip_assets.index.effort.reach import for_target
from clip_assets.index.engine import ann, more_lists
from clip_assets.index.engine.ann import Floats
from clip_assets.index.own_lists import Numbering, segment_centres
from clip_assets.layout import WHOLE, Key
from clip_assets.storage.store import Store
from clip_assets_tests.index.conftest import OWN, RandomVectors

DIM = 32


def add(made: RandomVectors, number: int, rows: int, topics: int = 0) -> Key:
    """A partition of vectors of some contents."""
    pairs = Source(DIM, clusters=10, topics=topics).pairs(rows, seed=number)
    key = layout.partition_key(number)
    return made.put(number, pairs, made.rows(key, rows), content="", model=OWN)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> RandomVectors:
    """Of old contents, then two partitions of new ones and one of old ones again."""
    made = RandomVectors(Store(str(tmp_path_factory.mktemp("grown"))))
    made.set(index={"flat_limit": 100})
    add(made, 0, 960)
    made.index()
    for number, topics in ((1, 1), (2, 1), (3, 0)):
        add(made, number, 200, topics=topics)
    made.index()
    return made


def merged(made: RandomVectors, side: str) -> faiss.Index:
    newest = versions.merged(made.store)[-1]
    with made.store.local(layout.index(newest, side)) as file:
        return faiss.read_index(str(file))


def brought(made: RandomVectors, side: str) -> list[int]:
    """How many lists each partition brings."""
    own = [own_lists.read(made.pool, side, key) for key in made.pool.partitions]
    return [0 if centres is None else len(centres) for centres in own]


def test_new_contents_bring_lists_and_lie_near_and_old_ones_do_not(grown: RandomVectors) -> None:
    # Captions are their own for three quarters, so new contents make few of them far.
    first, second, third, like = brought(grown, "image")
    assert first == like == 0
    assert second > 0
    assert third > 0
    trained = int(recipe_file.read(grown.store).key.split(",")[0].removeprefix("IVF"))
    for side in layout.SIDES:
        known = faiss.extract_index_ivf(merged(grown, side))
        assert known.nlist == trained + sum(brought(grown, side))
    newest = versions.read(grown.store, versions.merged(grown.store)[-1])
    assert all(drift.far < 2 * FAR for drift in newest.drift.values())
    # As two fifths of the vectors are new, old lists alone would look at far more.
    reach = for_target(newest.reach["image"]["text"], 0.9)
    assert reach.recall + reach.uncertainty >= 0.9


def test_captions_look_at_less_of_short_lists_than_by_their_middles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Source(128, clusters=4)
    images, captions = source.pairs(400, seed=1)[0], source.pairs(1_000, seed=2)[1]
    near = np.argsort(-captions @ images.T, axis=1)[:, :10]

    def trained(pull: int) -> Floats:
        monkeypatch.setattr(more_lists, "PULL", pull)
        return more_lists.trained(ann.trained("IVF1,Flat", 128, images), images, 20)

    def looked_at(centres: Floats) -> float:
        """Of all images, to find 0.9 of the nearest ones."""
        owners, scores = (images @ centres.T).argmax(axis=1), captions @ centres.T
        behind = scores.max(axis=1, keepdims=True) - scores
        gap = np.quantile(np.take_along_axis(behind, owners[near], axis=1), 0.9)
        return float(((behind <= gap) @ np.bincount(owners, minlength=20)).mean() / len(images))

    pulled = trained(more_lists.PULL)
    assert pulled.dtype == np.float32
    assert np.linalg.norm(pulled, axis=1) == pytest.approx(1, abs=1e-5)
    assert looked_at(pulled) < 0.95 * looked_at(trained(0))


def test_each_vector_lies_in_the_nearest_list_of_its_partition(grown: RandomVectors) -> None:
    index = merged(grown, "image")
    keys = grown.pool.partitions
    own = [own_lists.read(grown.pool, "image", key) for key in keys]
    numbering = Numbering(index.nlist - sum(brought(grown, "image")), own)
    centres = index.quantizer.reconstruct_n(0, index.nlist)
    start = 0
    for place, key in enumerate(keys):
        vectors = grown.vectors(key).astype(np.float32)
        numbers = numbering.of(place)
        nearest = numbers[(vectors @ centres[numbers].T).argmax(axis=1)]
        lies = [start + row in ids_of(index, number) for row, number in enumerate(nearest)]
        assert np.mean(lies) > 0.99
        start += len(vectors)
    assert index.ntotal == start


def ids_of(index: faiss.Index, number: int) -> list[int]:
    held = index.invlists
    size = held.list_size(int(number))
    return faiss.rev_swig_ptr(held.get_ids(int(number)), size).tolist() if size else []


@pytest.mark.parametrize("lost", [layout.segment, segment_centres])
def test_what_a_partition_brought_is_mended_to_the_same_bytes(
    grown: RandomVectors, lost: layout.Artifact[str, Key]
) -> None:
    key = layout.partition_key(1)
    path, manifest = lost("image", key), grown.pool.catalog.require(layout.INDEX_SEGMENTS, key)
    before = grown.store.read_bytes(path)
    grown.store.delete(path)
    grown.pool.assets[layout.INDEX_SEGMENTS].make(grown.pool.mending(manifest, [path]), key)
    assert grown.store.read_bytes(path) == before


def test_a_lost_recipe_is_not_taken_from_a_segment_with_more_lists(grown: RandomVectors) -> None:
    manifest = grown.pool.catalog.require(layout.INDEX_RECIPE, WHOLE)
    path = layout.recipe("image")
    without = [layout.segment("image", layout.partition_key(number)) for number in (0, 3)]
    before = {name: grown.store.read_bytes(name) for name in (path, *without)}
    for name in before:
        grown.store.delete(name)
    grown.pool.assets[layout.INDEX_RECIPE].make(grown.pool.mending(manifest, [path]), WHOLE)
    assert grown.store.read_bytes(path) == before[path]
    for name, content in before.items():
        grown.store.write_bytes(name, content)


def test_centres_that_are_damaged_are_an_error(grown: RandomVectors) -> None:
    path = segment_centres("image", key := layout.partition_key(2))
    before = grown.store.read_bytes(path)
    grown.store.write_bytes(path, before[:-4])
    with pytest.raises(DamagedError, match=r"centres/image/00002.npy"):
        own_lists.read(grown.pool, "image", key)
    grown.store.write_bytes(path, before)


def test_a_refresh_reads_no_old_segment_and_gives_the_same_bytes(
    grown: RandomVectors, tmp_path: Path
) -> None:
    grown = grown.copied(tmp_path / "pool")  # others may come after it
    merged_before = versions.merged(grown.store)[-1]
    grown.embed(4, 30, dim=DIM)
    grown.recipe()
    grown.segment()
    keys = [layout.partition_key(number) for number in range(4)]
    old = [layout.segment(side, key) for side in layout.SIDES for key in keys]
    old += [
        layout.segment_neighbours(side, kind, key)
        for side in layout.SIDES
        for kind in layout.SIDES
        for key in keys
    ]
    kept = {path: grown.store.read_bytes(path) for path in old}
    for path in old:
        grown.store.delete(path)
    version = grown.merge().manifest.report.figures["version"]
    for path, content in kept.items():
        grown.store.write_bytes(path, content)
    known = versions.read(grown.store, version)
    assert known.previous == merged_before
    assert known.since_searched == 30
    assert versions.read(grown.store, merged_before).since_searched == 0  # two fifths were new
    paths = [layout.index(version, side) for side in layout.SIDES]
    paths += [
        layout.index_neighbours(version, side, kind)
        for side in layout.SIDES
        for kind in layout.SIDES
    ]
    before = [grown.store.read_bytes(path) for path in paths]
    for path in paths:
        grown.store.delete(path)
    manifest = grown.pool.catalog.require(layout.FAISS_INDEX, WHOLE)
    grown.pool.assets[layout.FAISS_INDEX].make(grown.pool.mending(manifest, paths), WHOLE)
    assert [grown.store.read_bytes(path) for path in paths] == before
