"""What was said of an image's use stands in its row, whatever became of the image."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets import layout, schemas
from clip_assets.download.fetch import signals
from clip_assets.download.fetch.fetcher import open_fetcher
from clip_assets.download.image_shards import image_shards
from clip_assets.download.retry import retry_failed
from clip_assets.download.shard import Shard
from clip_assets.settings import DownloadSettings
from clip_assets.settings.sections import OptOut
from clip_assets.storage import tables
from clip_assets_tests.download.credentials import signed, training, with_xmp, xmp
from clip_assets_tests.download.pairs import P, encode, read_rows, unique_pairs
from clip_assets_tests.download.web import Web
from clip_assets_tests.pools import CHECKOUT
from clip_assets_tests.upstream import MadeUp

DATA_MINING = "DMI-PROHIBITED-AIMLTRAINING"
DEAF = {"respect_noai": False, "respect_opt_outs": [], "ask_sites": True, "retries": 0}


@pytest.fixture
def urls(site: Web) -> dict[str, str]:
    """A site on which each image is reserved in another way, by column; and one that is not."""
    image = encode()
    site.serve(
        "/robots.txt",
        b"User-agent: *\nDisallow: /robots.jpg\n"
        b"Content-Usage: /robots_content_usage.jpg train-ai=n\n"
        b"Content-Signal: /robots_content_signal.jpg search=yes, ai-train=no",
    )
    site.serve(
        "/.well-known/tdmrep.json", b'[{"location": "/tdmrep_json.jpg", "tdm-reservation": 1}]'
    )
    return {
        "robots": site.serve("/robots.jpg", image),
        "robots_content_usage": site.serve("/robots_content_usage.jpg", image),
        "robots_content_signal": site.serve("/robots_content_signal.jpg", image),
        "tdmrep_json": site.serve("/tdmrep_json.jpg", image),
        "x_robots_tag": site.serve("/x_robots_tag.jpg", image, X_Robots_Tag="noai"),
        "content_usage": site.serve("/content_usage.jpg", image, Content_Usage="train-ai=n"),
        "tdm_reservation": site.serve("/tdm.jpg", image, tdm_reservation="1", tdm_policy="p"),
        "data_mining": site.serve("/iptc.jpg", with_xmp("JPEG", xmp())),
        "c2pa_training": site.serve(
            "/c2pa.jpg", signed(image, "image/jpeg", training(ai_training="notAllowed"))
        ),
        "": site.serve("/free.jpg", image),
    }


SAID = {
    "robots": "disallow: /robots.jpg",
    "robots_content_usage": "train-ai=n",
    "robots_content_signal": "search=yes, ai-train=no",
    "tdmrep_json": "1",
    "x_robots_tag": "noai",
    "content_usage": "train-ai=n",
    "tdm_reservation": "1 p",
    "data_mining": DATA_MINING,
    "c2pa_training": "cawg.ai_training=notAllowed",
}


def test_the_columns_are_those_of_the_schema_and_of_the_settings() -> None:
    columns = [*signals.COLUMNS, "site_asked_at", "opt_outs"]
    assert schemas.SHARD_ROWS.names[-len(columns) :] == columns
    assert all(schemas.SHARD_ROWS.field(name).nullable for name in columns)
    respected = {*OptOut.__args__, "robots", "x_robots_tag"}
    assert {*signals.COLUMNS} == respected == {*signals.WORDS, "robots", "x_robots_tag"}
    assert {*SAID} == {*signals.COLUMNS}


def test_every_signal_is_recorded_though_nothing_is_refused(
    urls: dict[str, str], made: MadeUp
) -> None:
    made.set(download=DEAF)
    unique_pairs(made, [*urls.values()])
    start = datetime.now(UTC)
    report = image_shards(made.pool, P).manifest.report

    rows = dict(zip(urls, read_rows(made.store, 0), strict=True))
    assert {row["status"] for row in rows.values()} == {"success"}
    for column, row in rows.items():
        assert row["opt_outs"] == [column] * bool(column)
        assert row.get(column) == SAID.get(column)
        assert (
            row["fetched_at"]
            >= row["site_asked_at"].replace(microsecond=0)
            >= start.replace(microsecond=0)
        )
    others = [row for column, row in rows.items() if column not in ("robots", "tdmrep_json")]
    assert {(row["robots"], row["tdmrep_json"]) for row in others} == {("allow", "unset")}
    assert report.figures["opt_outs"] == dict.fromkeys(SAID, 1)
    assert report.figures["opt_outs_recorded"] == 10


def test_a_row_that_is_refused_stands_with_its_record(urls: dict[str, str], made: MadeUp) -> None:
    made.set(download={"ask_sites": True, "respect_robots": True, "retries": 0})
    unique_pairs(made, [*urls.values()])
    report = image_shards(made.pool, P).manifest.report

    rows = dict(zip(urls, read_rows(made.store, 0), strict=True))
    classes = {column: f"policy_{column}" for column in SAID} | {"x_robots_tag": "policy_noai"}
    assert {c: row["error_class"] for c, row in rows.items()} == classes | {"": None}
    assert {row["status"] for c, row in rows.items() if c} == {"failed_to_download"}
    assert {c: row[c] for c, row in rows.items() if c} == SAID
    assert (report.rows_out, report.dropped) == (1, dict.fromkeys(classes.values(), 1))
    assert report.figures["opt_outs"] == dict.fromkeys(SAID, 1)


@pytest.mark.parametrize("column", OptOut.__args__)
def test_each_opt_out_refuses_alone(urls: dict[str, str], local_made: MadeUp, column: str) -> None:
    local_made.set(download=DEAF | {"respect_opt_outs": [column]})
    unique_pairs(local_made, [*urls.values()])
    report = image_shards(local_made.pool, P).manifest.report

    assert report.dropped == {f"policy_{column}": 1}
    assert report.figures["opt_outs"] == dict.fromkeys(SAID, 1)


def test_other_tools_read_the_record(urls: dict[str, str], local_made: MadeUp) -> None:
    local_made.set(download=DEAF)
    unique_pairs(local_made, [*urls.values()])
    image_shards(local_made.pool, P)
    path = str(Path(local_made.store.base, layout.shard_rows(P, 0)))

    free = f"FROM '{path}' WHERE len(opt_outs) = 0"
    assert duckdb.sql(f"SELECT url {free}").fetchall() == [(urls[""],)]
    frame = pl.read_parquet(path).filter(pl.col("opt_outs").list.contains("data_mining"))
    assert frame["data_mining"].to_list() == [DATA_MINING]


def test_the_documented_queries_give_what_they_say(
    urls: dict[str, str], local_made: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_made.set(download=DEAF)
    unique_pairs(local_made, [*urls.values()])
    image_shards(local_made.pool, P)
    monkeypatch.chdir(local_made.store.base)
    rows = [{"uid": "0" * 32, "url": url, "status": "success"} for url in urls.values()]
    told = [{"opt_outs": row["opt_outs"]} for row in read_rows(local_made.store, 0)]
    metadata = [row | opt_outs for row, opt_outs in zip(rows, told, strict=True)]
    for number, table in enumerate([pa.Table.from_pylist(rows), pa.Table.from_pylist(metadata)]):
        with local_made.store.publish(layout.pool_rows(layout.partition_key(number))) as part:
            tables.write(part, table)  # the first one is of a release without the column

    text = (CHECKOUT / "docs/download.md").read_text()
    free, counts = re.findall(r"```sql\n(.*?);\n\n(.*?);\n```", text, re.DOTALL)[0]

    assert [url for _, url in duckdb.sql(free).fetchall()] == [*urls.values(), urls[""]]
    assert dict(duckdb.sql(counts).fetchall()) == dict.fromkeys(SAID, 1)


def test_a_broken_part_of_a_file_costs_no_image(site: Web, local_made: MadeUp) -> None:
    made = local_made
    whole = signed(with_xmp("JPEG", xmp()), "image/jpeg", training(ai_training="notAllowed"))
    place = whole.index(b"cawg.training-mining\0")
    broken = whole[: place + 50] + b"\xff" * 40 + whole[place + 90 :]
    made.set(download=DEAF)
    unique_pairs(made, [site.serve("/a.jpg", broken)])
    image_shards(made.pool, P)

    [row] = read_rows(made.store, 0)
    assert (row["status"], row["opt_outs"]) == ("success", ["data_mining"])


def without_the_record(made: MadeUp) -> None:
    """Make a shard's rows those of a release that knew nothing of opt-outs."""
    path = layout.shard_rows(P, 0)
    with made.store.local(path) as file:
        table = pq.read_table(file)
    older = table.drop_columns([*signals.COLUMNS, "site_asked_at", "opt_outs"])
    with made.store.publish(path) as part:
        tables.write(part, older)
    made.record_files(layout.IMAGE_SHARDS, P)


