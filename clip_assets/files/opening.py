"""Files behind paths and urls, opened for reading."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, Any, cast

from fsspec.implementations.local import LocalFileSystem

from clip_assets.errors import SourceError
from clip_assets.files.faults import refuse_special, translated
from clip_assets.files.filesystem import WEB, filesystem

HEAD_BYTES = 1 << 16
"""What is read ahead where only the head of a file, or a little here and there, is wanted; else a
server may be asked for 50 MB."""


@contextmanager
def opened(uri: str, ahead: int | None = None) -> Generator[IO[bytes]]:
    """A file's bytes as they are, for random access.

    Args:
        uri: of the file.
        ahead: bytes that are read ahead of a remote one; None: as its kind of server has it.

    Raises:
        SourceError: it cannot be read; ``SourceMissingError``: it is not there.
    """
    with translated(uri):
        fs, path = filesystem(uri)
        if isinstance(fs, LocalFileSystem):
            refuse_special(path)
        told = {} if ahead is None or isinstance(fs, LocalFileSystem) else {"block_size": ahead}
        with fs.open(path, "rb", **told) as file:
            yield cast("IO[bytes]", file)


def content(uri: str) -> bytes:
    """A small file, whole.

    Raises:
        SourceError: it cannot be read; ``SourceMissingError``: it is not there.
    """
    with translated(uri):
        fs, path = filesystem(uri)
        if isinstance(fs, LocalFileSystem):
            refuse_special(path)
        return bytes(fs.cat_file(path))  # pyright: ignore[reportArgumentType]


def has_ranges(uri: str) -> bool:
    """Whether parts of a file can be asked for; some web servers send all of it whatever is asked.

    Raises:
        SourceError: the server fails; ``SourceMissingError``: the file is not there.
    """
    if not uri.startswith(WEB):
        return True
    from fsspec.asyn import sync

    with translated(uri):
        fs, path = filesystem(uri)
        return bool(sync(fs.loop, _sends_parts, fs, path))  # pyright: ignore[reportAttributeAccessIssue]


def need_ranges(uri: str) -> None:
    """Refuse a server that sends whole files whatever is asked for.

    Raises:
        SourceError: it does, or fails; ``SourceMissingError``: the file is not there.
    """
    if not has_ranges(uri):
        raise SourceError(
            uri,
            "a server that sends whole files whatever is asked for",
            "one that knows ranges",
            "Copy the index here, or serve it by a server that knows ranges.",
        )


async def _sends_parts(fs: Any, path: str) -> bool:
    session = await fs.set_session()
    # The connection is closed when the head of the answer is there, however much would follow.
    async with session.get(fs.encode_url(path), headers={"Range": "bytes=0-0"}) as answer:
        if answer.status == 404:
            raise FileNotFoundError(path)
        # Of what is encoded on its way, parts are no parts of the file.
        return answer.status == 206 and not answer.headers.get("Content-Encoding")
