"""What of a store is done and what failed: its manifests and failures, read once and published.

What they hold is in ``manifests``.
"""

import hashlib
import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from clip_assets import layout
from clip_assets.errors import DamagedError, MissingArtifactError
from clip_assets.layout import WHOLE, Artifact, Key
from clip_assets.storage.expected import REPAIR
from clip_assets.storage.manifests import (
    ABSENT,
    UNFINISHED,
    Failure,
    Manifest,
    encoded,
    failure_of,
    manifest_of,
    named,
)
from clip_assets.storage.store import Store


class Catalog:
    """The manifests of a store, each read once.

    It belongs to one step or command: what other processes finish meanwhile is not seen.

    Attributes:
        changes: how often a manifest known here became another one.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.changes = 0
        self._manifests: dict[str, Manifest | None] = {}
        self._failures: dict[str, Failure | None] = {}
        self._listed: dict[str, set[str]] = {}
        self._digests: dict[tuple[str, Key, tuple[Artifact[...], ...]], tuple[Manifest, str]] = {}

    def preload(self, asset: str, keys: Sequence[Key]) -> None:
        """Read what there is of many keys at once, failures too.

        For whoever looks at many of them: it costs two listings of the asset the first time
        and the records side by side, where ``get`` costs one request for each key. ``WHOLE`` alone
        is left to ``get``: its file lies beside the folders of all other assets.
        """
        if not keys or keys == [WHOLE]:
            return
        if asset not in self._listed:
            one = (layout.manifest(asset, keys[0]), layout.failure(asset, keys[0]))
            folders = [path.rpartition("/")[0] for path in one]
            self._listed[asset] = {path for folder in folders for path in self.store.list(folder)}
        places = {layout.manifest(asset, key): key for key in keys}
        manifests = places.keys() - self._manifests.keys()
        failures = {layout.failure(asset, key) for key in keys} - self._failures.keys()
        wanted = sorted((manifests | failures) & self._listed[asset])
        contents = self.store.read_many(wanted) if wanted else {}
        for path in manifests:
            self._manifests[path] = self._parsed(path, contents.get(path), asset, places[path])
        for path in failures:
            self._failures[path] = self._failure_of(path, contents.get(path))

    def get(self, asset: str, key: Key = WHOLE) -> Manifest | None:
        """The manifest, or None when it is not done."""
        path = layout.manifest(asset, key)
        if path not in self._manifests:
            self._manifests[path] = self._parsed(path, self._read(path), asset, key)
        return self._manifests[path]

    def renewed(self, asset: str, key: Key) -> Manifest | None:
        """The manifest as it is at this moment, which from now on is the one known here."""
        self._manifests.pop(layout.manifest(asset, key), None)
        self.changes += 1
        return self.get(asset, key)

    def require(self, asset: str, key: Key = WHOLE) -> Manifest:
        """The manifest of something that must be done.

        Raises:
            MissingArtifactError: it is not done.
        """
        manifest = self.get(asset, key)
        if manifest is None:
            select = f"--select {asset}" + (f" --partitions {key}" if key else "")
            raise MissingArtifactError(
                named(asset, key), "no manifest", "a finished one", f"Run: clip-assets run {select}"
            )
        return manifest

    @contextmanager
    def sound(self, asset: str, key: Key, path: str) -> Generator[Path]:
        """A published file as a local path, once its bytes are found to be its manifest's.

        It costs reading the file once more: for whoever takes it in, into what is kept.

        Raises:
            MissingArtifactError: its asset is not done, or made no such file.
            DamagedError: it is gone or damaged.
        """
        outputs = {output.path: output for output in self.require(asset, key).outputs}
        if path not in outputs:
            raise self.store.expected.missing(path, self.store.uri(path))
        with self.store.local(path) as file:
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            if digest != (wanted := outputs[path].sha256):
                raise DamagedError(
                    self.store.uri(path),
                    f"other bytes than were published (sha256 {digest[:12]})",
                    f"those of its manifest ({wanted[:12]})",
                    f"Run: {REPAIR}",
                )
            yield file

    def digest(self, asset: str, key: Key = WHOLE, *kinds: Artifact[...]) -> str:
        """Digest of an asset's outputs, ``ABSENT`` when it is not done, see ``Manifest.digest``."""
        manifest = self.get(asset, key)
        if manifest is None:
            return ABSENT
        known, digest = self._digests.get((asset, key, kinds), (None, ""))
        if known is not manifest:
            digest = manifest.digest(*kinds)
            self._digests[asset, key, kinds] = manifest, digest
        return digest

    def failure(self, asset: str, key: Key = WHOLE) -> Failure | None:
        """The last failure, None when there is none since the last success.

        As preloaded; what nobody preloaded is read anew each time.
        """
        path = layout.failure(asset, key)
        if path in self._failures:
            return self._failures[path]
        return self._failure_of(path, self._read(path))

    def put(self, manifest: Manifest) -> None:
        """Publish a manifest: from now on it is done, and its last failure is forgotten.

        Raises:
            CheckFailedError: the report holds what json cannot.
        """
        path = layout.manifest(manifest.asset, manifest.key)
        self.store.write_bytes(path, encoded(manifest))
        self._manifests[path] = manifest
        self._hold_readers_to(manifest)
        self.changes += 1
        self.forget_failure(manifest.asset, manifest.key)

    def put_failure(self, asset: str, key: Key, failure: Failure) -> None:
        """Publish a failure."""
        path = layout.failure(asset, key)
        self.store.write_bytes(path, json.dumps(asdict(failure), indent=1).encode())
        # Not in the listing of an earlier preload, by which a later one would miss it.
        self._failures[path] = failure

    def forget_failure(self, asset: str, key: Key) -> None:
        """Remove the record of a failure that no longer matters."""
        path = layout.failure(asset, key)
        self.store.delete(path)
        self._failures.pop(path, None)

    def invalidate(self, manifest: Manifest, code_version: str) -> None:
        """Publish a manifest that counts for nobody; here the old one is still to be seen."""
        path = layout.manifest(manifest.asset, manifest.key)
        self.store.write_bytes(path, encoded(replace(manifest, code_version=code_version)))

    def _read(self, path: str) -> bytes | None:
        try:
            return self.store.read_bytes(path)
        except MissingArtifactError:
            return None

    def _parsed(self, path: str, content: bytes | None, asset: str, key: Key) -> Manifest | None:
        if content is None:
            return None
        manifest = manifest_of(content, asset, key, self.store.uri(path))
        self._hold_readers_to(manifest)
        return manifest

    def _failure_of(self, path: str, content: bytes | None) -> Failure | None:
        return None if content is None else failure_of(content, self.store.uri(path))

    def _hold_readers_to(self, manifest: Manifest) -> None:
        """Let whoever opens an output compare it; files being replaced have no size yet."""
        if manifest.code_version != UNFINISHED:
            self.store.expected.add(manifest.outputs)
            return
        for output in manifest.outputs:
            self.store.expected.forget(output.path)
