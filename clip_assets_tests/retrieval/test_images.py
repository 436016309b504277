"""Images of a pool by their image paths."""

from pathlib import Path

import pytest

from clip_assets import layout
from clip_assets.errors import DamagedError, MissingArtifactError
from clip_assets.retrieval.images import Images
from clip_assets.webdataset.indices import kept_folder
from clip_assets_tests.inference.shards import P, Pair, image_shards
from clip_assets_tests.upstream import MadeUp

SHARDS = [[Pair(0, b"image 0"), Pair(1, b"image 1")], [Pair(2, b"image 2", extension="webp")]]


@pytest.fixture
def pool(made: MadeUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """A pool with three images, whose shards are an earlier release's: without tar indices."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    image_shards(made, SHARDS)
    return made


def test_an_image_is_read_by_its_path(pool: MadeUp) -> None:
    images = Images(pool.store)
    assert images.read("00000/00000/000000001") == b"image 1"
    assert images.read("00000/00001/000000000") == b"image 2"
    assert images.sample("00000/00000/000000000") == SHARDS[0][0].members("000000000")


@pytest.mark.parametrize(
    "path",
    [
        "00000/00000/000000009", "00000/00000/", "00000/00000", "", "/etc/passwd",
        "../00000/000000000", "00000/../00000/000000000", "0000\uff10/00000/000000000",
    ],
)  # fmt: skip
def test_what_is_not_there_is_told(pool: MadeUp, path: str) -> None:
    with pytest.raises(MissingArtifactError, match="no such"):
        Images(pool.store).read(path)


def test_a_sample_without_an_image_has_none(made: MadeUp, pool: MadeUp) -> None:
    image_shards(made, [[Pair(0, image=None)]])
    with pytest.raises(MissingArtifactError, match="no such sample"):
        Images(pool.store).read("00000/00000/000000000")


def test_a_shard_that_is_gone_is_damage(pool: MadeUp) -> None:
    images = Images(pool.pool.store)
    pool.pool.catalog.require(layout.IMAGE_SHARDS, P)
    pool.store.fs.rm(f"{pool.store.base}/{layout.shard_tar(P, 1)}")
    with pytest.raises(DamagedError, match="no file"):
        images.read("00000/00001/000000000")
    with pytest.raises(MissingArtifactError):
        images.read("00009/00000/000000000")
    assert images.read("00000/00000/000000000") == b"image 0"


def test_indices_of_old_shards_are_in_the_users_cache_and_not_in_the_pool(pool: MadeUp) -> None:
    files = pool.store.list("")
    Images(pool.store).read("00000/00000/000000001")
    assert pool.store.list("") == files
    # A store in memory tells when a file was made, so its index can be kept as well.
    assert len([*kept_folder().iterdir()]) == 1
