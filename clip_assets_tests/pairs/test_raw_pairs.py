"""Source files of every shape to canonical rows."""

import gzip
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from clip_assets import layout, schemas, settings
from clip_assets.errors import (
    MissingArtifactError,
    SourceChangedError,
    SourceFormatError,
    SourceMissingError,
)
from clip_assets.pairs import direct
from clip_assets.pairs.raw_pairs import RAW_PAIRS, raw_pairs
from clip_assets.partitions.ledger import add_sources
from clip_assets.settings import SourceSettings
from clip_assets.storage.catalog import Catalog
from clip_assets.storage.manifests import Report
from clip_assets.storage.store import Store
from clip_assets_tests.upstream import MadeUp

Ingest = Callable[..., Any]

LAION = """SAMPLE_ID|URL|TEXT|HEIGHT|WIDTH|LICENSE|NSFW|similarity
1|http://x/1|"a ""quoted"" word"|480|640|?|UNLIKELY|0.31
2|http://x/2|"two
lines"|480|abc|?|UNSURE|6016
3|http://x/3||480.0|640|||nan
"""


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def test_the_form_of_laion_is_read(ingest: Ingest) -> None:
    found = ingest({"a.csv": LAION})
    assert found.rows == [
        ("http://x/1", 'a "quoted" word'),
        ("http://x/2", "two\nlines"),
        ("http://x/3", None),
    ]
    assert found.column("width") == [640, None, 640]
    assert found.column("height") == [480, 480, 480]
    assert found.column("similarity") == [0.31, None, None]
    assert found.column("nsfw") == ["UNLIKELY", "UNSURE", None]
    assert found.report.figures["values_that_do_not_fit"] == {"width": 1, "similarity": 1}
    assert (found.report.rows_in, found.report.rows_out, found.report.dropped) == (3, 3, {})


def test_other_columns_are_in_the_json_of_the_last_one(ingest: Ingest) -> None:
    found = ingest(
        {"a.csv": LAION, "b.csv": 'Hash,url,sample_id\n"7 ""\u00e9""",http://x/4,9\n,http://x/5,\n'}
    )
    assert found.table.schema == schemas.PAIRS
    assert found.table["further"].to_pylist() == [
        '{"SAMPLE_ID":"1"}',
        '{"SAMPLE_ID":"2"}',
        '{"SAMPLE_ID":"3"}',
        '{"SAMPLE_ID":"9","Hash":"7 \\"\u00e9\\""}',
        None,
    ]
    assert found.report.figures["further_columns"] == ["SAMPLE_ID", "Hash"]


@pytest.mark.parametrize("csv", ["", "no row of two columns\n"], ids=["clean", "staged"])
@pytest.mark.parametrize("duplicates", ["pair", "url"])
def test_promoted_columns_are_columns_of_every_partition(
    ingest: Ingest, csv: str, duplicates: str
) -> None:
    found = ingest(
        {"a.csv": f"hash,url,other\n7,http://x/4,o\n{csv}"},
        promoted=["Hash", "of no source"],
        duplicates=duplicates,
    )
    assert found.table.schema == schemas.pairs(["Hash", "of no source"])
    assert found.table.schema.names[-3:] == ["Hash", "of no source", "further"]
    assert found.column("Hash") == ["7"]
    assert found.column("of no source") == [None]
    assert found.table["further"].to_pylist() == ['{"other":"o"}']


@pytest.mark.parametrize("names", [["url"], ["Further"], ["a", "A"], [""]])
def test_promoted_columns_have_names_of_their_own(names: list[str]) -> None:
    with pytest.raises(ValueError, match="column"):
        SourceSettings(promoted=names)


