"""File systems behind paths and urls, with faults in our own words.

The only module that knows how fsspec's back ends are set up and fail. What is looked for is
the business of ``listing`` and ``sampling``, what is read of ``clip_assets.pairs``.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, Any, cast

import fsspec
from fsspec.asyn import sync

from clip_assets.errors import ConfigurationError, SourceError, SourceMissingError
from clip_assets.files.backends import faults

STALL_S = 30
"""A server that sends nothing for this long has failed."""

_WEB = ("http://", "https://")


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or url, and its own name for the file.

    Raises:
        ConfigurationError: the protocol is unknown or needs a package.
    """
    # Other processes add files; a listing that was kept would hide them.
    options: dict[str, Any] = {"use_listings_cache": False}
    if uri.startswith(_WEB):
        from aiohttp import ClientTimeout

        options["client_kwargs"] = {
            "timeout": ClientTimeout(total=None, sock_connect=STALL_S, sock_read=STALL_S),
            # Bytes as they are stored: sizes and ranges are of those, and some servers take
            # the gzip of a file for an encoding of its transfer.
            "headers": {"Accept-Encoding": "identity"},
            "auto_decompress": False,
        }
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


def has_ranges(uri: str) -> bool:
    """Whether parts of a file can be asked for; some web servers send all of it whatever is asked.

    Raises:
        SourceError: the server fails; ``SourceMissingError``: the file is not there.
    """
    if not uri.startswith(_WEB):
        return True
    with translated(uri):
        fs, path = filesystem(uri)
        return bool(sync(fs.loop, _sends_parts, fs, path))  # pyright: ignore[reportAttributeAccessIssue]


async def _sends_parts(fs: Any, path: str) -> bool:
    session = await fs.set_session()
    # The connection is closed when the head of the answer is there, however much would follow.
    async with session.get(fs.encode_url(path), headers={"Range": "bytes=0-0"}) as answer:
        if answer.status == 404:
            raise FileNotFoundError(path)
        return answer.status == 206


@contextmanager
def translated(where: str) -> Generator[None]:
    """Raise what goes wrong with a file or folder as one of our errors.

    Raises:
        SourceMissingError: it is not there.
        SourceError: anything else.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise SourceMissingError(
            # In a folder it may be a link that leads nowhere.
            str(error.filename or where),
            "nothing",
            "a file or folder",
            "Check the spelling, or mount what holds it.",
        ) from None
    except faults() as error:
        raise SourceError(
            where,
            f"{type(error).__name__}: {error}",
            "a file or folder that can be read",
            "Check permissions, credentials and network, then run the same again.",
        ) from error
