"""Making damaged files of a key again: the same stage, and nothing but the same bytes.

The manifest stays as it is, so nothing downstream becomes stale. Which files are damaged, and in
which order they are made, is the matter of ``verification``.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from clip_assets import layout
from clip_assets.errors import BusyError, DamagedError
from clip_assets.layout import Key
from clip_assets.pool.asset import Asset, Outcome
from clip_assets.pool.pool import Mend, Pool
from clip_assets.pool.stages import StageRun, output_of
from clip_assets.storage import locks
from clip_assets.storage.manifests import Report, named


class MendingRun(StageRun):
    """A run that publishes the damaged files of a key, and only in the bytes that they had."""

    def __init__(self, pool: Pool, asset: Asset, key: Key, mend: Mend) -> None:
        super().__init__(pool, asset, key)
        self.mend = mend
        self._wanted = {output.path: output for output in mend.manifest.outputs}
        self.different: list[str] = []

    @property
    def to_mend(self) -> frozenset[str]:
        """The damaged files."""
        return self.mend.paths

    @contextmanager
    def publish(self, path: str) -> Generator[Path]:
        """As in any run, but a sound file is left alone, and other bytes are not published."""
        with suppress(_NotPublishedError), self.store.publish(path) as part:
            yield part
            if path not in self.to_mend:
                raise _NotPublishedError
            output = output_of(part, path)
            if path not in self._wanted or output.sha256 != self._wanted[path].sha256:
                self.different.append(path)
                raise _NotPublishedError
            self._outputs[path] = output


class _NotPublishedError(Exception):
    """A file is not wanted."""


def mended(
    pool: Pool, asset: Asset, key: Key, work: Callable[[StageRun], Report], mend: Mend
) -> Outcome:
    """Make damaged files again; the manifest stays.

    Raises:
        DamagedError: they are not as they were.
    """
    with locks.exclusive(pool.store, f"{asset.name}/{key or 'pool'}"):
        now = pool.catalog.renewed(asset.name, key)
        if now is None or now != mend.manifest:
            raise BusyError(
                named(asset.name, key), "another manifest", "the damaged one", "Verify again."
            )
        run = MendingRun(pool, asset, key, mend)
        work(run)
        lacking = mend.paths - {output.path for output in run.outputs}
    pool.store.delete(layout.work(asset.name, key))
    if lacking:
        what = "other bytes" if run.different else "nothing"
        raise DamagedError(
            ", ".join(sorted(lacking)),
            f"{what}, when it was made again from the same",
            "the bytes of its manifest",
            "Libraries of other versions or another machine can be why. To make it anew, with all "
            f"that is made from it: remove {layout.manifest(asset.name, key)}, then run again",
        )
    return Outcome(mend.manifest, reused=False)