def test_columns_are_aligned_by_name_for_each_file(ingest: Ingest) -> None:
    found = ingest(
        {
            "a.csv": "url,caption,width\nhttp://x/1,one,10\n",
            "b.csv": "WIDTH|TEXT|URL\n20|two|http://x/2\n",
            "c.tsv": "alt_text\timage_url\nthree\thttp://x/3\n",
            "d.jsonl": '{"caption": "four", "url": "http://x/4"}\n',
            "e.parquet": pa.table({"url": ["http://x/5"], "text": ["five"]}),
            "f.txt": "http://x/6\n",
        }
    )
    assert [caption for _, caption in found.rows] == ["one", "two", "three", "four", "five", None]
    assert found.column("width") == [10, 20, None, None, None, None]


def test_a_uid_is_made_from_url_and_caption(ingest: Ingest) -> None:
    found = ingest({"a.csv": "url,caption\nhttp://x/1,é\nhttp://x/2,\n"})
    assert found.column("uid") == [md5("http://x/1\x1fé"), md5("http://x/2\x1f")]


def test_valid_uids_of_the_source_are_kept_and_others_counted(ingest: Ingest) -> None:
    uid = "0123456789ABCDEF" * 2
    found = ingest({"a.csv": f"uid,url\n{uid},http://x/1\n17,http://x/2\n,http://x/3\n"})
    expected = [uid.lower(), md5("http://x/2\x1f"), md5("http://x/3\x1f")]
    assert found.column("uid") == expected
    assert found.report.figures["values_that_do_not_fit"] == {"uid": 1}


def test_keys_are_of_url_and_caption_also_when_there_are_uids(ingest: Ingest) -> None:
    rows = [("http://x/1", "a"), ("http://x/2", ""), ("http://x/1", "a"), ("http://x/1", "b")]
    lines = [f"{number:032x},{url},{caption}" for number, (url, caption) in enumerate(rows)]
    found = ingest({"a.csv": "\n".join(["uid,url,caption", *lines])})
    firsts: dict[str, int] = {}
    for number, row in enumerate(rows):
        firsts.setdefault(md5("\x1f".join(row)), number)
    assert found.keys.to_pylist() == [
        {"hi": int(key[:16], 16), "lo": int(key[16:], 16), "row": row}
        for key, row in sorted(firsts.items())
    ]


def test_rows_that_are_no_pairs_are_kept_with_line_and_reason(ingest: Ingest) -> None:
    content = 'url|caption|n\nhttp://x/1|"a\nb"|1\n|no address|2\nhttp://x/3\n\nhttp://x/4|c|1|2\n'
    found = ingest({"a.csv": content + 'http://x/5|"open|1\nhttp://x/6|d|1\n'})
    assert found.rows == [("http://x/1", "a\nb"), ("http://x/6", "d")]
    assert [(line, reason) for line, reason, _ in found.rejects] == [
        (4, "no url"), (5, "too few columns"), (7, "too many columns"), (8, "broken quoting"),
    ]  # fmt: skip
    assert found.report.balances
    assert found.report.rows_in == 6
    assert set(found.report.dropped.values()) == {1}


def test_rejected_rows_of_a_parquet_file_have_no_line(ingest: Ingest) -> None:
    found = ingest(
        {"a.parquet": pa.table({"url": ["http://x/1", None, ""], "text": ["a", "b", "c"]})}
    )
    assert found.rejects == [(None, "no url", " b"), (None, "no url", " c")]


FOLDERS = ("raw", "pair_keys", "rejects")


def test_an_empty_csv_is_a_partition_without_rows(ingest: Ingest) -> None:
    found = ingest({"a.csv": ""})
    assert (found.report.rows_in, found.report.dropped) == (0, {})
    left = [path for folder in FOLDERS for path in found.store.list(folder)]
    assert left == [layout.rejects(found.partition)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "url,caption\n"),
        ("a.csv", '"url"|"caption"'),
        ("a.tsv.gz", gzip.compress(b"url\tcaption\r\n", mtime=0)),
        ("a.parquet", pa.table({"url": pa.array([], pa.string())})),
        ("a.jsonl", "\n"),
        ("a.txt", ""),
    ],
)
def test_a_source_without_rows_is_a_partition_without_rows(
    ingest: Ingest, name: str, content: Any
) -> None:
    report = ingest({name: content}).report
    assert (report.rows_in, report.dropped) == (0, {})


