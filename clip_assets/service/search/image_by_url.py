"""The image that a query names by url, fetched as downloads are.

Off unless a service offers it. The downloader's rules hold: addresses are judged after resolution
and after every redirect, and size and time are bounded. Hosts that the pool's downloads may reach
beside those of the web may be reached here, too.
"""

from clip_assets.download.fetch.fetcher import open_fetcher
from clip_assets.service.limits.refusals import RefusalError
from clip_assets.settings import DownloadSettings

DEADLINE_S = 10.0
"""For one image; people wait."""


async def fetched(url: str, settings: DownloadSettings, most_bytes: int) -> bytes:
    """The bytes behind a url.

    Args:
        url: as the request has it.
        settings: of the pool's downloads.
        most_bytes: that are taken.

    Raises:
        RefusalError: it may not be fetched, or cannot be.
    """
    own = settings.model_copy(
        update={
            "retries": 0,
            "deadline_s": min(DEADLINE_S, settings.deadline_s),
            "max_bytes": min(most_bytes, settings.max_bytes),
        }
    )
    async with open_fetcher(own, judges_few=False) as fetcher:
        fetcher.submit(url, url)
        _, answer = await fetcher.next()
        fetcher.release(answer)
    if answer.body is None:
        raise RefusalError(
            400,
            "image_url",
            f"{answer.error_class}: {answer.error_message}",
            "an image on the public web",
            "Send the image itself.",
        )
    return answer.body
