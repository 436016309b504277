"""Results of an unfinished shard survive a kill."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from clip_assets.download.journals import Journal

Kept = tuple[dict[str, Any], bytes | None]

RESULTS: list[Kept] = [
    ({"position": 0}, b"an image"),
    ({"position": 2, "status": "é\n"}, None),
    ({}, b""),
]


def append(path: Path, results: Iterable[Kept]) -> None:
    with closing(Journal(path)) as journal:
        list(journal.replay())
        for result, image in results:
            journal.append(result, image)


def kept(path: Path) -> list[Kept]:
    with closing(Journal(path)) as journal:
        return [(result, place and journal.read(place)) for result, place in journal.replay()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "work" / "0.results"
    append(path, RESULTS)
    return path


def test_results_are_there_after_a_kill(path: Path) -> None:
    assert kept(path) == RESULTS


@pytest.mark.parametrize("lost", range(1, 150, 7))
def test_a_torn_end_is_cut_off(path: Path, lost: int) -> None:
    path.write_bytes(path.read_bytes()[:-lost])
    found = kept(path)
    assert found == RESULTS[: len(found)]
    assert len(found) < len(RESULTS)
    append(path, [({"position": 9}, b"next")])
    assert kept(path) == [*found, ({"position": 9}, b"next")]


def test_an_image_that_was_not_written_to_disk_ends_it(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"an image", bytes(8)))
    assert kept(path) == []


def test_what_is_published_is_forgotten(path: Path) -> None:
    with closing(Journal(path)) as journal:
        journal.remove()
    assert not path.exists()


def test_without_a_path_nothing_is_left(tmp_path: Path) -> None:
    with closing(Journal(None)) as journal:
        place = journal.append({}, b"an image")
        assert journal.read(place) == b"an image"
        journal.remove()
