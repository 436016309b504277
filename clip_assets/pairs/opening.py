"""Planned source files, verified and brought within reach.

A file that is gone or is not the one that was planned stops the partition here, before
anything of it is read. For what a file holds see ``formats``.
"""

import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clip_assets.errors import SourceChangedError
from clip_assets.files.fetching import fetched
from clip_assets.files.identity import looked_at
from clip_assets.files.packed import unpacked
from clip_assets.partitions.ledger import SourceRange
from clip_assets.partitions.listing import file_format


def verify(source: SourceRange) -> None:
    """Compare a planned file with what is there now.

    Raises:
        SourceMissingError: it is gone.
        SourceChangedError: it is another one.
    """
    now = looked_at(source.uri)
    if (now.size_bytes, now.etag) != (source.size_bytes, source.etag):
        raise SourceChangedError(
            source.uri,
            f"{now.size_bytes:,} bytes, version {now.etag}",
            f"what was planned: {source.size_bytes:,} bytes, version {source.etag}",
            "Restore the file, or take it as it is now: clip-assets add --refresh <source>.",
        )


@contextmanager
def local(source: SourceRange, folder: Path) -> Generator[Path]:
    """A file as a local, decompressed one, whatever it is called; a copy is removed with the block.

    Args:
        source: the file.
        folder: where a remote file is fetched to. A fetch that was cut off goes on from there.

    Raises:
        SourceError: it cannot be read.
        SourceFormatError: it is compressed and broken, or a bomb.
    """
    with ExitStack() as stack:
        path = Path(source.uri)
        if "://" in source.uri:
            path = fetched(source.file, folder)
            stack.callback(path.unlink)
        elif not source.uri.isprintable():
            path = stack.enter_context(_under_a_plain_name(path))
        yield stack.enter_context(unpacked(path, file_format(source.uri)[1], source.uri))


@contextmanager
def _under_a_plain_name(path: Path) -> Generator[Path]:
    """A link to a file whose name may be no UTF-8, which DuckDB and Arrow cannot open."""
    with tempfile.TemporaryDirectory(prefix="clip-assets-") as folder:
        link = Path(folder, "source")
        link.symlink_to(path)
        yield link
