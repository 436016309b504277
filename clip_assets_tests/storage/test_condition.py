"""Conditions that people write: what they choose, and what they cannot reach."""

import resource
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clip_assets import schemas
from clip_assets.errors import ConfigurationError
from clip_assets.storage import condition
from clip_assets.storage.condition import Condition

COLUMNS = pa.schema(
    [
        pa.field("uid", pa.string()),
        pa.field("text", pa.string()),
        pa.field("Width", pa.int32()),
        pa.field("score", pa.float32()),
        pa.field("opt_outs", pa.list_(pa.string())),
    ]
)

ROWS = pa.table(
    {
        "uid": ["a", "b", "c", "d"],
        "text": ["a dog", "A Dog's life", None, "100% cat_"],
        "Width": [10, None, 30, 40],
        "score": [0.1, float("nan"), 0.3, None],
        "opt_outs": [[], ["robots"], None, ["robots", "tdm"]],
    },
    schema=COLUMNS,
)


def chosen(text: str) -> str:
    """The uids of rows that a condition holds for."""
    mask = Condition.parse(text, COLUMNS).mask(ROWS)
    assert mask.dtype == np.bool_
    return "".join(np.array(ROWS["uid"])[mask])


@pytest.mark.parametrize(
    ("text", "uids"),
    [
        ("true", "abcd"),
        ("text ILIKE '%dog%'", "ab"),
        ("width >= 30", "cd"),
        ('"WIDTH" >= 30 -- a comment', "cd"),
        ("NOT text LIKE 'a%' /* of its own */", "bd"),
        (r"text LIKE '%!_' ESCAPE '!'", "d"),
        ("regexp_matches(text, '[0-9]+%') OR width IS NULL", "bd"),
        ("text IS NULL", "c"),
        ("uid IN ('a', 'd') AND width BETWEEN 5 AND 15", "a"),
        ("score > 0.2 AND NOT isnan(score)", "c"),
        ("len(opt_outs) = 0 OR list_contains(opt_outs, 'tdm')", "ad"),
        ("opt_outs[1] = 'robots'", "bd"),
        ("CASE WHEN width > 20 THEN true ELSE coalesce(score, 1) < 0.5 END", "acd"),
        ("try(text::int) = 1", ""),
        ("width::varchar = '10' OR DATE '2020-01-01' > DATE '2021-01-01'", "a"),
        ("width > 10) OR (width < 20", "acd"),
    ],
)
def test_a_condition_chooses_rows(text: str, uids: str) -> None:
    assert chosen(text) == uids


def test_only_its_columns_are_read() -> None:
    parsed = Condition.parse("WIDTH > 20 AND text <> uid", COLUMNS)
    assert parsed.columns == ("Width", "text", "uid")
    assert Condition.parse("width > 20", ["Width"]).mask(ROWS.select(["Width"])).sum() == 2
    assert len(Condition.parse("width > 20", COLUMNS).mask(ROWS.slice(0, 0))) == 0


def test_rows_keep_their_order() -> None:
    numbers = np.arange(300_000)
    table = pa.table({"n": pa.array(np.random.default_rng(0).permutation(numbers))})
    mask = Condition.parse("n % 7 = 3", table.schema).mask(table)
    assert np.array_equal(mask, table["n"].to_numpy() % 7 == 3)


