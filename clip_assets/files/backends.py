"""What the file systems behind paths and urls raise.

Each of fsspec's back ends has exceptions of its own beside ``OSError``; whoever opens what a
user named catches them all and says it in our words.
"""

import sys

_OWN = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("httpx2", "HTTPError"),
)


def faults() -> tuple[type[Exception], ...]:
    """What the back ends that are in use raise when a disk, a server or a network fails."""
    loaded = [(sys.modules[module], name) for module, name in _OWN if module in sys.modules]
    return (OSError, *(getattr(module, name) for module, name in loaded))
