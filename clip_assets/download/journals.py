"""Results of a shard until it is published, on disk: what a killed run leaves to the next.

A record is a line of json and, behind it, the image. Records are only appended, so a kill can
tear the last one alone; from the first record that is not whole on, the file is cut off.
"""

import io
import json
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """Where an image stands in a journal, in bytes."""

    offset: int
    size: int


class Journal:
    """Results of one shard.

    Args:
        path: a file that outlives a kill; None for one that does not.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is None:
            self._file = tempfile.TemporaryFile(prefix="clip-assets-")  # noqa: SIM115 (see close)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")

    def replay(self) -> Iterator[tuple[dict[str, Any], ImagePlace | None]]:
        """Every record and the place of its image, in order of arrival."""
        end = 0
        while (record := self._record_at(end)) is not None:
            result, has_image, place = record
            end = place.offset + place.size
            yield result, place if has_image else None
        self._file.truncate(end)

    def _record_at(self, start: int) -> tuple[dict[str, Any], bool, ImagePlace] | None:
        self._file.seek(start)
        line = self._file.readline()
        try:
            head = json.loads(line)
            image = self._file.read(head["size"])
            if line.endswith(b"\n") and zlib.crc32(image) == head["crc32"]:
                return (
                    head["result"],
                    head["has_image"],
                    ImagePlace(start + len(line), head["size"]),
                )
        except (ValueError, LookupError, TypeError):
            pass
        return None

    def append(self, result: dict[str, Any], image: bytes | None) -> ImagePlace | None:
        """Keep one result of json's types, and the image that belongs to it."""
        content = image or b""
        head = {
            "result": result,
            "has_image": image is not None,
            "size": len(content),
            "crc32": zlib.crc32(content),
        }
        line = json.dumps(head).encode() + b"\n"
        offset = self._file.seek(0, io.SEEK_END) + len(line)
        self._file.write(line + content)
        self._file.flush()
        return None if image is None else ImagePlace(offset, len(image))

    def read(self, place: ImagePlace) -> bytes:
        """An image."""
        self._file.seek(place.offset)
        return self._file.read(place.size)

    def close(self) -> None:
        """Let go of the file; a later run finds what it holds.

        A result that a full disk did not take is fetched again; that it is full was said by
        ``append``.
        """
        with suppress(OSError):
            self._file.close()

    def remove(self) -> None:
        """Forget the results: they are published."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
