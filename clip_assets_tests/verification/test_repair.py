"""Every kind of published file, damaged in every way: named, and brought back."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_assets import graph, layout
from clip_assets.index.drift import segment_far
from clip_assets.index.own_lists import segment_centres
from clip_assets.layout import Key
from clip_assets.metadata.aesthetic import aesthetic_scores
from clip_assets.storage.manifests import Output
from clip_assets.subsets.subset_files import subset_groups
from clip_assets.verification import remedies
from clip_assets.verification.consequences import CONSEQUENCES
from clip_assets.verification.verify_pool import Verification, verify
from clip_assets_tests.verification.conftest import Whole

pytestmark = pytest.mark.slow

FETCHED = {layout.shard_rows.name, layout.shard_stats.name}
"""Kinds that tell when something was fetched, and so are never the same again."""


ABSENT = (
    layout.subset_version,
    aesthetic_scores,
    layout.segment_lists,
    layout.index_neighbours,
    segment_far,
    segment_centres,
    subset_groups,
)
"""Kinds that a pool has not that was made once, without a head, with an exact index and without
groups of near-copies."""


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def one_of_each(whole: Whole) -> dict[str, Output]:
    """By kind, a file of each that the layout has, and a picture of every asset that draws."""
    outputs = [output for _, _, output in whole.outputs()]
    kinds = {
        kind.name: next(output for output in outputs if kind.holds(output.path))
        for kind in layout.ARTIFACTS
        if kind not in ABSENT
    }
    drawn = [output for output in outputs if output.path.startswith(f"{layout.PICTURES}/")]
    return kinds | {output.path.split("/")[1]: output for output in drawn}


def mended(whole: Whole, verdict: Verification) -> dict[str, remedies.Remedy]:
    """Repair; what came of it, by asset and key."""
    pool = whole.pool
    done = remedies.mend(pool, remedies.planned(pool, verdict.damaged))
    return {f"{remedy.asset} {remedy.key}".strip(): remedy for remedy in done}


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_all_kinds_of_files_are_named_and_brought_back(
    whole: Whole, damage: Callable[[Path], None]
) -> None:
    files = one_of_each(whole)
    for output in files.values():
        damage(whole.file(output.path))

    light, deep = verify(whole.pool), verify(whole.pool, deep=True)

    paths = {output.path for output in files.values()}
    seen = {found.path for found in light.damaged}
    # A flipped manifest of the version is no json, which shows without a digest.
    assert seen == ({layout.CURRENT} if damage is flip else paths)
    assert {found.path for found in deep.damaged} == paths
    assert len(deep.damaged) == len(paths), "each is told once"
    done = mended(whole, deep)
    unmended = {name for name, remedy in done.items() if remedy.why_not}
    # The table that was fetched again tells another time, so the join of it is behind, and the
    # page of statistics would say so.
    assert unmended == {layout.METADATA_STATS}
    assert stale(whole) == {layout.POOL_METADATA}
    whole.make()
    mended(whole, verify(whole.pool, deep=True))
    assert verify(whole.pool, deep=True).damaged == []
    assert stale(whole) == set()
    for kind, output in files.items():
        if kind not in FETCHED:
            assert sha256(whole.file(output.path)) == output.sha256, output.path


def stale(whole: Whole) -> set[str]:
    """Assets that a run would make again."""
    pool = whole.pool
    return {
        name
        for name, asset in graph.ASSETS.items()
        if {*asset.states(pool, pool.keys(asset.axis)).values()} != {"done"}
    }


def test_every_kind_of_file_means_something() -> None:
    assert {*layout.ARTIFACTS} == {*CONSEQUENCES}


def test_sound_shards_are_kept_and_a_tar_comes_back_as_it_was(whole: Whole) -> None:
    key = Key("00000")
    tar = layout.shard_tar(key, 0)
    before, requests = sha256(whole.file(tar)), len(whole.site.requests)
    whole.file(tar).unlink()
    done = mended(whole, verify(whole.pool))
    assert done["image_shards 00000"].why_not == ""
    assert sha256(whole.file(tar)) == before
    assert len(whole.site.requests) - requests == 3
    assert whole.pool.assets[layout.EMBEDDINGS].state(whole.pool, key) == "done"


def test_images_that_are_had_no_more_are_told(whole: Whole) -> None:
    whole.file(layout.shard_tar(Key("00000"), 0)).unlink()
    image = whole.site.files.pop("/1.jpg")
    try:
        done = mended(whole, verify(whole.pool))
    finally:
        whole.site.files["/1.jpg"] = image
    assert "1 images could not be had again" in done["image_shards 00000"].how
    assert stale(whole) >= {layout.EMBEDDINGS}
    whole.make()
    assert verify(whole.pool, deep=True).damaged == []


def test_stats_are_counted_and_pictures_drawn_without_a_request(whole: Whole) -> None:
    requests = len(whole.site.requests)
    for path in (layout.shard_stats(Key("00000"), 1), "pictures/image_shards/00000/outcomes.png"):
        whole.file(path).unlink()
    done = mended(whole, verify(whole.pool))
    assert "without a request" not in done["image_shards 00000"].why_not
    assert len(whole.site.requests) == requests
    assert verify(whole.pool, deep=True).damaged == []
    states = whole.pool.assets[layout.POOL_METADATA].states(whole.pool, whole.pool.partitions)
    assert {*states.values()} == {"done"}


@pytest.mark.parametrize("name", graph.ASSETS)
def test_a_damaged_manifest_is_written_again_without_a_request(whole: Whole, name: str) -> None:
    key = whole.pool.keys(graph.ASSETS[name].axis)[0]
    digests = {output.path: output.sha256 for _, _, output in whole.outputs()}
    requests = len(whole.site.requests)
    cut(whole.file(layout.manifest(name, key)))
    [remedy] = mended(whole, verify(whole.pool)).values()
    assert (remedy.why_not, remedy.how) == ("", "made and recorded anew")
    whole.make()
    assert verify(whole.pool, deep=True).damaged == []
    assert stale(whole) == set()
    assert len(whole.site.requests) == requests
    # An index whose record is gone is merged into a version of its own.
    of_index = (layout.FAISS_INDEX, layout.ID_MAPPING, layout.HUB_DATASET)
    now = {output.path: output.sha256 for _, _, output in whole.outputs()}
    if name not in of_index:
        assert now == digests
    assert set(now.values()) >= {d for p, d in digests.items() if p.endswith(("image.index",))}


def test_shards_of_other_pairs_are_not_recorded(whole: Whole) -> None:
    key = Key("00000")
    cut(whole.file(layout.manifest(layout.IMAGE_SHARDS, key)))
    others = layout.shard_rows(layout.partition_key(1), 0)
    whole.file(layout.shard_rows(key, 0)).write_bytes(whole.file(others).read_bytes())
    before = whole.file(layout.manifest(layout.IMAGE_SHARDS, key)).read_bytes()
    [remedy] = mended(whole, verify(whole.pool)).values()
    assert "rows of other pairs" in remedy.why_not
    assert whole.file(layout.manifest(layout.IMAGE_SHARDS, key)).read_bytes() == before


def test_what_cannot_be_brought_back_is_said_and_nothing_else_changes(whole: Whole) -> None:
    raw = whole.file(layout.raw(Key("00000")))
    raw.unlink()
    source = whole.sources / "0.csv"
    source.rename(source.with_suffix(".away"))
    try:
        (remedy,) = remedies.planned(whole.pool, verify(whole.pool).damaged)
        assert "0.csv" in remedy.why_not
        assert mended(whole, verify(whole.pool))["raw_pairs 00000"] == remedy
    finally:
        source.with_suffix(".away").rename(source)
    assert not raw.exists()
    assert whole.pool.assets[layout.RAW_PAIRS].state(whole.pool, Key("00000")) == "done"


def test_what_would_come_out_otherwise_is_not_published(whole: Whole) -> None:
    """As with libraries of another version: the stage does not give the manifest's bytes."""
    path = layout.manifest(layout.POOL_METADATA, Key("00001"))
    of_file = next(o for _, _, o in whole.outputs() if o.path == layout.pool_rows(Key("00001")))
    record = whole.file(path).read_text().replace(of_file.sha256, "0" * 64)
    whole.file(path).write_text(record)
    damaged = verify(whole.pool, deep=True).damaged
    assert [(found.path, found.kind) for found in damaged] == [(of_file.path, "bytes")]
    whole.file(of_file.path).unlink()
    done = mended(whole, verify(whole.pool))["pool_metadata 00001"]
    assert "other bytes" in done.why_not
    assert f"remove {path}" in done.why_not
    assert not whole.file(of_file.path).exists()


def test_what_is_stale_is_left_to_a_run(whole: Whole) -> None:
    whole.file(layout.subset(Key("release"))).unlink()
    settings = whole.file(layout.SETTINGS_FILE)
    settings.write_text(settings.read_text().replace("sample: 1.0", "sample: 0.5"))
    (remedy,) = remedies.planned(whole.pool, verify(whole.pool).damaged)
    assert "clip-assets run makes it anew" in remedy.why_not


def test_the_served_version_is_found_again(whole: Whole) -> None:
    current = whole.file(layout.CURRENT)
    served = current.read_text()
    current.unlink()
    (damage,) = verify(whole.pool).damaged
    assert damage.path == layout.CURRENT
    mended(whole, verify(whole.pool))
    assert current.read_text() == served


def test_one_partition_can_be_looked_at_alone(whole: Whole) -> None:
    for number in range(2):
        whole.file(layout.unique(layout.partition_key(number))).unlink()
    verdict = verify(whole.pool, keys={"partition": [Key("00001")]})
    assert [damage.key for damage in verdict.damaged] == ["00001"]
