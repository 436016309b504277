"""Queries of a file are answered, two versions compared, and images copied by the commands."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from clip_assets.layout import Key
from clip_assets_tests.commands.conftest import Cli, Numbered


def test_queries_of_a_file_are_answered(run: Cli, made: Numbered, tmp_path: Path) -> None:
    made.embed(0, 30)
    made.index()
    queries, output = tmp_path / "q.npy", tmp_path / "out.parquet"
    np.save(queries, made.vectors(Key("00000"), "image")[:7])
    assert "14 results of 7 queries" in run("retrieve", queries, output, "-k", 2).stdout
    assert pq.read_table(output)["caption"].to_pylist()[::2] == [str(n) for n in range(7)]
    assert "7 results" in run("retrieve", queries, output, "--threshold", 0.99).stdout
    refused = run("retrieve", queries, tmp_path / "out.csv")
    assert (refused.exit_code, "NAME.parquet" in refused.stderr) == (2, True)
    assert not (tmp_path / "out.csv").exists()


def test_versions_are_compared_by_queries(run: Cli, made: Numbered, tmp_path: Path) -> None:
    made.embed(0, 30)
    first = made.index()
    made.embed(1, 30)
    second = made.index()
    queries = tmp_path / "q.npy"
    np.save(queries, made.vectors(Key("00000"), "image")[:7])
    words = ("index", "compare", first, second, "--queries", queries, "-k", 3)
    told = json.loads(run(*words, "--json").stdout)["searched"]
    assert [one["recall"] for one in told["measured"]] == [1, 1]
    assert "overlap  " in run(*words).stdout


def test_a_folder_with_files_is_not_filled(run: Cli, made: Numbered, tmp_path: Path) -> None:
    made.embed(0, 30)
    made.index()
    (tmp_path / "own.txt").write_text("mine")
    refused = run("filter", "--query", "a cat", tmp_path)
    assert refused.exit_code == 2
    assert "an empty folder" in refused.stderr
