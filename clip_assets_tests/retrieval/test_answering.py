"""A file of queries becomes a table of what each finds, from Python and as an asset."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets import schemas
from clip_assets.errors import ConfigurationError
from clip_assets.index import versions
from clip_assets.orchestration.resources import PoolResource
from clip_assets.orchestration.retrieved import retrieved
from clip_assets.retrieval import answering, query_file
from clip_assets.retrieval.comparing import side_by_side
from clip_assets.retrieval.queries import Uid
from clip_assets.retrieval.search import Searcher
from clip_assets.storage.store import Store
from clip_assets_tests.retrieval.conftest import Captions

THINGS = [f"thing {n}" for n in range(150)]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: Any) -> Captions:
    """A pool of 150 things, in lists."""
    made = Captions(Store.open(str(tmp_path_factory.mktemp("pool"))))
    made.set(index={"flat_limit": 1})
    made.add(0, THINGS[:100])
    made.index()
    made.add(1, THINGS[100:])
    made.index()
    return made


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".txt"])
def test_queries_of_a_file_find_what_each_finds_alone(
    pool: Captions, tmp_path: Path, suffix: str
) -> None:
    file, asked = tmp_path / f"queries{suffix}", THINGS[::2]
    match suffix:
        case ".parquet":
            pq.write_table(pa.table({"n": range(75), "text": asked}), file)
        case ".csv":
            file.write_text("n,query\n" + "".join(f"{n},{text}\n" for n, text in enumerate(asked)))
        case _:
            file.write_text("\n\n".join(asked), encoding="utf-8-sig")  # as Windows writes it
    output = tmp_path / "out.parquet"
    with Searcher.open(pool.pool) as searcher:
        tables = answering.retrieve(searcher, query_file.read(file), k=4)
        assert answering.write(output, tables) == 4 * 75
        table = pq.read_table(output)
        assert table.schema.equals(schemas.RETRIEVED)
        for row, text in ((0, asked[0]), (70, asked[70])):
            hits = searcher.search(text, k=4)
            own = table.slice(4 * row, 4).to_pylist()
            for rank, (hit, told) in enumerate(zip(hits, own, strict=True)):
                assert (told["query"], told["query_row"], told["rank"]) == (text, row, rank)
                assert [told[name] for name in ("uid", "id", "url", "caption")] == [
                    hit.uid, hit.id, hit.url, hit.caption,
                ]  # fmt: skip
                assert told["similarity"] == pytest.approx(hit.similarity, abs=1e-5)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_with_a_threshold_alone_all_above_it_are_found(pool: Captions) -> None:
    with Searcher.open(pool.pool) as searcher:
        every = [hit.similarity for hit in searcher.search("thing 7", k=150)]
        for least in (every[3], every[120]):
            asked = [("a", "thing 7"), ("b", "thing 8")]
            [table] = answering.retrieve(searcher, asked, k=None, threshold=least - 1e-5)
            assert table["query"].to_pylist().count("a") == every.index(least) + 1


def test_queries_of_all_kinds_stay_in_their_order(pool: Captions, tmp_path: Path) -> None:
    vector = tmp_path / "v.npy"
    np.save(vector, np.stack([pool.words.encode_images([pool.words.preprocess(b"thing 9")])[0]]))
    image = tmp_path / "i.jpg"
    image.write_bytes(b"thing 5")
    with Searcher.open(pool.pool) as searcher:
        [uid] = searcher.rows(np.array([6]), ["uid"])["uid"].to_pylist()
        asked = [("t", "thing 3"), ("i", image), ("u", Uid(uid)), *query_file.read(vector)]
        table = pa.concat_tables(answering.retrieve(searcher, asked, k=1))
    assert table["query"].to_pylist() == ["t", "i", "u", "0"]
    assert table["query_row"].to_pylist() == [0, 1, 2, 3]
    assert table["caption"].to_pylist() == ["thing 3", "thing 5", "thing 6", "thing 9"]


@pytest.mark.parametrize(
    ("name", "content", "refusal"),
    [
        ("q.csv", "a,b\n1,2\n", "columns a, b, expected one of text"),
        ("q.csv", "text\na\n  \n", "query 1"),
        ("q.parquet", "no parquet", "parquet, csv, txt or npy"),
        ("q.json", "{}", "q.json"),
        ("q.npy", "", "parquet, csv, txt or npy"),
        ("q.parquet", pa.table({"text": [7]}), "query 0: found 7"),
        ("q.parquet", pa.table({"embedding": [[{"a": 1}]]}), "parquet, csv, txt or npy"),
    ],
)
def test_wrong_files_are_refused(
    tmp_path: Path, name: str, content: str | pa.Table, refusal: str
) -> None:
    file = tmp_path / name
    if isinstance(content, str):
        file.write_text(content)
    else:
        pq.write_table(content, file)
    with pytest.raises(ConfigurationError, match=refusal):
        query_file.read(file)


def test_a_column_of_any_name_and_one_vector_alone_can_be_asked_by(
    pool: Captions, tmp_path: Path
) -> None:
    vector = pool.vectors(pool.pool.partitions[0])[4]
    lists = pa.array([vector.tolist()], pa.list_(pa.float32()))
    pq.write_table(pa.table({"sentence": ["thing 4"], "v": lists}), tmp_path / "q.parquet")
    np.save(tmp_path / "q.npy", vector)
    with Searcher.open(pool.pool) as searcher:
        for name, column in (("q.parquet", "sentence"), ("q.parquet", "v"), ("q.npy", None)):
            asked = query_file.read(tmp_path / name, column)
            [table] = answering.retrieve(searcher, asked, k=1)
            assert table["caption"].to_pylist() == ["thing 4"]
    with pytest.raises(ConfigurationError, match="columns sentence, v, expected words"):
        query_file.read(tmp_path / "q.parquet", "words")


def test_an_error_says_which_query_it_is_of(pool: Captions, tmp_path: Path) -> None:
    asked = [("a", "thing 1"), ("b", tmp_path / "gone.jpg"), ("c", np.full(24, np.nan))]
    with Searcher.open(pool.pool) as searcher:
        for some, words in (
            (asked[:2], r"query 1 \(b\): found .*gone.jpg"),
            (asked[::2], "query 1"),
        ):
            with pytest.raises(ConfigurationError, match=words):
                [*answering.retrieve(searcher, some, k=1)]
    with pytest.raises(ConfigurationError, match="Make the folder"):
        answering.write(tmp_path / "no/out.parquet", iter(()))


def test_what_is_half_written_is_not_there(pool: Captions, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    output.write_text("before")
    with Searcher.open(pool.pool) as searcher, pytest.raises(ConfigurationError, match="neither"):
        answering.write(output, answering.retrieve(searcher, [("a", "a")], k=None))
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    assert output.read_text() == "before"


def test_versions_are_compared_by_what_queries_find(pool: Captions) -> None:
    old, new = versions.versions(pool.store)
    asked = [(text, text) for text in THINGS[:40]]
    both = side_by_side(pool.pool, (old, new), asked, k=5)
    assert (both.queries, both.k) == (40, 5)
    assert all(one.recall is not None and one.recall >= 0.85 for one in both.measured)
    with Searcher.open(pool.pool) as searcher:
        kept = [searcher.search(text, k=5)[0].partition for text, _ in asked]
    assert kept == ["00000"] * 40
    assert 0.3 < both.overlap < 0.95  # a third of the pool is new
    assert side_by_side(pool.pool, (new, new), asked, k=5).overlap == 1
    with pytest.raises(ConfigurationError, match="queries: found none"):
        side_by_side(pool.pool, (old, new), [])


def test_versions_without_vectors_find_nothing_and_no_recall_is_told(made: Captions) -> None:
    made.add(0, [])
    empty = made.index()
    both = side_by_side(made.pool, (empty, empty), [("a", "a")])
    assert (both.overlap, both.measured[0].recall) == (0, None)


def test_what_lies_beside_the_graph_can_be_an_asset(pool: Captions, tmp_path: Path) -> None:
    file, output = tmp_path / "queries.npy", tmp_path / "out.parquet"
    np.save(file, pool.vectors(pool.pool.partitions[0])[:3])
    answers = retrieved("answers", file, output, k=2)
    assert {key.to_user_string() for key in answers.dependency_keys} == {"id_mapping"}
    resources = {"pool": PoolResource(root=pool.store.base)}
    with dg.DagsterInstance.ephemeral() as instance:
        made = dg.materialize([answers], resources=resources, instance=instance)
    [event] = made.asset_materializations_for_node("answers")
    assert event.metadata["queries"].value == 3
    assert pq.read_table(output)["caption"].to_pylist()[::2] == THINGS[:3]


def test_it_is_asked_for_when_a_version_is_served() -> None:
    assets = [retrieved("answers", "q", "out.parquet"), dg.AssetSpec("id_mapping")]
    defs = dg.Definitions(assets, resources={"pool": PoolResource(root="unread")})
    with dg.DagsterInstance.ephemeral() as instance:
        asked, cursor = list[int](), None
        for made in (None, "id_mapping", "answers", None, "id_mapping"):
            if made:
                instance.report_runless_asset_event(dg.AssetMaterialization(made))
            told = dg.evaluate_automation_conditions(defs, instance, cursor=cursor)
            asked.append(told.total_requested)
            cursor = told.cursor
    assert asked == [0, 1, 0, 0, 1]
