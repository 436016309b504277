"""What is in flight stays within the memory that the settings name, whatever strangers send."""

import asyncio
import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_assets.settings import DownloadSettings
from clip_assets_tests.download.pairs import encode, png_with
from clip_assets_tests.download.web import RawWeb

MIB = 2**20

MARGIN = 64 * MIB
"""For what Python, aiohttp and the allocator keep beside; what is not bounded takes 300 MiB."""


def grown(what: str, settings: DownloadSettings, sources: list[str]) -> dict[str, Any]:
    """What ``peaks`` tells."""
    command = [sys.executable, "-m", "clip_assets_tests.download.peaks"]
    told = subprocess.run(
        [*command, what, settings.model_dump_json(), *sources],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(told.stdout)


@pytest.mark.parametrize("framing", ["length", "none"])
def test_bodies_of_all_hosts_share_one_room(
    raw: RawWeb, settings: DownloadSettings, framing: str
) -> None:
    """Forty files of 8 MiB; their last byte comes when nothing more can be sent of any."""
    body = bytes(8 * MIB)
    length = b"Content-Length: %d\r\n" % len(body) if framing == "length" else b""
    sent = 0
    may_end = asyncio.Event()

    async def most_of_it(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + length + b"\r\n")
        for place in range(0, len(body) - 1, MIB):
            writer.write(body[place : place + MIB - 1])
            await writer.drain()
            sent += 1
            writer.write(body[:1] if place + MIB < len(body) else b"")
        while not may_end.is_set():
            before = sent
            await asyncio.sleep(0.5)
            if sent == before:
                may_end.set()
        writer.write(body[:1])
        await writer.drain()

    raw.pages |= {f"/{number}": most_of_it for number in range(40)}
    urls = [f"http://127.0.0.1:{raw.port}/{number}" for number in range(40)]
    small = settings.model_copy(
        update={
            "concurrency": 40,
            "per_host": 40,
            "max_bytes": len(body),
            "max_memory_bytes": 64 * MIB,
        }
    )
    told = grown("bodies", small, urls)

    assert told["classes"] == [None] * 40
    assert told["bytes"] < sum(small.body_bytes) + MARGIN


def test_images_decoded_at_a_time_share_one_room(
    settings: DownloadSettings, tmp_path: Path
) -> None:
    """Eight images in eight threads that take 48 MiB each to decode, in a room of 80 MiB."""
    small = settings.model_copy(update={"max_bytes": 8 * MIB, "max_memory_bytes": 128 * MIB})
    deep = tmp_path / "deep.png"
    import cv2

    pixels = np.zeros((1500, 2000, 4), np.uint16)
    deep.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    told = grown("images", small, [str(deep)] * 8)

    assert told["classes"] == [None] * 8
    assert told["bytes"] < small.decoding_bytes + MARGIN


def test_side_data_that_unpack_to_gigabytes_cost_nothing(
    settings: DownloadSettings, tmp_path: Path
) -> None:
    text = zlib.compress(bytes(7 * MIB), 9)
    chunks = [(b"zTXt", b"k%d\0\0" % number + text) for number in range(60)]
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_with(encode("PNG"), *chunks))
    told = grown("images", settings, [str(bomb)])

    assert told["classes"] == [None]
    assert told["bytes"] < MARGIN
