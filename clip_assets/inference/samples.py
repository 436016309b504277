"""Members of a webdataset to samples: one image, one caption and one json each.

A sample that cannot be used keeps its place and says why. Members come from ``webdataset.read``;
see ``inference.embeddings`` and ``inference.standalone`` for which tars there are.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from clip_assets.webdataset.read import IMAGE_EXTENSIONS, Members

MEMBERS = (*IMAGE_EXTENSIONS, "txt", "json")
"""Extensions of what ``parse`` looks at."""

NO_IMAGE = "missing image"
NO_JSON = "missing json"
BAD_JSON = "malformed json"
NO_UID = "json without uid"

_UID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a webdataset.

    Args:
        key: the members' common name.
        image: bytes of the image file, None where there is none.
        caption: None where there is none.
        fields: the json, empty where there is none.
        said: the json as text, None where there is none or nobody wants it.
        fault: why it cannot be used; empty when it can.
        input: digest of what its vectors are made from, see ``inference.earlier``.
        keeps: row of the last run whose vectors it keeps; None if they are to be made.
    """

    key: str
    image: bytes | None = None
    caption: str | None = None
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    said: str | None = None
    fault: str = ""
    input: bytes = b""
    keeps: int | None = None


def parse(members: Members) -> Sample:
    """Members as written by img2dataset and by ``image_shards`` as one sample."""
    key, contents = members.key, members.contents
    if members.fault:
        return Sample(key, fault=members.fault)
    image = members.first(IMAGE_EXTENSIONS)
    if image is None:
        return Sample(key, fault=NO_IMAGE)
    if "json" not in contents:
        return Sample(key, fault=NO_JSON)
    fields = _fields(contents)
    if fields is None:
        return Sample(key, fault=BAD_JSON)
    if not _UID.fullmatch(text(fields.get("uid")) or ""):
        return Sample(key, fault=NO_UID)
    return Sample(key, image, _caption(contents, fields), fields)


def _caption(contents: dict[str, bytes], fields: dict[str, Any]) -> str | None:
    """The json's caption, for it tells null from empty; else the txt member."""
    if "caption" in fields or "txt" not in contents:
        return text(fields.get("caption"))
    return contents["txt"].decode(errors="replace")


def parse_any(
    members: Members, image_key: str, caption_key: str, *, as_text: bool = True
) -> Sample:
    """Members of any webdataset as one sample; json and caption may be missing.

    Args:
        members: of one sample.
        image_key: extension of the image; empty for the first known one.
        caption_key: extension of the caption, or a field of the json.
        as_text: whether the json is wanted as text too.
    """
    key, contents = members.key, members.contents
    if members.fault:
        return Sample(key, fault=members.fault)
    image = members.first((image_key,) if image_key else IMAGE_EXTENSIONS)
    fields = _fields(contents)
    said = as_json(fields) if fields and as_text else None
    if fields is None or (fields and as_text and said is None):
        return Sample(key, fault=BAD_JSON)
    if caption_key in contents:
        caption = contents[caption_key].decode(errors="replace")
    else:
        caption = text(fields.get(caption_key, fields.get("caption")))
    return Sample(key, image, caption, fields, said)


def _fields(contents: dict[str, bytes]) -> dict[str, Any] | None:
    """The json's mapping, empty without a json; None for anything else, or nested too deep."""
    try:
        # What json has no number for is null: written back, others could not read it.
        fields = json.loads(contents.get("json", "{}"), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def as_json(fields: dict[str, Any]) -> str | None:
    """A mapping as json that UTF-8 can hold; None if it is nested too deep to be written."""
    try:
        return text(json.dumps(fields, ensure_ascii=False))
    except RecursionError:
        return None


def text(value: object) -> str | None:
    """A json value as text that UTF-8 can hold, None for anything that is no text."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else None


def known_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Those of the json that have a column; a value of another type counts as absent."""
    known: dict[str, Any] = {name: text(fields.get(name)) for name in ("url", "sha256")}
    for name in ("width", "height", "original_width", "original_height"):
        value = fields.get(name)
        # Not isinstance: json's true and false are no sizes, but they are ints.
        known[name] = value if type(value) is int and 0 <= value < 2**31 else None
    return known
