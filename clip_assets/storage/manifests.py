"""Records of finished work: what went in, what came out, and the stage's report.

A partition counts as done by its manifest alone. Whether it is still current is answered
here too, by comparing the digests it was made from with those of today.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from clip_assets import layout
from clip_assets.errors import CheckFailedError, MissingArtifactError
from clip_assets.layout import PartitionKey
from clip_assets.storage.store import Store

ABSENT = "absent"
"""Digest of an input that does not exist."""

State = Literal["done", "missing", "stale", "failed"]


@dataclass(frozen=True, slots=True)
class Artifact:
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
        figures: anything else worth telling; json values, units in the names.
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
        partition: its key, None for an unpartitioned asset.
        code_version: of the stage that made it.
        inputs: what it was made from: digests of upstream assets, and settings.
        outputs: every published file, in order of publication.
        report: what the stage did.
        seconds: wall time of the run that finished it.
        peak_memory_bytes: of the process while the stage ran.
        finished_at: UTC, ISO 8601.
    """

    asset: str
    partition: PartitionKey | None
    code_version: str
    inputs: dict[str, str]
    outputs: list[Artifact]
    report: Report
    seconds: float
    peak_memory_bytes: int
    finished_at: str

    def digest(self, suffix: str = "") -> str:
        """sha256 over the outputs whose path ends in ``suffix``; pictures do not count."""
        total = hashlib.sha256()
        for output in sorted(self.outputs, key=lambda output: output.path):
            if output.path.endswith(suffix) and not output.path.startswith("pictures/"):
                total.update(f"{output.path} {output.sha256}\n".encode())
        return total.hexdigest()

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
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._manifests: dict[str, Manifest | None] = {}
        self._failures: dict[str, Failure | None] = {}
        self._listed: dict[str, set[str]] = {}

    def preload(self, asset: str, partitions: Sequence[PartitionKey]) -> None:
        """Read what there is of many partitions at once, failures too.

        For whoever looks at many of them: it costs two listings of the asset the first time
        and the records side by side, where ``get`` costs one request for each partition.
        """
        if not partitions:
            return
        if asset not in self._listed:
            one = (layout.manifest(asset, partitions[0]), layout.failure(asset, partitions[0]))
            folders = [path.rpartition("/")[0] for path in one]
            self._listed[asset] = {path for folder in folders for path in self.store.list(folder)}
        manifests = {layout.manifest(asset, key) for key in partitions} - self._manifests.keys()
        failures = {layout.failure(asset, key) for key in partitions} - self._failures.keys()
        wanted = sorted((manifests | failures) & self._listed[asset])
        found = self.store.read_many(wanted) if wanted else {}
        for path in manifests:
            self._manifests[path] = _manifest(found[path]) if path in found else None
        for path in failures:
            self._failures[path] = _failure(found[path]) if path in found else None

    def get(self, asset: str, partition: PartitionKey | None = None) -> Manifest | None:
        """The manifest, or None when the asset or partition is not done."""
        path = layout.manifest(asset, partition)
        if path not in self._manifests:
            try:
                self._manifests[path] = _manifest(self.store.read_bytes(path))
            except MissingArtifactError:
                self._manifests[path] = None
        return self._manifests[path]

    def require(self, asset: str, partition: PartitionKey | None = None) -> Manifest:
        """The manifest of something that must be done.

        Raises:
            MissingArtifactError: it is not done.
        """
        manifest = self.get(asset, partition)
        if manifest is None:
            where = f"{asset} {partition or ''}".strip()
            select = f"--select {asset}" + (f" --partitions {partition}" if partition else "")
            raise MissingArtifactError(
                where, "no manifest", "a finished one", f"Run: clip-assets run {select}"
            )
        return manifest

    def digest(self, asset: str, partition: PartitionKey | None = None, suffix: str = "") -> str:
        """Digest of an asset's outputs, ``ABSENT`` when it is not done, see ``Manifest.digest``."""
        manifest = self.get(asset, partition)
        return manifest.digest(suffix) if manifest else ABSENT

    def failure(self, asset: str, partition: PartitionKey | None = None) -> Failure | None:
        """The last failure, see ``read_failure``; as preloaded, or read now."""
        path = layout.failure(asset, partition)
        if path in self._failures:
            return self._failures[path]
        return read_failure(self.store, asset, partition)

    def put(self, manifest: Manifest) -> None:
        """Publish a manifest: from now on the asset or partition is done.

        Raises:
            CheckFailedError: the report holds what json cannot.
        """
        path = layout.manifest(manifest.asset, manifest.partition)
        failure = layout.failure(manifest.asset, manifest.partition)
        self.store.write_bytes(path, _encoded(manifest))
        self.store.delete(failure)
        self._manifests[path] = manifest
        self._failures.pop(failure, None)

    def state(
        self,
        asset: str,
        partition: PartitionKey | None,
        code_version: str,
        inputs: Mapping[str, str],
    ) -> State:
        """Whether an asset or partition is done, and made from these inputs by this code."""
        if self.failure(asset, partition):
            return "failed"
        manifest = self.get(asset, partition)
        if manifest is None:
            return "missing"
        current = (manifest.inputs, manifest.code_version) == (dict(inputs), code_version)
        return "done" if current else "stale"


def read_failure(store: Store, asset: str, partition: PartitionKey | None = None) -> Failure | None:
    """The last failure, or None when there is none since the last success."""
    try:
        return _failure(store.read_bytes(layout.failure(asset, partition)))
    except MissingArtifactError:
        return None


def write_failure(
    store: Store, asset: str, partition: PartitionKey | None, failure: Failure
) -> None:
    """Record a failure."""
    content = json.dumps(asdict(failure), indent=1).encode()
    store.write_bytes(layout.failure(asset, partition), content)


def _manifest(content: bytes) -> Manifest:
    found = json.loads(content)
    found["outputs"] = [Artifact(**output) for output in found["outputs"]]
    found["report"] = Report(**found["report"])
    return Manifest(**found)


def _failure(content: bytes) -> Failure:
    return Failure(**json.loads(content))


def _encoded(manifest: Manifest) -> bytes:
    plain = asdict(manifest)
    report = plain["report"]
    rows = {"rows_in": manifest.report.rows_in, "rows_out": manifest.report.rows_out}
    odd = [
        f"{name!r}: {value!r}"
        for part in (rows, report["dropped"], report["figures"], report["pictures"])
        for name, value in part.items()
        if not _is_json({name: value})
    ]
    if odd:
        raise CheckFailedError(
            f"report of {manifest.asset} {manifest.partition or ''}".strip(),
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
