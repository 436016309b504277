from contextlib import closing

import pytest

from clip_assets.download.journals import Journal

RESULTS = [({"position": 0}, b"an image"), ({"position": 2, "status": "é\n"}, None), ({}, b"")]


def append(path, results):
    with closing(Journal(path)) as journal:
        list(journal.replay())
        for result, image in results:
            journal.append(result, image)


def kept(path):
    with closing(Journal(path)) as journal:
        return [(result, place and journal.read(place)) for result, place in journal.replay()]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "work" / "0.results"
    append(path, RESULTS)
    return path


def test_results_are_there_after_a_kill(path):
    assert kept(path) == RESULTS


@pytest.mark.parametrize("lost", range(1, 150, 7))
def test_a_torn_end_is_cut_off(path, lost):
    path.write_bytes(path.read_bytes()[:-lost])
    found = kept(path)
    assert found == RESULTS[: len(found)]
    assert len(found) < len(RESULTS)
    append(path, [({"position": 9}, b"next")])
    assert kept(path) == [*found, ({"position": 9}, b"next")]


def test_an_image_that_was_not_written_to_disk_ends_it(path):
    path.write_bytes(path.read_bytes().replace(b"an image", bytes(8)))
    assert kept(path) == []


def test_what_is_published_is_forgotten(path):
    with closing(Journal(path)) as journal:
        journal.remove()
    assert not path.exists()


def test_without_a_path_nothing_is_left(tmp_path):
    with closing(Journal(None)) as journal:
        place = journal.append({}, b"an image")
        assert journal.read(place) == b"an image"
        journal.remove()
