"""Web servers as file systems: directory pages as browsers read them, and stretches of files."""

import html
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any
from urllib.parse import urldefrag

from fsspec.asyn import sync
from fsspec.implementations.http import HTTPFileSystem

from clip_assets.files.web_addresses import public_client
from clip_assets.files.web_stretches import WebStretch, WebStretches

_REFERENCE = re.compile(r"&#?\w+;")


class WebFileSystem(HTTPFileSystem):
    """fsspec's, which takes a link as it stands in the page: ``&amp;`` would be part of a name.

    Its own reading of ranges follows a redirect for each; ``stretches`` follows one for each file.
    """

    def stretches(self, asked: Sequence[tuple[str, str]]) -> list[WebStretch]:
        """See ``WebStretches.read``; raises what fsspec and aiohttp raise, and ``SourceError``."""
        answers: Any = sync(self.loop, self._stretches.read, asked)
        return answers

    @cached_property
    def _stretches(self) -> WebStretches:
        kwargs: dict[str, Any] = self.client_kwargs
        headers = {k: v for k, v in kwargs.get("headers", {}).items() if k != "Authorization"}
        options: dict[str, Any] = {
            "use_listings_cache": False,
            "client_kwargs": kwargs | {"headers": headers},
        }
        anywhere = WebFileSystem(**options)
        return WebStretches(self, (anywhere, WebFileSystem(**options, get_client=public_client)))

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
