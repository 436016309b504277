"""Sources from strangers: each fault has one clear outcome."""

import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets import layout, schemas
from clip_assets.errors import SourceFormatError
from clip_assets.pairs import reading
from clip_assets.pairs.columns import MAX_URL_BYTES, MAX_VALUE_BYTES
from clip_assets.pairs.formats import batches, csv, parquet
from clip_assets.pairs.formats.lines import MAX_RECORD_BYTES
from clip_assets.pairs.formats.parquet import MANY
from clip_assets.storage import sql, tables
from clip_assets.storage.catalog import Catalog
from clip_assets.storage.store import Store

Ingest = Callable[..., Any]

READ_ALONE = """
import sys
from clip_assets import graph
from clip_assets.pairs.raw_pairs import raw_pairs
from clip_assets.partitions.ledger import add_sources
pool = graph.open_pool(sys.argv[1], create=True)
(plan,) = add_sources(pool.store, [sys.argv[2]], pool.settings.sources).plans
raw_pairs(pool, plan.partition)
"""

GOOD = "http://x/{},caption {}\n"


def good(*numbers: int) -> str:
    return "".join(GOOD.format(number, number) for number in numbers)


def captions(found: Any) -> list[str | None]:
    return [caption for _, caption in found.rows]


def test_a_line_without_end_is_one_rejected_row(ingest: Ingest) -> None:
    # DuckDB loses lines of more than its buffer of 32 MB without a word.
    content = f"url,caption\n{good(1)}http://x/2,{'y' * 40_000_000}\n{good(3)}"
    found = ingest({"a.csv": content})
    assert captions(found) == ["caption 1", "caption 3"]
    assert [(line, reason) for line, reason, _ in found.rejects] == [
        (3, f"line of more than {MAX_RECORD_BYTES:,} bytes")
    ]
    assert len(found.rejects[0][2]) <= 500


@pytest.mark.slow
def test_a_line_of_two_gigabytes_is_read_in_bounded_memory(
    local_store: Store, write_source: Callable[..., Path]
) -> None:
    path = write_source("a.csv", f"url,caption\n{good(1)}http://x/2,")
    with path.open("ab") as file:
        for _ in range(2048):
            file.write(b"y" * (1 << 20))
        file.write(f"\n{good(3)}".encode())
    # In a process of its own: what else this one holds would count as well.
    command = [sys.executable, "-c", READ_ALONE, local_store.base, str(path)]
    subprocess.run(command, check=True)
    partition = layout.partition_key(0)
    found = Catalog(local_store).require("raw_pairs", partition)
    rows = tables.read(local_store, layout.raw(partition), schemas.PAIRS)
    assert rows["caption"].to_pylist() == ["caption 1", "caption 3"]
    assert list(found.report.dropped.values()) == [1]
    assert found.peak_memory_bytes < 1 << 30


def test_a_first_line_without_end_is_no_csv(ingest: Ingest) -> None:
    with pytest.raises(SourceFormatError, match="no line end in the first 1,048,576 bytes"):
        ingest({"a.csv": "x" * 2_000_000})


def test_ten_thousand_columns_are_refused(ingest: Ingest) -> None:
    names = [f"column_{number}" for number in range(10_000)]
    with pytest.raises(SourceFormatError, match="10,001 columns, expected at most 1,000"):
        ingest({"a.csv": ",".join(["url", *names]) + "\n" + "," * 10_000 + "\n"})
    with pytest.raises(SourceFormatError, match="10,001 columns"):
        ingest({"a.parquet": pa.table({name: ["x"] for name in ["url", *names]})})


def test_nul_characters_are_removed(ingest: Ingest) -> None:
    found = ingest({"a.csv": b"url,caption\nhttp://x/1,a\x00b\nhttp://x/2,\x00\n"})
    assert captions(found) == ["ab", None]


