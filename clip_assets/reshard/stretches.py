"""A sample of a tar under a new name: its headers made anew, its contents passed on.

A stretch is what a sample's members and their headers fill. Nothing here decodes an image.
"""

import io
import tarfile
from collections.abc import Mapping
from typing import NamedTuple

from clip_assets.errors import SchemaError
from clip_assets.reshard.sources import Sources, Stretch
from clip_assets.webdataset.index import CHANGED, damaged, readable
from clip_assets.webdataset.tar_headers import (
    HEADER,
    NAME_BYTES,
    SIZE_LIMIT,
    header_of,
    padded,
    plain,
)
from clip_assets.webdataset.write import Appended

_ZEROS = bytes(HEADER)

LARGE = 4 << 20
"""A sample of more bytes is not read whole."""


class Member(NamedTuple):
    """A member of a stretch.

    Args:
        key: of its sample, as the tar has it.
        extension: in lower case.
        start: of its content, from the start of the stretch.
        size: of it, in bytes.
    """

    key: str
    extension: str
    start: int
    size: int


def write_sample(file: Appended, key: str, stretch: Stretch, content: bytes | memoryview) -> None:
    """Append a sample to a tar.

    Args:
        file: the unfinished tar.
        key: of the sample there.
        stretch: where its bytes are from.
        content: these bytes.

    Raises:
        SchemaError: the tar is not the one that was indexed, or the sample has a member whose
            name is too long.
    """
    view = memoryview(content)
    parts: list[bytes | memoryview] = []
    for member in members_of(content, stretch.file.uri):
        parts.append(_header(key, member, stretch))
        parts.append(view[member.start : member.start + member.size])
        parts.append(_ZEROS[: -member.size % HEADER])
    file.write(b"".join(parts))


def write_members(file: Appended, key: str, stretch: Stretch, members: Mapping[str, bytes]) -> None:
    """Append a sample with these contents by extension; raises as ``write_sample`` does."""
    for extension, content in members.items():
        file.write(_header(key, Member(key, extension, 0, len(content)), stretch))
        file.write(content)
        file.write(_ZEROS[: -len(content) % HEADER])


def copy_sample(file: Appended, key: str, stretch: Stretch, sources: Sources) -> None:
    """Append a sample to a tar without reading all of it; otherwise like ``write_sample``."""
    members = _members_by_headers(stretch, sources)
    if members is None:
        write_sample(file, key, stretch, sources.read([stretch]))
        return
    for member in members:
        file.write(_header(key, member, stretch))
        file.flush()
        start = stretch.start + member.start
        sources.copy(Stretch(stretch.file, start, start + member.size), file.fileno())
        file.write(bytes(-member.size % HEADER))


def members_of(content: bytes | memoryview, where: str) -> list[Member]:
    """The members of a sample: those that have the key of the last one.

    Args:
        content: of its stretch.
        where: the tar.

    Raises:
        SchemaError: it is no stretch of a tar, so the tar is not the one that was indexed.
    """
    offset = 0
    every: list[Member] = []
    while offset < len(content):
        header = plain(bytes(content[offset : offset + HEADER]))
        if header is None:
            every = _members_of_any_form(content, where)
            break
        every.append(_member(header[0], offset + HEADER, header[1]))
        offset += HEADER + padded(header[1])
    if offset > len(content):
        raise damaged(where, CHANGED)
    return _of_last(every, where)


def _members_by_headers(stretch: Stretch, sources: Sources) -> list[Member] | None:
    """Like ``members_of``; None where a header is not of the plain form."""
    offset = stretch.start
    every: list[Member] = []
    while offset < stretch.stop:
        here = Stretch(stretch.file, offset, min(offset + HEADER, stretch.stop))
        header = plain(sources.read([here]).tobytes())
        if header is None:
            return None
        every.append(_member(header[0], offset + HEADER - stretch.start, header[1]))
        offset += HEADER + padded(header[1])
    if offset != stretch.stop:
        raise damaged(stretch.file.uri, CHANGED)
    return _of_last(every, stretch.file.uri)


def _members_of_any_form(content: bytes | memoryview, where: str) -> list[Member]:
    ended = io.BytesIO(bytes(content) + bytes(2 * HEADER))
    try:
        with tarfile.open(fileobj=ended, mode="r:", errorlevel=1) as tar:
            return [
                _member(os_name(info.name), info.offset_data, info.size)
                for info in tar
                if info.isfile()
            ]
    except (tarfile.TarError, EOFError, OverflowError, ValueError) as error:
        raise damaged(where, CHANGED) from error


def os_name(name: str) -> bytes:
    """A member's name as the bytes that it was made from."""
    return name.encode("utf-8", "surrogateescape")


def _member(name: bytes, start: int, size: int) -> Member:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = readable(name.decode("utf-8", "surrogateescape"))
    folder, slash, base = text.rpartition("/")
    stem, _, extension = base.partition(".")
    return Member(folder + slash + stem, extension.lower(), start, size)


def _of_last(every: list[Member], where: str) -> list[Member]:
    """Members of the last key, of each name the last one."""
    if not every:
        raise damaged(where, CHANGED)
    key = every[-1].key
    return list({member.extension: member for member in every if member.key == key}.values())


def _header(key: str, member: Member, stretch: Stretch) -> bytes:
    name = f"{key}.{member.extension}".encode()
    if len(name) > NAME_BYTES or member.size >= SIZE_LIMIT:
        raise SchemaError(
            stretch.file.uri,
            f"the member {member.key}.{member.extension} of {member.size:,} bytes",
            f"a name of at most {NAME_BYTES} bytes with {key}, and less than 8 GiB",
            "Leave the sample out of the subset, or pack it anew with shorter extensions.",
        )
    return header_of(name, member.size)
