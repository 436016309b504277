"""Records of finished work: what went in, what came out, and the stage's report.

A partition counts as done by its manifest alone. Whether it is still current is answered
here too, by comparing the digests it was made from with those of today.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeVar

from clip_assets import layout
from clip_assets.errors import CheckFailedError, MissingArtifactError, SchemaError
from clip_assets.layout import WHOLE, Artifact, Key
from clip_assets.storage.store import Store

ABSENT = "absent"
"""Digest of an input that does not exist."""

State = Literal["done", "missing", "stale", "failed"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Output:
    """A published file."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a stage did, for people, checks and the asset's metadata.

    Args:
        rows_in: rows the stage was given.
        rows_out: rows it passed on.
        dropped: the other rows, by reason.
        figures: anything else worth telling people; json values, units in the names. No
            stage reads them: what a stage needs stands in a file.
        pictures: published pictures, by title.
    """

    rows_in: int
    rows_out: int
    dropped: dict[str, int] = field(default_factory=dict[str, int])
    figures: dict[str, Any] = field(default_factory=dict[str, Any])
    pictures: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def balances(self) -> bool:
        """Whether every row in is a row out or was dropped for a reason."""
        return self.rows_in == self.rows_out + sum(self.dropped.values())


@dataclass(frozen=True, slots=True)
class Manifest:
    """One finished asset or partition.

    Args:
        asset: its name.
        key: which partition or subset; ``WHOLE`` where the asset is made once.
        code_version: of the stage that made it.
        inputs: what it was made from: digests of upstream assets, and settings.
        outputs: every published file, in order of publication.
        report: what the stage did.
        seconds: wall time of the run that finished it.
        peak_memory_bytes: of the process while the stage ran.
        finished_at: UTC, ISO 8601.
    """

    asset: str
    key: Key
    code_version: str
    inputs: dict[str, str]
    outputs: list[Output]
    report: Report
    seconds: float
    peak_memory_bytes: int
    finished_at: str

    @property
    def name(self) -> str:
        """Asset and key, for people."""
        return named(self.asset, self.key)

    def digest(self, *kinds: Artifact[...]) -> str:
        """sha256 over the outputs of some kinds, by default of all; pictures do not count."""
        total = hashlib.sha256()
        for output in sorted(self.outputs, key=lambda output: output.path):
            if output.path.startswith(f"{layout.PICTURES}/"):
                continue
            if not kinds or any(kind.holds(output.path) for kind in kinds):
                total.update(f"{output.path} {output.sha256}\n".encode())
        return total.hexdigest()

    def of_kind(self, kind: Artifact[...]) -> list[Output]:
        """Its outputs of one kind, in order of publication."""
        return [output for output in self.outputs if kind.holds(output.path)]

    @property
    def size_bytes(self) -> int:
        """Bytes of all outputs."""
        return sum(output.size_bytes for output in self.outputs)


@dataclass(frozen=True, slots=True)
class Failure:
    """The last failure of an asset or partition."""

    error: str
    message: str
    failed_at: str


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
            self._failures[path] = self._understood(path, contents.get(path), _failure)

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
        return self._understood(path, self._read(path), _failure)

    def put(self, manifest: Manifest) -> None:
        """Publish a manifest: from now on it is done, and its last failure is forgotten.

        Raises:
            CheckFailedError: the report holds what json cannot.
        """
        path = layout.manifest(manifest.asset, manifest.key)
        self.store.write_bytes(path, _encoded(manifest))
        self._manifests[path] = manifest
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
        self.store.write_bytes(path, _encoded(replace(manifest, code_version=code_version)))

    def _read(self, path: str) -> bytes | None:
        try:
            return self.store.read_bytes(path)
        except MissingArtifactError:
            return None

    def _parsed(self, path: str, content: bytes | None, asset: str, key: Key) -> Manifest | None:
        return self._understood(path, content, lambda read: _manifest(read, asset, key))

    def _understood(
        self, path: str, content: bytes | None, parsed: Callable[[bytes], T]
    ) -> T | None:
        try:
            return None if content is None else parsed(content)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise SchemaError(
                self.store.uri(path),
                f"a damaged record ({type(error).__name__}: {error})",
                "the json that was written",
                "Remove the file, then: clip-assets run",
            ) from error


def named(asset: str, key: Key) -> str:
    """Asset and key, for people."""
    return f"{asset} {key}".strip()


def _manifest(content: bytes, asset: str, key: Key) -> Manifest:
    """Read as that of where it lies: in the first release a subset was an asset of its own."""
    read = json.loads(content)
    del read["partition"]
    read |= {"asset": asset, "key": key}
    read["outputs"] = [Output(**output) for output in read["outputs"]]
    read["report"] = Report(**read["report"])
    return Manifest(**read)


def _failure(content: bytes) -> Failure:
    return Failure(**json.loads(content))


def _encoded(manifest: Manifest) -> bytes:
    named_fields = asdict(manifest)
    # In the file the key stands under the name, and in the place, that it has always had.
    plain: dict[str, Any] = {"asset": manifest.asset, "partition": manifest.key or None}
    plain |= {name: value for name, value in named_fields.items() if name not in ("asset", "key")}
    report = plain["report"]
    rows = {"rows_in": manifest.report.rows_in, "rows_out": manifest.report.rows_out}
    odd = [
        f"{name!r}: {value!r}"
        for values in (rows, report["dropped"], report["figures"], report["pictures"])
        for name, value in values.items()
        if not _is_json({name: value})
    ]
    if odd:
        raise CheckFailedError(
            f"report of {manifest.name}",
            ", ".join(odd),
            "finite numbers, texts, lists, and dicts with texts for keys",
            "This is a defect of the stage; please report it.",
        )
    return json.dumps(plain, indent=1, allow_nan=False).encode()


def _is_json(value: object) -> bool:
    """Whether it is read back as it was written; a numpy number, nan, tuple or int key is not."""
    try:
        return json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError):
        return False
