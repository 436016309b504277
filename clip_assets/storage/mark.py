"""The mark of a store: which release made it, and which may work on it.

See docs/decisions/0015-layout-versions.md.
"""

import json
from dataclasses import dataclass
from typing import Any

from clip_assets import layout
from clip_assets.errors import LayoutVersionError
from clip_assets.storage.control import parsed


@dataclass(frozen=True, slots=True)
class _Mark:
    """The content of ``layout.STORE``."""

    layout: int
    least_reader: int | None = None


def new() -> bytes:
    """The mark of a store that this release makes."""
    return json.dumps({"layout": layout.VERSION, "least_reader": layout.LEAST_READER}).encode()


def check(content: bytes, where: str) -> None:
    """Refuse a store whose files mean something else than this release would read.

    Args:
        content: of the mark.
        where: its name for errors.

    Raises:
        SchemaError: it is damaged.
        LayoutVersionError: another version of the package made the store.
    """
    whole = json.dumps({"layout": layout.VERSION})
    damaged = f"Write {whole} into it if the root is a pool, or name another root."
    mark = parsed(content, _Mark, where, damaged, _known)
    # Stores of the first release do not say who can read them: only their own layout.
    least_reader = mark.layout if mark.least_reader is None else mark.least_reader
    if least_reader > layout.VERSION:
        advice = "Use a newer release of clip_assets; an older one would misread the files."
    elif mark.layout < layout.OLDEST:
        advice = "Use the release of clip_assets that wrote this store, or start a new root."
    else:
        return
    raise LayoutVersionError(
        where,
        f"layout version {mark.layout}, for releases that read {least_reader} or newer",
        f"layout version {layout.OLDEST} to {layout.VERSION}",
        advice,
    )


def _known(stored: dict[str, Any]) -> dict[str, Any]:
    # A later release may say more; what it means for this one is said by these two.
    return {name: stored[name] for name in ("layout", "least_reader") if name in stored}
