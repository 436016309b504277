"""The store: files that appear whole or not at all, on a local disk or an object store.

Everything that reads or writes the pool goes through a ``Store``; where a file belongs is
said by ``layout``, what it means by the stage that writes it. Tables, vectors and manifests
have modules of their own beside this one.

A file is written under ``.tmp`` and renamed (local) or uploaded as one object (remote), so
a reader never sees half of it and a process killed at any moment leaves nothing under a
published name.
"""

import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from clip_assets import layout
from clip_assets.errors import (
    MissingArtifactError,
    SchemaError,
    StoreError,
)
from clip_assets.files.faults import faults, is_conflict
from clip_assets.files.filesystem import filesystem
from clip_assets.storage import full_disk, mark
from clip_assets.storage.expected import ExpectedSizes


class Store:
    """A folder of the pool's files behind any fsspec url.

    Args:
        root: a path or url (``file``, ``memory``, ``gs``, ``s3``, ...).

    Attributes:
        expected: sizes of published files, which whoever reads one is held to.
    """

    def __init__(self, root: str) -> None:
        fs, base = filesystem(root)
        self.fs = fs
        self.base = base.rstrip("/")
        self.expected = ExpectedSizes()
        self.is_local = isinstance(fs, LocalFileSystem)

    @classmethod
    def open(cls, root: str, *, create: bool = True) -> "Store":
        """Open a store.

        Args:
            root: a path or url.
            create: whether to make it if there is none; only looking at one makes none. A folder
                with settings is a pool without partitions.

        Raises:
            ConfigurationError: the url's protocol is unknown or needs a package.
            StoreError: there is none and it cannot or shall not be made, or it is damaged.
            LayoutVersionError: another version of the package wrote it.
        """
        store = cls(root)
        try:
            written = store._mark()
            if written is None and create:
                store.write_bytes(layout.STORE, mark.new())
                return store
        except faults() as error:
            raise StoreError(
                store.uri(),
                f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}",
                "a folder that can be made, read and written",
                "Check --root and CLIP_ASSETS_ROOT, permissions and credentials.",
            ) from error
        if written is None:
            if store.exists(layout.SETTINGS_FILE):  # set up, and nothing added yet
                return store
            raise StoreError(
                store.uri(),
                "no pool",
                f"a folder with {layout.STORE}",
                "Check --root and CLIP_ASSETS_ROOT, or make a pool: clip-assets add SOURCE...",
            )
        mark.check(written, store.uri(layout.STORE))
        return store

    def _mark(self) -> bytes | None:
        try:
            return self.read_bytes(layout.STORE)
        except MissingArtifactError:
            return None

    def uri(self, path: str = "") -> str:
        """Full url of a file, as other tools take it."""
        return str(self.fs.unstrip_protocol(self._full(path)))

    def exists(self, path: str) -> bool:
        """Whether a file was published."""
        return bool(self.fs.isfile(self._full(path)))

    def list(self, folder: str) -> list[str]:
        """Published files below a folder, sorted, relative to the root.

        Raises:
            SchemaError: a folder is in the place of a file.
        """
        try:
            paths = cast(
                "dict[str, Any]",
                self.fs.find(self._full(folder), withdirs=self.is_local, detail=True),
            )
        except FileNotFoundError:
            return []
        for path, entry in paths.items():
            if entry["type"] == "directory" and path.endswith(".json"):
                raise self._folder(path[len(self.base) + 1 :])
        files = [path for path, entry in paths.items() if entry["type"] != "directory"]
        names = (str(path)[len(self.base) + 1 :] for path in files)
        # A console or a mounted bucket leaves empty objects for folders.
        return sorted(name for name in names if name and not name.endswith("/"))

    def size(self, path: str) -> int:
        """Bytes of a published file."""
        return int(self.fs.size(self._full(path)) or 0)

    def checked_size(self, path: str) -> int:
        """Bytes of a published file that is about to be read; raises as ``read_bytes`` does."""
        try:
            size = self.size(path)
        except (FileNotFoundError, IsADirectoryError):
            raise self.expected.missing(path, self.uri(path)) from None
        self.expected.check(path, size, self.uri(path))
        return size

    def read_bytes(self, path: str) -> bytes:
        """A small file, whole.

        Raises:
            MissingArtifactError: no stage has written it.
            DamagedError: it is gone, or of another size than its manifest says.
        """
        try:
            content: bytes = self.fs.cat_file(self._full(path))  # pyright: ignore[reportAssignmentType]
        except FileNotFoundError:
            raise self.expected.missing(path, self.uri(path)) from None
        except IsADirectoryError:
            raise self._folder(path) from None
        self.expected.check(path, len(content), self.uri(path))
        return content

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Small files, whole, by path; side by side where the file system can.

        A path that no stage has written is left out.
        """
        full = [self._full(path) for path in paths]
        # Unlike `cat`, this takes no character of a path for a pattern.
        answers = self.fs.cat_ranges(full, None, None, on_error="return")  # pyright: ignore[reportUnknownMemberType]
        contents: dict[str, bytes] = {}
        for path, content in zip(paths, answers, strict=True):
            if isinstance(content, bytes):
                contents[path] = content
            elif isinstance(content, IsADirectoryError):
                raise self._folder(path)
            elif not isinstance(content, FileNotFoundError):
                raise content
        return contents

    def write_bytes(self, path: str, content: bytes) -> None:
        """Publish a small file."""
        with self.publish(path) as part:
            part.write_bytes(content)

    def create(self, path: str, content: bytes) -> bool:
        """Publish a small file unless there is one; of several that try, one does.

        Returns:
            Whether it was this call that did. A client may send a request again whose answer was
            lost, so that a file of one's own making can be in the way.
        """
        try:
            self.fs.pipe_file(self._full(path), content, mode="create")  # pyright: ignore[reportUnknownMemberType]
        except OSError as error:
            if not is_conflict(error):
                raise
            return False
        return True

    def delete(self, path: str) -> None:
        """Remove a file or a folder, if it is there."""
        self.expected.forget(path)
        if self.fs.exists(self._full(path)):
            self.fs.rm(self._full(path), recursive=True)

    @contextmanager
    def local(self, path: str) -> Generator[Path]:
        """A published file as a local path, copied for the time of the block if it is remote.

        Raises:
            MissingArtifactError: no stage has written it.
            DamagedError: it is gone, or of another size than its manifest says.
        """
        self.checked_size(path)
        if self.is_local:
            yield Path(self._full(path))
            return
        with tempfile.TemporaryDirectory(prefix="clip-assets-") as folder:
            copy = Path(folder, Path(path).name)
            self.fs.get_file(self._full(path), str(copy))
            yield copy

    @contextmanager
    def publish(self, path: str) -> Generator[Path]:
        """A local path to write to; the file appears as ``path`` when the block ends well.

        A block that leaves no file there removes what was published before.

        Raises:
            StorageFullError: the disk filled up; ``path`` is as it was before.
        """
        whole = full_disk.told(self.uri(path), self.folders, "room for the whole file")
        with whole, self._part(path) as part:
            yield part
            self.expected.forget(path)
            if not part.exists():
                self.delete(path)
            elif self.is_local:
                self._rename(part, Path(self._full(path)))
            else:
                self._upload(part, path)

    @property
    def folders(self) -> Sequence[Path]:
        """Folders of this machine that lie on the store's disk."""
        return [Path(self.base)] if self.is_local else []

    @contextmanager
    def _part(self, path: str) -> Generator[Path]:
        """An unpublished file's place; its name says who writes it, see ``leftovers``."""
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}-{Path(path).name}"
        folder = Path(self._full(layout.TEMPORARY)) if self.is_local else Path(tempfile.mkdtemp())
        part = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            yield part
        finally:
            part.unlink(missing_ok=True)
            if not self.is_local:
                shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def _rename(part: Path, target: Path) -> None:
        """Publish on a local disk, durable before it is visible."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(target)
        # The rename itself survives a power loss only when its folder is on disk.
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _upload(self, part: Path, path: str) -> None:
        """Publish on an object store, where an upload appears only when complete."""
        if isinstance(self.fs, MemoryFileSystem):
            # put_file shows an empty file first; pipe_file does not.
            self.fs.pipe_file(self._full(path), part.read_bytes())
        else:
            self.fs.put_file(str(part), self._full(path))

    def _folder(self, path: str) -> SchemaError:
        return SchemaError(self.uri(path), "a folder", "a file", "Move it out of the pool.")

    def _full(self, path: str) -> str:
        return f"{self.base}/{path}" if path else self.base
