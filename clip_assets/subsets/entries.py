"""Lists of entries that captions are balanced by: a text, a json list, or WordNet's words."""

import json
from pathlib import Path
from typing import Any

from clip_assets.errors import SourceFormatError
from clip_assets.files import opening

WORDNET = ("index.noun", "index.verb", "index.adj", "index.adv")
"""Files of WordNet's folder that list its words."""


def read(uri: str) -> list[str]:
    """Entries, each once, in order.

    Args:
        uri: path or url of a text with one a line, or of a json list of texts; or the folder of
            WordNet's dictionary, whose words count with spaces in the place of ``_``.

    Raises:
        SourceFormatError: it is neither, or empty.
        SourceError: it cannot be read.
    """
    if Path(uri).is_dir():
        words = [_wordnet(Path(uri) / name) for name in WORDNET]
        return list(dict.fromkeys(word for some in words for word in some))
    content = opening.content(uri)
    try:
        text = content.decode("utf-8-sig")
        listed: Any = json.loads(text) if text.lstrip()[:1] == "[" else text.splitlines()
    except ValueError as error:
        raise _wrong(uri, str(error)) from error
    if not all(isinstance(entry, str) for entry in listed):
        raise _wrong(uri, "a list of other things than texts")
    entries = list(dict.fromkeys(entry.strip() for entry in listed if entry.strip()))
    if not entries:
        raise _wrong(uri, "no entry")
    return entries


def _wordnet(file: Path) -> list[str]:
    with opening.opened(str(file)) as lines:
        # Lines of the licence begin with spaces.
        return [
            line.split(b" ", 1)[0].decode().replace("_", " ")
            for line in lines
            if not line.startswith(b" ")
        ]


def _wrong(uri: str, found: str) -> SourceFormatError:
    return SourceFormatError(
        uri,
        found,
        "a text with one entry a line, or a json list of texts",
        "Write one entry a line.",
    )
