"""Amounts of bytes as people write them."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

_WORDS = re.compile(r"([\d_]+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)

_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def number_of_bytes(given: Any) -> Any:
    """Bytes of a text such as ``16G``, ``1.5 GiB`` or ``512MB``; anything else as it is.

    A letter is a power of 1,024, as the tools of this field have it.

    Raises:
        ValueError: a text is no amount.
    """
    if not isinstance(given, str):
        return given
    words = _WORDS.fullmatch(given.strip())
    if words is None:
        raise ValueError("should be a number of bytes, such as 16G, 512M or 1073741824")
    return int(float(words[1]) * 1024 ** _POWERS[words[2].upper()])


ByteCount = Annotated[int, BeforeValidator(number_of_bytes)]
"""A number of bytes, or a text such as ``16G``."""