def test_a_url_of_a_megabyte_is_a_rejected_row(ingest: Ingest) -> None:
    found = ingest({"a.csv": f"url,caption\n{good(1)}http://x/{'y' * 1_000_000},c\n{good(3)}"})
    assert captions(found) == ["caption 1", "caption 3"]
    assert found.report.dropped == {f"url of more than {MAX_URL_BYTES:,} bytes": 1}
    assert found.rejects[0][0] == 3


def test_a_value_that_is_too_long_becomes_null_and_is_counted(ingest: Ingest) -> None:
    found = ingest({"a.csv": f"url,caption\nhttp://x/1,{'y' * (MAX_VALUE_BYTES + 1)}\n"})
    assert captions(found) == [None]
    assert found.report.figures["values_that_do_not_fit"] == {"caption": 1}


@pytest.mark.parametrize(
    "ends", [("\r\n", "\r\n"), ("\r", "\r"), ("\n", "\r\n"), ("\r\n", "\n"), ("\r", "\r\n")]
)
def test_line_ends_of_any_kind_and_mixed(ingest: Ingest, ends: tuple[str, str]) -> None:
    first, second = ends
    lines = ["url,caption", first, "http://x/1,a", second, 'http://x/2,"b', first, 'c"', second]
    found = ingest({"a.csv": "".join([*lines, "http://x/3,d", first])})
    assert captions(found) == ["a", f"b{first}c", "d"]


