"""What DataComp's own script chose of a folder is chosen, byte for byte."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from clip_assets.settings import SUBSETS, with_subset
from clip_assets.subsets.candidates import MetadataFolder
from clip_assets.subsets.choosing import Picked, choose
from clip_assets_tests import datacomp

MODEL = {"language_model": str(datacomp.language_model())}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return datacomp.metadata(tmp_path_factory.mktemp("datacomp") / "metadata")


def chosen(folder: Path, target: Path, definition: dict[str, Any]) -> Picked:
    named = with_subset(SUBSETS, "mine", definition)
    return choose(MetadataFolder(str(folder)), named, "mine", target)


@pytest.mark.parametrize(
    ("name", "definition"),
    [
        ("no_filter", {"baseline": "no_filter"}),
        ("basic_filter", {"baseline": "basic_filter", **MODEL}),
    ],
)
def test_the_file_is_the_one_that_the_script_wrote(
    folder: Path, tmp_path: Path, name: str, definition: dict[str, Any]
) -> None:
    picked = chosen(folder, tmp_path / "mine.npy", definition)
    digest = hashlib.sha256((tmp_path / "mine.npy").read_bytes()).hexdigest()
    assert (picked.listed, digest) == datacomp.CHOSEN[name]
    assert picked.kept + sum(picked.dropped.values()) == picked.rows
