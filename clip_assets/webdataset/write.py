"""Tar members as webdataset writes them, but always the same bytes for the same content.

The standard library's writer does the same at forty times the cost, which at three members a
sample is felt; tests compare the two.
"""

import tarfile
from typing import BinaryIO

from clip_assets.webdataset.index import Place
from clip_assets.webdataset.tar_headers import HEADER, header_of


def write_member(file: BinaryIO, name: str, content: bytes) -> Place:
    """Append a member of mode 0444 and time 0; where it is.

    Args:
        file: an unfinished tar.
        name: at most 100 ASCII characters.
        content: less than 8 GiB.
    """
    file.write(header_of(name.encode("ascii"), len(content)))
    place = Place(file.tell(), len(content))
    file.write(content)
    file.write(bytes(-len(content) % HEADER))
    return place


def end_tar(file: BinaryIO) -> None:
    """Write a tar's end."""
    end = 2 * HEADER
    file.write(bytes(end + -(file.tell() + end) % tarfile.RECORDSIZE))
