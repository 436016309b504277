"""Records of finished work: what went in, what came out, and the stage's report.

A partition counts as done by its manifest alone. Reading and publishing them: see ``catalog``.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from clip_assets import layout
from clip_assets.errors import CheckFailedError
from clip_assets.layout import Artifact, Key
from clip_assets.storage.control import parsed

ABSENT = "absent"
"""Digest of an input that does not exist."""

UNFINISHED = "unfinished"
"""Code version of a manifest whose key is being made again: it equals no stage's."""

ADVICE = "Remove the file, then: clip-assets run"
"""For who has a damaged record: its key is looked at again, and made from what is there."""

State = Literal["done", "missing", "stale", "failed"]


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
        outputs: every published file; see ``of_kind`` for their order.
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
        """Its outputs of one kind: by path, but those that a later run added behind the others."""
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


def named(asset: str, key: Key) -> str:
    """Asset and key, for people."""
    return f"{asset} {key}".strip()


def manifest_of(content: bytes, asset: str, key: Key, where: str) -> Manifest:
    """The manifest that a file tells of.

    It is that of where it lies: in the first release a subset was an asset of its own.

    Raises:
        SchemaError: the file is damaged.
    """

    def placed(stored: dict[str, Any]) -> dict[str, Any]:
        rest = {name: value for name, value in stored.items() if name != "partition"}
        return rest | {"asset": asset, "key": key}

    return parsed(content, Manifest, where, ADVICE, placed)


def failure_of(content: bytes, where: str) -> Failure:
    """The failure that a file tells of.

    Raises:
        SchemaError: the file is damaged.
    """
    return parsed(content, Failure, where, ADVICE)


def encoded(manifest: Manifest) -> bytes:
    """A manifest as it is stored.

    Raises:
        CheckFailedError: the report holds what json cannot.
    """
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
