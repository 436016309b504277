"""What dead processes left unpublished."""

import re
import socket
from pathlib import Path

import psutil

from clip_assets import layout
from clip_assets.storage.store import Store


def sweep(store: Store) -> int:
    """Remove what dead processes of this machine left unpublished; returns the count."""
    if not store.is_local:
        return 0
    own = re.compile(re.escape(socket.gethostname()) + r"-(\d+)-[0-9a-f]{8}-")
    swept = 0
    for part in Path(store.base, layout.TEMPORARY).glob("*"):
        writer = own.match(part.name)
        if writer and not psutil.pid_exists(int(writer[1])):
            part.unlink(missing_ok=True)
            swept += 1
    return swept
