"""Pool metadata has one row for every unique pair, joined by uid alone."""

import json
from datetime import datetime

import pyarrow.parquet as pq
import pytest

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import ModelIdentity
from clip_assets.encoders.identity import claim_model
from clip_assets.errors import AlignmentError, MissingArtifactError
from clip_assets.metadata.pool_metadata import pool_metadata, pool_metadata_inputs
from clip_assets.storage import tables
from clip_assets_tests.outcomes import Outcomes, Pair

OPENAI_B32 = ModelIdentity("ViT-B-32", "openai", "b" * 64, "resize", 512, "fp32")
OTHER_B32 = ModelIdentity("ViT-B-32", "laion2b_s34b_b79k", "c" * 64, "resize", 512, "fp32")


def test_every_pair_is_a_row_in_the_order_of_the_pairs(made_anywhere: Outcomes) -> None:
    pairs = [
        Pair(
            caption=f"caption {n}",
            status="failed_to_download" if n % 3 == 0 else "success",
            similarity=n / 10,
        )
        for n in range(8)
    ]
    key = made_anywhere.add(0, pairs)
    report = pool_metadata(made_anywhere.pool, key).manifest.report
    rows = made_anywhere.rows(key)
    assert [row["text"] for row in rows] == [f"caption {n}" for n in range(8)]
    assert [row["status"] for row in rows] == [pair.status for pair in pairs]
    assert rows[4]["clip_similarity_score"] == pytest.approx(0.4)
    assert (rows[3]["clip_similarity_score"], rows[3]["error_class"]) == (None, "http_404")
    assert [row["shard"] for row in rows][::3] == ["00000/00000", "00000/00001", "00000/00002"]
    assert (report.rows_in, report.rows_out) == (8, 8)
    assert report.figures["rows_by_status"] == {"failed_to_download": 3, "success": 5}


def test_file_holds_the_layout_and_a_rerun_changes_no_byte(made: Outcomes) -> None:
    key = made.add(0, [Pair(), Pair(caption=None)])
    first = pool_metadata(made.pool, key).manifest
    with made.store.local(layout.pool_rows(key)) as file:
        assert pq.read_schema(file).equals(schemas.POOL_ROWS)
    made.store.delete(layout.manifest(layout.POOL_METADATA, key))
    again = pool_metadata(made.pool, key)
    assert not again.reused
    assert again.manifest.digest() == first.digest()


def test_a_repeated_uid_is_matched_in_order_and_counted(made: Outcomes) -> None:
    same = "a" * 32
    pairs = [
        Pair(uid=same, url="http://h/a", status="failed_to_resize"),
        Pair(),
        Pair(uid=same, url="http://h/b", similarity=0.5),
        Pair(uid=same, url="http://h/c", similarity=0.7),
    ]
    key = made.add(0, pairs, per_shard=2)
    report = pool_metadata(made.pool, key).manifest.report
    scores = [row["clip_similarity_score"] for row in made.rows(key) if row["uid"] == same]
    assert scores == [None, 0.5, pytest.approx(0.7)]
    assert report.figures["rows_with_repeated_uid"] == 2
    assert len(made.rows(key)) == 4


def test_opt_outs_are_carried_on_also_beside_shards_of_an_earlier_release(made: Outcomes) -> None:
    pairs = [
        Pair(opt_outs=("data_mining", "robots")),
        Pair(opt_outs=()),
        Pair(opt_outs=("robots",)),
    ]
    key = made.add(0, pairs, per_shard=1)
    for numbers, told in [((2,), [["data_mining", "robots"], [], None]), ((0, 1), [None] * 3)]:
        for number in numbers:
            path = layout.shard_rows(key, number)
            with made.store.local(path) as file:
                older = pq.read_table(file).drop_columns(["opt_outs", "c2pa_training"])
            with made.store.publish(path) as part:
                tables.write(part, older)
        made.record_files(layout.IMAGE_SHARDS, key)
        made.store.delete(layout.manifest(layout.POOL_METADATA, key))
        pool_metadata(made.pool, key)
        assert [row["opt_outs"] for row in made.rows(key)] == told


