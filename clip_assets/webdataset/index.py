"""Where everything is in a webdataset tar, so that one member can be read without the others.

One pass over the headers finds the samples; contents are passed over, not read. ``read`` goes
through the same pass from front to back.
"""

import tarfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from clip_assets import layout
from clip_assets.errors import SchemaError
from clip_assets.webdataset.tar_headers import HEADER, padded, plain

CHANGED = "a tar that changed while it was read"

SPARSE = "sparse member"
LINK = "member is a link"

END = bytes(HEADER)
"""What stands where another header would."""


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
        elsewhere: why a member has no place, by extension: a link's content is another member's,
            and that of a sparse one is in pieces.
    """

    key: str
    members: dict[str, Place]
    elsewhere: dict[str, str] = field(default_factory=dict[str, str])


def index_tar(file: BinaryIO, where: str) -> Generator[Places]:
    """Places of one sample after the other.

    Members of a sample stand together, as in every webdataset. The file may be read between
    two samples.

    Args:
        file: the tar, at its start; it can seek.
        where: what to call it.

    Raises:
        SchemaError: the tar is damaged, or its end is missing.
    """
    current, places = "", Places("", {})
    for name, member in _members(file, where):
        folder, slash, base = name.rpartition("/")
        stem, _, extension = base.partition(".")
        key = folder + slash + stem
        if key != current and (places.members or places.elsewhere):
            yield places
        if key != current:
            current, places = key, Places(readable(key), {})
        _add(places, extension.lower(), member)
    if places.members or places.elsewhere:
        yield places


def _members(file: BinaryIO, where: str) -> Iterator[tuple[str, Place | str]]:
    """Every file of a tar: its name, and its place or why it has none.

    Headers of the plain form are read here, in a fraction of the standard library's time; from the
    first of another form on, it reads the rest.
    """
    offset = 0
    while header := plain(_block(file, offset)):
        name, size = header
        yield name.decode(tarfile.ENCODING, "surrogateescape"), Place(offset + HEADER, size)
        offset += HEADER + padded(size)
    if _block(file, offset) not in (b"", END):
        offset = yield from _of_any_form(file, where, offset)
    if _block(file, offset) != END:
        raise broken_off(where, offset)


def _block(file: BinaryIO, offset: int) -> bytes:
    file.seek(offset)
    return file.read(HEADER)


class _SparseInfo(tarfile.TarInfo):
    """A member of which a broken map of its pieces makes it a sparse one, and stops nothing.

    The names are the standard library's; where it renames them, its own are used again.
    """

    def _proc_gnusparse_00(self, following: tarfile.TarInfo, *told: Any) -> None:
        self._mapped("_proc_gnusparse_00", following, *told)

    def _proc_gnusparse_01(self, following: tarfile.TarInfo, *told: Any) -> None:
        self._mapped("_proc_gnusparse_01", following, *told)

    def _proc_gnusparse_10(self, following: tarfile.TarInfo, *told: Any) -> None:
        self._mapped("_proc_gnusparse_10", following, *told)

    def _mapped(self, name: str, following: Any, *told: Any) -> None:
        try:
            getattr(super(), name)(following, *told)
        except (ValueError, IndexError, OverflowError):
            following.sparse = []


def _of_any_form(
    file: BinaryIO, where: str, start: int
) -> Generator[tuple[str, Place | str], None, int]:
    """Like ``_members``, from an offset on; where the last one ends."""
    file.seek(start)
    try:
        with tarfile.open(fileobj=file, mode="r:", errorlevel=1, tarinfo=_SparseInfo) as tar:
            for member in tar:
                tar.members = []  # pyright: ignore[reportAttributeAccessIssue] - grows with the tar
                if member.isfile() or member.issym() or member.islnk():
                    yield member.name, _place(member, where)
            return tar.offset
    # The last two are of damaged sizes and maps of sparse members.
    except (tarfile.TarError, EOFError, OverflowError, ValueError) as error:
        raise damaged(where, f"a damaged tar ({error})") from error


def _place(member: tarfile.TarInfo, where: str) -> Place | str:
    if member.issparse():
        return SPARSE
    if member.size < 0:
        raise damaged(where, f"a member without a plain content, {readable(member.name)}")
    if not member.isfile():
        return LINK
    return Place(member.offset_data, member.size)


def _add(places: Places, extension: str, member: Place | str) -> None:
    if isinstance(member, str):
        places.members.pop(extension, None)
        places.elsewhere[extension] = member
    else:
        places.elsewhere.pop(extension, None)
        places.members[extension] = member


def readable(name: str) -> str:
    """A file's name as text that UTF-8 can hold; Python has surrogates for what is none."""
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
        raise broken_off(where, place.offset + len(content))
    return content


def broken_off(where: str, tar_bytes: int) -> SchemaError:
    """The error for a tar that has no end."""
    return damaged(where, f"a tar that breaks off after {tar_bytes:,} bytes")


def damaged(where: str, found: str) -> SchemaError:
    """The error for a tar that cannot be used."""
    return SchemaError(
        where,
        found,
        "a whole webdataset tar",
        "It was cut or changed after it was written. Make it again; in a pool, materialize "
        f"{layout.IMAGE_SHARDS} again.",
    )