def test_a_column_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"found the column lenguage, .*perhaps language"):
        Condition.parse("lenguage = 'en'", schemas.POOL_ROWS)
    with pytest.raises(ConfigurationError, match="perhaps original_width"):
        Condition.parse("widht > 9", schemas.POOL_ROWS)
    with pytest.raises(ConfigurationError, match="column current_user"):
        Condition.parse("current_user = 'me'", COLUMNS)
    with pytest.raises(ConfigurationError, match=r"column t\.text"):
        Condition.parse("t.text = 'me'", COLUMNS)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no value"),
        ("-- only a comment", "no value"),
        ("width > 1, width < 2", "no value, or several"),
        ("width >", "syntax error"),
        ("'", "unterminated"),
        ("width > 1; DROP TABLE x", "syntax error"),
        ("true); SELECT (true", "more than an expression"),
        ("true), (false", "more than an expression"),
        ("true) FROM read_csv('{file}') AS t(x) WHERE (x = 's'", "more than an expression"),
        ("true) UNION SELECT (true", "more than an expression"),
        ("true) LIMIT (1", "more than an expression"),
        ("true; PRAGMA database_list", "syntax error"),
        ("true /*", "unterminated"),
        ("uid IN (SELECT x FROM read_text('{file}') AS t(x))", "a query in it"),
        ("EXISTS (FROM '{file}')", "a query in it"),
        ("width = ANY([1])", "a query in it"),
        ("read_text('{file}') = 'secret'", "the function read_text"),
        ("getenv('HOME') = 'x'", "the function getenv"),
        ("current_setting('memory_limit') = 'x'", "the function current_setting"),
        ("getvariable('x') = 1", "the function getvariable"),
        ("random() < 0.5", "the function random"),
        ("now() > DATE '2020-01-01'", "the function now"),
        ("nextval('x') = 1", "the function nextval"),
        ("length(repeat(text, 1000000000)) > 1", "the function repeat"),
        ("len(range(10000000000)) > 1", "the function range"),
        ("text || text || text = 'x'", "the function ||"),
        ("length(replace(text, 'a', 'aaaa')) > 1", "the function replace"),
        ("count(*) > 1", "the function count_star"),
        ("sum(width) > 1", "the function sum"),
        ("list_sum(DISTINCT opt_outs) > 1", "the function list_sum"),
        ("main.lower(text) = 'x'", "the function lower"),
        ("row_number() OVER () < 3", "a function of other rows"),
        ("len(list_filter(opt_outs, x -> x > 'a')) > 1", "the function list_filter"),
        ("width > ?", "a parameter"),
        ("width > $1", "a parameter"),
        ("COLUMNS(*) = 1", "all columns at once"),
        ("#1 = 'a'", "a column by its place"),
        ("text COLLATE NOCASE = 'x'", "a collation"),
        ("text::json = 'x'", "the type json"),
        ("text::main.mine = 'x'", "the type mine"),
        ("text > 3 + uid", ""),
        ("width + 1", "a value of type integer"),
        ("text", "a value of type varchar"),
        ("true" + " AND true" * 3000, "characters"),
        ("\0", ""),
        ("text = '\ud800'", ""),
    ],
)
def test_what_is_no_condition_is_refused(text: str, found: str, tmp_path: Path) -> None:
    (secret := tmp_path / "secret.txt").write_text("secret")
    with pytest.raises(ConfigurationError) as refused:
        Condition.parse(text.replace("{file}", str(secret)), COLUMNS)
    assert found in refused.value.found


@pytest.mark.parametrize(
    "text",
    [
        "(" * 9_000 + "true" + ")" * 9_000,
        "NOT " * 4_000 + "true",
        "[" * 300 + "1" + "]" * 300 + " IS NULL",
        "true" + " IS NULL" * 800,
        "CASE WHEN true THEN " * 400 + "true" + " END" * 400,
        "width" + "::int" * 1000 + " = 1",
        "(SELECT " * 300 + "true" + ")" * 300,
    ],
)
def test_what_is_nested_too_deep_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"deep|depth"):
        Condition.parse(text, COLUMNS)


def test_a_condition_that_does_not_end_is_given_up() -> None:
    table = pa.table({"text": ["a" * 20_000] * 2_000})
    slow = " OR ".join(f"regexp_matches(text, '(a|b){{{n}}}(a|b)*c')" for n in range(100, 500))
    with pytest.raises(ConfigurationError, match=r"no end after 0\.2 s"):
        Condition.parse(slow, table.schema).mask(table, seconds=0.2)


def test_a_condition_does_not_take_more_memory_than_it_may() -> None:
    many = " OR ".join(f"upper(lower(right(text, {100_000 + n}))) = 'x'" for n in range(40))
    table = pa.table({"text": ["a" * 100_000] * 200})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not Condition.parse(many, table.schema).mask(table, seconds=60).any()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (peak - before) * 1024 < 2 * condition.MEMORY_BYTES

    with pytest.raises(ConfigurationError, match="more than 512 MiB"):
        Condition.parse(many, table.schema).mask(pa.table({"text": ["a" * 2**21]}))


def test_a_value_that_it_cannot_be_computed_for_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="Could not convert"):
        Condition.parse("text::int > 1", COLUMNS).mask(ROWS)


def test_conditions_are_computed_at_the_same_time() -> None:
    numbers = pa.table({"n": pa.array(np.arange(50_000))})
    parsed = [Condition.parse(f"n % {n} = 0", numbers.schema) for n in range(2, 10)]
    sums: dict[int, int] = {}

    def compute(place: int) -> None:
        sums[place] = int(parsed[place].mask(numbers).sum())

    threads = [threading.Thread(target=compute, args=(place,)) for place in range(len(parsed))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == {n - 2: -(-50_000 // n) for n in range(2, 10)}


def test_what_computes_it_reaches_nothing_else(tmp_path: Path) -> None:
    # The second lock behind the first: also a query that was not walked reads and changes nothing.
    (secret := tmp_path / "secret.csv").write_text("secret")
    with condition.sql.sealed(condition.MEMORY_BYTES) as database:
        for query in (
            f"FROM read_csv('{secret}')",
            f"COPY (SELECT 1) TO '{tmp_path / 'out.csv'}'",
            "SET memory_limit = '8GB'",
            f"ATTACH '{tmp_path / 'a.db'}'",
            "INSTALL httpfs",
            "FROM ROWS",
        ):
            with pytest.raises(condition.duckdb.Error):
                database.execute(query)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