def test_cut_captions_are_carried_on_from_embeddings_that_tell_of_them(made: Outcomes) -> None:
    pairs = [
        Pair(status="failed_to_download", is_cut=True),
        Pair(is_cut=True),
        Pair(is_cut=False),
        Pair(is_cut=None),
        Pair(is_cut=True),
    ]
    key = made.add(0, pairs)
    report = pool_metadata(made.pool, key).manifest.report
    assert [row["is_caption_cut"] for row in made.rows(key)] == [None, True, False, None, True]
    assert report.figures["rows_with_caption_cut"] == 2
    path = layout.embedding_inputs(key)
    with made.store.local(path) as file:
        older = pq.read_table(file).drop_columns("is_caption_cut")
    with made.store.publish(path) as part:
        tables.write(part, older)
    made.record_files(layout.EMBEDDINGS, key)
    pool_metadata(made.pool, key)
    assert [row["is_caption_cut"] for row in made.rows(key)] == [None] * 5


def test_a_picture_is_of_when_its_camera_says_that_it_took_it(made: Outcomes) -> None:
    scanned = {
        "Image DateTime": "2020:01:01 00:00:00",
        "EXIF DateTimeDigitized": "2014:05:03 10:11:12",
    }
    pairs = [
        Pair(exif=json.dumps(exif) if isinstance(exif, dict) else exif)
        for exif in (
            scanned | {"EXIF DateTimeOriginal": "1999:12:31 23:59:59"},
            scanned,
            {"EXIF DateTimeOriginal": "0000:00:00 00:00:00"},
            {"EXIF DateTimeOriginal": "a long time ago"},
            {},
            "no json",
            None,
        )
    ]
    key = made.add(0, pairs)
    pool_metadata(made.pool, key)
    assert [row["taken_at"] for row in made.rows(key)] == [
        datetime(1999, 12, 31, 23, 59, 59),
        datetime(2014, 5, 3, 10, 11, 12),
        *[None] * 5,
    ]


def test_shards_of_other_pairs_are_refused(made: Outcomes) -> None:
    key = made.add(0, [Pair(), Pair()])
    made.pairs(key, [Pair(caption="other").named(7), Pair().named(1)])
    with pytest.raises(AlignmentError, match="1 pairs without a shard row, 1 shard rows without"):
        pool_metadata(made.pool, key)


def test_a_swap_of_two_rows_of_one_uid_is_refused(made: Outcomes) -> None:
    first, second = (Pair(uid="a" * 32, url=f"http://h/{name}").named(0) for name in "ab")
    key = made.add(0, [first, second])
    made.pairs(key, [second, first])
    with pytest.raises(AlignmentError, match="2 pairs without a shard row"):
        pool_metadata(made.pool, key)


@pytest.mark.parametrize(
    ("model", "expected"),
    [(OPENAI_B32, [0.9, 0.25]), (OTHER_B32, [0.9, None]), (None, [0.9, None])],
    ids=["OpenAI's", "another's of that name", "none"],
)
def test_openai_scores_come_from_the_source_or_the_same_model(
    made: Outcomes, model: ModelIdentity | None, expected: list[float | None]
) -> None:
    if model:
        claim_model(made.store, model)
    key = made.add(0, [Pair(b32=0.9, similarity=0.5), Pair(similarity=0.25)])
    pool_metadata(made.pool, key)
    scores = [row["clip_b32_similarity_score"] for row in made.rows(key)]
    assert scores == [pytest.approx(value) for value in expected]


def test_upstream_must_be_there(made: Outcomes) -> None:
    [key] = made.plan(0)
    assert set(pool_metadata_inputs(made.pool, key).values()) == {"absent", ""}
    made.pairs(key, [Pair().named(0)])
    with pytest.raises(MissingArtifactError, match="image_shards 00000"):
        pool_metadata(made.pool, key)


def test_a_partition_without_pairs_has_no_table(made: Outcomes) -> None:
    manifest = pool_metadata(made.pool, made.add(0, [])).manifest
    assert (manifest.report.rows_out, manifest.outputs) == (0, [])
