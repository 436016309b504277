"""What is published is read as it is by datasets, DuckDB and faiss, and holds nothing reserved."""

import json
import re
from pathlib import Path

import datasets
import duckdb
import faiss
import numpy as np
import pyarrow as pa
import pytest
import yaml

from clip_assets import layout
from clip_assets.errors import AlignmentError
from clip_assets.pool import takedowns
from clip_assets.publishing.card import plain
from clip_assets.storage.store import Store
from clip_assets_tests.publishing.conftest import CAPTIONS, HOSTILE, RESERVED, Published
from clip_assets_tests.retrieval.conftest import direction

FREE = [text for texts in CAPTIONS for text in texts if text not in RESERVED]


def folder(made: Published) -> Path:
    return Path(made.store.base, layout.HUB)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches of datasets are this test's own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_load_dataset_reads_it_as_it_is(made: Published, offline: None) -> None:
    report = made.published().manifest.report
    assert (report.rows_in, report.rows_out, report.dropped) == (
        21,
        19,
        {"taken_down": 0, "opt_outs": 2},
    )
    rows = datasets.load_dataset(str(folder(made)), split="train")
    assert rows["caption"][:] == FREE
    assert np.allclose(rows[4]["image_embedding"], direction(FREE[4].encode()), atol=1e-3)
    ids = datasets.load_dataset(str(folder(made)), "id_mapping", split="train")
    assert ids["i"][:] == rows["i"][:]


def test_duckdb_reads_it_and_ids_are_those_of_the_indices(made: Published) -> None:
    made.published()
    rows = duckdb.sql(f"SELECT i, caption, image_embedding FROM '{folder(made)}/data/*.parquet'")
    for side in layout.SIDES:
        index = faiss.read_index(str(folder(made) / f"faiss/{side}.index"))
        assert index.ntotal == len(FREE)
    images = faiss.read_index(str(folder(made) / "faiss/image.index"))
    for number, caption, vector in rows.fetchall():
        assert images.search(np.array([vector], np.float32), 1)[1] == [[number]], caption


def test_nothing_reserved_is_in_any_file(made: Published) -> None:
    made.published()
    reserved = duckdb.sql(f"SELECT * FROM '{folder(made)}/data/*.parquet' WHERE caption = 'text 0'")
    assert reserved.fetchall() == []
    index = faiss.read_index(str(folder(made) / "faiss/image.index"))
    similarity, _ = index.search(direction(b"text 0")[None], 1)
    assert similarity[0, 0] < 0.99
    whole = Published(Store.open(made.store.base + "-whole"), leave_out_opt_outs=False)
    assert whole.published().manifest.report.rows_out == 21
    assert "not left out" in (folder(whole) / "README.md").read_text()


def test_what_is_taken_down_is_in_no_file(made: Published) -> None:
    made.published()
    gone = Published.uid("caption 5")
    none = pa.table({"uid": pa.array([], pa.string()), "url": pa.array([], pa.string())})
    takedowns.take_down(made.store, [gone], [], none, None)
    report = made.published().manifest.report
    assert report.dropped == {"opt_outs": 2, "taken_down": 1}
    rows = duckdb.sql(f"SELECT uid FROM '{folder(made)}/*/*.parquet'").fetchall()
    assert len(rows) == 2 * report.rows_out
    assert (gone,) not in rows
    index = faiss.read_index(str(folder(made) / "faiss/image.index"))
    assert index.search(direction(b"caption 5")[None], 1)[0][0, 0] < 0.99
    card = (folder(made) / "README.md").read_text()
    assert "2 rows are left out" in card
    assert "1 rows were taken down" in card


def test_columns_are_those_that_are_wanted(made: Published) -> None:
    made.set(hub={"columns": ["url"]})
    made.published()
    data, ids = (
        duckdb.sql(f"SELECT * FROM '{folder(made)}/{name}/*.parquet'").columns
        for name in ("data", "id_mapping")
    )
    assert data == ids == ["i", "uid", "url"]
    card = (folder(made) / "README.md").read_text()
    assert "caption 1" not in card
    assert "`caption`" not in card


def test_the_card_tells_what_there_is_and_strangers_texts_are_only_texts(made: Published) -> None:
    made.set(hub={"contact": "takedown@example.org", "license": "cc-by-4.0", "about": "Of us."})
    made.published()
    card = (folder(made) / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    said = yaml.safe_load(front)
    assert said["license"] == "cc-by-4.0"
    assert said["configs"][0]["data_files"] == [{"split": "train", "path": "data/*.parquet"}]
    for told in (
        "19 rows", "2 rows are left out", "Of us.", "| success | 21 |", "takedown", "words \\(",
        "24 dimensions", "## Recall", 'load_dataset("we/pairs"', "hf://datasets/we/pairs/data",
    ):  # fmt: skip
        assert told in body, told
    assert plain(HOSTILE) in body
    assert not re.search(r"<script|<b>|(?<!\\)\]\(|^# A heading", body, re.MULTILINE)
    assert "CC&lt;\\/b&gt;\\|0" in body


@pytest.mark.parametrize("text", [HOSTILE, "`a` **b** _c_", "\u202ea\x00b", "&lt;", "x" * 500])
def test_a_strangers_text_is_one_line_of_text(text: str) -> None:
    shown = plain(text)
    assert shown.isprintable()
    assert not re.search(r"(?<!\\)[`*_\[\]|!]|[<>]", shown)


def test_croissant_names_the_columns_that_are_there(made: Published) -> None:
    made.published()
    said = json.loads((folder(made) / "croissant.json").read_text())
    [records] = said["recordSet"]
    columns = [field["source"]["extract"]["column"] for field in records["field"]]
    rows = duckdb.sql(f"SELECT * FROM '{folder(made)}/data/*.parquet'")
    assert columns == rows.columns
    assert said["conformsTo"].endswith("croissant/1.0")
    files = {one["@id"] for one in said["distribution"]}
    assert {field["source"]["fileSet"]["@id"] for field in records["field"]} <= files


@pytest.mark.parametrize("columns", [None, ["url"]])
def test_croissant_is_sound_by_its_own_validator(
    made: Published, columns: list[str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    import mlcroissant

    made.set(
        hub={"license": "cc-by-4.0", "about": HOSTILE} | ({"columns": columns} if columns else {})
    )
    made.published()
    data = mlcroissant.Dataset(jsonld=folder(made) / "croissant.json")
    assert data.metadata.ctx.issues.errors == set()
    assert "not standard" not in caplog.text
    [records] = data.metadata.record_sets
    assert [field.name for field in records.fields][:2] == ["i", "uid"]


def test_it_is_written_only_where_it_is_wanted_and_again_when_rows_change(made: Published) -> None:
    made.set(hub={"repository": ""})
    assert made.published().manifest.outputs == []
    made.set(hub={"repository": "we/pairs"})
    assert not made.published().reused
    assert made.published().reused
    made.set(hub={"leave_out_opt_outs": False})
    assert not made.published().reused


def test_an_index_without_reserved_rows_is_the_served_one(local_store: Store) -> None:
    made = Published(local_store, leave_out_opt_outs=False)
    version = made.published().manifest.report.figures["index_version"]
    index = Path(made.store.base, layout.index(version, "image"))
    assert index.read_bytes() == (folder(made) / "faiss/image.index").read_bytes()


def test_vectors_that_are_newer_than_the_index_are_not_published(made: Published) -> None:
    made.add(1, ["other", "vectors"])
    with pytest.raises(AlignmentError, match="2 vectors"):
        made.published()
