"""img2dataset itself, on the same web, must write the same samples."""

import hashlib
import json
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from clip_assets import layout
from clip_assets.download.image_shards import image_shards
from clip_assets.settings import DownloadSettings
from clip_assets.storage.store import Store
from clip_assets_tests.download.pairs import P, encode, made_up, samples, unique_pairs
from clip_assets_tests.download.web import Web

PEER = """
import importlib, json, os, sys
main = importlib.import_module("img2dataset.main")

def here(_, download, shards, *__):
    for shard in shards:
        succeeded, _ = download(shard)
        assert succeeded

class Silent(main.LoggerProcess):
    start = join = lambda self: None

main.multiprocessing_distributor, main.LoggerProcess = here, Silent
told = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    main.download(**json.loads(line))
    print("done", file=told, flush=True)
"""
"""Its own processes would each import it again, and now and then wait for each other for ever. What
they would call downloads and writes as ever."""

Peer = Callable[..., None]
"""Runs img2dataset on a file of pairs, into a folder, with options."""


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """img2dataset in a process of its own."""
    log = tmp_path_factory.mktemp("peer") / "log"
    environment = {
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "WANDB_MODE": "disabled",
        "PATH": "/usr/bin:/bin",
    }
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-c", PEER],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            bufsize=1,
        ) as process,
    ):
        asked, told = process.stdin, process.stdout
        assert asked is not None
        assert told is not None

        def run(source: Path, output: Path, **options: Any) -> None:
            arguments = {
                "url_list": str(source),
                "input_format": "parquet",
                "output_format": "webdataset",
                "output_folder": str(output),
                "caption_col": "caption",
                "save_additional_columns": ["uid"],
                "number_sample_per_shard": 10,
                "thread_count": 8,
                "resize_mode": "keep_ratio",
                "resize_only_if_bigger": True,
            } | options
            asked.write(json.dumps(arguments) + "\n")
            assert told.readline() == "done\n", log.read_text()

        yield run
        asked.close()


def order(tar: Path) -> list[tuple[str, int, str, str]]:
    with tarfile.open(tar) as content:
        return [(member.name, member.mode, member.uname, member.gname) for member in content]


def sha256_of(url: str) -> str:
    """Of what a url gives; another one for a url that gives nothing."""
    try:
        with urllib.request.urlopen(url) as answer:
            return hashlib.sha256(answer.read()).hexdigest()
    except (OSError, ValueError):
        return "f" * 64


