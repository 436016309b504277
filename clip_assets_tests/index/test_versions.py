"""Versions can be listed, served, gone back to, and removed when old."""

import shutil
from pathlib import Path

import pytest

from clip_assets import layout, status
from clip_assets.errors import ConfigurationError, MissingArtifactError
from clip_assets.index import version_differences, versions
from clip_assets.layout import Key
from clip_assets_tests.index.conftest import RandomVectors


def test_an_empty_pool_has_no_version(made_anywhere: RandomVectors) -> None:
    assert (versions.versions(made_anywhere.store), versions.current(made_anywhere.store)) == (
        [],
        None,
    )
    with pytest.raises(ConfigurationError, match="none yet"):
        versions.use(made_anywhere.store, "00001-00000000")
    with pytest.raises(MissingArtifactError):
        versions.read(made_anywhere.store, "00001-00000000")


def test_going_back_is_one_write_and_stays_until_the_next_version(made: RandomVectors) -> None:
    made.embed(0, 10)
    first = made.index()
    made.embed(1, 10)
    second = made.index()
    assert versions.versions(made.store) == [first, second]
    versions.use(made.store, first)
    assert versions.current(made.store) == first
    made.index()  # nothing new
    assert versions.current(made.store) == first
    made.embed(2, 10)
    assert versions.current(made.store) != made.index()[:0]
    assert versions.current(made.store).startswith("00003-")


def test_incomplete_versions_are_not_served(made: RandomVectors) -> None:
    made.embed(0, 10)
    version = made.index()
    made.store.delete(layout.CURRENT)
    made.store.delete(layout.id_mapping(version, 0))
    with pytest.raises(ConfigurationError, match="not complete"):
        versions.use(made.store, version)
    assert versions.current(made.store) is None


def test_old_versions_are_removed_but_never_the_served_one(made: RandomVectors) -> None:
    made.set(index={"keep_versions": 2})
    names = []
    for number in range(5):
        made.embed(number, 10)
        names.append(made.index())
        if number == 1:
            versions.use(made.store, names[0])
    assert versions.versions(made.store) == names[3:]
    assert made.store.list(layout.version_folder(names[0])) == []


def test_a_pinned_version_outlives_newer_ones(made: RandomVectors) -> None:
    made.set(index={"keep_versions": 9})
    names = []
    for number in range(4):
        made.embed(number, 10)
        names.append(made.index())
    versions.use(made.store, names[0])
    assert versions.retire(made.store, 1) == names[1:3]
    assert versions.versions(made.store) == [names[0], names[3]]


def test_folders_that_are_no_versions_are_left_alone(made: RandomVectors) -> None:
    made.embed(0, 10)
    first = made.index()
    folder = Path(made.store.base, layout.version_folder(first))
    shutil.copytree(folder, folder.with_name(f"{first} as it was"))
    made.store.write_bytes(f"{layout.VERSIONS}/notes/mine/today.txt", b"mine")
    made.store.write_bytes(layout.index("00002-0123abcd", "image"), b"of a merge that was killed")
    before = {*made.store.list(layout.VERSIONS)}
    made.embed(1, 10)
    second = made.index()
    after = {*made.store.list(layout.VERSIONS)}
    assert before - after == {layout.index("00002-0123abcd", "image")}
    assert versions.versions(made.store) == [first, second]


def test_versions_are_compared_by_what_they_hold(made: RandomVectors) -> None:
    for number, rows in enumerate((50, 5, 5)):
        made.embed(number, rows)
    first = made.index()
    made.embed(1, 6, content="new")
    made.embed(3, 7)
    second = made.index()
    change = version_differences.compare(made.store, first, second)
    assert (change.added, change.removed, change.changed, change.moved) == (
        ["00003"],
        [],
        ["00001"],
        [],
    )
    assert (change.vectors, change.keys) == ((60, 68), ("IDMap2,Flat", "IDMap2,Flat"))
    made.forget(Key("00000"))
    third = made.index()
    change = version_differences.compare(made.store, second, third)
    assert (change.removed, change.moved) == (["00000"], ["00001", "00002", "00003"])


def test_a_partition_is_behind_until_the_served_version_holds_it(made: RandomVectors) -> None:
    def behind() -> list[Key]:
        return status.report(made.pool)["index"]["partitions_behind"]

    made.embed(0, 10)
    first = made.index()
    assert behind() == []
    made.embed(1, 10)
    assert behind() == ["00001"]
    made.segment()
    assert behind() == ["00001"]
    second = made.index()
    assert behind() == []
    versions.use(made.store, first)
    assert (behind(), first != second) == (["00001"], True)
