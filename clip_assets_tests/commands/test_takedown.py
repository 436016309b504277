"""``clip-assets takedown``: what it says, and that subsets are made anew without it."""

import json
from pathlib import Path

import numpy as np
import pytest

from clip_assets import layout
from clip_assets.layout import Key
from clip_assets.pool import takedowns
from clip_assets.storage import uids
from clip_assets.storage.store import Store
from clip_assets.subsets.subset_files import SUBSETS
from clip_assets_tests.commands.conftest import Cli
from clip_assets_tests.outcomes import Outcomes, Pair

NAMES = [f"{number:032x}" for number in range(5)]


@pytest.fixture
def made(local_store: Store) -> Outcomes:
    """Five pairs in two partitions, two of one url; the second has no metadata yet."""
    made = Outcomes(local_store)
    pairs = [Pair(uid=name, url=f"http://h/{n % 4}") for n, name in enumerate(NAMES)]
    made.metadata(made.add(0, pairs[:3]))
    made.add(1, pairs[3:])
    return made


def listed(made: Outcomes) -> list[str]:
    made.subset("no_filter")
    return uids.texts(made.uids("no_filter"))


def test_uids_urls_and_files_are_taken_down_and_taken_back(
    made: Outcomes, run: Cli, tmp_path: Path
) -> None:
    (file := tmp_path / "list.txt").write_text(f"# asked for\n{NAMES[1]}\n\nhttp://h/0\n")
    tried = run("takedown", file, "--dry-run")
    assert "1 uids and 1 urls would be taken down: 3 pairs of this pool" in tried.output
    assert "nothing is taken down" in run("takedown", "--list").output
    assert not made.store.exists(takedowns.PATH)
    done = run("takedown", file, "--reason", "by mail")
    assert "3 pairs of this pool" in done.output
    assert "shards 00000/00000" in done.output
    assert "On disk they stay" in done.output
    told = json.loads(run("takedown", "--list", "--json").output)
    assert [(row["uid"], row["url"], row["reason"]) for row in told] == [
        (NAMES[1], None, "by mail"),
        (None, "http://h/0", "by mail"),
        (NAMES[0], "http://h/0", "by mail"),
        (NAMES[4], "http://h/0", "by mail"),
    ]
    assert "no longer" in run("takedown", "http://h/0", "--undo").output
    assert [row["uid"] for row in json.loads(run("takedown", "--list", "--json").output)] == [
        NAMES[1]
    ]


def test_subsets_become_stale_and_are_made_without_it(made: Outcomes, run: Cli) -> None:
    made.metadata(Key("00001"))
    assert listed(made) == NAMES
    key = Key("no_filter")
    run("takedown", NAMES[2], "http://h/0")
    assert SUBSETS.state(made.pool, key) == "stale"
    assert listed(made) == [NAMES[1], NAMES[3]]
    report = made.pool.catalog.require(layout.SUBSETS, key).report
    assert report.dropped["taken_down"] == 3
    run("takedown", NAMES[2], "http://h/0", "--undo")
    assert listed(made) == NAMES


def test_a_url_is_heeded_in_partitions_that_come_later(made: Outcomes, run: Cli) -> None:
    run("takedown", "http://h/9")
    made.metadata(Key("00001"), made.add(2, [Pair(uid="9" * 32, url="http://h/9")]))
    assert listed(made) == NAMES


@pytest.mark.parametrize("name", ["list.npy", "list.parquet"])
def test_a_file_of_uids_may_be_a_subset(
    made: Outcomes, run: Cli, tmp_path: Path, name: str
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"uid": NAMES[:2]})
    if name.endswith("npy"):
        np.save(tmp_path / name, uids.pairs(table["uid"]))
    else:
        pq.write_table(table, tmp_path / name)
    told = json.loads(run("takedown", tmp_path / name, "--json").output)
    assert (told["uids"], told["new"], told["pairs"]) == (2, 2, NAMES[:2])
    assert told["shards"] == ["00000/00000"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["nowhere.txt"], "a uid of 32 hex digits, a url, or a file"),
        ([], "say which"),
        (["--list", "http://h/1"], "takes nothing else"),
    ],
)
def test_what_is_none_of_them_is_told(
    made: Outcomes, run: Cli, words: list[str], problem: str
) -> None:
    done = run("takedown", *words)
    assert done.exit_code == 2
    assert problem in done.output
    assert not made.store.exists(takedowns.PATH)