def test_a_byte_order_mark_is_no_part_of_the_first_name(ingest: Ingest) -> None:
    found = ingest({"a.csv": "\ufeffurl,caption\n" + good(1), "b.csv": '\ufeff"url"\nhttp://x/2\n'})
    assert captions(found) == ["caption 1", None]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "url,caption\nhttp://x/1,é\nhttp://x/2,猫\n"),
        ("a.jsonl", '{"url": "http://x/1", "text": "é"}\n{"url": "http://x/2", "text": "猫"}\n'),
        ("a.txt", "http://x/1\r\nhttp://x/2\r\n"),
    ],
)
@pytest.mark.parametrize(
    "encoding",
    ["utf-16", "utf-8-sig", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"],
)
def test_text_is_read_in_the_encoding_that_its_first_bytes_tell(
    ingest: Ingest, name: str, content: str, encoding: str
) -> None:
    found = ingest({name: content.encode(encoding)})
    assert [url for url, _ in found.rows] == ["http://x/1", "http://x/2"]
    assert captions(found) == ([None, None] if name == "a.txt" else ["é", "猫"])
    assert found.report.figures["rows_repaired_to_utf8"] == 0


def test_numbers_of_any_length_leave_a_row_of_json_as_it_is(ingest: Ingest) -> None:
    found = ingest({"a.jsonl": '{"url": "http://x/1", "width": ' + 10_000 * "9" + "}\n"})
    assert found.rows == [("http://x/1", None)]
    assert found.column("width") == [None]


def test_blank_lines_cost_little_and_keep_their_numbers(ingest: Ingest) -> None:
    blank = (3 << 20) * "\n"
    found = ingest({"a.jsonl": blank + '{"url": "http://x/1"}\n' + blank + "bad\n"})
    assert found.rows == [("http://x/1", None)]
    assert [line for line, _, _ in found.rejects] == [2 * len(blank) + 2]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_blank_lines_of_a_table_cost_little_and_keep_their_numbers(
    ingest: Ingest, end: str
) -> None:
    blank = end * 10_000_000
    value = f"a{end * 200}b"
    content = f'url,caption{end}http://x/1,"{value}"{end}{blank}http://x/2{end}'
    found = ingest({"a.csv": content})
    assert captions(found) == [value]
    assert [line for line, _, _ in found.rejects] == [10_000_203]


def test_halves_of_surrogate_pairs_are_replaced_and_counted(ingest: Ingest) -> None:
    lines = '{"url": "http://x/1", "text": "a\\ud800"}\n{"url": "http://x/2", "text": "ok"}\n'
    found = ingest({"a.jsonl": lines})
    assert captions(found) == ["a?", "ok"]
    assert found.report.figures["rows_repaired_to_utf8"] == 1


def test_captions_of_json_in_another_encoding_become_utf8(ingest: Ingest) -> None:
    lines = '{"url": "http://x/1", "text": "café"}\n{"url": "http://x/2", "text": "ok"}\n'
    found = ingest({"a.jsonl": lines.encode("cp1252")})
    assert captions(found) == ["café", "ok"]
    assert found.report.figures["rows_repaired_to_utf8"] == 1


def test_captions_in_another_encoding_become_utf8_and_are_counted(ingest: Ingest) -> None:
    lines = [
        b"url,caption",
        "http://x/1,café ö ok".encode(),
        "http://x/2,café “x”".encode("cp1252"),
    ]
    found = ingest({"a.csv": b"\n".join(lines)})
    assert captions(found) == ["café ö ok", "café “x”"]
    assert found.report.figures["rows_repaired_to_utf8"] == 1


def test_parquet_text_that_is_no_utf8_becomes_utf8_and_is_counted(ingest: Ingest) -> None:
    raw = pa.array([b"caf\xe9", "ok é".encode(), None, b"caf\xe9"], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    urls = [f"http://x/{number}" for number in range(4)]
    found = ingest({"a.parquet": pa.table({"url": urls, "caption": texts})})
    assert captions(found) == ["café", "ok é", None, "café"]
    assert found.report.figures["rows_repaired_to_utf8"] == 2


def test_halves_of_surrogate_pairs_in_json_become_valid(ingest: Ingest) -> None:
    found = ingest({"a.jsonl": '{"url": "http://x/1", "caption": "a\\ud800b"}\n'})
    assert captions(found) == ["a?b"]


def test_rows_after_an_unterminated_quote_are_not_lost(ingest: Ingest) -> None:
    content = "url,caption\n" + good(1) + 'http://x/2,"open\n' + good(*range(3, 60_000))
    found = ingest({"a.csv": content})
    assert found.report.dropped == {"broken quoting": 1}
    assert found.report.rows_out == 59_998
    assert found.rejects == [(3, "broken quoting", 'http://x/2,"open\n')]


@pytest.mark.timeout(120)
def test_lines_that_each_seem_to_begin_a_long_value_cost_little(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them, read on to the end of the file, would take hours."""
    monkeypatch.setattr(csv, "READ_TWICE", 100_000)
    count = 30_000
    found = ingest({"a.csv": f"url,caption\n{good(1)}" + 'x\\"y\\\n' * count + "z\n" + good(2)})
    assert captions(found) == ["caption 1", "caption 2"]
    assert found.report.dropped == {"too few columns": count + 1}


def test_quotes_inside_plain_tsv_are_characters(ingest: Ingest) -> None:
    content = 'a "red" car\thttp://x/1\n"Hello" she said\thttp://x/2\n"x" and "y"\thttp://x/3\n'
    assert captions(ingest({"a.tsv": content})) == [
        'a "red" car',
        '"Hello" she said',
        '"x" and "y"',
    ]


TEXTS = [f"caption {number}" for number in range(60)]
TEXTS[25], TEXTS[40], TEXTS[42], TEXTS[50] = '"Unclosed', 'of 10"', '"Old Oak" poster', '"a\\"b'


@pytest.mark.parametrize("form", ["http://x/{0}\t{1}\n", "{1}\thttp://x/{0}\r\n"])
@pytest.mark.parametrize("together", [True, False])
def test_a_quote_in_plain_tsv_takes_in_no_other_row(
    ingest: Ingest, form: str, together: bool
) -> None:
    content = "".join(form.format(number, text) for number, text in enumerate(TEXTS))
    others = {"b.tsv": "http://y\tlast\n"} if together else {"b.csv": "url\n\nhttp://y\n"}
    found = ingest({"a.tsv": content, **others})
    assert captions(found)[:60] == TEXTS
    assert found.report.dropped == {}


@pytest.mark.parametrize("sign", ",|;")
def test_a_quote_that_another_row_closes_takes_in_no_row(ingest: Ingest, sign: str) -> None:
    lines = [f"http://x/{number},caption {number}\n" for number in range(60)]
    lines[30], lines[40] = 'http://x/30,"Unclosed, of\n', 'http://x/40,of 10"\n'
    content = "url,caption\n" + "".join(lines)
    found = ingest({"a.csv": content.replace(",", sign)})
    assert found.report.rows_out == 59
    assert [(line, reason) for line, reason, _ in found.rejects] == [(32, "broken quoting")]


def test_captions_of_many_lines_that_hold_urls_are_kept(ingest: Ingest) -> None:
    text = "by A; see\nhttp://y/1 and\nhttp://y/2, too"
    for sign in (",", "\t"):
        rows = f'url{sign}n{sign}caption\nhttp://x/1{sign}1{sign}"{text}"\n'
        found = ingest({f"{ord(sign)}.csv": rows + f'http://x/2{sign}2{sign}"{text}"\n'})
        assert (captions(found)[-2:], found.report.dropped) == ([text, text], {})


ESCAPED = [
    (r'"a \"red\" car, fast"', 'a "red" car, fast'),
    (r'"plain"', "plain"),
    (r'"a 12\" record"', 'a 12" record'),
    (r'"5\", 6\""', '5", 6"'),
    (r'"all of \"it\""', 'all of "it"'),
    (r'"C:\\"', "C:\\"),
    (r'"a\nb"', r"a\nb"),
    (r"\N", None),
    ('"two\n\\"lines\\""', 'two\n"lines"'),
]


@pytest.mark.parametrize("sign", ",\t;|")
@pytest.mark.parametrize("header", [True, False])
def test_backslashes_escape_quotes_as_spark_and_mysql_write_them(
    ingest: Ingest, sign: str, header: bool
) -> None:
    rows = [f"http://x/{number},{text}\n" for number, (text, _) in enumerate(ESCAPED)]
    content = ("url,caption\n" * header + "".join(rows)).replace(",", sign)
    found = ingest({"a.csv": content})
    assert captions(found) == [text and text.replace(",", sign) for _, text in ESCAPED]
    assert found.report.dropped == {}


def test_a_backslash_that_escapes_late_in_a_file_is_understood(ingest: Ingest) -> None:
    lines = [f'http://x/{number},"caption {number}"\n' for number in range(60)]
    lines[50] = 'http://x/50,"a \\"red\\" car, fast"\n'
    lines[55] = 'http://x/55,"it ends \\"so\\""\n'
    found = ingest({"a.csv": "url,caption\n" + "".join(lines)})
    assert (captions(found)[50], captions(found)[55]) == ('a "red" car, fast', 'it ends "so"')
    assert found.report.dropped == {}


def test_a_backslash_at_the_end_of_a_value_escapes_nothing(ingest: Ingest) -> None:
    found = ingest({"a.csv": 'url,caption,n\nhttp://x/1,"C:\\",1\nhttp://x/2,"a ""b""",2\n'})
    assert captions(found) == ["C:\\", 'a "b"']


def test_white_space_around_a_url_does_not_make_it_another(ingest: Ingest) -> None:
    urls = ["http://x/1", " http://x/1 ", "\thttp://x/1", "http://x/1\n", "http://x/1\xa0"]
    found = ingest({"a.csv": "url\n" + "".join(f'"{url}"\n' for url in urls)})
    assert [url for url, _ in found.rows] == ["http://x/1"] * 5
    assert found.keys.num_rows == len(set(found.column("uid"))) == 1


OWN_NAMES = [
    *("file_row_number", "FILE_ROW_NUMBER", "filename", "file_index", "rowid", "line", "source"),
    *("digest", "misfits", "reason", "row", "number", "head", "tail", "c0", "c1", "batch", "?"),
    *("captions", "=url", "+line", "SOURCE", "select", 'a"b', "a.b", " "),
]


@pytest.mark.parametrize("duplicates", ["pair", "url"])
@pytest.mark.parametrize("name", OWN_NAMES)
def test_columns_may_be_called_as_ours_are(ingest: Ingest, name: str, duplicates: str) -> None:
    rows = [{"url": f"http://x/{n}", "caption": f"c{n}", name: n * 7 % 5} for n in range(4)]
    table = pa.Table.from_pylist(rows)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    for file, content in (("a.parquet", table), ("a.jsonl", lines)):
        found = ingest({file: content}, duplicates=duplicates)
        assert captions(found) == ["c0", "c1", "c2", "c3"]
        (kept,) = found.report.figures["further_columns"]
        assert found.column(kept) == ["0", "2", "4", "1"]
        assert found.report.dropped == {}


def test_columns_of_one_name_are_all_kept(ingest: Ingest) -> None:
    urls = [["http://x/1"], ["c"], ["d"]]
    table = pa.Table.from_arrays([pa.array(values) for values in urls], ["url", "n", "n"])
    found = ingest({"a.parquet": table})
    assert (found.column("n"), found.column("n_3")) == (["c"], ["d"])


@pytest.mark.parametrize("others", [["nan"], ["nan", "inf", "-inf"]])
def test_numbers_that_are_none_are_null_and_counted(ingest: Ingest, others: list[str]) -> None:
    # A footer's minima and maxima, which know no NaN, are within what the columns can mean.
    numbers = [0.5, *map(float, others), None]
    names = ["width", "height", "similarity", "punsafe", "aesthetic"]
    urls = [f"http://x/{number}" for number in range(len(numbers))]
    for kind in (pa.float64(), pa.float32()):
        columns = dict.fromkeys(names, pa.array(numbers, kind))
        found = ingest({f"{kind}.parquet": pa.table({"url": urls} | columns)})
        for name in names:
            value = 0 if name in ("width", "height") else 0.5
            assert found.column(name) == [value] + [None] * (len(others) + 1)
        counted = dict.fromkeys(names, len(others))
        assert found.report.figures["values_that_do_not_fit"] == counted


def test_nested_columns_are_captions_json_or_left_out_and_counted(ingest: Ingest) -> None:
    rows = [
        {
            "url": "http://x/1",
            "image": {"bytes": b"\xff\xd8", "path": "a.jpg"},
            "raw": [b"1"],
            "caption": ["a cat", "a dog"],
            "info": {"a": [1, None], "b": 'é"'},
            "width": [640],
        },
        {"url": "http://x/2", "caption": [], "width": None},
    ]
    found = ingest({"a.parquet": pa.Table.from_pylist(rows)})
    assert captions(found) == ["a cat", None]
    assert found.column("source_caption") == ['["a cat","a dog"]', "[]"]
    assert found.column("info") == ['{"a":[1,null],"b":"é\\""}', None]
    assert (found.column("width"), found.column("source_width")) == ([None, None], ["[640]", None])
    assert found.report.figures["columns_left_out"] == {"image": 2, "raw": 2}
    assert not {"image", "raw"} & set(found.table.schema.names)


def test_nested_values_of_json_are_read_as_those_of_parquet(ingest: Ingest) -> None:
    row = {"url": ["http://x/1"], "caption": ["a cat", "a dog"], "alt": {"en": "x"}, "width": [1]}
    found = ingest({"a.jsonl": json.dumps(row) + "\n"})
    assert found.rows == [("http://x/1", "a cat")]
    assert found.column("source_caption") == ['["a cat", "a dog"]']
    assert found.column("source_alt") == ['{"en": "x"}']


def test_text_without_its_mark_is_text_and_other_bytes_are_left_out(ingest: Ingest) -> None:
    table = pa.table(
        {
            "url": pa.array([b"http://x/1", b"http://x/2"]),
            "TEXT": pa.array(["é".encode(), b"caf\xe9"], pa.large_binary()),
            "image": pa.array([b"1", b"2"]),
            "hash": pa.array([b"12", b"34"], pa.binary(2)),
        }
    )
    found = ingest({"a.parquet": table})
    assert found.rows == [("http://x/1", "é"), ("http://x/2", "café")]
    assert found.report.figures["columns_left_out"] == {"image": 2, "hash": 2}
    assert found.report.figures["rows_repaired_to_utf8"] == 1


def test_keys_that_no_other_object_has_are_refused_beyond_a_number(ingest: Ingest) -> None:
    rows = [{"url": "http://x"} | {f"k{n}-{i}": 1 for i in range(30)} for n in range(50)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    with pytest.raises(SourceFormatError, match=r"a\.jsonl: found 1,021 columns, expected at most"):
        ingest({"a.jsonl": lines})


@pytest.mark.parametrize(("suffix", "together"), [("csv", 64), ("csv", 1), ("jsonl", 64)])
def test_columns_of_a_partition_are_counted_over_its_files(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch, suffix: str, together: int
) -> None:
    monkeypatch.setattr(reading, "TOGETHER", together)
    files: dict[str, str] = {}
    for name in "abc":
        row = {"url": f"http://x/{name}"} | {f"{name}{i}": "1" for i in range(400)}
        table = f"{','.join(row)}\n{','.join(row.values())}\n"
        files[f"{name}.{suffix}"] = table if suffix == "csv" else json.dumps(row)
    with pytest.raises(SourceFormatError, match=rf"c\.{suffix}: found 1,200 columns"):
        ingest(files)


def test_odd_keys_of_json_are_names_of_columns(ingest: Ingest) -> None:
    keys = ["a\0b", "\ud800", "x" * 5000, "\x1b[31m", "", "İ", "ß", 'q"; DROP']
    row = {"url": "http://x/1"} | dict.fromkeys(keys, "v")
    found = ingest({"a.jsonl": json.dumps(row) + "\n"})
    further = found.report.figures["further_columns"]
    assert (further[:3], len(further)) == (["ab", "?", "x" * 5000], len(keys))
    assert all(found.column(name) == ["v"] for name in further)


READ_AS_NOBODY = """
import os, sys
from pathlib import Path
from clip_assets import graph
from clip_assets.errors import ClipAssetsError
from clip_assets.pairs.raw_pairs import raw_pairs
from clip_assets.partitions.ledger import add_sources

def read(root, source):
    pool = graph.open_pool(root, create=True)
    for plan in add_sources(pool.store, [source], pool.settings.sources).plans:
        raw_pairs(pool, plan.partition)

folder = Path(sys.argv[1])
read(str(folder / "before"), str(folder / "good.csv"))  # loads every module, while that is allowed
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for source in ("good.csv", "secret.csv", "secret", "around"):
    try:
        read(str(folder / f"pool of {source}"), str(folder / source))
        print(source, "done")
    except ClipAssetsError as error:
        print(source, type(error).__name__, error.found)
"""


def test_what_may_not_be_read_is_told() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "around/secret").mkdir(parents=True)
        (folder / "secret").mkdir()
        for path in ("good.csv", "secret.csv", "secret/a.csv", "around/secret/a.csv"):
            (folder / path).write_text("url\nhttp://x/1\n")
        for path in ("secret.csv", "secret", "around/secret"):
            (folder / path).chmod(0)
        command = [sys.executable, "-c", READ_AS_NOBODY, name]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for path in ("secret", "around/secret"):
            (folder / path).chmod(0o700)
    good, *others = found.splitlines()
    assert good == "good.csv done"
    assert [line.split(": [Errno 13]")[0] for line in others] == [
        "secret.csv SourceError PermissionError",
        "secret SourceError PermissionError",
        "around SourceError PermissionError",
    ]


def test_a_broken_archive_is_told(ingest: Ingest) -> None:
    with pytest.raises(SourceFormatError, match=r"a\.csv\.gz"):
        ingest({"a.csv.gz": b"\x1f\x8b\x08\x00 this is no deflate stream"})
    with pytest.raises(SourceFormatError, match=r"a\.csv\.zst"):
        ingest({"a.csv.zst": b"no zstd"})


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz", "a.csv.zst", "a.txt.zst"])
def test_a_truncated_archive_is_told(ingest: Ingest, name: str) -> None:
    text = ("url,caption\n" + good(*range(1000))).encode()
    is_gzip = name.endswith("gz")
    whole = gzip.compress(text) if is_gzip else pa.compress(text, codec="zstd", asbytes=True)
    with pytest.raises(SourceFormatError, match=f"{re.escape(name)}.*a whole"):
        ingest({name: whole[: len(whole) // 2]})


def test_an_archive_that_explodes_is_told(ingest: Ingest) -> None:
    bomb = gzip.compress(b"url,caption\n" + b"http://x/1,a\n" * 3_000_000)
    with pytest.raises(SourceFormatError, match="more than 200 times its size"):
        ingest({"a.csv.gz": bomb})


def test_one_huge_value_in_a_small_parquet_file_stays_small(ingest: Ingest) -> None:
    rows = 50_000
    index = pa.array(np.zeros(rows, np.int32))
    table = pa.table(
        {
            "url": [f"http://x/{number}" for number in range(rows)],
            "caption": pa.DictionaryArray.from_arrays(index, pa.array(["x" * (50 << 20)])),
        }
    )
    found = ingest({"a.parquet": table})
    assert found.report.rows_out == rows
    assert found.report.figures["values_that_do_not_fit"] == {"caption": rows}


def test_a_parquet_file_that_explodes_is_told(ingest: Ingest) -> None:
    rows = 40_000
    index = pa.array(np.zeros(rows, np.int32))
    table = pa.table(
        {
            "url": [f"http://x/{number}" for number in range(rows)],
            "caption": pa.DictionaryArray.from_arrays(index, pa.array(["x" * 50_000])),
        }
    )
    with pytest.raises(SourceFormatError, match=r"a\.parquet.* bytes of text in"):
        ingest({"a.parquet": table})


def test_a_truncated_parquet_file_is_told(
    ingest: Ingest, write_source: Callable[..., Path]
) -> None:
    path = write_source("a.parquet", pa.table({"url": ["http://x/1"] * 1000}))
    content = path.read_bytes()
    with pytest.raises(SourceFormatError, match=r"b\.parquet"):
        ingest({"b.parquet": content[: len(content) // 2]})


def test_parquet_columns_whose_names_differ_only_in_case(ingest: Ingest, tmp_path: Path) -> None:
    table = pa.table({"URL": ["http://x/1"], "url": ["http://x/2"], "Url": ["http://x/3"]})
    found = ingest({"a.parquet": table})
    assert [url for url, _ in found.rows] == ["http://x/1"]
    assert found.column("source_url") == ["http://x/2"]
    assert found.column("source_source_Url") == ["http://x/3"]


def test_signs_in_the_names_of_further_columns_are_part_of_them(ingest: Ingest) -> None:
    names = ['a"b', "'; DROP TABLE rows; --", "+x", "?width", "digest", "reason"]
    quoted = [name.replace('"', '""') for name in names]
    header = ",".join(f'"{name}"' for name in ["url", *quoted])
    found = ingest({"a.csv": f"{header}\nhttp://x/1,1,2,3,4,5,6\n"})
    assert [found.column(name) for name in names] == [["1"], ["2"], ["3"], ["4"], ["5"], ["6"]]


def test_formulas_and_markup_are_just_text(ingest: Ingest) -> None:
    texts = [
        "=cmd|' /C calc'!A0",
        "<script>alert(1)</script>",
        "'; DROP TABLE rows; --",
        '{"a": 1}',
    ]
    rows = [
        f'http://x/{number},"{text.replace(chr(34), chr(34) * 2)}"'
        for number, text in enumerate(texts)
    ]
    assert captions(ingest({"it's a 'file'.csv": "\n".join(["url,caption", *rows])})) == texts


@pytest.mark.parametrize(
    "kind",
    [pa.string_view(), pa.binary_view(), pa.binary(14), pa.dictionary(pa.int32(), pa.binary())],
    ids=str,
)
def test_text_of_every_kind_of_a_writer_is_text(ingest: Ingest, kind: pa.DataType) -> None:
    urls = [f"http://a.org/{i}" for i in range(3)]
    values = urls if kind == pa.string_view() else [url.encode() for url in urls]
    column = pa.array(values, kind)
    found = ingest({"a.parquet": pa.table({"url": column, "caption": column})})
    assert found.rows == list(zip(urls, urls, strict=True))


def test_a_url_that_is_a_number_is_kept_as_it_is_written(ingest: Ingest) -> None:
    found = ingest({"a.parquet": pa.table({"url": [1, 20], "caption": ["a", "b"]})})
    assert found.rows == [("1", "a"), ("20", "b")]


def test_row_groups_of_one_row_each_are_read_together(ingest: Ingest, tmp_path: Path) -> None:
    rows = [(f"http://a.org/{i}", f"caption {i % 7}") for i in range(2 * MANY)]
    table = pa.table({"url": [url for url, _ in rows], "caption": [text for _, text in rows]})
    pq.write_table(table, tmp_path / "many.parquet", row_group_size=1)
    assert ingest({"many.parquet": tmp_path / "many.parquet"}).rows == rows


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "txt", "parquet"])
def test_names_that_are_no_utf8_are_read_and_told(
    ingest: Ingest, tmp_path: Path, suffix: str
) -> None:
    name = os.fsdecode(b"caf\xe9." + suffix.encode())
    content = {
        "csv": "url\nhttp://x/1\n",
        "jsonl": '{"url": "http://x/1"}\n',
        "txt": "http://x/1\n",
    }
    if suffix == "parquet":
        pq.write_table(pa.table({"url": ["http://x/1", None]}), tmp_path / "a.parquet")
        (tmp_path / "a.parquet").rename(tmp_path / name)
    else:
        (tmp_path / name).write_text(content[suffix] + "\n" * 3)
    found = ingest({"": tmp_path / name})
    assert [url for url, _ in found.rows] == ["http://x/1"]
    if suffix == "parquet":
        path = layout.rejects(found.partition)
        told = tables.read(found.store, path, schemas.REJECTS)["source"].to_pylist()
        assert told[0].endswith("/caf\\udce9.parquet")


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.jsonl", "a.csv.gz"])
def test_what_is_no_text_is_told(ingest: Ingest, name: str) -> None:
    noise = np.random.default_rng(0).bytes(10_000)
    with pytest.raises(SourceFormatError, match=r"control characters in the first 10,000 bytes"):
        ingest({name: noise})


@pytest.mark.parametrize("query", ["SELECT 'a'::INTEGER", "SELECT * FROM range(10**8) ORDER BY 1"])
def test_what_a_library_of_tables_says_is_told_in_our_words(query: str) -> None:
    with sql.connection(1 << 20) as database:
        database.execute("SET max_temp_directory_size = '1MB'")
        with (
            pytest.raises(SourceFormatError, match=r"^a\.csv: found \w+Exception: .*leave out"),
            sql.translated("a.csv"),
        ):
            database.execute(query)


@pytest.mark.parametrize("row", ["word", ","])
def test_a_file_of_lines_that_are_no_rows_is_told_before_its_end(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    monkeypatch.setattr(batches, "MOST_NOTHING", 100_000)
    with pytest.raises(SourceFormatError, match=r"lines of the first 1\d\d,\d\d\d that are no row"):
        ingest({"a.csv": f'url,caption\nhttp://x/1,"open\n{good(1)}' + f"{row}\n" * 200_000})


def test_a_parquet_file_of_a_long_footer_is_told(
    ingest: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MAX_FOOTER_BYTES", 1000)
    pq.write_table(pa.table({f"url{n}": ["http://x/1"] for n in range(20)}), tmp_path / "a.parquet")
    with pytest.raises(SourceFormatError, match=r"a footer of [\d,]+ bytes: too many row groups"):
        ingest({"a.parquet": tmp_path / "a.parquet"})