def test_files_without_urls_are_refused_with_what_was_found(ingest: Ingest) -> None:
    with pytest.raises(
        SourceFormatError, match=r"columns foo, bar.*expected one of url, image_url"
    ):
        ingest({"a.csv": "foo,bar\n1,2\n"})


def test_a_parquet_file_of_another_schema_is_refused(ingest: Ingest) -> None:
    with pytest.raises(SourceFormatError, match=r"a\.parquet: found columns foo"):
        ingest({"a.parquet": pa.table({"foo": [1], "image": [b"x"]})})


def test_the_settings_file_of_a_pool_names_further_columns(
    local_store: Store, ingest: Ingest
) -> None:
    content = "sources:\n  columns: {adresse: url, Légende: caption}\n"
    Path(local_store.base, layout.SETTINGS_FILE).write_text(content, encoding="utf-8")
    columns = settings.load(local_store.base).sources.columns
    found = ingest({"a.csv": "Adresse,légende,text\nhttp://x/1,a,b\n"}, columns=columns)
    assert found.rows == [("http://x/1", "a")]
    assert found.column("text") == ["b"]


def test_datacomp_columns_keep_their_types(ingest: Ingest) -> None:
    table = pa.table(
        {
            "uid": ["00" * 16],
            "url": ["http://x/1"],
            "text": ["a"],
            "original_width": pa.array([640], pa.int64()),
            "clip_l14_similarity_score": pa.array([0.25], pa.float32()),
            "face_bboxes": [[[0.0, 0.5, 1.0, 1.0]]],
            "sha256": ["ab" * 32],
        }
    )
    (row,) = ingest({"a.parquet": table}).table.to_pylist()
    assert row["uid"] == "00" * 16
    assert row["width"] == 640
    assert row["clip_l14_similarity_score"] == 0.25
    assert row["face_bboxes"] == [[0.0, 0.5, 1.0, 1.0]]
    assert row["sha256"] == "ab" * 32


def test_faces_in_a_csv_are_read_as_boxes(ingest: Ingest) -> None:
    found = ingest({"a.csv": 'url|face_bboxes\nhttp://x/1|"[[0.1, 0.2, 0.3, 0.4]]"\n'})
    assert found.column("face_bboxes") == [[[0.1, 0.2, 0.3, 0.4]]]


def test_outputs_of_img2dataset_are_read_back(ingest: Ingest) -> None:
    table = pa.table(
        {
            "url": ["http://x/1"], "caption": ["a"], "key": ["000"], "status": ["success"],
            "width": [256], "original_width": [1024], "md5": ["cd" * 16],
        }
    )  # fmt: skip
    found = ingest({"a.parquet": table})
    assert (found.column("width"), found.column("source_width")) == ([1024], ["256"])
    rest = [found.column(name) for name in ("md5", "key", "status")]
    assert rest == [["cd" * 16], ["000"], ["success"]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cc3m.tsv", "a cat\thttp://x/1\na dog\thttp://x/2\n"),
        ("cc12m.tsv", "http://x/1\ta cat\nhttp://x/2\ta dog\n"),
        ("plain.csv", "http://x/1,a cat\nhttp://x/2,a dog\n"),
    ],
)
def test_files_without_header_are_recognised(ingest: Ingest, name: str, content: str) -> None:
    assert ingest({name: content}).rows == [("http://x/1", "a cat"), ("http://x/2", "a dog")]


