"""What the command says."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from clip_assets.cli import main
from clip_assets_tests.reshard.tars import every_key, folder, pair, subset, uid


def reshard(*given: object) -> "tuple[int, str]":
    """Exit code and what was printed."""
    result = CliRunner().invoke(main, ["-q", "reshard", *map(str, given)])
    return result.exit_code, result.output


def test_what_was_left_out_is_said(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"0": [pair(0), pair(1)], "1": [pair(0)]})
    file = subset(tmp_path / "s.npy", [0, 1, 9])
    given = ("--subset", file, "--output", tmp_path / "out", "--input", source)
    code, said = reshard(*given)
    assert (code, "1 of 3 uids" in said, uid(9) in said) == (2, True, True)
    code, said = reshard(*given, "--allow-missing", "--shuffle", 0, "--shard-size", 1)
    assert code == 0
    assert said.splitlines()[0].startswith("2 samples in 2 tars in ")
    assert said.splitlines()[1:] == [
        "1 uids are in no tar, see missing_ids.npy",
        "1 samples were left out, as an earlier one has their uid",
    ]
    code, said = reshard(*given, "--allow-missing", "--shuffle", 0, "--shard-size", 1, "--json")
    assert json.loads(said)["kept"] == 2


def test_the_pool_of_the_environment_is_the_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder(tmp_path / "in", {"0": [pair(0), pair(1)]})
    monkeypatch.setenv("CLIP_ASSETS_ROOT", str(source))
    code, _ = reshard("--subset", subset(tmp_path / "s.npy", [1]), "--output", tmp_path / "out")
    assert (code, every_key(tmp_path / "out")) == (0, [f"{uid(1)}-0"])


def test_a_name_of_no_subset_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "pool.yaml").write_text("subsets: {mine: {baseline: no_filter}}\n")
    code, said = reshard("--subset", "yours", "--output", tmp_path / "out", "--input", tmp_path)
    assert (
        code,
        "no such subset, and no file yours, expected one of basic_filter, mine, no_filter" in said,
    ) == (2, True)
