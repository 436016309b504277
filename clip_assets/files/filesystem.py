"""The file systems behind paths and urls.

The only module that turns a url into a file system, and knows how those are set up.
"""

from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from clip_assets.errors import ConfigurationError

STALL_S = 30
"""A server that sends nothing for this long has failed."""

WEB = ("http://", "https://")
"""How the urls of web servers begin."""


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or url, and its own name for the file.

    Raises:
        ConfigurationError: the protocol is unknown or needs a package.
    """
    # Other processes add files; a listing that was kept would hide them.
    options: dict[str, Any] = {"use_listings_cache": False}
    if uri.startswith(WEB):
        from aiohttp import ClientTimeout

        options["client_kwargs"] = {
            "timeout": ClientTimeout(total=None, sock_connect=STALL_S, sock_read=STALL_S),
            # Bytes as they are stored: sizes and ranges are of those, and some servers take
            # the gzip of a file for an encoding of its transfer.
            "headers": {"Accept-Encoding": "identity"},
            "auto_decompress": False,
            # Passwords of the user's netrc, each for its host alone, and the machine's proxies.
            "trust_env": True,
        }
        from clip_assets.files.web import WebFileSystem

        return WebFileSystem(**options), uri
    try:
        fs, path = fsspec.url_to_fs(uri, **options)  # pyright: ignore[reportUnknownMemberType]
    except (ValueError, ImportError) as error:
        raise ConfigurationError(
            uri,
            str(error),
            "a path or url of a known protocol",
            "Correct it, or install the package that is named; pip install 'clip-assets[s3]'"
            " brings the one for s3://.",
        ) from error
    return fs, str(path)


def uri_of(fs: fsspec.AbstractFileSystem, path: str) -> str:
    """The name of a file for everybody: absolute path of a local one, url of any other."""
    return path if isinstance(fs, LocalFileSystem) else str(fs.unstrip_protocol(path))
