"""A version has a row for every id, and is served only then."""

import signal
import subprocess
import sys
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest

from clip_assets import layout, schemas
from clip_assets.errors import AlignmentError, DamagedError, MissingArtifactError
from clip_assets.index import versions
from clip_assets.retrieval.search import Searcher
from clip_assets.storage import tables
from clip_assets_tests.index.conftest import RandomVectors
from clip_assets_tests.vectors import described


def rows_of(made: RandomVectors, version: str) -> list[dict[str, Any]]:
    """As ``clip-retrieval back`` reads them: all files of the folder, sorted."""
    folder = f"{layout.version_folder(version)}/metadata"
    rows = []
    for path in made.store.list(folder):
        rows += tables.read(made.store, path, schemas.INDEX_ROWS).to_pylist()
    return rows


def ids_of(made: RandomVectors, version: str) -> list[dict[str, Any]]:
    rows = []
    for path in made.store.list(f"{layout.version_folder(version)}/id_mapping"):
        rows += tables.read(made.store, path, schemas.ID_MAPPING).to_pylist()
    return rows


def test_row_i_describes_id_i(made_anywhere: RandomVectors) -> None:
    keys = [made_anywhere.embed(number, 5 + number) for number in range(2)]
    version = made_anywhere.index()
    captions = [
        f"{key}-{row}" for key, rows in zip(keys, (5, 6), strict=True) for row in range(rows)
    ]
    assert [row["caption"] for row in rows_of(made_anywhere, version)] == captions
    mapping = ids_of(made_anywhere, version)
    assert [row["i"] for row in mapping] == list(range(11))
    assert [row["uid"] for row in mapping] == [
        row["uid"] for row in rows_of(made_anywhere, version)
    ]
    assert versions.current(made_anywhere.store) == version


def test_unused_ids_have_empty_rows(made: RandomVectors) -> None:
    made.embed(0, 100)
    made.embed(1, 5)
    made.index()
    made.embed(1, 3, content="new")
    version = made.index()
    rows, mapping = rows_of(made, version), ids_of(made, version)
    assert [row["caption"] for row in rows[99:]] == [
        "00000-99", *[None] * 5, "00001new-0", "00001new-1", "00001new-2",
    ]  # fmt: skip
    assert [(row["i"], row["uid"] is None) for row in mapping[100:105]] == [
        (i, True) for i in range(100, 105)
    ]
    assert len(rows) == len(mapping) == 108


def test_large_partitions_are_written_in_groups(made: RandomVectors) -> None:
    made.embed(0, 5000)
    version = made.index()
    with made.store.local(layout.index_rows(version, 0)) as file:
        groups = pq.read_metadata(file)
    assert (groups.num_rows, groups.num_row_groups) == (5000, 3)


def test_merged_but_without_rows_is_not_served(made: RandomVectors) -> None:
    made.embed(0, 10)
    first = made.index()
    made.embed(1, 10)
    made.recipe()
    made.segment()
    second = made.merge().manifest.report.figures["version"]
    assert versions.current(made.store) == first
    assert versions.versions(made.store) == [first]
    assert versions.merged(made.store) == [first, second]
    made.map()
    assert versions.current(made.store) == second


def test_partitions_embedded_anew_since_are_refused(made: RandomVectors) -> None:
    made.embed(0, 10)
    made.recipe()
    made.segment()
    made.merge()
    made.embed(0, 10, content="new")
    with pytest.raises(AlignmentError, match="newer than the merged vectors"):
        made.map()
    assert versions.current(made.store) is None


def test_rows_that_are_too_few_are_refused(made: RandomVectors) -> None:
    key = made.embed(0, 10)
    made.recipe()
    made.segment()
    made.merge()
    with made.store.publish(layout.embedding_rows(key)) as part:
        tables.write(part, described(key, made.rows(key, 9)), schemas.EMBEDDING_ROWS)
    with pytest.raises(DamagedError, match=r"metadata_00000.parquet: found .* bytes, expected"):
        made.map()
    made.record_files(layout.EMBEDDINGS, key)
    with pytest.raises(AlignmentError, match="newer than the merged vectors"):
        made.map()
    assert versions.current(made.store) is None


def test_there_must_be_a_merged_index(made: RandomVectors) -> None:
    made.embed(0, 10)
    with pytest.raises(MissingArtifactError, match=layout.FAISS_INDEX):
        made.map()


KILLED = """
import os, signal, sys
from clip_assets import graph
from clip_assets.index import id_mapping as mapping
from clip_assets.layout import WHOLE

def die(run, version, number, slot):
    assert number == 1
    os.kill(os.getpid(), signal.SIGKILL)
mapping._write_slot = die
mapping.id_mapping(graph.open_pool(sys.argv[1]), WHOLE)
"""


