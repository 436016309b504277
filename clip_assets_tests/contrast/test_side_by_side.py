"""Subsets side by side, against what plain Python counts of the same pairs."""

import base64
import html.parser
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from PIL import Image

from clip_assets import layout
from clip_assets.cli import main
from clip_assets.contrast.side_by_side import as_json, as_page, compared
from clip_assets.contrast.tally import SIDE
from clip_assets.errors import ConfigurationError, MissingArtifactError
from clip_assets.pool import takedowns
from clip_assets.storage.store import Store
from clip_assets_tests.models import draw, encoded
from clip_assets_tests.outcomes import Pair
from clip_assets_tests.subsets.vectored import Vectored, uid

ROWS = 40
EVIL = '<script>alert(1)</script> & "quotes"'


def pair(n: int) -> Pair:
    return Pair(
        EVIL if n == 3 else f"caption {n}" * (n % 4),
        url=f"http://{'ab'[n % 2]}.org/{n}",
        uid=uid(n),
        width=50 * n,
        height=3000,
        similarity=n / ROWS if n % 5 else None,
        status="failed_to_download" if n == 39 else "success",
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Vectored:
    """Forty pairs in two partitions and three subsets; the first shards have images."""
    made = Vectored(Store.open(str(tmp_path_factory.mktemp("pool"))))
    for part in range(2):
        key = made.add(part, [pair(n) for n in range(20 * part, 20 * part + 20)], per_shard=20)
        with tarfile.open(Path(made.store.base) / layout.shard_tar(key, 0), "w") as tar:
            for n in range(20):
                content = b"no image" if n == 7 else encoded(draw(n))
                info = tarfile.TarInfo(f"{n:08d}.jpg")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    made.metadata()
    made.set(
        subsets={
            "wide": {"where": "original_width >= 500"},
            "even": {"where": "url LIKE '%a.org%'"},
            "unmade": {"sample": 0.5},
        }
    )
    made.subset("wide")
    made.subset("even")
    return made


WIDE, EVEN = {*range(10, 39)}, {*range(0, 39, 2)}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_what_is_taken_down_is_not_counted_and_no_example(made: Vectored) -> None:
    none = pa.table({"uid": pa.array([], pa.string()), "url": pa.array([], pa.string())})
    takedowns.take_down(made.store, [uid(12)], [pair(20).url], none, None)
    try:
        told = compared(made.pool, ["wide", "even"], examples=50)
    finally:
        takedowns.undo(made.store, [uid(12)], [pair(20).url])
    assert told.pairs.tolist() == [len(WIDE) - 2, len(EVEN) - 2]
    shown = {row["url"] for rows in told.only.values() for row in rows}
    assert not shown & {pair(12).url, pair(20).url}


def test_what_is_counted(made: Vectored) -> None:
    told = compared(made.pool, ["wide", "even"], examples=5)
    numbers = as_json(told)
    json.dumps(numbers)
    assert numbers["rows"] == ROWS
    assert [one["pairs"] for one in numbers["subsets"]] == [len(WIDE), len(EVEN)]
    both = len(WIDE & EVEN)
    assert numbers["common"] == [[len(WIDE), both], [both, len(EVEN)]]
    assert (told.all_common, told.any_common) == (both, len(WIDE | EVEN))
    assert told.hosts[1] == {"a.org": len(EVEN)}
    sides = [min(50 * n, 3000) for n in WIDE]
    assert told.side[0].tolist() == [
        sum(low <= side < high for side in sides)
        for low, high in zip(SIDE, [*SIDE[1:], 10**9], strict=True)
    ]
    assert told.similarity[0].sum() == sum(n % 5 > 0 for n in WIDE)
    assert told.characters[0].sum() == len(WIDE)
    alone = {uid(n) for n in WIDE - EVEN}
    first, second = numbers["only"]
    assert (first["has"], first["lacks"], first["pairs"]) == ("wide", "even", len(alone))
    assert len({*first["examples"]} & alone) == 5
    assert {*second["examples"]} == {uid(n) for n in EVEN - WIDE}
    assert compared(made.pool, ["wide", "even"], examples=5).only == told.only


def test_no_example_was_taken_down(tmp_path: Path) -> None:
    made = Vectored(Store.open(str(tmp_path)))
    made.add(0, [pair(n) for n in range(20)], per_shard=20)
    made.metadata()
    made.set(
        subsets={
            "wide": {"where": "original_width >= 500"},
            "all": {"where": "original_width >= 0"},
        }
    )
    made.subset("wide")
    made.subset("all")
    urls = pa.table({"uid": [uid(3)], "url": ["http://b.org/3"]})
    takedowns.take_down(made.store, [uid(2)], ["http://b.org/3"], urls, "asked")
    told = compared(made.pool, ["all", "wide"], examples=50)
    assert {row["uid"] for row in told.only[0, 1]} == {uid(n) for n in [0, 1, *range(4, 10)]}


def test_the_page_shows_pairs_of_strangers_safely(made: Vectored) -> None:
    told = compared(made.pool, ["even", "wide"], examples=50)
    page = as_page(made.pool, told)
    assert "<script" not in page
    sources = re.findall(r'<img src="data:image/webp;base64,([^"]+)"', page)
    assert len(sources) == len(EVEN ^ WIDE) - len({7, 27} & (EVEN ^ WIDE))
    image = Image.open(io.BytesIO(base64.b64decode(sources[0])))
    assert max(image.size) <= 176
    assert page.count("not to be had") == len({7, 27} & (EVEN ^ WIDE))
    assert not re.search(r'(?:src|href)="(?!data:|http://[ab]\.org)', page)

    class Balanced(html.parser.HTMLParser):
        left: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002
            if tag in {"div", "details", "svg", "ul", "figure", "a", "table"}:
                self.left.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag in {"div", "details", "svg", "ul", "figure", "a", "table"}:
                assert self.left.pop() == tag

    (parser := Balanced()).feed(page)
    assert parser.left == []


def test_files_and_several_subsets(made: Vectored, tmp_path: Path) -> None:
    records = np.sort(made.uids("wide"))[::-1][:7]
    np.save(file := tmp_path / "mine.npy", records)
    made.subset("no_filter")
    told = compared(made.pool, ["no_filter", "even", str(file)])
    assert told.pairs.tolist() == [39, len(EVEN), 7]
    assert told.common[0].tolist() == [39, len(EVEN), 7]
    assert "39" in as_page(made.pool, told)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["wide"], "2 to 6"),
        (["wide", "wide"], "each once"),
        (["wide", "nosuch"], "one of no_filter"),
    ],
)
def test_what_cannot_be_compared(made: Vectored, names: list[str], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        compared(made.pool, names)


def test_a_subset_that_is_not_made(made: Vectored) -> None:
    with pytest.raises(MissingArtifactError):
        compared(made.pool, ["wide", "unmade"])


def test_a_command_writes_the_page(made: Vectored, tmp_path: Path) -> None:
    (settings := tmp_path / "pool.yaml").write_text(
        "subsets:\n  wide: {where: original_width >= 500}\n"
        "  even: {where: \"url LIKE '%a.org%'\"}\n"
    )
    output = tmp_path / "page.html"
    common = ["--root", str(made.store.base), "--pool", str(settings)]
    asked = ["subset", "compare", "wide", "even", "--output", str(output), *common]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    assert output.read_text().startswith("<!doctype html>")
    done = CliRunner().invoke(main, ["subset", "compare", "wide", "even", "--json", *common])
    assert json.loads(done.stdout)["rows"] == ROWS
    assert "Define a subset" in CliRunner().invoke(main, ["subset", "--help"]).output
    assert "side by side" in CliRunner().invoke(main, ["subset", "compare", "--help"]).output
