"""Directory pages of web servers, with the names of files as browsers read them."""

import html
import re
from typing import Any
from urllib.parse import urldefrag

from fsspec.implementations.http import HTTPFileSystem

_REFERENCE = re.compile(r"&#?\w+;")


class WebFileSystem(HTTPFileSystem):
    """fsspec's, which takes a link as it stands in the page: ``&amp;`` would be part of a name."""

    async def _ls_real(self, url: str, *args: Any, **kwargs: Any) -> list[Any]:
        entries: list[Any] = await super()._ls_real(url, *args, **kwargs)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        by_name = {_as_read(_name(entry)): entry for entry in entries}
        return [
            entry if isinstance(entry, str) else entry | {"name": name}
            for name, entry in sorted(by_name.items())
        ]


def _name(entry: str | dict[str, Any]) -> str:
    return entry if isinstance(entry, str) else entry["name"]


def _as_read(link: str) -> str:
    """A link without its place in the page, its references to characters replaced."""
    return urldefrag(_REFERENCE.sub(lambda found: html.unescape(found[0]), link)).url
