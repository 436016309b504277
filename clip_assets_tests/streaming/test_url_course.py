"""Which url of a list comes next, how many are under way, and where another course goes on."""

import numpy as np
import pyarrow as pa
import pytest

from clip_assets.bricks.datum import Datum
from clip_assets.inference.samples import Sample
from clip_assets.pool import takedowns
from clip_assets.storage.store import Store
from clip_assets.streaming.decoded import Item
from clip_assets.streaming.listed_urls import TakenDownNow, UrlList, kept_rows
from clip_assets.streaming.url_course import Course

HERE = Item(Sample("key", None, "a cat", {}), "")
"""A url that is decoded."""


def listed(*urls: str | None) -> UrlList:
    """A list of urls."""
    texts = pa.array(urls, pa.string())
    return UrlList("cat", pa.table({"uid": texts, "url": texts, "caption": texts}))


def course(*start: int, ahead: int = 2) -> Course:
    """Over a list of ten urls."""
    urls = listed(*(f"http://h/{number}" for number in range(10)))
    return Course(urls, np.arange(10), ahead, repeats=False, start=[*start] or [0])


def fill(made: Course) -> list[int]:
    """Ask for as many as may be under way; those that are."""
    while made.wants():
        place = made.ask()
        assert place is not None
        made.alive[place] = "asked"
    return [*made.alive]


def test_one_that_is_passed_leaves_its_room_to_another_and_is_taken_when_it_is_there() -> None:
    made = course()
    assert fill(made) == [0, 1]
    made.alive[1] = HERE
    assert made.take() is None, "the first is worth waiting for"
    assert made.passes()
    assert fill(made) == [0, 1, 2]
    assert made.take() is HERE
    assert fill(made) == [0, 2, 3]
    assert made.cursor == [2, 0]
    made.alive[0] = HERE
    assert made.take() is HERE
    assert made.cursor == [2]


def test_no_more_are_passed_than_are_ahead() -> None:
    made = course()
    for place in (1, 3):
        fill(made)
        made.alive[place] = HERE
        assert made.passes()
        assert fill(made)[-1] == place + 1
        assert made.take() is HERE
    assert fill(made) == [0, 2, 4, 5]
    made.alive[5] = HERE
    assert not made.passes()


def test_one_whose_file_has_come_is_waited_for() -> None:
    made = course()
    fill(made)
    made.alive |= {0: "here", 1: HERE}
    assert not made.passes()


def test_what_was_left_comes_first_and_stays_left_until_it_is_asked_for() -> None:
    made = course(5, 1, 3, ahead=1)
    assert made.cursor == [5, 1, 3]
    assert fill(made) == [1]
    assert made.cursor == [5, 1, 3]
    made.forget(1)
    assert made.cursor == [5, 3]


def test_rows_without_a_url_are_not_asked_for() -> None:
    assert [rows.tolist() for rows in kept_rows([listed(None, "", "http://a"), listed("")])] == [
        [2],
        [],
    ]


@pytest.mark.parametrize(("url", "is_gone"), [("http://a", True), ("http://b", False)])
def test_a_url_is_taken_down_whatever_its_uid(local_store: Store, url: str, is_gone: bool) -> None:
    none = pa.table({"uid": pa.array([], pa.string()), "url": pa.array([], pa.string())})
    takedowns.take_down(local_store, [], ["http://a"], none, None)
    assert TakenDownNow([local_store])(Datum("key", None, {"uid": "0" * 32, "url": url})) == is_gone