def test_values_of_json_keep_their_form(ingest: Ingest) -> None:
    lines = [
        {"url": "http://x/1", "width": 640, "tags": ["a", "b"], "nsfw": None},
        {"url": "http://x/2", "similarity": 0.5, "more": {"deep": True}},
    ]
    found = ingest({"a.jsonl": "\n".join(map(json.dumps, lines)) + "\nno json\n[1]\n"})
    assert found.column("width") == [640, None]
    assert found.column("similarity") == [None, 0.5]
    assert found.column("tags") == ['["a", "b"]', None]
    assert found.column("more") == [None, '{"deep": true}']
    assert [(line, reason) for line, reason, _ in found.rejects] == [
        (3, "no json object"), (4, "no json object"),
    ]  # fmt: skip


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": lambda text: pa.compress(text, codec="zstd", asbytes=True),
}


@pytest.mark.parametrize("suffix", ["gz", "zst"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "url,caption\nhttp://x/1,é\nhttp://x/2,b\n"),
        ("a.tsv", "url\tcaption\nhttp://x/1\té\nhttp://x/2\tb\n"),
        ("a.jsonl", '{"url": "http://x/1", "text": "é"}\n{"url": "http://x/2", "text": "b"}\n'),
        ("a.txt", "http://x/1\nhttp://x/2\n"),
    ],
)
def test_compressed_text_is_read(ingest: Ingest, name: str, content: str, suffix: str) -> None:
    half = len(content) // 2
    pieces = [COMPRESS[suffix](part.encode()) for part in (content[:half], content[half:])]
    # Archives put one after the other are one archive.
    found = ingest({f"{name}.{suffix}": b"".join(pieces)})
    captions = [None, None] if name == "a.txt" else ["é", "b"]
    assert found.rows == list(zip(["http://x/1", "http://x/2"], captions, strict=True))


def test_only_the_planned_row_groups_are_read(
    store: Store, write_source: Callable[..., Path]
) -> None:
    table = pa.table({"url": [f"http://x/{number}" for number in range(100)]})
    path = write_source("a.parquet", table)
    pa.parquet.write_table(table, path, row_group_size=10)
    options = SourceSettings(rows_per_partition=30)
    plans = add_sources(store, [str(path)], options).plans
    pool = MadeUp(store, sources=options).pool
    counts = [raw_pairs(pool, plan.partition).manifest.report for plan in plans]
    assert [report.rows_out for report in counts] == [30, 30, 30, 10]


