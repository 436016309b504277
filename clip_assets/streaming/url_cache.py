"""Image files that were downloaded before, on a disk, within a number of bytes.

A file for each uid, as the url gave it, behind a line of json that says what it is. A file appears
whole, and one that is not as long as it says counts as none; so any number of processes may share
a folder, and be killed. The oldest go first. What was in vain is remembered for a day. What is
asked for at all is the matter of ``url_window``.
"""

import json
import logging
import os
import re
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip_assets.bricks.datum import Datum
from clip_assets.bricks.flow import Flow, Outcomes, run
from clip_assets.bricks.images import Resize
from clip_assets.bricks.writers import SHARD, ToTars
from clip_assets.errors import ConfigurationError
from clip_assets.settings import DownloadSettings
from clip_assets.streaming.listed_urls import TakenDownNow

if TYPE_CHECKING:
    from clip_assets.pool.pool import Pool

logger = logging.getLogger(__name__)

MAX_BYTES = 50 * 2**30

_UID = re.compile(r"[0-9a-f]{32}")

FOLDER_DIGITS = 2
"""Of a uid: a folder for the files of each beginning."""

PART = ".part-"
"""How names of files begin that are being written."""

PART_S = 3600.0
"""One that is older is nobody's."""

FAULTS = "faults.txt"

FAULT_S = 24 * 3600.0
"""What was in vain is tried again after this."""

FAULT_BYTES = 64 * 2**20
"""Of what was in vain; beyond it is forgotten."""


