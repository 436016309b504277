"""Webdataset tars from front to back: the contents of one sample after the other.

Knows no partitions, captions or faults of samples; a tar that cannot be read to its end raises.
"""

from collections.abc import Container, Generator, Iterable
from dataclasses import dataclass
from typing import BinaryIO

from clip_assets.webdataset.index import index_tar, read_member

IMAGE_EXTENSIONS = (
    *("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"),
    *("jfif", "jpe", "avif", "apng", "jp2", "j2k", "ppm", "pgm", "pbm", "pnm", "ico"),
)
"""Members that are images, in order of preference: the usual endings of all formats that are
decoded."""


@dataclass(frozen=True, slots=True)
class Members:
    """Contents of one sample.

    Args:
        key: the members' common name.
        contents: of those that were wanted, by extension in lower case.
        fault: why one that was wanted could not be read, empty if all could.
    """

    key: str
    contents: dict[str, bytes]
    fault: str = ""

    def first(self, extensions: Iterable[str]) -> bytes | None:
        """Content of the first of these extensions that there is."""
        return next((self.contents[name] for name in extensions if name in self.contents), None)


def read_tar(file: BinaryIO, where: str, wanted: Container[str]) -> Generator[Members]:
    """Contents of one sample after the other.

    Args:
        file: the tar, at its start; it can seek.
        where: what to call it.
        wanted: extensions that are read; others, a film perhaps, are passed over.

    Raises:
        SchemaError: the tar is damaged, or its end is missing.
    """
    for places in index_tar(file, where):
        contents = {
            extension: read_member(file, place, where)
            for extension, place in places.members.items()
            if extension in wanted
        }
        faults = (fault for extension, fault in places.elsewhere.items() if extension in wanted)
        yield Members(places.key, contents, next(faults, ""))


def read_images(file: BinaryIO, where: str) -> Generator[tuple[str, bytes]]:
    """Key and image of every sample that has one.

    Args:
        file: the tar, at its start; it can seek.
        where: what to call it.

    Raises:
        SchemaError: the tar is damaged, or its end is missing.
    """
    for members in read_tar(file, where, IMAGE_EXTENSIONS):
        image = members.first(IMAGE_EXTENSIONS)
        if image is not None:
            yield members.key, image
