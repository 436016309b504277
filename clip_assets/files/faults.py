"""What the file systems behind paths and urls raise, and the same in our own words.

Each of fsspec's back ends has exceptions of its own beside ``OSError``; whoever opens what a
user named catches them all.
"""

import errno
import stat
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from clip_assets.errors import SourceError, SourceMissingError
from clip_assets.masking import holds_secret

_OWN = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("httpx2", "HTTPError"),
    ("huggingface_hub.errors", "HfUriError"),
    ("huggingface_hub.errors", "HFValidationError"),
)

_GONE = (404, 410)


def faults() -> tuple[type[Exception], ...]:
    """What the back ends that are in use raise when a disk, a server or a network fails."""
    loaded = [(sys.modules[module], name) for module, name in _OWN if module in sys.modules]
    return (OSError, *(getattr(module, name) for module, name in loaded))


def is_conflict(error: OSError) -> bool:
    """Whether a file could not be created because there is one, or another is being created."""
    # S3 has a code of its own for two requests that meet; s3fs keeps it in the cause.
    return isinstance(error, FileExistsError) or "ConditionalRequestConflict" in str(
        error.__cause__
    )


NO_FILE = "no file, such as a pipe"


def refuse_special(path: str) -> None:
    """Refuse a pipe, a socket or a device: reading one may never end.

    Args:
        path: of a local file; one that is not there, or a folder, is for others to tell.

    Raises:
        SourceError: it is one.
    """
    with suppress(OSError):
        kind = stat.S_IFMT(Path(path).stat().st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise SourceError(
                path, NO_FILE, "a file or folder", "Write what it gives into a file, and name that."
            )


@contextmanager
def translated(where: str) -> Generator[None]:
    """Raise what goes wrong with a file or folder as one of our errors.

    Raises:
        SourceMissingError: it is not there.
        SourceError: anything else.
    """
    try:
        yield
    except faults() as error:
        fault = _real(error)
        if isinstance(fault, FileNotFoundError):
            raise SourceMissingError(
                # In a folder it may be a link that leads nowhere.
                str(fault.filename or where),
                "nothing",
                "a file or folder",
                "Check the spelling, or mount what holds it.",
            ) from None
        if isinstance(fault, OSError) and fault.errno == errno.ELOOP:
            raise SourceError(
                str(fault.filename or where),
                "a link that leads back to itself",
                "a file or folder",
                "Mend the link, or name what it should lead to.",
            ) from None
        # Dagster keeps what an error was raised from, with its text.
        cause = None if holds_secret(f"{error} {fault}") else error
        raise SourceError(
            where,
            f"{type(fault).__name__}: {fault}",
            "a file or folder that can be read",
            "Check permissions, credentials and network, then run the same again.",
        ) from cause


def _real(error: Exception) -> BaseException:
    """The fault itself: the back end of web servers calls each of them a missing file."""
    cause = error.__cause__
    aiohttp = sys.modules.get("aiohttp")
    if cause is None or aiohttp is None:
        return error
    if not isinstance(cause, aiohttp.ClientError | TimeoutError):
        return error
    return error if getattr(cause, "status", None) in _GONE else cause
