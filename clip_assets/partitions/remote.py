"""File systems behind paths and urls, with faults in our own words.

The only module that knows how fsspec's back ends are set up and fail. What is looked for is
the business of ``listing`` and ``sampling``, what is read of ``clip_assets.pairs``.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, Any, cast

import fsspec

from clip_assets.errors import ConfigurationError, SourceError, SourceMissingError

STALL_S = 30
"""A server that sends nothing for this long has failed."""


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or url, and its own name for the file.

    Raises:
        ConfigurationError: the protocol is unknown or needs a package.
    """
    # Other processes add files; a listing that was kept would hide them.
    options: dict[str, Any] = {"use_listings_cache": False}
    if uri.startswith(("http://", "https://")):
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, sock_connect=STALL_S, sock_read=STALL_S)
        options["client_kwargs"] = {"timeout": timeout}
    try:
        fs, path = fsspec.url_to_fs(uri, **options)  # pyright: ignore[reportUnknownMemberType]
    except (ValueError, ImportError) as error:
        raise ConfigurationError(
            uri, str(error), "a path or url that fsspec opens", "Correct it, or install that."
        ) from error
    return fs, str(path)


@contextmanager
def opened(uri: str) -> Generator[IO[bytes]]:
    """A file's bytes as they are, for random access.

    Raises:
        SourceError: it cannot be read; ``SourceMissingError``: it is not there.
    """
    with translated(uri):
        fs, path = filesystem(uri)
        with fs.open(path, "rb") as file:
            yield cast("IO[bytes]", file)


@contextmanager
def translated(where: str) -> Generator[None]:
    """Raise what goes wrong with a file or folder as one of our errors.

    Raises:
        SourceMissingError: it is not there.
        SourceError: anything else.
    """
    try:
        yield
    except FileNotFoundError:
        raise SourceMissingError(
            where, "nothing", "a file or folder", "Check the spelling, or mount what holds it."
        ) from None
    except faults() as error:
        raise SourceError(
            where,
            f"{type(error).__name__}: {error}",
            "a file or folder that can be read",
            "Check permissions, credentials and network, then run the same again.",
        ) from error


def faults() -> tuple[type[Exception], ...]:
    """What back ends raise when a disk, a server or a network fails."""
    import aiohttp

    return (OSError, aiohttp.ClientError)