def test_shards_of_an_earlier_release_are_read_and_retried(site: Web, made: MadeUp) -> None:
    made.set(download={"retries": 0})
    urls = [site.serve("/a.jpg", encode(), tdm_reservation="0"), site.serve("/b.jpg", status=503)]
    unique_pairs(made, urls)
    image_shards(made.pool, P)
    without_the_record(made)

    assert [row["opt_outs"] for row in read_rows(made.store, 0)] == [None, None]
    site.serve("/b.jpg", encode(), tdm_reservation="0")
    retry_failed(made.pool, P)

    old, new = read_rows(made.store, 0)
    assert (old["tdm_reservation"], old["opt_outs"]) == (None, None)
    assert (new["tdm_reservation"], new["opt_outs"]) == ("0", [])


def test_the_run_after_a_kill_has_the_record(
    urls: dict[str, str], settings: DownloadSettings, tmp_path: Path
) -> None:
    pairs = [{"uid": "u", "url": urls["tdmrep_json"], "caption": "c"}]
    columns = pa.schema([schemas.PAIRS.field(name) for name in pairs[0]])
    asking = settings.model_copy(update=DEAF)
    journal = tmp_path / "journal"

    async def fetch_one(shard: Shard) -> None:
        async with open_fetcher(asking) as fetcher:
            fetcher.submit(0, pairs[0]["url"])
            _, fetched = await fetcher.next()
            shard.put(0, fetched, None)

    def opened() -> Shard:
        return Shard(P, 0, pairs, columns, asking, journal)

    killed = opened()
    asyncio.run(fetch_one(killed))
    killed.close()
    found = opened()
    found.close()

    assert found.is_complete
    assert published(found) == published(killed)
    assert published(found)["tdmrep_json"] == "1"
    assert isinstance(published(found)["site_asked_at"], datetime)


def published(shard: Shard) -> dict[str, Any]:
    """The one row of a shard."""
    [row] = shard._rows
    assert row is not None
    return row
