"""A pool's metadata as DataComp's folder: chosen from alike, and read by others as theirs."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clip_assets import layout
from clip_assets.encoders.encoder import ModelIdentity
from clip_assets.encoders.identity import claim_model
from clip_assets.errors import ConfigurationError, ModelMismatchError
from clip_assets.pool import takedowns
from clip_assets.pool.upstream import upstream
from clip_assets.settings import SUBSETS
from clip_assets.settings.baselines import ClipScore
from clip_assets.subsets.candidates import MetadataFolder, PoolRows
from clip_assets.subsets.choosing import choose
from clip_assets.subsets.folder_writer import COLUMNS, write_folder
from clip_assets_tests.outcomes import Outcomes, Pair


@pytest.fixture
def rows(made: Outcomes) -> PoolRows:
    """Two partitions of seven pairs, of which two have no image and one has no caption."""
    made.add(0, [Pair(similarity=0.1 * n) for n in range(4)])
    made.add(1, [Pair(None), Pair(status="failed_to_download"), Pair("x", similarity=0.9)])
    made.add(2, [Pair(status="failed_to_download")])
    made.metadata()
    return PoolRows(made.pool, upstream(made.pool, layout.POOL_METADATA).done)


def test_the_folder_is_chosen_from_as_the_pool_is(rows: PoolRows, tmp_path: Path) -> None:
    folder = tmp_path / "metadata"
    assert write_folder(rows, folder, own_as="l14") == 6
    assert sorted(path.name for path in folder.iterdir()) == ["00000.parquet", "00001.parquet"]
    bound = {"baseline": "clip_score", "fraction": 0.3}
    for definition, own in (
        ("no_filter", "no_filter"),
        (ClipScore.model_validate(bound | {"arch": "l14"}), ClipScore.model_validate(bound)),
    ):
        choose(MetadataFolder(str(folder)), SUBSETS, definition, tmp_path / "theirs.npy")
        choose(rows, SUBSETS, own, tmp_path / "ours.npy")
        assert (tmp_path / "theirs.npy").read_bytes() == (tmp_path / "ours.npy").read_bytes()
    for file in folder.iterdir():
        table = pq.read_table(file)
        assert tuple(table.column_names) == COLUMNS
        assert not table["text"].null_count


def test_whose_scores_go_under_the_name_of_others_is_told(rows: PoolRows, tmp_path: Path) -> None:
    claim_model(rows.pool.store, ModelIdentity("demo", None, "d" * 64, "resize", 512, "fp32"))
    write_folder(rows, tmp_path / "metadata", own_as="l14")
    folder = MetadataFolder(str(tmp_path / "metadata"))
    both = [
        choose(folder, SUBSETS, ClipScore(baseline="clip_score", arch=arch, fraction=1), None)
        for arch in ("l14", "b32")
    ]
    told = [next(iter(picked.facts.values()))["model"] for picked in both]
    assert told == ["demo", "ViT-B-32/openai"]
    pinned = ClipScore(baseline="clip_score", arch="l14", k=1, model="ViT-L-14/openai")
    with pytest.raises(ModelMismatchError, match="scores by demo"):
        choose(folder, SUBSETS, pinned, None)


def test_without_features_columns_are_as_they_are(rows: PoolRows, tmp_path: Path) -> None:
    assert write_folder(rows, tmp_path / "metadata") == 6
    table = pq.read_table(tmp_path / "metadata")
    assert table["clip_l14_similarity_score"].null_count == len(table) == 6


def test_what_was_taken_down_is_not_written(rows: PoolRows, tmp_path: Path) -> None:
    table = rows.read("00000", ["uid", "url"])
    named, of_url = table["uid"][0].as_py(), table["url"][1].as_py()
    takedowns.take_down(rows.pool.store, [named], [of_url], table.slice(0, 0), None)
    assert write_folder(rows, tmp_path / "metadata") == 4
    written = pq.read_table(tmp_path / "metadata")["uid"].to_pylist()
    assert not {named, table["uid"][1].as_py()} & {*written}


def test_what_cannot_be_written_is_refused(rows: PoolRows, tmp_path: Path) -> None:
    (tmp_path / "other.parquet").touch()
    with pytest.raises(ConfigurationError, match="with something in it"):
        write_folder(rows, tmp_path)
    with pytest.raises(ConfigurationError, match="b32 or l14"):
        write_folder(rows, tmp_path / "metadata", features=True)
