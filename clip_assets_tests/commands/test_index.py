"""Index versions are listed, served and compared from the command line."""

import json
from pathlib import Path

import pytest

from clip_assets import layout
from clip_assets.commands.index import SHOWN
from clip_assets.layout import Key
from clip_assets_tests.commands.conftest import Cli, Numbered


@pytest.fixture
def two(made: Numbered) -> tuple[str, str]:
    """Two versions: partition 1 changed, 3 was added, 0 removed, and so the others moved."""
    for number, rows in enumerate((50, 5, 6)):
        made.embed(number, rows)
    first = made.index()
    made.store.delete(layout.plan(Key("00000")))
    made.embed(1, 7, content="new")
    made.embed(3, 8)
    return first, made.index()


def test_two_versions_are_compared(run: Cli, two: tuple[str, str]) -> None:
    compared = json.loads(run("index", "compare", *two, "--json").stdout)
    models = compared.pop("models")
    assert compared == {
        "added": ["00003"],
        "removed": ["00000"],
        "changed": ["00001"],
        "moved": ["00002"],
        "vectors": [61, 21],
        "keys": ["IDMap2,Flat", "IDMap2,Flat"],
    }
    assert [name.partition(" ")[0] for name in models] == ["model", "model"]


def test_a_comparison_reads_like_a_table(run: Cli, two: tuple[str, str]) -> None:
    lines = run("index", "compare", *two).stdout.splitlines()
    assert lines[:6] == [
        "added         1 partitions: 00003",
        "removed       1 partitions: 00000",
        "changed       1 partitions: 00001",
        "moved         1 partitions: 00002",
        "vectors  61 -> 21",
        "kind     IDMap2,Flat",
    ]
    assert lines[6].startswith("model    model (digest ")
    back = run("index", "compare", *reversed(two)).stdout
    assert "added         1 partitions: 00000" in back
    assert "vectors  21 -> 61" in back
    same = run("index", "compare", two[0], two[0]).stdout
    assert "changed       0 partitions\n" in same


def test_what_differs_is_shown_on_both_sides(run: Cli, made: Numbered) -> None:
    made.embed(0, 300)
    first = made.index()
    made.set(index={"flat_limit": 10})
    assert "kind     IDMap2,Flat -> IVF" in run("index", "compare", first, made.index()).stdout


def test_many_partitions_are_counted_after_the_first(run: Cli, made: Numbered) -> None:
    made.embed(0, 1)
    first = made.index()
    for number in range(1, SHOWN + 3):
        made.embed(number, 1)
    second = made.index()
    text = run("index", "compare", first, second).stdout
    assert f"{SHOWN + 2} partitions: 00001, " in text
    assert f"{SHOWN:05d}, ... and 2 more\n" in text
    told = json.loads(run("index", "compare", first, second, "--json").stdout)
    assert len(told["added"]) == SHOWN + 2


@pytest.mark.parametrize("place", [0, 1])
def test_an_unknown_version_is_refused_with_those_that_are(
    run: Cli, two: tuple[str, str], place: int
) -> None:
    names = [*two]
    names[place] = "00009-nowhere"
    refused = run("index", "compare", *names)
    assert refused.exit_code == 2
    assert f"'00009-nowhere', expected a version ({', '.join(two)})" in refused.stderr
    assert "clip-assets index list" in refused.stderr


def test_versions_are_listed_and_served(run: Cli, two: tuple[str, str]) -> None:
    first, second = two
    assert run("index", "list").stdout.splitlines() == [f"  {first}", f"* {second}"]
    assert run("index", "use", first).stdout == f"serving {first}\n"
    assert run("index", "list").stdout.splitlines() == [f"* {first}", f"  {second}"]


def test_a_pool_without_versions_says_so(run: Cli, made: Numbered) -> None:
    listed = run("index", "list")
    assert listed.stdout == ""
    assert "no version yet" in listed.stderr


def test_an_index_is_built_by_the_words_of_peers(run: Cli, made: Numbered, tmp_path: Path) -> None:
    made.embed(0, 300)
    output = tmp_path / "index"
    told = run(
        "index", "build", f"{made.store.base}/embeddings", output, "--nb-cores", 1,
        "--max-index-memory-usage", "16G", "--current_memory_available", "1.5GB",
        "--no-copy-metadata",
    )  # fmt: skip
    assert told.exit_code == 0
    assert told.stdout.splitlines()[0].startswith("image.index  300 vectors, ")
    assert not (output / "metadata").exists()
    (tmp_path / "one").mkdir()
    (tmp_path / "one/img_emb").symlink_to(f"{made.store.base}/embeddings/img_emb")
    told = run("index", "build", tmp_path / "one", tmp_path / "other")
    assert (told.exit_code, (tmp_path / "other/text.index").exists()) == (0, False)
    assert "text.index  not made: no npy files in text_emb/" in told.stderr
    assert "metadata  not copied" in told.stderr
    wrong = run("index", "build", made.store.base, tmp_path, "--max-index-memory-usage", "16X")
    assert wrong.exit_code == 2
    assert "such as 16G" in wrong.stderr