def test_the_same_sources_give_the_same_bytes(
    write_source: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_source("a.csv", LAION + "x|y\n")
    digests: set[str] = set()
    for name in ("one", "two"):
        made = MadeUp(Store.open(str(tmp_path / name)))
        (plan,) = add_sources(made.store, [str(path)], SourceSettings()).plans
        digests.add(raw_pairs(made.pool, plan.partition).manifest.digest())
    assert len(digests) == 1


@pytest.mark.parametrize("unclean", ["", "no address\n"])
def test_rows_that_are_staged_give_the_same_bytes_as_rows_that_are_not(
    write_source: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unclean: str,
) -> None:
    header = ("url|caption|width|n\n", "caption|url|uid\n", "URL|similarity|N\n")
    lines = (
        "http://x/{0}|caption {0}|{0}|{0}\n",
        '"a ""{0}"""|http://y/{0}|{0:032X}\n',
        "http://z/{1}|0.{0}|\n",
    )
    # More rows than a row group has, in files that end inside of one.
    for number in range(6):
        rows = [lines[number % 3].format(row, row // 2) for row in range(number, 25_000)]
        end = unclean if number == 4 else ""
        write_source(f"{number}.csv", header[number % 3] + "".join(rows) + end)
    found: list[tuple[str, Report]] = []
    for name in ("one", "two", "staged"):
        if name == "staged":
            monkeypatch.setattr(direct, "rows", lambda *_: None)
        made = MadeUp(Store.open(str(tmp_path / name)))
        (plan,) = add_sources(made.store, [str(tmp_path / "sources")], SourceSettings()).plans
        manifest = raw_pairs(made.pool, plan.partition).manifest
        found.append((manifest.digest(), manifest.report))
    assert found[0] == found[1] == found[2]
    assert found[0][1].rows_out == 6 * 25_000 - 15
    assert sum(found[0][1].dropped.values()) == bool(unclean)


def test_a_source_that_is_gone_is_told(store: Store, write_source: Callable[..., Path]) -> None:
    path = write_source("a.csv", LAION)
    (plan,) = add_sources(store, [str(path)], SourceSettings()).plans
    path.unlink()
    with pytest.raises(SourceMissingError, match=r"a\.csv"):
        raw_pairs(MadeUp(store).pool, plan.partition)
    failure = Catalog(store).failure(RAW_PAIRS.name, plan.partition)
    assert failure is not None
    assert failure.error == "SourceMissingError"


def test_a_source_that_changed_is_told_and_refresh_is_the_way_on(
    store: Store, write_source: Callable[..., Path]
) -> None:
    path = write_source("a.csv", LAION)
    (plan,) = add_sources(store, [str(path)], SourceSettings()).plans
    made = MadeUp(store)
    raw_pairs(made.pool, plan.partition)
    write_source("a.csv", LAION + "4|http://x/4|new|1|1|||\n")
    assert RAW_PAIRS.state(made.pool, plan.partition) == "done"
    (refreshed,) = add_sources(store, [str(path)], SourceSettings(), refresh=True).refreshed
    assert refreshed.partition == plan.partition
    assert RAW_PAIRS.state(made.pool, plan.partition) == "stale"
    assert raw_pairs(made.pool, plan.partition).manifest.report.rows_out == 4


def test_a_source_that_was_touched_after_planning_stops_the_partition(
    store: Store, write_source: Callable[..., Path]
) -> None:
    path = write_source("a.csv", LAION)
    (plan,) = add_sources(store, [str(path)], SourceSettings()).plans
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceChangedError, match="add --refresh"):
        raw_pairs(MadeUp(store).pool, plan.partition)


def test_a_partition_that_was_never_planned_is_told(store: Store) -> None:
    with pytest.raises(MissingArtifactError, match="00003"):
        raw_pairs(MadeUp(store).pool, layout.partition_key(3))


def test_a_finished_partition_is_not_read_again(ingest: Ingest, store: Store) -> None:
    found = ingest({"a.csv": LAION})
    assert raw_pairs(MadeUp(store).pool, found.partition).reused


def test_names_that_look_like_patterns_are_names(ingest: Ingest) -> None:
    found = ingest(
        {
            "a[1]*?.csv": "url\nhttp://x/1\n",
            "a1.csv": "url\nhttp://x/2\n",
            "lang=en.parquet": pa.table({"url": ["http://x/3"]}),
        }
    )
    assert sorted(url for url, _ in found.rows) == ["http://x/1", "http://x/2", "http://x/3"]
    assert found.table.schema.names == schemas.PAIRS.names


def test_one_bad_file_among_many_is_read_with_care_and_in_its_place(ingest: Ingest) -> None:
    files = {f"{name}.csv": f"url,caption\nhttp://{name}/1,x\n" for name in "abcd"}
    files["c.csv"] += "broken\nhttp://c/2,y\n"
    found = ingest(files)
    assert [url for url, _ in found.rows] == [
        "http://a/1", "http://b/1", "http://c/1", "http://c/2", "http://d/1",
    ]  # fmt: skip
    assert found.rejects == [(3, "too few columns", "broken\n")]


def test_where_the_url_alone_counts_the_first_row_has_every_caption(ingest: Ingest) -> None:
    lines = ["http://x/1,", "http://x/2,", "http://x/1,b", "http://x/1,a", "http://x/3,c"]
    found = ingest({"a.csv": "\n".join(["url,caption", *lines])}, duplicates="url")
    assert found.column("captions") == [["a", "b"], None, None, None, ["c"]]
    assert found.column("uid")[2] == md5("http://x/1\x1fb")
    assert sorted(found.keys["row"].to_pylist()) == [0, 1, 4]
