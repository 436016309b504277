"""The surface for other programs, and the row that a page follows: a pool without Dagster."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import clip_assets
from clip_assets import ClipAssetsError, Pool, dataset, embeddings, graph, layout, relation
from clip_assets.demo import server, world
from clip_assets.index.drift import segment_far
from clip_assets.index.own_lists import segment_centres
from clip_assets.metadata.aesthetic import aesthetic_scores
from clip_assets.partitions import ledger
from clip_assets.pool.reading import table_kinds
from clip_assets_tests.pools import CHECKOUT

PAGE = CHECKOUT / "docs" / "python.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """A pool of a small demo world in the folder ``demo-pool``, every asset made by its record."""
    folder = tmp_path_factory.mktemp("python")
    root = folder / "demo-pool"
    root.mkdir()
    with server.serving(folder / "world") as url:
        world.build_world(folder / "world", url, 60)
        settings = {
            "sources": {"rows_per_partition": 50},
            "download": {"allow_hosts": ["127.0.0.1"], "retries": 0, "deadline_s": 6},
            "inference": {"model": "demo", "pretrained": None},
        }
        (root / layout.SETTINGS_FILE).write_text(yaml.safe_dump(settings))
        opened = graph.open_pool(str(root), create=True)
        sources = str(folder / "world" / "sources")
        ledger.add_sources(opened.store, [sources], opened.settings.sources)
        for asset in graph.ASSETS.values():
            opened = opened.renewed()
            for key in opened.keys(asset.axis):
                asset.make(opened, key)
    return opened.renewed()


def test_the_whole_graph_is_made_without_dagster(pool: Pool) -> None:
    for asset in graph.ASSETS.values():
        states = asset.states(pool, pool.keys(asset.axis))
        assert {*states.values()} == {"done"}, asset.name


def test_the_examples_of_the_page_run(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(pool.store.base).parent)
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(block, names)
    assert len(names["alike"]) >= 1
    assert "make a pool: clip-assets add" in capsys.readouterr().out


def test_every_table_has_the_rows_of_its_manifests(pool: Pool) -> None:
    counted = {name: dataset(pool, name).count_rows() for name in table_kinds()}
    done = [pool.catalog.require(layout.RAW_PAIRS, key).report for key in pool.partitions]
    assert counted["raw"] == sum(report.rows_out for report in done)
    assert counted["index_rows"] == counted["id_mapping"] == counted["embedding_rows"] > 0
    assert counted["pool_rows"] == counted["unique"] == counted["shard_rows"]


def test_a_relation_says_the_same_as_the_dataset(pool: Pool) -> None:
    [(rows,)] = relation(pool, "pool_rows").aggregate("count(*)").fetchall()
    assert rows == dataset(pool, "pool_rows").count_rows()


def test_vectors_are_aligned_with_their_rows(pool: Pool) -> None:
    uids = dataset(pool, "embedding_rows").to_table(columns=["similarity"])["similarity"]
    cosines = [
        (np.float32(image) * np.float32(text)).sum(axis=1)
        for (_, image), (_, text) in zip(
            ((key, np.array(array)) for key, array in embeddings(pool, "image")),
            ((key, np.array(array)) for key, array in embeddings(pool, "text")),
            strict=True,
        )
    ]
    assert np.allclose(np.concatenate(cosines), uids.to_numpy(), atol=2e-3)


def test_an_unfinished_partition_is_in_no_table(pool: Pool, tmp_path: Path) -> None:
    empty = graph.open_pool(str(tmp_path / "new"), create=True)
    assert dataset(empty, "pool_rows").count_rows() == 0
    assert dataset(empty, "pool_rows").schema == table_kinds()["pool_rows"].schema
    Path(empty.store.base, "metadata").mkdir()
    Path(empty.store.base, layout.pool_rows(layout.partition_key(0))).write_bytes(b"half")
    assert dataset(empty.renewed(), "pool_rows").count_rows() == 0
    assert list(embeddings(empty, "text")) == []


@pytest.mark.parametrize("wrong", ["pool_metadata", "", "../raw"])
def test_a_table_that_is_none_is_refused_with_the_names(pool: Pool, wrong: str) -> None:
    with pytest.raises(ClipAssetsError, match="pool_rows"):
        dataset(pool, wrong)
    with pytest.raises(ClipAssetsError, match="image or text"):
        next(embeddings(pool, wrong))


def test_the_surface_is_what_it_says_and_costs_nothing() -> None:
    for name in clip_assets.__all__:
        assert getattr(clip_assets, name) is not None
        assert re.search(rf"\b{name}\b", PAGE.read_text()), f"{name} is not on the page"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        clip_assets.nothing  # noqa: B018
    probe = (
        "import sys, clip_assets; sys.exit(bool({'pyarrow', 'dagster', 'duckdb'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def followed(page: str) -> list[tuple[str, str, set[str]]]:
    """Each step of the page of a row: its title, the kind of its file, and its columns."""
    steps = re.findall(r"^## \d+\. ([^\n]+)\n\n`([^`]+)`.*?```text\n(.*?)```", page, re.M | re.S)
    told: list[tuple[str, str, set[str]]] = []
    for title, path, lines in steps:
        kind = next((kind for kind in layout.ARTIFACTS if kind.holds(path)), None)
        columns = {line.split()[0] for line in lines.splitlines()}
        if kind is not None and kind.schema is not None:
            further = {"SAMPLE_ID", "LICENSE", "hash"} if kind is layout.raw else set()
            assert columns - further <= set(kind.schema.names), title
        told.append((title, kind.template if kind else path.split("/")[0], columns))
    return told


def test_the_life_of_a_row_names_the_files_and_columns_of_any_pool(pool: Pool) -> None:
    build = runpy.run_path(str(CHECKOUT / "docs" / "life.py"))
    told = followed((CHECKOUT / "docs" / "life-of-a-row.md").read_text())
    here = followed(build["page"](pool))
    assert [step[1] for step in told[1:]] == [step[1] for step in here[1:]]
    assert [step[0] for step in told] == [step[0] for step in here]
    by_partition = {kind.template for kind in layout.ARTIFACTS if "<partition>" in kind.template}
    others = (
        layout.rejects, layout.shard_stats, layout.partition_stats, layout.segment_neighbours,
        layout.segment_lists, segment_far, segment_centres, layout.embedding_inputs,
        aesthetic_scores,
    )  # fmt: skip
    assert by_partition - {step[1] for step in told} == {
        *(kind.template for kind in others),
    }, "a file of each partition in which the row is not followed"
