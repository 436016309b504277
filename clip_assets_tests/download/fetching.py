"""Fetches urls as a download does."""

import asyncio
from collections.abc import Sequence

from clip_assets.download.fetch.fetcher import open_fetcher
from clip_assets.download.fetch.jobs import Fetched
from clip_assets.settings import DownloadSettings


def fetch(urls: Sequence[str], settings: DownloadSettings, work_s: float = 0.0) -> list[Fetched]:
    """What urls give, in their order; each result is worked on for ``work_s``."""
    return asyncio.run(_fetch(urls, settings, work_s))


async def _fetch(urls: Sequence[str], settings: DownloadSettings, work_s: float) -> list[Fetched]:
    results: dict[int, Fetched] = {}
    async with open_fetcher(settings) as fetcher:
        for number, url in enumerate(urls):
            fetcher.submit(number, url)

        async def work() -> None:
            while len(results) < len(urls):
                number, fetched = await fetcher.next()
                results[number] = fetched
                await asyncio.sleep(work_s)
                fetcher.release(fetched)

        workers = [asyncio.ensure_future(work()) for _ in range(settings.concurrency)]
        await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [results[number] for number in range(len(urls))]
