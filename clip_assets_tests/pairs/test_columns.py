"""Names and values of strangers in canonical columns."""

import pytest

from clip_assets import schemas
from clip_assets.errors import ConfigurationError, SourceFormatError
from clip_assets.pairs.columns import NAMES, Given, column_map
from clip_assets.pairs.relations import Relation, rows_of
from clip_assets.storage import sql

LAION_5B = "URL TEXT WIDTH HEIGHT similarity hash punsafe pwatermark AESTHETIC_SCORE"
COYO = "id url text width clip_similarity_vitb32 watermark_score aesthetic_score_laion_v2"


def test_every_canonical_column_has_names() -> None:
    assert list(NAMES) == schemas.CANONICAL.names
    assert all(name == name.casefold() for names in NAMES.values() for name in names)


@pytest.mark.parametrize(
    ("found", "canonical", "extra"),
    [
        (LAION_5B, "url caption width height similarity punsafe pwatermark aesthetic", "hash"),
        (COYO, "url caption width pwatermark aesthetic clip_b32_similarity_score", "id"),
    ],
)
def test_the_names_of_published_pools(found: str, canonical: str, extra: str) -> None:
    mapping = column_map(found.split(), {}, "a.parquet")
    assert list(mapping.canonical) == canonical.split()
    assert list(mapping.extras) == [extra]


def test_the_preferred_of_two_names_is_used_and_the_other_kept() -> None:
    mapping = column_map(["url", "alt_text", "caption"], {}, "a.csv")
    assert mapping.canonical["caption"] == "caption"
    assert mapping.extras == {"alt_text": "alt_text"}


def test_a_kept_column_never_takes_a_canonical_name() -> None:
    mapping = column_map(["url", "width", "original_width"], {}, "a.csv")
    assert mapping.extras == {"source_width": "width"}


def test_names_of_the_settings_come_first() -> None:
    mapping = column_map(["url", "caption", "legend"], {"Legend": "caption"}, "a.csv")
    assert mapping.canonical["caption"] == "legend"


def test_settings_must_name_canonical_columns() -> None:
    with pytest.raises(ConfigurationError, match=r"sources\.columns\.x"):
        column_map(["url"], {"x": "nothing"}, "a.csv")


def test_without_urls_there_are_no_pairs() -> None:
    with pytest.raises(SourceFormatError, match="columns a, b"):
        column_map(["a", "b"], {}, "a.csv")


@pytest.mark.parametrize(
    ("column", "given", "expected", "misfits"),
    [
        ("width", "640", 640, False),
        ("width", "640.0", 640, False),
        ("width", "-1", None, True),
        ("width", "1e99", None, True),
        ("width", "", None, False),
        ("width", " NaN ", None, False),
        ("similarity", "6016", None, True),
        ("similarity", "0.3", 0.3, False),
        ("punsafe", "1.5", None, True),
        ("aesthetic", "inf", None, True),
        ("aesthetic", "5.5", 5.5, False),
        ("sha256", "AB" * 32, "ab" * 32, False),
        ("sha256", "ab", None, True),
        ("md5", "zz" * 16, None, True),
        ("license", "", None, False),
        ("license", "null", "null", False),
        ("url", "  http://x ", "http://x", False),
        ("url", "\thttp://x\r\n", "http://x", False),
        ("url", "\ufeffhttp://x\xa0", "http://x", False),
        ("url", "\x00 http://x/a b/é \x00", "http://x/a b/é", False),
        ("url", "http://x/é", "http://x/é", False),
        ("face_bboxes", "[]", [], False),
        ("face_bboxes", "what", None, True),
    ],
)
def test_values(column: str, given: str, expected: object, misfits: bool) -> None:
    places = {"url": Given("u"), column: Given("x")}
    relation = Relation("(SELECT $1::VARCHAR AS x, 'http://x' AS u)", places, {})
    with sql.connection(1 << 28) as database:
        query = f"SELECT {column}, misfits FROM ({rows_of(relation, 0, 'pair')})"
        found = database.execute(query, [given]).fetchall()
    assert found == [(expected, misfits << schemas.CANONICAL.names.index(column))]
