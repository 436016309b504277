"""A version has a row for every id, and is served only then."""

import signal
import subprocess
import sys

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest

from clip_assets import layout, schemas
from clip_assets.errors import AlignmentError, MissingArtifactError
from clip_assets.index import versions
from clip_assets.storage import tables


def rows_of(pool, version: str) -> list[dict]:
    """As ``clip-retrieval back`` reads them: all files of the folder, sorted."""
    folder = f"{layout.version_folder(version)}/metadata"
    found = []
    for path in pool.store.list(folder):
        found += tables.read(pool.store, path, schemas.INDEX_ROWS, "id_mapping").to_pylist()
    return found


def ids_of(pool, version: str) -> list[dict]:
    found = []
    for path in pool.store.list(f"{layout.version_folder(version)}/id_mapping"):
        found += tables.read(pool.store, path, schemas.ID_MAPPING, "id_mapping").to_pylist()
    return found


def test_row_i_describes_id_i(any_pool) -> None:
    keys = [any_pool.embed(number, 5 + number) for number in range(2)]
    version = any_pool.index()
    captions = [
        f"{key}-{row}" for key, rows in zip(keys, (5, 6), strict=True) for row in range(rows)
    ]
    assert [row["caption"] for row in rows_of(any_pool, version)] == captions
    mapping = ids_of(any_pool, version)
    assert [row["i"] for row in mapping] == list(range(11))
    assert [row["uid"] for row in mapping] == [row["uid"] for row in rows_of(any_pool, version)]
    assert versions.current(any_pool.store) == version


def test_unused_ids_have_empty_rows(pool) -> None:
    pool.embed(0, 100)
    pool.embed(1, 5)
    pool.index()
    pool.embed(1, 3, content="new")
    version = pool.index()
    rows, mapping = rows_of(pool, version), ids_of(pool, version)
    assert [row["caption"] for row in rows[99:]] == [
        "00000-99", *[None] * 5, "00001new-0", "00001new-1", "00001new-2",
    ]  # fmt: skip
    assert [(row["i"], row["uid"] is None) for row in mapping[100:105]] == [
        (i, True) for i in range(100, 105)
    ]
    assert len(rows) == len(mapping) == 108


def test_large_partitions_are_written_in_groups(pool) -> None:
    pool.embed(0, 5000)
    version = pool.index()
    with pool.store.local(layout.index_rows(version, 0)) as file:
        groups = pq.read_metadata(file)
    assert (groups.num_rows, groups.num_row_groups) == (5000, 3)


def test_merged_but_without_rows_is_not_served(pool) -> None:
    pool.embed(0, 10)
    first = pool.index()
    pool.embed(1, 10)
    pool.recipe()
    pool.segment()
    second = pool.merge().manifest.report.figures["version"]
    assert versions.current(pool.store) == first
    assert versions.versions(pool.store) == [first]
    assert versions.merged(pool.store) == [first, second]
    pool.map()
    assert versions.current(pool.store) == second


def test_partitions_embedded_anew_since_are_refused(pool) -> None:
    pool.embed(0, 10)
    pool.recipe()
    pool.segment()
    pool.merge()
    pool.embed(0, 10, content="new")
    with pytest.raises(AlignmentError, match="newer than the merged vectors"):
        pool.map()
    assert versions.current(pool.store) is None


def test_rows_that_are_too_few_are_refused(pool) -> None:
    key = pool.embed(0, 10)
    pool.recipe()
    pool.segment()
    pool.merge()
    with pool.store.publish(layout.embedding_rows(key)) as part:
        tables.write(part, pool.rows(key, 9, ""), schemas.EMBEDDING_ROWS)
    with pytest.raises(AlignmentError, match="9 rows, expected 10"):
        pool.map()
    assert versions.current(pool.store) is None


def test_there_must_be_a_merged_index(pool) -> None:
    pool.embed(0, 10)
    with pytest.raises(MissingArtifactError, match="faiss_index"):
        pool.map()


KILLED = """
import os, signal, sys
from clip_assets import layout
from clip_assets.index import id_mapping as mapping
from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store

store = Store.open(sys.argv[1])
def die(run, version, number, slot):
    assert number == 1
    os.kill(os.getpid(), signal.SIGKILL)
mapping._write_slot = die
mapping.id_mapping(Catalog(store), [layout.partition_key(0), layout.partition_key(1)])
"""


def test_a_kill_before_the_rows_are_complete_leaves_the_old_version_served(pool) -> None:
    pool.embed(0, 10)
    first = pool.index()
    pool.embed(1, 10)
    pool.recipe()
    pool.segment()
    second = pool.merge().manifest.report.figures["version"]
    killed = subprocess.run([sys.executable, "-c", KILLED, pool.store.base], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert pool.store.exists(layout.index_rows(second, 0))
    assert versions.current(pool.store) == first
    assert versions.versions(pool.store) == [first]
    pool.map()
    assert versions.current(pool.store) == second
    assert [row["i"] for row in ids_of(pool, second)] == list(range(20))


def test_fondant_and_autofaiss_find_the_url_of_a_neighbour(pool) -> None:
    pool.embed(0, 30)
    key = pool.embed(1, 30)
    version = pool.index()
    with pool.store.local(layout.index(version, "image")) as file:
        index = faiss.read_index(str(file))
    query = pool.vectors(key)[7:8].astype(np.float32)
    _, found, reconstructed = index.search_and_reconstruct(query, 3)
    urls = {row["i"]: row["url"] for row in ids_of(pool, version)}
    assert urls[int(found[0, 0])] == "http://h/00001-7.jpg"
    assert np.allclose(reconstructed[0, 0], query[0])


def test_embedding_reader_reads_the_folder_in_the_order_of_ids(pool) -> None:
    from embedding_reader import EmbeddingReader

    keys = [pool.embed(number, 7) for number in range(3)]
    version = pool.index()
    reader = EmbeddingReader(
        embeddings_folder=f"{pool.store.base}/{layout.EMBEDDINGS}/img_emb",
        metadata_folder=f"{pool.store.base}/{layout.EMBEDDINGS}/metadata",
        meta_columns=["uid"],
        file_format="parquet_npy",
    )
    read = [(rows, meta) for rows, meta in reader(batch_size=5, show_progress=False)]
    stored = np.concatenate([pool.vectors(key) for key in keys])
    assert np.array_equal(np.concatenate([rows for rows, _ in read]), stored)
    uids = [uid for _, meta in read for uid in meta["uid"]]
    assert uids == [row["uid"] for row in rows_of(pool, version)]


def test_ranges_that_stay_are_taken_over_and_hold_the_same(pool) -> None:
    pool.embed(0, 50)
    pool.embed(1, 5)
    first = pool.index()
    pool.embed(1, 5, content="new")
    second = pool.index()
    report = pool.catalog.get("id_mapping").report
    assert report.figures["ranges_taken_over"] == 1
    for path in (layout.index_rows, layout.id_mapping):
        assert pool.store.read_bytes(path(first, 0)) == pool.store.read_bytes(path(second, 0))
    pool.store.delete(layout.version_folder(first))
    assert len(rows_of(pool, second)) == 60


def test_mapping_again_changes_no_byte(pool) -> None:
    pool.embed(0, 50)
    pool.index()
    pool.embed(1, 5)
    pool.index()
    before = pool.catalog.digest("id_mapping")
    pool.store.delete(layout.manifest("id_mapping"))
    pool.map()
    assert pool.catalog.digest("id_mapping") == before