@pytest.fixture
def urls(site: Web) -> list[str]:
    """Good images of every kind, and every kind of failure."""
    exif = Image.Exif()
    exif[0x010F] = "Maker of cameras"
    exif[0x0112] = 6
    jpeg = encode(size=(640, 480))
    pages = {
        "big.jpg": jpeg,
        "small.jpg": encode(size=(100, 80)),
        "tall.png": encode("PNG", (20, 900)),
        "dot.png": encode("PNG", (3, 3)),
        "photo.webp": encode("WEBP", (400, 300)),
        "gray.jpg": encode(mode="L", size=(300, 300)),
        "print.jpg": encode(mode="CMYK", size=(300, 300)),
        "clear.png": encode("PNG", (300, 300), mode="RGBA"),
        "exif.jpg": encode(size=(320, 400), exif=exif),
        "large.png": encode("PNG", (3000, 2000)),
        "moving.gif": encode("GIF"),
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "page.jpg": b"<html><body>Not found</body></html>",
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "corrupt.jpg": jpeg[:2000] + bytes(2000) + jpeg[4000:],
        "bitmap.bmp": encode("BMP"),
        "scan.tiff": encode("TIFF"),
        "\u00e9t\u00e9.jpg": jpeg,
    }
    found = [site.serve(f"/{name}", body) for name, body in pages.items()]
    found[-1] = site.url("/%C3%A9t%C3%A9.jpg")
    found += [site.serve(f"/{status}.jpg", status=status) for status in (403, 404, 410, 500)]
    found.append(site.serve("/noai.jpg", jpeg, X_Robots_Tag="noai"))
    found.append(site.serve("/moved.jpg", status=301, Location="/big.jpg"))
    found.append(site.serve("/lie.jpg", jpeg, Content_Type="text/html"))
    found.append("http://127.0.0.1:1/refused.jpg")
    found.append("no url at all")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "of_peer"),
    [
        ({}, {}),
        (
            {"resize_mode": "center_crop", "resize_only_if_bigger": False, "image_size": 128}
            | {"encode_format": "png", "encode_quality": 3, "compute_hash": "md5"},
            {},
        ),
        (
            {"resize_mode": "border", "encode_format": "webp", "encode_quality": 80}
            | {"min_image_size": 50, "max_aspect_ratio": 3.0, "blur_faces": True}
            | {"extract_exif": False, "compute_hash": "sha512"},
            {"bbox_col": "face_bboxes"},
        ),
        (
            {"resize_mode": "keep_ratio_largest", "skip_reencode": True, "image_size": 350}
            | {"compute_hash": "none"},
            {"compute_hash": None},
        ),
        ({"resize_mode": "no", "verify_hash": "fail"}, {"verify_hash": ["sha256", "sha256"]}),
    ],
    ids=["default", "center_crop png", "border webp with faces", "skip_reencode", "verify_hash"],
)
def test_shards_are_those_of_img2dataset(
    settings: DownloadSettings,
    urls: list[str],
    peer: Peer,
    tmp_path: Path,
    options: dict[str, Any],
    of_peer: dict[str, Any],
) -> None:
    made = made_up(Store.open(str(tmp_path / "ours")), settings)
    captions = [None, "", "tab\tand \u2603 snow", *(f"caption {i}" for i in range(len(urls) - 3))]
    boxes = [[[0.1, 0.2, 0.5, 0.6], [0.7, 0.7, 0.9, 0.8]], [], *[None] * (len(urls) - 2)]
    hashes = [sha256_of(url) for url in urls] if "verify_hash" in options else [None] * len(urls)
    hashes[0] = hashes[0] and "0" * 64
    unique_pairs(made, urls, caption=captions, face_bboxes=boxes, sha256=hashes)
    made.set(download=options)
    image_shards(made.pool, P)
    theirs = tmp_path / "theirs"
    same = {k: v for k, v in options.items() if k not in ("blur_faces", "verify_hash")}
    peer(tmp_path / "ours" / layout.unique(P), theirs, **same | of_peer)

    successes = 0
    for number in range(3):
        ours_tar = tmp_path / "ours" / layout.shard_tar(P, number)
        theirs_tar = theirs / f"{number:05d}.tar"
        of_peers = samples(theirs_tar.read_bytes())
        assert samples(ours_tar.read_bytes()) == {
            P + name: content.replace(b'"key": "', f'"key": "{P}'.encode())
            for name, content in of_peers.items()
        }
        assert order(ours_tar) == sorted((P + name, *rest) for name, *rest in order(theirs_tar))
        ours = pq.read_table(tmp_path / "ours" / layout.shard_rows(P, number))
        peers = pq.read_table(theirs / f"{number:05d}.parquet").sort_by("key")
        common = peers.column_names
        if "verify_hash" in options:
            # It leaves the column where the pairs have it.
            assert sorted(ours.column_names[: len(common)]) == sorted(common)
        else:
            assert ours.column_names[: len(common)] == common
        assert ours.select(common).schema.types == peers.schema.types
        told = [name for name in common if name != "error_message"]
        assert ours.select(told).to_pylist() == [
            row | {"key": P + row["key"]} for row in peers.select(told).to_pylist()
        ]
        stats = json.loads((tmp_path / "ours" / layout.shard_stats(P, number)).read_text())
        peer_stats = json.loads((theirs / f"{number:05d}_stats.json").read_text())
        assert list(stats) == list(peer_stats)
        successes += stats["successes"]
        counts = ("count", "successes", "failed_to_download", "failed_to_resize")
        assert [stats[name] for name in counts] == [peer_stats[name] for name in counts]
    assert successes >= 8