class UrlCache:
    """Files by uid. Threads may share it, processes its folder.

    Args:
        folder: on this machine.
        max_bytes: of all files; the oldest are removed for newer ones.
        processes: how many share the folder: each keeps to its share of ``max_bytes``.
        number: which of them this is, from 0.

    Raises:
        ConfigurationError: the folder cannot be made or written, or no byte is allowed.
    """

    def __init__(
        self, folder: str | Path, max_bytes: int = MAX_BYTES, processes: int = 1, number: int = 0
    ) -> None:
        self.folder, self.max_bytes = Path(folder), max_bytes
        if max_bytes < 1:
            raise ConfigurationError(
                "max_bytes", str(max_bytes), "1 or more", "For no cache at all, give none."
            )
        self._processes, self._number = processes, number
        self._lock = threading.Lock()
        self._is_off = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (probe := self._part("probe")).write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise ConfigurationError(
                str(folder), f"{error.strerror or error}", "a folder to write in", "Name another."
            ) from error
        self._there = self._looked()
        # Those whose bytes this process answers for: its share of what it found, and what it wrote.
        share = {uid: size for uid, size in self._there.items() if self._is_share(uid)}
        self._own, self._own_bytes = share, sum(share.values())
        self._faults = self._remembered()

    def of_process(self, number: int, processes: int) -> "UrlCache":
        """The same folder, as one of several processes uses it."""
        return UrlCache(self.folder, self.max_bytes, processes, number)

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process, which opens the folder anew."""
        return {
            "folder": self.folder,
            "max_bytes": self.max_bytes,
            "processes": self._processes,
            "number": self._number,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the folder."""
        self.__init__(**state)

    def __len__(self) -> int:
        """How many files it knew when it was opened or has written, and has not removed."""
        return len(self._there)

    def __contains__(self, uid: str) -> bool:
        """Whether it has a file; another process may remove it yet."""
        return uid in self._there

    def fault(self, uid: str) -> str | None:
        """Why a uid was in vain not long ago; None if it was not."""
        reason, at = self._faults.get(uid, (None, 0.0))
        return reason if time.time() - at < FAULT_S else None

    def read(self, datum: Datum) -> Datum | None:
        """A datum with its file and what was said of it; None where that is gone."""
        uid = datum.uid
        stored = self._stored(uid) if uid else None
        if stored is None or stored.fields.get("url") != datum.fields.get("url"):
            if uid:
                self._forget(uid)
            return None
        return replace(datum, image=stored.image, fields=stored.fields | datum.fields)

    def keep(self, datum: Datum) -> None:
        """Keep the file of a datum; a disk that cannot is told once, and left alone."""
        uid, image = datum.uid, datum.image
        if (
            self._is_off
            or not uid
            or not _UID.fullmatch(uid)
            or image is None
            or uid in self._there
        ):
            return
        said = json.dumps({"caption": datum.caption, "size": len(image), "fields": datum.fields},
                          default=str)  # fmt: skip
        content = said.encode() + b"\n" + image
        if len(content) > self.max_bytes // self._processes:
            return
        self._make_room(len(content))
        part, target = self._part(uid), self._path(uid)
        try:
            target.parent.mkdir(exist_ok=True)
            part.write_bytes(content)
            part.replace(target)
        except OSError as error:
            self._end(error)
            with suppress(OSError):
                part.unlink(missing_ok=True)
            return
        with self._lock:
            self._there[uid] = self._own[uid] = len(content)
            self._own_bytes += len(content)

    def keep_fault(self, uid: str | None, reason: str) -> None:
        """Remember that a uid was in vain."""
        if self._is_off or not uid or not _UID.fullmatch(uid):
            return
        self._faults[uid] = reason, time.time()
        try:
            # One short write to the end of a file is whole or not there.
            with (self.folder / FAULTS).open("ab", buffering=0) as file:
                file.write(f"{uid} {time.time():.0f} {' '.join(reason.split())}\n".encode())
        except OSError as error:
            self._end(error)

    def remove(self, uid: str) -> None:
        """Remove a file, if it is there."""
        self._forget(uid)
        with suppress(OSError):
            self._path(uid).unlink(missing_ok=True)

    def data(self) -> Generator[Datum]:
        """Everything that is there, by uid, with its file."""
        for uid in sorted(self._looked()):
            if (datum := self._stored(uid)) is not None:
                yield datum

    def to_tars(
        self,
        where: str,
        settings: DownloadSettings | None = None,
        *,
        shard: int = SHARD,
        pool: "Pool | None" = None,
    ) -> Outcomes:
        """Write everything that is there as tars with tables, which ``adopt shards`` takes.

        Args:
            where: a folder, as path or url.
            settings: what files become, by default as in a new pool.
            shard: samples of one tar.
            pool: whose takedowns are left out.
        """
        data = Flow(self.data())
        if pool is not None:
            gone = TakenDownNow([pool.store])
            data = Flow(datum for datum in self.data() if not gone(datum))
        return run(data | Resize(settings) | ToTars(where, shard))

    def _stored(self, uid: str) -> Datum | None:
        try:
            head, _, image = self._path(uid).read_bytes().partition(b"\n")
            said = json.loads(head)
            caption, size, fields = said["caption"], said["size"], said["fields"]
        except (OSError, ValueError, LookupError, TypeError):
            return None
        if size != len(image) or not isinstance(fields, dict):
            return None
        return Datum(uid, caption, fields, image)

    def _make_room(self, size: int) -> None:
        """Remove the oldest files of this process until there is room for another."""
        while True:
            with self._lock:
                if self._own_bytes + size <= self.max_bytes // self._processes:
                    return
                oldest = next(iter(self._own), None)
            if oldest is None:
                return
            self.remove(oldest)

    def _forget(self, uid: str) -> None:
        with self._lock:
            self._there.pop(uid, None)
            self._own_bytes -= self._own.pop(uid, 0)

    def _is_share(self, uid: str) -> bool:
        return int(uid[-4:], 16) % self._processes == self._number

    def _looked(self) -> dict[str, int]:
        """Sizes of files by uid, the oldest first."""
        seen: list[tuple[float, str, int]] = []
        for folder in self.folder.iterdir():
            if folder.name.startswith(PART):
                self._clear(folder)
            if len(folder.name) != FOLDER_DIGITS or not folder.is_dir():
                continue
            for entry in os.scandir(folder):
                with suppress(OSError):
                    told = entry.stat()
                    if _UID.fullmatch(entry.name):
                        seen.append((told.st_mtime, entry.name, told.st_size))
        return {uid: size for _, uid, size in sorted(seen)}

    def _remembered(self) -> dict[str, tuple[str, float]]:
        known: dict[str, tuple[str, float]] = {}
        with suppress(OSError):
            if (file := self.folder / FAULTS).stat().st_size > FAULT_BYTES:
                file.unlink()
                return known
            for line in file.read_text(errors="replace").splitlines():
                uid, _, rest = line.partition(" ")
                at, _, reason = rest.partition(" ")
                if reason and at.isdigit():
                    known[uid] = reason, float(at)
        return known

    def _end(self, error: OSError) -> None:
        if not self._is_off:
            self._is_off = True
            told = error.strerror or error
            logger.warning("%s: nothing more is kept there: %s", self.folder, told)

    @staticmethod
    def _clear(part: Path) -> None:
        """Remove what a killed process left."""
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > PART_S:
                part.unlink()

    def _path(self, uid: str) -> Path:
        return self.folder / uid[:FOLDER_DIGITS] / uid

    def _part(self, name: str) -> Path:
        return self.folder / f"{PART}{name}.{os.getpid()}.{threading.get_ident()}"
