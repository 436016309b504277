"""The table of what was taken down: who is meant, and that a change of it is seen."""

import pyarrow as pa
import pytest

from clip_assets.errors import SchemaError
from clip_assets.pool import takedowns
from clip_assets.pool.takedowns import Takedowns
from clip_assets.storage.store import Store

UIDS = [f"{number:032x}" for number in (3, 2**127, 7)]
NONE = pa.table({"uid": pa.array([], pa.string()), "url": pa.array([], pa.string())})


def column(*texts: str) -> pa.ChunkedArray:
    return pa.chunked_array([list(texts)], pa.string())


def test_a_row_is_meant_by_its_uid_or_by_its_url(store: Store) -> None:
    of_url = pa.table({"uid": [UIDS[2]], "url": ["http://a/1"]})
    assert takedowns.take_down(store, [UIDS[0].upper()], ["http://a/1"], of_url, "asked") == 3
    gone = takedowns.read(store)
    named = column(UIDS[0], UIDS[1], UIDS[2], UIDS[1])
    assert gone.mask(named).tolist() == [True, False, True, False]
    urls = column("http://b", "http://a/1", "http://c", "http://a/")
    assert gone.mask(named, urls).tolist() == [True, True, True, False]
    assert {row["reason"] for row in gone.table.to_pylist()} == {"asked"}


def test_what_is_there_stays_and_what_is_taken_back_goes(store: Store) -> None:
    takedowns.take_down(store, UIDS[:2], [], NONE, "first")
    assert takedowns.take_down(store, UIDS[1:], ["http://a/1"], NONE, "second") == 2
    reasons = [row["reason"] for row in takedowns.read(store).table.to_pylist()]
    assert reasons == ["first", "first", "second", "second"]
    assert takedowns.undo(store, UIDS, [], dry_run=True) == 3
    assert takedowns.undo(store, UIDS, []) == 3
    assert len(takedowns.read(store)) == 1
    assert takedowns.undo(store, [], ["http://a/1"]) == 1
    assert not store.exists(takedowns.PATH), "as if nothing had ever been taken down"


def test_a_pair_that_was_named_alone_stays_taken_down_without_its_url(store: Store) -> None:
    of_url = pa.table({"uid": [UIDS[0]], "url": ["http://a/1"]})
    takedowns.take_down(store, [UIDS[0]], ["http://a/1"], of_url, None)
    takedowns.undo(store, [], ["http://a/1"])
    assert takedowns.read(store).mask(column(*UIDS)).tolist() == [True, False, False]


def test_a_change_is_seen_and_what_did_not_change_is_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takedowns, "LOOK_S", 0.0)
    looking = Takedowns(store)
    assert not len(looking.now())
    takedowns.take_down(store, UIDS[:1], [], NONE, None)
    first = looking.now()
    assert len(first) == 1
    assert looking.now() is first
    takedowns.take_down(store, UIDS[1:2], [], NONE, None)
    assert len(looking.now()) == 2
    takedowns.undo(store, UIDS, [])
    assert not len(looking.now())


def test_no_uid_is_refused() -> None:
    with pytest.raises(SchemaError, match="32 hex digits"):
        takedowns.of(["abc"], [])
