"""The file systems behind paths and urls.

The only module that turns a url into a file system, and knows how those are set up.
"""

import os
import re
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from clip_assets.errors import ConfigurationError
from clip_assets.masking import hide, named

STALL_S = 30
"""A server that sends nothing for this long has failed."""

WEB = ("http://", "https://")
"""How the urls of web servers begin."""


_VARIABLE = re.compile(r"\$\{(\w+)\}")


def _filled(uri: str) -> str:
    """A url with the values of the variables of the environment that it names, ``${NAME}``."""

    def value(variable: re.Match[str]) -> str:
        said = os.environ.get(variable[1])  # noqa: TID251 (who wrote the url names it)
        if said is None:
            raise ConfigurationError(
                uri,
                "no such variable",
                f"{variable[1]} in the environment",
                "Set it where the command or Dagster is started.",
            )
        hide(said, variable[1])
        return said

    return _VARIABLE.sub(value, uri) if "://" in uri else uri


def _hub_token(uri: str) -> str | None:
    """What opens private files of a hub at their web addresses; redirects elsewhere lose it."""
    if "/resolve/" not in uri:
        return None
    from huggingface_hub import get_token

    hub: Any = fsspec.filesystem("hf")  # pyright: ignore[reportUnknownMemberType]
    return (hub.token or get_token()) if uri.startswith(f"{hub.endpoint}/") else None


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or url, and its own name for the file.

    A url may name variables of the environment, ``${NAME}``: they are filled in here and nowhere
    else, so that what is stored and told has their names.

    Raises:
        ConfigurationError: the protocol is unknown or needs a package, or a variable is not set.
    """
    uri = _filled(uri)
    # Other processes add files; a listing that was kept would hide them.
    options: dict[str, Any] = {"use_listings_cache": False}
    if uri.startswith(WEB):
        from aiohttp import ClientTimeout

        headers = {"Accept-Encoding": "identity"}
        if token := _hub_token(uri):
            headers["Authorization"] = f"Bearer {token}"
        options["client_kwargs"] = {
            "timeout": ClientTimeout(total=None, sock_connect=STALL_S, sock_read=STALL_S),
            # Bytes as they are stored: sizes and ranges are of those, and some servers take
            # the gzip of a file for an encoding of its transfer.
            "headers": headers,
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
    return path if isinstance(fs, LocalFileSystem) else named(str(fs.unstrip_protocol(path)))
