"""Webdataset tars to samples: one image, one caption and one json each, with a fault as data.

Reads tars from front to back and knows nothing of partitions; which tars there are is said by
``inference.embeddings`` and ``inference.standalone``. A sample that cannot be used keeps its place
and says why; a tar that cannot be read to its end raises.
"""

import json
import re
import tarfile
from collections.abc import Container, Generator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from clip_assets.errors import SchemaError

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
"""Members that are images, in order of preference."""

MEMBERS = (*IMAGE_EXTENSIONS, "txt", "json")

NO_IMAGE = "missing image"
NO_JSON = "missing json"
BAD_JSON = "malformed json"
NO_UID = "json without uid"

CHANGED = "a tar that changed while it was read"

_UID = re.compile(r"[0-9a-f]{32}")
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a webdataset.

    Args:
        key: the members' common name.
        image: bytes of the image file, None where there is none.
        caption: None where there is none.
        fields: the json, empty where there is none.
        fault: why it cannot be used; empty when it can.
    """

    key: str
    image: bytes | None = None
    caption: str | None = None
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    fault: str = ""


def read_tar(
    file: BinaryIO, where: str, wanted: Container[str] = MEMBERS
) -> Generator[dict[str, bytes]]:
    """Members of one sample after the other: extension to bytes, and ``__key__``.

    Members of a sample stand together, as in every webdataset.

    Args:
        file: the tar.
        where: what to call it.
        wanted: extensions that are read; others, a film perhaps, are passed over.

    Raises:
        SchemaError: the tar is damaged, or its end is missing.
    """
    try:
        with tarfile.open(fileobj=file, mode="r:", errorlevel=1) as tar:
            yield from _grouped(tar, wanted)
            end = tar.offset
    except (tarfile.TarError, EOFError) as error:
        raise damaged(where, f"a damaged tar ({error})") from error
    file.seek(end)
    if file.read(_BLOCK) != bytes(_BLOCK):
        raise damaged(where, f"a tar that breaks off after {end:,} bytes")


def _grouped(tar: tarfile.TarFile, wanted: Container[str]) -> Generator[dict[str, bytes]]:
    group: dict[str, bytes] = {}
    for member in tar:
        tar.members = []  # pyright: ignore[reportAttributeAccessIssue] - grows with the tar
        if not member.isfile():
            continue
        folder, slash, name = member.name.rpartition("/")
        stem, _, extension = name.partition(".")
        key = (folder + slash + stem).encode()
        if group and group["__key__"] != key:
            yield group
            group = {}
        group["__key__"] = key
        if extension.lower() not in wanted:
            continue
        content = tar.extractfile(member)
        assert content is not None
        group[extension.lower()] = content.read()
    if group:
        yield group


def parse(members: dict[str, bytes]) -> Sample:
    """Members as written by img2dataset and by ``image_shards`` as one sample."""
    key = members["__key__"].decode(errors="replace")
    image = next((members[name] for name in IMAGE_EXTENSIONS if name in members), None)
    if image is None:
        return Sample(key, fault=NO_IMAGE)
    if "json" not in members:
        return Sample(key, fault=NO_JSON)
    try:
        fields = json.loads(members["json"])
    except ValueError:
        return Sample(key, fault=BAD_JSON)
    if not isinstance(fields, dict):
        return Sample(key, fault=BAD_JSON)
    if not _UID.fullmatch(str(fields.get("uid"))):
        return Sample(key, fault=NO_UID)
    return Sample(key, image, _caption(members, fields), fields)


def _caption(members: dict[str, bytes], fields: dict[str, Any]) -> str | None:
    """The json's caption, for it tells null from empty; else the txt member."""
    if "caption" in fields or "txt" not in members:
        return text(fields.get("caption"))
    return members["txt"].decode(errors="replace")


def parse_any(members: dict[str, bytes], image_key: str, caption_key: str) -> Sample:
    """Members of any webdataset as one sample; json and caption may be missing.

    Args:
        members: extension to bytes, and ``__key__``.
        image_key: extension of the image; empty for the first known one.
        caption_key: extension of the caption, or a field of the json.
    """
    key = members["__key__"].decode(errors="replace")
    names = (image_key,) if image_key else IMAGE_EXTENSIONS
    image = next((members[name] for name in names if name in members), None)
    fields: object = {}
    if "json" in members:
        try:
            fields = json.loads(members["json"])
        except ValueError:
            return Sample(key, fault=BAD_JSON)
    if not isinstance(fields, dict):
        return Sample(key, fault=BAD_JSON)
    if caption_key in members:
        caption = members[caption_key].decode(errors="replace")
    else:
        caption = text(fields.get(caption_key, fields.get("caption")))
    return Sample(key, image, caption, fields)


def text(value: object) -> str | None:
    """A json value as text that UTF-8 can hold, None for anything that is no text."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else None


def known_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Those of the json that have a column; a value of another type counts as absent."""
    known: dict[str, Any] = {name: text(fields.get(name)) for name in ("url", "sha256")}
    for name in ("width", "height", "original_width", "original_height"):
        value = fields.get(name)
        known[name] = value if isinstance(value, int) and 0 <= value < 2**31 else None
    return known


def damaged(where: str, found: str) -> SchemaError:
    """The error for a tar that cannot be used."""
    return SchemaError(
        where,
        found,
        "a whole webdataset tar",
        "It was cut or changed after it was written. Make it again; in a pool, materialize "
        "image_shards again.",
    )
