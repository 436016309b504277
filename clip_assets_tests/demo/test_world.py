"""The demo world holds what its truth says."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from clip_assets.demo.misbehaviour import BY_NAME
from clip_assets.demo.sources import CSV_LAYOUTS, DATACOMP_SCHEMA
from clip_assets.demo.truth import ADVERTISED_QUERIES, Meaning, World, wanted
from clip_assets.demo.world import build_world, drop_new_file
from clip_assets.errors import ConfigurationError

BASE_URL = "http://127.0.0.1:9"
PAIRS = 150


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world") / "demo", BASE_URL, pairs=PAIRS)


def read_rows(source: Path) -> list[tuple[str, str]]:
    """(url, caption) of every row, read with the standard library or pyarrow alone."""
    if source.suffix == ".parquet":
        table = pq.read_table(source)
        return list(zip(table["url"].to_pylist(), table["text"].to_pylist(), strict=True))
    with source.open(newline="", encoding="utf-8") as file:
        rows = [
            {column.lower(): cell for column, cell in row.items()}
            for row in csv.DictReader(file, delimiter="|", strict=True)
        ]
    return [(row["url"], row.get("text", row.get("caption", ""))) for row in rows]


def all_rows(world: World) -> list[tuple[str, str]]:
    return [row for source in world.sources for row in read_rows(source)]


def folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


def test_rows_and_unique_pairs_are_as_told(world: World) -> None:
    rows = all_rows(world)
    assert len(rows) == world.rows
    assert len(set(rows)) == world.unique_pairs == PAIRS


def test_about_a_tenth_of_the_rows_repeats_others(world: World) -> None:
    assert 0.05 < 1 - world.unique_pairs / world.rows < 0.15


def test_duplicates_lie_within_files_and_across_them(world: World) -> None:
    within = sum(len(rows) - len(set(rows)) for rows in map(read_rows, world.sources))
    assert 0 < within < world.rows - world.unique_pairs


def test_kinds_of_urls_are_as_told(world: World) -> None:
    kinds = Counter(world.picture(url).kind for url, _ in set(all_rows(world)))
    assert dict(kinds) == world.expected
    assert set(world.expected) == {"images", *BY_NAME}
    assert world.successes + world.failures == world.unique_pairs


def test_every_good_url_has_its_file_in_the_told_size(world: World) -> None:
    for picture in world.pictures.values():
        if picture.kind == "images":
            with Image.open(world.folder / "images" / picture.name) as image:
                assert image.size == (picture.width, picture.height)
                image.load()


def test_images_come_in_three_formats(world: World) -> None:
    suffixes = {path.suffix for path in (world.folder / "images").iterdir()}
    assert suffixes == {".jpg", ".png", ".webp"}


def test_a_filter_by_size_keeps_a_good_part(world: World) -> None:
    kept = sum(min(p.width, p.height) >= 200 for p in world.pictures.values())
    assert 0.4 < kept / len(world.pictures) < 0.9


def test_no_two_csv_files_share_a_header(world: World) -> None:
    headers = [
        tuple(source.read_text(encoding="utf-8").partition("\n")[0].split("|"))
        for source in world.sources
        if source.suffix == ".csv"
    ]
    assert headers == list(CSV_LAYOUTS)


def test_captions_hold_quotes_newlines_and_separators(world: World) -> None:
    captions = "".join(caption for _, caption in all_rows(world))
    assert all(mark in captions for mark in ('"', "\n", "|"))


def test_the_parquet_file_has_the_columns_of_datacomp(world: World) -> None:
    (path,) = [source for source in world.sources if source.suffix == ".parquet"]
    table = pq.read_table(path)
    assert table.schema.equals(DATACOMP_SCHEMA)
    uids = table["uid"].to_pylist()
    assert len(set(uids)) == len(uids)
    assert all(len(uid) == 32 and int(uid, 16) >= 0 for uid in uids)


def test_the_parquet_file_knows_the_digests_of_the_images(world: World) -> None:
    (path,) = [source for source in world.sources if source.suffix == ".parquet"]
    for row in pq.read_table(path).to_pylist():
        picture = world.picture(row["url"])
        if picture.kind == "images":
            data = (world.folder / "images" / picture.name).read_bytes()
            assert row["sha256"] == hashlib.sha256(data).hexdigest()


def test_the_same_arguments_write_the_same_bytes(world: World, tmp_path: Path) -> None:
    build_world(tmp_path / "again", BASE_URL, pairs=PAIRS)
    assert folder_digest(tmp_path / "again") == folder_digest(world.folder)


def test_a_complete_world_is_not_written_again(tmp_path: Path) -> None:
    first = build_world(tmp_path, BASE_URL, pairs=60)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert build_world(tmp_path, BASE_URL, pairs=60) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_unfinished_world_is_written_anew(world: World, tmp_path: Path) -> None:
    build_world(tmp_path, BASE_URL, pairs=60)
    (tmp_path / "world.json").unlink()
    (tmp_path / "images" / "left-over.jpg").write_bytes(b"")
    build_world(tmp_path, BASE_URL, pairs=PAIRS)
    assert folder_digest(tmp_path) == folder_digest(world.folder)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigurationError, match=r"thesis\.tex"):
        build_world(tmp_path, BASE_URL, pairs=60)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_dropped_file_adds_new_pairs_and_repeats_known_ones(tmp_path: Path) -> None:
    before = build_world(tmp_path, BASE_URL, pairs=60)
    known = set(all_rows(before))
    after = drop_new_file(tmp_path, BASE_URL, pairs=40)
    assert after.sources[:-1] == before.sources
    new = read_rows(after.sources[-1])
    assert len(set(new) - known) == 40
    assert len(set(new) & known) > 0
    assert len(all_rows(after)) == after.rows
    assert len(set(all_rows(after))) == after.unique_pairs == 100
    assert build_world(tmp_path, BASE_URL, pairs=60) == after


def test_nothing_is_dropped_where_there_is_no_world(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="build_world"):
        drop_new_file(tmp_path, BASE_URL)


@pytest.mark.parametrize("query", ADVERTISED_QUERIES)
def test_an_advertised_query_has_matching_images_in_a_small_world(query: str, world: World) -> None:
    matches = [name for name in world.pictures if world.matches(f"{BASE_URL}/images/{name}", query)]
    assert matches
    assert 0 < world.matching_images(query) <= len(matches)


@pytest.mark.slow
@pytest.mark.parametrize("min_side_px", [0, 200])
def test_an_advertised_query_has_twenty_matches_in_a_full_world(
    min_side_px: int, full_world: World
) -> None:
    counts = [full_world.matching_images(query, min_side_px) for query in ADVERTISED_QUERIES]
    assert min(counts) >= 20


@pytest.fixture(scope="module")
def full_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("full"), BASE_URL)


@pytest.mark.parametrize(
    ("query", "meaning"),
    [
        ("a red circle", Meaning("red", "circle")),
        ("Plus signs in Royal Blue", Meaning("blue", "cross")),
        ("a plus sign", Meaning(None, "cross")),
        ("something turquoise", Meaning("cyan", None)),
        ("two snow white love hearts", Meaning("white", "heart")),
    ],
)
def test_a_query_means_the_colour_and_shape_it_names(query: str, meaning: Meaning) -> None:
    assert wanted(query) == meaning


def test_a_query_about_nothing_known_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a photo of a dog"):
        wanted("a photo of a dog")
