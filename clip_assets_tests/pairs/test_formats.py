"""The careful reader against Python's own writer, and against DuckDB."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip_assets.pairs.columns import SPACES, understood
from clip_assets.pairs.formats import dialect
from clip_assets.pairs.formats.csv import csv_records
from clip_assets.pairs.formats.dialect import Dialect
from clip_assets.pairs.formats.jsonl import jsonl_records
from clip_assets.pairs.formats.lines import MAX_RECORD_BYTES, Record, Reject
from clip_assets.pairs.formats.txt import txt_records
from clip_assets.pairs.rejects import Rejects
from clip_assets.pairs.relations import CsvFile
from clip_assets.pairs.staging import Staging
from clip_assets.settings import SourceSettings
from clip_assets.storage import sql

NAMES = ("url", "caption", "more")
texts = st.text(
    st.one_of(
        st.sampled_from('"",|;\t\n\r \u2028\x1c\u00e9'),
        st.characters(exclude_categories=["Cs"], exclude_characters="\x00"),
    ),
    max_size=12,
)
tables = st.lists(st.tuples(texts.map("http://x/{}".format), texts, texts), max_size=8)


def written(rows: list[tuple[str, ...]], delimiter: str, end: str, escape: str = '"') -> bytes:
    file = io.StringIO()
    escaped_by = None if escape == '"' else escape
    writer = csv.writer(
        file,
        delimiter=delimiter,
        lineterminator=end,
        # Python leaves a carriage return alone unquoted otherwise, which no reader can tell.
        quoting=csv.QUOTE_ALL,
        escapechar=escaped_by,
        doublequote=escaped_by is None,
    )
    writer.writerows([NAMES, *rows])
    return file.getvalue().encode()


def read(content: bytes, found: Dialect) -> list[Record | Reject]:
    return list(csv_records(io.BytesIO(content), found))


def plain(delimiter: str = ",", escape: str = '"') -> Dialect:
    return Dialect(delimiter, quoted=True, columns=NAMES, has_header=True, escape=escape)


delimiters = st.sampled_from(",|\t;")
ends = st.sampled_from(["\n", "\r\n"])
escapes = st.sampled_from('"\\')


@given(rows=tables, delimiter=delimiters, end=ends, escape=escapes)
def test_what_was_written_is_read(
    rows: list[tuple[str, ...]], delimiter: str, end: str, escape: str
) -> None:
    content = written(rows, delimiter, end, escape)
    found = read(content, plain(delimiter, escape))
    values = [
        tuple(record.values.values()) if isinstance(record, Record) else record for record in found
    ]
    assert values == rows


@given(rows=tables, delimiter=delimiters, end=ends, escape=escapes)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_duckdb_reads_the_same_or_nothing(
    tmp_path: Path, rows: list[tuple[str, ...]], delimiter: str, end: str, escape: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(written(rows, delimiter, end, escape))
    with sql.connection(1 << 28) as database:
        staging = Staging(database, SourceSettings(promoted=["more"]), Rejects(database))
        if staging.add_clean_csv([CsvFile(0, "a.csv", path, plain(delimiter, escape))]):
            found = database.execute('SELECT url, caption, "+more" FROM rows').fetchall()
            nulls = [tuple(value or None for value in row) for row in rows]
            assert found == [(row[0].strip(SPACES), *row[1:]) for row in nulls]


@given(rows=tables, cut=st.integers(1, 40))
def test_lines_are_counted_as_an_editor_counts_them(rows: list[tuple[str, ...]], cut: int) -> None:
    content = written(rows, ",", "\n") + b"broken,row\n"
    *_, last = read(content, plain())
    assert isinstance(last, Reject)
    assert last.line == content.count(b"\n")


@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_to_the_end(content: bytes) -> None:
    list(jsonl_records(io.BytesIO(content), ()))
    list(txt_records(io.BytesIO(content)))
    for record in read(content, plain()):
        if isinstance(record, Record):
            for value in record.values.values():
                assert value is None or value.encode()


def test_a_carriage_return_inside_a_value_ends_no_line() -> None:
    found = read(b"url,caption,more\r\na,b\rc,d\r\n", plain())
    assert [record.values for record in found if isinstance(record, Record)] == [
        {"url": "a", "caption": "b\rc", "more": "d"}
    ]


def test_an_overlong_record_of_many_lines_is_one_reject() -> None:
    body = b"y" * 999 + b"\n"
    content = b"url,caption,more\na,b,c\n" + b'd,"' + body * (MAX_RECORD_BYTES // 1000 + 10)
    found = read(content + b"e,f,g\n", plain())
    rejects = [record for record in found if isinstance(record, Reject)]
    assert rejects[0].reason == "broken quoting"
    assert isinstance(found[-1], Record)


@pytest.mark.parametrize(
    ("head", "delimiter", "columns", "has_header"),
    [
        ("URL|TEXT\na|b, c, d\n", "|", ("URL", "TEXT"), True),
        ("url,caption|x\na,b\n", ",", ("url", "caption|x"), True),
        ("url\nhttp://x/1\n", ",", ("url",), True),
        ("http://x/1\nhttp://x/2\n", ",", ("url",), False),
        ("a b\thttp://x/1,2\n", "\t", ("caption", "url"), False),
        ("http://x/1|a|b\nhttp://x/2|c|d\n", "|", ("url", "column_2", "column_3"), False),
        ("url,url,,x\n", ",", ("url", "url_2", "column_3", "x"), True),
        ("foo,bar\n1,2\n", ",", ("foo", "bar"), True),
        ("\n\n", ",", (), False),
    ],
)
def test_dialects(head: str, delimiter: str, columns: tuple[str, ...], has_header: bool) -> None:
    found = dialect.detect(head.encode(), understood({}), "a.csv")
    assert (found.columns, found.has_header) == (columns, has_header)
    assert len(columns) < 2 or found.delimiter == delimiter
