"""Peaks of memory, measured in a process of their own: of ``bodies`` or of ``images``."""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from clip_assets.download.allocator import large_blocks_given_back
from clip_assets.download.fetch.fetcher import open_fetcher
from clip_assets.download.resize import ImageResizer
from clip_assets.settings import DownloadSettings
from clip_assets_tests.download.pairs import encode

PAIR = {"sha256": None, "md5": None, "face_bboxes": None}


def resident_bytes(kind: str) -> int:
    """``VmRSS``, what this process has now, or ``VmHWM``, the most since it was last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(kind))
    return int(line.split()[1]) * 1024


async def fetched(urls: list[str], settings: DownloadSettings) -> list[str | None]:
    """Error classes of urls whose bodies are let go one after the other."""
    classes: list[str | None] = []
    async with open_fetcher(settings) as fetcher:
        for url in urls:
            fetcher.submit(url, url)

        async def work() -> None:
            while True:
                _, result = await fetcher.next()
                classes.append(result.error_class)
                fetcher.release(result)
                del result

        workers = [asyncio.ensure_future(work()) for _ in range(settings.concurrency)]
        while len(classes) < len(urls):
            await asyncio.sleep(0.01)
        for worker in workers:
            worker.cancel()
    return classes


def main() -> None:
    """Print by how many bytes a task made the process grow, and how it ended."""
    what, settings, *sources = sys.argv[1:]
    told = DownloadSettings.model_validate_json(settings)
    resize = ImageResizer(told)
    assert resize(encode(), PAIR).scaled
    files = [Path(path).read_bytes() for path in sources] if what == "images" else []
    before = resident_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    if what == "images":
        with ThreadPoolExecutor(len(files)) as threads:
            results = threads.map(lambda file: resize(file, PAIR).error_class, files)
            classes = list(results)
    else:
        classes = asyncio.run(fetched(sources, told))
    grown = resident_bytes("VmHWM") - before
    sys.stdout.write(json.dumps({"bytes": grown, "classes": classes}))


if __name__ == "__main__":
    with large_blocks_given_back():
        main()
