"""What the search command takes for a query, and which side it searches."""

import json
import re
from pathlib import Path

import click
import numpy as np
import pytest

from clip_assets.commands.search import query_of
from clip_assets.layout import Key
from clip_assets.retrieval.queries import Uid
from clip_assets_tests.commands.conftest import MODEL, Cli, Numbered


def test_each_kind_of_query_is_understood(tmp_path: Path) -> None:
    file = tmp_path / "v.npy"
    np.save(file, np.ones((1, 3), np.float16))
    assert query_of("a cat", None, None, None) == "a cat"
    assert query_of(None, "a.jpg", None, None) == Path("a.jpg")
    assert query_of(None, None, None, "") == Uid("")
    vector = query_of(None, None, str(file), None)
    assert isinstance(vector, np.ndarray)
    assert vector.shape == (3,)


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match="empty text"):
        query_of(text, None, None, None)


@pytest.mark.parametrize(
    ("options", "side"),
    [
        ([], "image"),
        (["--side", "image"], "image"),
        (["--side", "text"], "text"),
        (["--modality", "text"], "text"),
        (["--modality", "image"], "image"),
    ],
)
def test_the_side_that_is_named_is_searched(
    run: Cli, made: Numbered, tmp_path: Path, options: list[str], side: str
) -> None:
    made.embed(0, 30)
    made.index()
    file = tmp_path / "v.npy"
    np.save(file, made.vectors(Key("00000"), side)[7])
    searched = run("search", "--embedding", file, "-k", 1, "--json", *options)
    [hit] = json.loads(searched.stdout)
    assert hit["caption"] == "7"
    assert hit["similarity"] == pytest.approx(1, abs=1e-3)


def test_a_row_commands_no_terminal(run: Cli, made: Numbered, tmp_path: Path) -> None:
    vectors = made.vectors_of(30)
    row = {"url": "http://h/\x1b]0;x\x07", "caption": "a\x1b[31m\u202e"}
    named = [row | {"uid": f"{n:032x}"} for n in range(30)]
    made.put(0, vectors, named, content="", model=MODEL)
    made.index()
    file = tmp_path / "v.npy"
    np.save(file, made.vectors(Key("00000"), "image")[7])
    told = run("search", "--embedding", file, "-k", 1).stdout
    assert "http://h/" in told
    assert not {"\x1b", "\x07", "\u202e"} & {*told}


def test_another_side_is_refused(run: Cli, made: Numbered) -> None:
    refused = run("search", "x", "--side", "sound")
    assert refused.exit_code == 2
    assert "'sound' is not one of 'image', 'text'" in refused.stderr


def test_the_recall_of_a_search_is_told(run: Cli, made: Numbered, tmp_path: Path) -> None:
    made.set(index={"flat_limit": 50})
    made.embed(0, 300)
    made.index()
    file = tmp_path / "v.npy"
    np.save(file, made.vectors(Key("00000"), "image")[7])
    told = run("search", "--embedding", file, "-k", 3, "--recall", 0.9)
    assert len(told.stdout.splitlines()) == 3
    assert re.fullmatch(r"of the 10 nearest 0\.\d{3} ± 0\.\d{3} are found, .*\n", told.stderr)
    assert run("search", "--embedding", file, "--json").stderr == ""
