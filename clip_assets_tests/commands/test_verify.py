"""``clip-assets verify`` on a pool whose embeddings are made up and whose index is real."""

import json
from pathlib import Path

from clip_assets import layout
from clip_assets_tests.commands.conftest import Cli, Numbered


def damaged_pool(made: Numbered) -> Path:
    made.embed(0, 5)
    made.index()
    segment = Path(made.store.base, layout.segment("image", layout.partition_key(0)))
    segment.write_bytes(segment.read_bytes()[:-1])
    return segment


def test_a_whole_pool_is_said_to_be(run: Cli, made: Numbered) -> None:
    made.embed(0, 5)
    made.index()
    assert "all have their size" in run("verify").stdout
    deep = run("verify", "--deep")
    assert "all are whole" in deep.stdout
    assert deep.exit_code == 0


def test_damage_is_told_with_its_meaning_and_its_remedy_and_nothing_changes(
    run: Cli, made: Numbered
) -> None:
    segment = damaged_pool(made)
    before = segment.read_bytes()
    told = run("verify")
    assert told.exit_code == 1
    assert f"segments/image/00000.index has {len(before):,} bytes, not {len(before) + 1:,}" in (
        told.stdout
    )
    assert "so: no new index version can be merged; the served one stays" in told.stdout
    assert "repair: index_segments 00000: segments/image/00000.index: made again" in told.stdout
    assert "next: clip-assets verify --repair" in told.stdout
    assert segment.read_bytes() == before


def test_the_json_is_one_document(run: Cli, made: Numbered) -> None:
    damaged_pool(made)
    told = run("verify", "--partitions", "00000", "--json")
    document = json.loads(told.stdout)
    assert told.exit_code == 1
    assert [(found["path"], found["kind"]) for found in document["damaged"]] == [
        ("segments/image/00000.index", "size")
    ]
    assert document["repair"][0]["asset"] == layout.INDEX_SEGMENTS
    assert not document["repaired"]


def test_repair_ends_well_and_then_all_is_whole(run: Cli, made: Numbered) -> None:
    segment = damaged_pool(made)
    # The stages of the made-up embeddings cannot be run, the one of segments can.
    told = run("verify", "--repair")
    assert "mended: index_segments 00000: segments/image/00000.index: made again, the same" in (
        told.stdout
    )
    assert told.exit_code == 0
    assert segment.exists()
    assert "all have their size" in run("verify").stdout


def test_partitions_that_are_not_there_are_refused(run: Cli, made: Numbered) -> None:
    made.embed(0, 5)
    told = run("verify", "--partitions", "00007")
    assert told.exit_code == 2
    assert "00007" in told.stderr
