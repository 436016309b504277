"""Index folders are searched with the ids of their rows, whatever kind of index they have."""

import shutil
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets.errors import ConfigurationError, SchemaError
from clip_assets.index.folder.folder_index import BuildOptions, build
from clip_assets.pool.pool import Pool
from clip_assets.retrieval.folder_search import FolderSearcher
from clip_assets.retrieval.queries import Uid
from clip_assets.settings import Settings
from clip_assets.storage.store import Store
from clip_assets_tests.vectors import unit_rows

DIM = 16


def embeddings(folder: Path, rows: int) -> Path:
    """A folder whose row n has the n-th of some directions, but row 3, which is no vector."""
    vectors = unit_rows(1, rows, DIM)
    vectors[3:4] = np.nan
    for side in ("img_emb", "text_emb", "metadata"):
        (folder / side).mkdir(parents=True)
    for side in ("img_emb", "text_emb"):
        np.save(folder / side / f"{side}_0.npy", vectors.astype(np.float16))
    names = pa.table(
        {
            "uid": pa.array([uid_of(row) for row in range(rows)], pa.string()),
            "caption": pa.array([f"caption {row}" for row in range(rows)], pa.string()),
        }
    )
    pq.write_table(names, folder / "metadata/metadata_0.parquet")
    return folder


def uid_of(row: int) -> str:
    return f"{row + 7:032x}"


def opened(folder: Path) -> FolderSearcher:
    return FolderSearcher(Pool(Store(str(folder)), Settings(root=str(folder)), {}))


@pytest.fixture
def built(tmp_path: Path) -> FolderSearcher:
    build(str(embeddings(tmp_path / "embeddings", 50)), str(tmp_path / "index"))
    return opened(tmp_path / "index")


@pytest.mark.parametrize(("rows", "most_bytes"), [(50, 4 << 20), (3_000, 200_000)])
def test_a_row_without_a_vector_leaves_the_others_their_ids(
    tmp_path: Path, rows: int, most_bytes: int
) -> None:
    source, output = embeddings(tmp_path / "embeddings", rows), tmp_path / "index"
    build(str(source), str(output), BuildOptions(max_index_memory_usage=most_bytes))
    searcher, last = opened(output), rows - 1
    assert searcher.version.vectors == last
    for place in (10, last):
        [hit] = searcher.search(unit_rows(1, rows, DIM)[place], k=1)
        assert (hit.id, hit.uid, hit.caption) == (place, uid_of(place), f"caption {place}")
        assert searcher.search(Uid(uid_of(place)), k=1)[0].id == place
        [hit] = searcher.search(Uid(uid_of(place)), k=5, allowed=np.array([3, place]))
        assert hit.id == place
    assert np.isnan(searcher.vectors(np.array([3]))).all()
    with pytest.raises(ConfigurationError, match="which has no vector"):
        searcher.search(Uid(uid_of(3)))


def test_a_folder_without_rows_finds_nothing(tmp_path: Path) -> None:
    build(str(embeddings(tmp_path / "embeddings", 0)), str(tmp_path / "index"))
    searcher = opened(tmp_path / "index")
    assert searcher.search(np.ones(DIM)) == []
    assert searcher.ids([uid_of(0)]).tolist() == [-1]


@pytest.mark.parametrize("key", ["IDMap,IVF4,Flat", "IDMap2,HNSW8", "IVF4,PQ4,RFlat"])
def test_indices_within_others_are_searched(tmp_path: Path, key: str) -> None:
    vectors, folder = unit_rows(1, 300, DIM), tmp_path / "index"
    folder.mkdir()
    index = faiss.index_factory(DIM, key, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    if key.startswith("IDMap"):
        index.add_with_ids(vectors, np.arange(300))
    else:
        index.add(vectors)
    faiss.write_index(index, str(folder / "image.index"))
    shutil.copytree(embeddings(tmp_path / "embeddings", 300) / "metadata", folder / "metadata")
    searcher = opened(folder)
    assert searcher.search_many(vectors[14:15], 5).ids[0, 0] == 14
    if key.endswith("RFlat"):
        with pytest.raises(SchemaError, match="IndexRefineFlat that cannot leave ids out"):
            searcher.search_many(vectors[14:15], 5, allowed=np.arange(200))
    else:
        found = searcher.search_many(vectors[14:15], 5, allowed=np.arange(0, 300, 7))
        assert found.ids[0, 0] == 14
        assert not (found.ids % 7).any()


def test_what_cannot_be_asked_is_told(built: FolderSearcher) -> None:
    vectors = unit_rows(2, 1, DIM)
    for refusal, asked in (
        ("1 or more", lambda: built.search_many(vectors, -1)),
        (r"\(queries, 16\)", lambda: built.search_many(vectors[:, :-1])),
        ("not finite", lambda: built.search_many(vectors * np.inf)),
        ("no other index|image or text", lambda: built.search_many(vectors, side="sound")),
        ("ids of 0 to 49", lambda: built.search_many(vectors, allowed=np.array([50]))),
    ):
        with pytest.raises(ConfigurationError, match=refusal):
            asked()
