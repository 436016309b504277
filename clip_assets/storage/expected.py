"""How long published files should be: what the manifests read so far say of them.

A file that is shorter or gone is noticed by whoever opens it, before anything is made from it.
Finding damage without opening files is the matter of ``pool.published``.
"""

from collections.abc import Iterable

from clip_assets import layout
from clip_assets.errors import DamagedError, MissingArtifactError
from clip_assets.storage.manifests import Output

REPAIR = "clip-assets verify --repair"
"""What mends a published file."""


class ExpectedSizes:
    """Sizes in bytes by path; memory: about 200 bytes for each file of a manifest that was read."""

    def __init__(self) -> None:
        self._by_path: dict[str, int] = {}

    def add(self, outputs: Iterable[Output]) -> None:
        """Take the word of a manifest."""
        self._by_path.update((output.path, output.size_bytes) for output in outputs)

    def forget(self, path: str) -> None:
        """A file was replaced or removed: its next manifest will say how long it is."""
        self._by_path.pop(path, None)

    def check(self, path: str, size: int, where: str) -> None:
        """Make sure that a file is as long as it should be, where that is known.

        Args:
            path: of the file.
            size: bytes that it has.
            where: its name for errors.

        Raises:
            DamagedError: it is not.
        """
        expected = self._by_path.get(path, size)
        if size != expected:
            raise DamagedError(where, f"{size:,} bytes", _promised(expected), f"Run: {REPAIR}")

    def missing(self, path: str, where: str) -> MissingArtifactError | DamagedError:
        """The error of a file that is not there: damage if a manifest has it."""
        if path in self._by_path:
            return DamagedError(where, "no file", _promised(self._by_path[path]), f"Run: {REPAIR}")
        producer = layout.made_by(path)
        advice = f"Materialize {producer} first." if producer else "Check the store's root."
        return MissingArtifactError(where, "no file", "a published file", advice)


def _promised(size: int) -> str:
    return f"{size:,} bytes, as its manifest says"
