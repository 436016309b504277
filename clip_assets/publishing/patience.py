"""A hub that is busy or broken is asked again for a while: growing pauses, and an end.

What is asked of it is the matter of ``push``.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from clip_assets.errors import SourceError
from clip_assets.files.faults import faults, translated

logger = logging.getLogger(__name__)

PAUSES_S = (1.0, 5.0, 20.0, 60.0, 120.0)
"""Between one try and the next; after the last there is one more."""

LONGEST_S = 300.0
"""That a hub may ask to be left alone; if it asks for more, whoever pushes comes back later."""

BUSY = frozenset({429, 500, 502, 503, 504})
"""Answers that another time may not be given."""

T = TypeVar("T")


def patiently(where: str, step: str, attempt: Callable[[], T]) -> T:
    """What an attempt gives, tried again while the hub is busy, broken or not to be reached.

    Args:
        where: the repository, for errors.
        step: what is tried, in words.
        attempt: may be made again whatever became of it.

    Raises:
        SourceError: the hub refuses, is still busy after the last pause, or asks for a long one.
    """
    for number in range(len(PAUSES_S) + 1):
        try:
            return attempt()
        except (*faults(), RuntimeError) as error:
            fault = _fault(error)
            if not _may_pass(fault):
                with translated(where):
                    raise fault from None
                raise
            asked_s = _asked_s(fault)
            if number == len(PAUSES_S) or asked_s > LONGEST_S:
                raise _still(where, step, fault, number + 1, asked_s) from error
            pause_s = max(PAUSES_S[number], asked_s)
            logger.warning("%s: %s again in %g s: %s", where, step, pause_s, _short(fault))
            time.sleep(pause_s)
    raise AssertionError("unreachable")


def _fault(error: Exception) -> Exception:
    """Threads of the library that send files call every fault a ``RuntimeError``."""
    cause = error.__cause__
    if not isinstance(error, RuntimeError):
        return error
    if isinstance(cause, Exception) and isinstance(cause, faults()):
        return cause
    raise error


def _may_pass(fault: Exception) -> bool:
    # By name: which client its library has is that library's matter.
    is_cut = any(kind.__name__ == "TransportError" for kind in type(fault).__mro__)
    return is_cut or isinstance(fault, ConnectionError) or _status(fault) in BUSY


def _status(fault: Exception) -> int | None:
    return getattr(getattr(fault, "response", None), "status_code", None)


def _asked_s(fault: Exception) -> float:
    """Seconds that the hub asks to be left alone; 0 where it does not."""
    from huggingface_hub.utils import parse_ratelimit_headers

    headers: Any = getattr(getattr(fault, "response", None), "headers", None)
    if headers is None:
        return 0.0
    told = str(headers.get("retry-after", "")).strip()
    if told.isdecimal():
        return float(told)
    limit = parse_ratelimit_headers(headers)
    return float(limit.reset_in_seconds) if limit and not limit.remaining else 0.0


def _still(where: str, step: str, fault: Exception, tries: int, asked_s: float) -> SourceError:
    wait = f", which asks to come back in {asked_s:g} s" if asked_s else ""
    return SourceError(
        where,
        f"{step}: {_short(fault)}, {tries} times{wait}",
        "a hub that takes it",
        "Run the same again later: what the hub has by now is not sent again, and nobody sees "
        "files of an unfinished push.",
    )


def _short(fault: Exception) -> str:
    status = _status(fault)
    told = str(fault).strip().partition("\n")[0][:200]
    return f"HTTP {status}" if status else f"{type(fault).__name__}: {told}"