def test_a_kill_before_the_rows_are_complete_leaves_the_old_version_served(
    made: RandomVectors,
) -> None:
    made.embed(0, 10)
    first = made.index()
    made.embed(1, 10)
    made.recipe()
    made.segment()
    second = made.merge().manifest.report.figures["version"]
    killed = subprocess.run([sys.executable, "-c", KILLED, made.store.base], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert made.store.exists(layout.index_rows(second, 0))
    assert versions.current(made.store) == first
    assert versions.versions(made.store) == [first]
    made.map()
    assert versions.current(made.store) == second
    assert [row["i"] for row in ids_of(made, second)] == list(range(20))


def test_fondant_and_autofaiss_find_the_url_of_a_neighbour(made: RandomVectors) -> None:
    made.embed(0, 30)
    key = made.embed(1, 30)
    version = made.index()
    with made.store.local(layout.index(version, "image")) as file:
        index = faiss.read_index(str(file))
    query = made.vectors(key)[7:8].astype(np.float32)
    _, nearest, reconstructed = index.search_and_reconstruct(query, 3)
    urls = {row["i"]: row["url"] for row in ids_of(made, version)}
    assert urls[int(nearest[0, 0])] == "http://h/00001-7.jpg"
    assert np.allclose(reconstructed[0, 0], query[0])


def test_embedding_reader_reads_the_folder_in_the_order_of_ids(made: RandomVectors) -> None:
    from embedding_reader import EmbeddingReader

    keys = [made.embed(number, rows) for number, rows in enumerate((0, 7, 7, 0, 7))]
    keys = [keys[number] for number in (1, 2, 4)]
    version = made.index()
    reader = EmbeddingReader(
        embeddings_folder=f"{made.store.base}/{layout.EMBEDDINGS}/img_emb",
        metadata_folder=f"{made.store.base}/{layout.EMBEDDINGS}/metadata",
        meta_columns=["uid"],
        file_format="parquet_npy",
    )
    read = [(rows, meta) for rows, meta in reader(batch_size=5, show_progress=False)]
    stored = np.concatenate([made.vectors(key) for key in keys])
    assert np.array_equal(np.concatenate([rows for rows, _ in read]), stored)
    uids = [uid for _, meta in read for uid in meta["uid"]]
    assert uids == [row["uid"] for row in rows_of(made, version)]


def test_a_partition_without_samples_has_no_files_in_a_version(made: RandomVectors) -> None:
    """Clip-retrieval's server and others fail at a table without rows."""
    for number, rows in enumerate((0, 3, 0, 2, 0)):
        made.embed(number, rows)
    version = made.index()
    folder = layout.version_folder(version)
    names = [path.rpartition("_")[2] for path in made.store.list(f"{folder}/metadata")]
    assert names == ["00001.parquet", "00003.parquet"]
    with Searcher.open(made.pool) as searcher:
        for key, rows in (("00001", 3), ("00003", 2)):
            for row in range(rows):
                [hit, *_] = searcher.search(made.vectors(layout.partition_key(int(key)))[row])
                assert hit.caption == f"{key}-{row}"
    assert versions.versions(made.store) == [version]


def test_ranges_that_stay_are_taken_over_and_hold_the_same(made: RandomVectors) -> None:
    made.embed(0, 50)
    made.embed(1, 5)
    first = made.index()
    made.embed(1, 5, content="new")
    second = made.index()
    report = made.pool.catalog.get(layout.ID_MAPPING).report
    assert report.figures["ranges_taken_over"] == 1
    for path in (layout.index_rows, layout.id_mapping):
        assert made.store.read_bytes(path(first, 0)) == made.store.read_bytes(path(second, 0))
    made.store.delete(layout.version_folder(first))
    assert len(rows_of(made, second)) == 60


def test_an_old_version_that_is_damaged_keeps_no_new_one_from_being_served(
    made: RandomVectors,
) -> None:
    made.set(index={"keep_versions": 3})
    oldest, *_ = [made.index() for number in range(2) if made.embed(number, 10)]
    made.store.write_bytes(layout.index_manifest(oldest), b"{")
    made.embed(2, 10)
    assert made.index() == versions.current(made.store)
    assert made.map().manifest.report.figures["ranges_taken_over"] == 2


def test_mapping_again_changes_no_byte(made: RandomVectors) -> None:
    made.embed(0, 50)
    made.index()
    made.embed(1, 5)
    made.index()
    before = made.pool.catalog.digest(layout.ID_MAPPING)
    made.store.delete(layout.manifest(layout.ID_MAPPING))
    made.map()
    assert made.pool.catalog.digest(layout.ID_MAPPING) == before
