"""Pool metadata has one row for every unique pair, joined by uid alone."""

import pyarrow.parquet as pq
import pytest

from clip_assets import layout, schemas
from clip_assets.errors import AlignmentError, MissingArtifactError
from clip_assets.metadata.pool_metadata import pool_metadata, pool_metadata_inputs

OPENAI_B32 = {"name": "ViT-B-32", "pretrained": "openai", "digest": "b" * 64}


def test_every_pair_is_a_row_in_the_order_of_the_pairs(any_pool, pair) -> None:
    pairs = [
        pair(
            caption=f"caption {n}",
            status="failed_to_download" if n % 3 == 0 else "success",
            similarity=n / 10,
        )
        for n in range(8)
    ]
    key = any_pool.add(0, pairs)
    report = pool_metadata(any_pool.catalog, key).manifest.report
    rows = any_pool.rows(key)
    assert [row["text"] for row in rows] == [f"caption {n}" for n in range(8)]
    assert [row["status"] for row in rows] == [pair.status for pair in pairs]
    assert rows[4]["clip_similarity_score"] == pytest.approx(0.4)
    assert (rows[3]["clip_similarity_score"], rows[3]["error_class"]) == (None, "http_404")
    assert [row["shard"] for row in rows][::3] == ["00000/00000", "00000/00001", "00000/00002"]
    assert (report.rows_in, report.rows_out) == (8, 8)
    assert report.figures["rows_by_status"] == {"failed_to_download": 3, "success": 5}


def test_file_holds_the_layout_and_a_rerun_changes_no_byte(pool, pair) -> None:
    key = pool.add(0, [pair(), pair(caption=None)])
    first = pool_metadata(pool.catalog, key).manifest
    with pool.store.local(layout.pool_rows(key)) as file:
        assert pq.read_schema(file).equals(schemas.POOL_ROWS)
    pool.store.delete(layout.manifest("pool_metadata", key))
    assert pool_metadata(pool.catalog, key).manifest.digest() == first.digest()


def test_a_repeated_uid_is_matched_in_order_and_counted(pool, pair) -> None:
    same = "a" * 32
    pairs = [
        pair(uid=same, url="http://h/a", status="failed_to_resize"),
        pair(),
        pair(uid=same, url="http://h/b", similarity=0.5),
        pair(uid=same, url="http://h/c", similarity=0.7),
    ]
    key = pool.add(0, pairs, per_shard=2)
    report = pool_metadata(pool.catalog, key).manifest.report
    scores = [row["clip_similarity_score"] for row in pool.rows(key) if row["uid"] == same]
    assert scores == [None, 0.5, pytest.approx(0.7)]
    assert report.figures["rows_with_repeated_uid"] == 2
    assert len(pool.rows(key)) == 4


def test_shards_of_other_pairs_are_refused(pool, pair) -> None:
    key = pool.add(0, [pair(), pair()])
    pool.pairs(key, [pair(caption="other").named(7), pair().named(1)])
    with pytest.raises(AlignmentError, match="1 pairs without a shard row, 1 shard rows without"):
        pool_metadata(pool.catalog, key)


def test_a_swap_of_two_rows_of_one_uid_is_refused(pool, pair) -> None:
    first, second = (pair(uid="a" * 32, url=f"http://h/{name}").named(0) for name in "ab")
    key = pool.add(0, [first, second])
    pool.pairs(key, [second, first])
    with pytest.raises(AlignmentError, match="2 pairs without a shard row"):
        pool_metadata(pool.catalog, key)


@pytest.mark.parametrize(("model", "expected"), [(OPENAI_B32, [0.9, 0.25]), (None, [0.9, None])])
def test_openai_scores_come_from_the_source_or_the_same_model(pool, pair, model, expected) -> None:
    key = pool.add(0, [pair(b32=0.9, similarity=0.5), pair(similarity=0.25)], model=model)
    pool_metadata(pool.catalog, key)
    found = [row["clip_b32_similarity_score"] for row in pool.rows(key)]
    assert found == [pytest.approx(value) for value in expected]


def test_upstream_must_be_there(pool, pair) -> None:
    key = layout.partition_key(0)
    assert set(pool_metadata_inputs(pool.catalog, key).values()) == {"absent", ""}
    pool.pairs(key, [pair().named(0)])
    with pytest.raises(MissingArtifactError, match="image_shards 00000"):
        pool_metadata(pool.catalog, key)


def test_a_partition_without_pairs_is_an_empty_table(pool) -> None:
    key = pool.add(0, [])
    assert pool_metadata(pool.catalog, key).manifest.report.rows_out == 0
    assert pool.rows(key) == []
