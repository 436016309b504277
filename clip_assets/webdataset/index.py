"""Where everything is in a webdataset tar, so that one member can be read without the others.

One pass over the headers finds the samples; contents are passed over, not read. ``read`` goes
through the same pass from front to back.
"""

import tarfile
from collections.abc import Generator
from dataclasses import dataclass
from typing import BinaryIO

from clip_assets import layout
from clip_assets.errors import SchemaError

CHANGED = "a tar that changed while it was read"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member's content is.

    Args:
        offset: of its first byte, in bytes from the start of the tar.
        size: in bytes, without what fills the last block.
    """

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where one sample is.

    Args:
        key: the members' common name, with the folder if there is one; what is no UTF-8 in it
            is a question mark.
        members: place by extension, in lower case and without the first dot. Of members of the
            same name the last counts, as when a tar is unpacked.
    """

    key: str
    members: dict[str, Place]


def index_tar(file: BinaryIO, where: str) -> Generator[Places]:
    """Places of one sample after the other.

    Members of a sample stand together, as in every webdataset. The file may be read between
    two samples.

    Args:
        file: the tar, at its start; it can seek.
        where: what to call it.

    Raises:
        SchemaError: the tar is damaged, its end is missing, or a member is sparse, whose
            content is in pieces.
    """
    try:
        with tarfile.open(fileobj=file, mode="r:", errorlevel=1) as tar:
            yield from _grouped(tar, where)
            end = tar.offset
    except (tarfile.TarError, EOFError, OverflowError) as error:  # the last of damaged sizes
        raise damaged(where, f"a damaged tar ({error})") from error
    file.seek(end)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise damaged(where, f"a tar that breaks off after {end:,} bytes")


def _grouped(tar: tarfile.TarFile, where: str) -> Generator[Places]:
    current, members = "", dict[str, Place]()
    for member in tar:
        tar.members = []  # pyright: ignore[reportAttributeAccessIssue] - grows with the tar
        if not member.isfile():
            continue
        if member.issparse() or member.size < 0:
            raise damaged(where, f"a member without a plain content, {_text(member.name)}")
        folder, slash, name = member.name.rpartition("/")
        stem, _, extension = name.partition(".")
        key = folder + slash + stem
        if members and key != current:
            yield Places(_text(current), members)
            members = {}
        current = key
        members[extension.lower()] = Place(member.offset_data, member.size)
    if members:
        yield Places(_text(current), members)


def _text(name: str) -> str:
    """A name as text that UTF-8 can hold; tarfile has surrogates for what is none."""
    return name.encode(errors="replace").decode()


def read_member(file: BinaryIO, place: Place, where: str) -> bytes:
    """A member's content.

    Args:
        file: the tar, at any position; it can seek.
        place: of the member, by ``index_tar``.
        where: what to call the tar.

    Raises:
        SchemaError: the tar ends before the member does.
    """
    file.seek(place.offset)
    content = file.read(place.size)
    if len(content) != place.size:
        raise damaged(where, f"a tar that breaks off after {place.offset + len(content):,} bytes")
    return content


def damaged(where: str, found: str) -> SchemaError:
    """The error for a tar that cannot be used."""
    return SchemaError(
        where,
        found,
        "a whole webdataset tar",
        "It was cut or changed after it was written. Make it again; in a pool, materialize "
        f"{layout.IMAGE_SHARDS} again.",
    )
