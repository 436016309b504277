"""What counts as a source file, and what identifies its content."""

import logging
import os
from pathlib import Path

import fsspec
import pytest

from clip_assets.errors import ConfigurationError, SourceError, SourceMissingError
from clip_assets.files.identity import looked_at
from clip_assets.partitions.listing import file_format, list_sources, named
from clip_assets_tests.websites import Site


def write(path: Path, content: str = "url\nhttp://a/1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def names(patterns: list[str], base: Path) -> list[str]:
    return [str(Path(file.uri).relative_to(base)) for file in list_sources(patterns)]


def test_a_folder_is_searched_to_the_bottom_in_order(tmp_path: Path) -> None:
    for name in ["b.csv", "a/z.parquet", "a/b/c.jsonl.gz", "d.txt.zst", "e.tsv", "README.md"]:
        write(tmp_path / name)
    assert names([str(tmp_path)], tmp_path) == [
        "a/b/c.jsonl.gz", "a/z.parquet", "b.csv", "d.txt.zst", "e.tsv",
    ]  # fmt: skip


def test_hidden_and_unfinished_files_are_left_out(tmp_path: Path) -> None:
    for name in ["a.csv", ".b.csv", "_temporary/c.csv", ".git/d.csv"]:
        write(tmp_path / name)
    assert names([str(tmp_path)], tmp_path) == ["a.csv"]


def test_a_folder_that_is_named_like_a_file_is_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "x.csv" / "part-0.csv")
    assert names([str(tmp_path / "x.csv")], tmp_path) == ["x.csv/part-0.csv"]
    assert names([str(tmp_path)], tmp_path) == ["x.csv/part-0.csv"]
    assert names([str(tmp_path / "*.csv")], tmp_path) == []


def test_a_link_that_leads_nowhere_is_named_and_a_pipe_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.csv")
    (tmp_path / "b.csv").symlink_to(tmp_path / "a.csv")
    os.mkfifo(tmp_path / "c.csv")
    for pattern in (tmp_path, tmp_path / "*.csv"):
        assert names([str(pattern)], tmp_path) == ["a.csv", "b.csv"]
    (tmp_path / "d.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(SourceMissingError, match=r"d\.csv"):
        list_sources([str(tmp_path)])


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("*.csv", ["a.csv", "b.csv"]), ("?.csv", ["a.csv", "b.csv"]), ("[a].csv", ["a.csv"])],
)
def test_globs(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    for name in ["a.csv", "b.csv", "c.parquet"]:
        write(tmp_path / name)
    assert names([str(tmp_path / pattern)], tmp_path) == expected


def test_a_file_whose_name_looks_like_a_glob_is_itself(tmp_path: Path) -> None:
    write(tmp_path / "a[1].csv")
    write(tmp_path / "a1.csv")
    assert names([str(tmp_path / "a[1].csv")], tmp_path) == ["a[1].csv"]


def test_a_file_that_two_patterns_name_is_listed_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv")
    assert len(list_sources([str(path), str(tmp_path), str(tmp_path / "*")])) == 1


def test_a_glob_may_match_nothing_but_a_name_may_not(tmp_path: Path) -> None:
    assert list_sources([str(tmp_path / "*.csv")]) == []
    with pytest.raises(SourceMissingError, match=r"nothing\.csv"):
        list_sources([str(tmp_path / "nothing.csv")])


def test_a_named_file_of_another_format_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx")
    with pytest.raises(ConfigurationError, match=r"\.csv"):
        list_sources([str(path)])


def test_an_unknown_protocol_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="nosuch"):
        list_sources(["nosuch://bucket/a.csv"])


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.csv")
    monkeypatch.chdir(tmp_path)
    assert [file.uri for file in list_sources(["a.csv"])] == [str(tmp_path / "a.csv")]


def test_other_file_systems_are_listed_by_url() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/listing/b.csv", b"url\n")
    memory.pipe_file("/listing/a.parquet", b"x")
    found = list_sources(["memory://listing"])
    assert [file.uri for file in found] == [
        "memory:///listing/a.parquet", "memory:///listing/b.csv",
    ]  # fmt: skip
    before = found[1]
    memory.pipe_file("/listing/b.csv", b"uri\n")
    assert looked_at(before.uri).etag != before.etag
    memory.rm("/listing", recursive=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.CSV", (".csv", "")),
        ("a.csv.gz", (".csv", ".gz")),
        ("https://h/a.jsonl.zst?download=true", (".jsonl", ".zst")),
        ("a.parquet.gz", ("", "")),
        ("a.gz", ("", "")),
        ("a", ("", "")),
    ],
)
def test_the_format_is_in_the_name(name: str, expected: tuple[str, str]) -> None:
    assert file_format(name) == expected


def test_a_pattern_names_files_that_are_gone(tmp_path: Path) -> None:
    gone = str(tmp_path / "a" / "gone.csv")
    assert named([str(tmp_path)], gone)
    assert named([str(tmp_path / "*" / "*.csv")], gone)
    assert not named([str(tmp_path / "b")], gone)


def test_letters_of_a_pattern_are_those_of_the_name_on_every_platform(tmp_path: Path) -> None:
    assert named([str(tmp_path / "*.csv")], str(tmp_path / "a.csv"))
    assert not named([str(tmp_path / "*.csv")], str(tmp_path / "a.CSV"))


def test_published_pools_have_names() -> None:
    assert named(["datacomp:small"], "hf://datasets/mlfoundations/datacomp_small/a.parquet")


def test_a_place_that_cannot_be_asked_is_not_called_missing() -> None:
    with pytest.raises(SourceError, match="too long") as caught:
        list_sources([f"/{'a' * 300}/b.csv"])
    assert not isinstance(caught.value, SourceMissingError)


def test_a_dead_link_of_a_page_hides_no_other_file_and_is_told(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.files["/f/"] = b'<a href="gone.csv">a</a> <a href="c.csv">c</a>'
    site.files["/f/c.csv"] = b"url"
    with caplog.at_level(logging.WARNING, "clip_assets"):
        (found,) = list_sources([f"{site.url}/f/"])
    assert found.uri == f"{site.url}/f/c.csv"
    assert f"{site.url}/f/gone.csv: a dead link" in caplog.text


def test_a_question_mark_is_part_of_a_name_but_in_a_web_address() -> None:
    assert file_format("s3://bucket/a?b.csv") == (".csv", "")
    assert file_format("http://host/a.csv?b.txt") == (".csv", "")
