"""Digests of published files against their manifests: every byte is read."""

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from clip_assets.pool.published import Damage
from clip_assets.storage.manifests import Manifest, Output
from clip_assets.storage.store import Store

logger = logging.getLogger(__name__)

AT_ONCE = 8
"""Files that are read side by side."""

BUFFER_BYTES = 4 << 20
"""Of a remote file that are asked for at once."""

TELL_EVERY_S = 5.0


def compared(
    store: Store, files: Sequence[tuple[Manifest, Output]]
) -> Iterator[tuple[Manifest, Damage]]:
    """Files whose bytes are not those of their manifest.

    Memory: ``AT_ONCE`` times ``BUFFER_BYTES``, and as much again that is read ahead.
    """
    total = sum(output.size_bytes for _, output in files)
    done, told = 0, time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        sums = threads.map(partial(_sha256, store), [output.path for _, output in files])
        for number, ((manifest, output), sha256) in enumerate(zip(files, sums, strict=True), 1):
            done += output.size_bytes
            if time.monotonic() - told > TELL_EVERY_S:
                told = time.monotonic()
                share = f"{done / total:.0%}" if total else ""
                logger.info("verify: %s of %s files read, %s", f"{number:,}", len(files), share)
            if sha256 != output.sha256:
                yield manifest, _damage(manifest, output, sha256)


def _damage(manifest: Manifest, output: Output, sha256: str) -> Damage:
    if not sha256:
        text = f"is gone; it had {output.size_bytes:,} bytes"
        return Damage(manifest.asset, manifest.key, output.path, "gone", text)
    text = f"has other bytes: sha256 {sha256[:12]}..., not {output.sha256[:12]}..."
    return Damage(manifest.asset, manifest.key, output.path, "bytes", text)


def _sha256(store: Store, path: str) -> str:
    """Of a file, empty if it is not there."""
    try:
        with store.fs.open(f"{store.base}/{path}", "rb", block_size=BUFFER_BYTES) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
    except FileNotFoundError:
        return ""
