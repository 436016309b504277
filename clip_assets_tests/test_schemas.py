"""Columns are what other tools expect, and what one file hands on the next one takes."""

import numpy as np
import pyarrow as pa
import pytest

from clip_assets import layout, schemas

SCHEMAS = {name: value for name, value in vars(schemas).items() if isinstance(value, pa.Schema)}
HANDED_ON = [
    (schemas.PAIRS, schemas.SHARD_ROWS, {"uid", "url", "caption"}),
    (schemas.SHARD_ROWS, schemas.EMBEDDING_ROWS, {"uid", "key", "original_width", "sha256"}),
    (schemas.PAIRS, schemas.POOL_ROWS, {"uid", "url", "nsfw", "license", "face_bboxes"}),
    (schemas.SHARD_ROWS, schemas.POOL_ROWS, {"uid", "status", "error_class", "original_height"}),
    (schemas.EMBEDDING_ROWS, schemas.INDEX_ROWS, {*schemas.EMBEDDING_ROWS.names}),
    (schemas.EMBEDDING_ROWS, schemas.ID_MAPPING, {"uid", "url"}),
    (
        schemas.EMBEDDING_ROWS,
        schemas.STANDALONE_ROWS,
        {*schemas.EMBEDDING_ROWS.names} - {"further"},
    ),
]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_column_stands_once(name: str) -> None:
    assert len(set(SCHEMAS[name].names)) == len(SCHEMAS[name].names)


@pytest.mark.parametrize(("before", "after", "columns"), HANDED_ON)
def test_a_column_keeps_its_type_on_its_way(
    before: pa.Schema, after: pa.Schema, columns: set[str]
) -> None:
    for column in columns:
        assert before.field(column).type == after.field(column).type


def test_a_row_is_known_by_its_uid_from_file_to_file() -> None:
    """Only ids of an index can be out of use, and only samples of others can lack a uid."""
    tables = {kind.name: kind.schema for kind in layout.ARTIFACTS if kind.schema is not None}
    of_rows = {name: schema for name, schema in tables.items() if "uid" in schema.names}
    assert {name for name, schema in of_rows.items() if schema.field("uid").nullable} == {
        "index_rows",
        "id_mapping",
        "tar_index",
    }
    assert {schema.field("uid").type for schema in of_rows.values()} == {pa.string()}


def test_metadata_begins_with_the_columns_of_datacomp() -> None:
    assert schemas.POOL_ROWS.names[:9] == [
        "uid", "url", "text", "original_width", "original_height", "clip_b32_similarity_score",
        "clip_l14_similarity_score", "face_bboxes", "sha256",
    ]  # fmt: skip


def test_shards_begin_with_the_columns_of_img2dataset() -> None:
    assert schemas.SHARD_ROWS.names[:12] == [
        "uid", "caption", "url", "key", "status", "error_message", "width", "height",
        "original_width", "original_height", "exif", "sha256",
    ]  # fmt: skip


def test_numbers_have_the_types_that_readers_expect() -> None:
    assert schemas.EMBEDDING.type is np.float16
    fields = np.dtype(schemas.UID_PAIR).fields or {}
    assert [field[0] for field in fields.values()] == [np.uint64, np.uint64]
    assert schemas.ID_MAPPING.field("i").type == pa.int64()
