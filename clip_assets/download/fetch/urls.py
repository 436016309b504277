"""Text that should be a url, to a url that can be requested, unchanged where it is valid."""

import re
from urllib.parse import urlsplit

from yarl import URL

from clip_assets.download.fetch.faults import FetchError

_LOST_BYTES = re.compile("[\udc80-\udcff]")


def parse(text: str, base: URL | None = None) -> URL:
    """The absolute http or https url that a text stands for.

    Args:
        text: as a source or a ``Location`` header has it. Valid urls are not quoted again, as
            that could break one that is signed; spaces and other characters are quoted, and bytes
            that are no UTF-8 (lone surrogates) as the bytes that they are, as browsers do.
        base: what a relative url is relative to.

    Raises:
        FetchError: ``url`` or ``scheme``.
    """
    stripped = _LOST_BYTES.sub(lambda found: f"%{ord(found[0]) & 0xFF:02X}", text.strip())
    is_quoted = stripped.isascii() and stripped.isprintable() and " " not in stripped
    try:
        url = URL(stripped, encoded=is_quoted)
        if base is not None:
            url = base.join(url)
        port = url.port
    except ValueError as error:
        raise FetchError("url", f"invalid url: {error}") from None
    if url.scheme not in ("http", "https"):
        raise FetchError("scheme", f"unknown url type: {url.scheme!r}")
    if not url.raw_host:
        raise FetchError("url", "no host given")
    if "%" in url.raw_host and ":" not in url.raw_host:
        raise FetchError("url", f"no name of a host: {url.raw_host}")
    if not 0 < (port or 0) <= 0xFFFF:
        raise FetchError("url", f"no such port: {port}")
    # Two spellings of a host are one line, one connection and one robots.txt.
    return url.with_host(url.raw_host.lower()) if url.raw_host.lower() != url.raw_host else url


def host_of(url: str) -> str:
    """Host of a url for counting, empty when it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
