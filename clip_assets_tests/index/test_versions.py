"""Versions can be listed, served, gone back to, and removed when old."""

import pytest

from clip_assets import layout
from clip_assets.errors import ConfigurationError, MissingArtifactError
from clip_assets.index import versions


def test_an_empty_pool_has_no_version(any_pool) -> None:
    assert (versions.versions(any_pool.store), versions.current(any_pool.store)) == ([], None)
    with pytest.raises(ConfigurationError, match="none yet"):
        versions.use(any_pool.store, "00001-00000000")
    with pytest.raises(MissingArtifactError):
        versions.read(any_pool.store, "00001-00000000")


def test_going_back_is_one_write_and_stays_until_the_next_version(pool) -> None:
    pool.embed(0, 10)
    first = pool.index()
    pool.embed(1, 10)
    second = pool.index()
    assert versions.versions(pool.store) == [first, second]
    versions.use(pool.store, first)
    assert versions.current(pool.store) == first
    pool.index()  # nothing new
    assert versions.current(pool.store) == first
    pool.embed(2, 10)
    assert versions.current(pool.store) != pool.index()[:0]
    assert versions.current(pool.store).startswith("00003-")


def test_incomplete_versions_are_not_served(pool) -> None:
    pool.embed(0, 10)
    version = pool.index()
    pool.store.delete(layout.CURRENT)
    pool.store.delete(layout.id_mapping(version, 0))
    with pytest.raises(ConfigurationError, match="not complete"):
        versions.use(pool.store, version)
    assert versions.current(pool.store) is None


def test_old_versions_are_removed_but_never_the_served_one(pool) -> None:
    pool.set(keep_versions=2)
    names = []
    for number in range(5):
        pool.embed(number, 10)
        names.append(pool.index())
        if number == 1:
            versions.use(pool.store, names[0])
    assert versions.versions(pool.store) == names[3:]
    assert pool.store.list(layout.version_folder(names[0])) == []


def test_a_pinned_version_outlives_newer_ones(pool) -> None:
    pool.set(keep_versions=9)
    names = []
    for number in range(4):
        pool.embed(number, 10)
        names.append(pool.index())
    versions.use(pool.store, names[0])
    assert versions.retire(pool.store, 1) == names[1:3]
    assert versions.versions(pool.store) == [names[0], names[3]]


def test_versions_are_compared_by_what_they_hold(pool) -> None:
    for number, rows in enumerate((50, 5, 5)):
        pool.embed(number, rows)
    first = pool.index()
    pool.embed(1, 6, content="new")
    pool.embed(3, 7)
    second = pool.index()
    found = versions.compare(pool.store, first, second)
    assert (found.added, found.removed, found.changed, found.moved) == (
        ["00003"],
        [],
        ["00001"],
        [],
    )
    assert (found.vectors, found.keys) == ((60, 68), ("IDMap2,Flat", "IDMap2,Flat"))
    pool.partitions.remove("00000")
    third = pool.index()
    found = versions.compare(pool.store, second, third)
    assert (found.removed, found.moved) == (["00000"], ["00001", "00002", "00003"])
