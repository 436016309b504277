"""Which files folders of a store hold and how long they are: one request for each folder."""

import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from clip_assets.storage.store import Store

AT_ONCE = 16
"""Folders of an object store that are listed side by side."""


def listed(store: Store, folders: Collection[str]) -> dict[str, int]:
    """Bytes of every published file in some folders, by path; those of folders in them are not.

    On an object store a folder of up to 1,000 files is one request, and ``AT_ONCE`` are on their
    way at a time.
    """
    if store.is_local:
        by_folder = [_on_disk(store, folder) for folder in folders]
    else:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            by_folder = list(threads.map(partial(_remote, store), folders))
    return {path: size for files in by_folder for path, size in files.items()}


def _on_disk(store: Store, folder: str) -> dict[str, int]:
    try:
        with os.scandir(f"{store.base}/{folder}") as entries:
            return {f"{folder}/{e.name}": e.stat().st_size for e in entries if e.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _remote(store: Store, folder: str) -> dict[str, int]:
    try:
        entries = store.fs.ls(f"{store.base}/{folder}", detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {
        f"{folder}/{entry['name'].rpartition('/')[2]}": int(entry["size"] or 0)
        for entry in entries
        if entry["type"] == "file"
    }
