"""Shards of a subset in a pool, of which those stay that would be made from the same.

The stats of a shard tell what it was made from and what its tar is. They go before the tar is
replaced and come after it, so they are true whenever a run is killed.
"""

import hashlib
import json
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clip_assets import layout
from clip_assets.pool.stages import StageRun
from clip_assets.storage.manifests import Output


@layout.artifact(layout.SUBSET_SHARDS)
def subset_tar(subset: str, number: int) -> str:
    """Samples of a subset, in webdataset form; their keys are their uids and a number."""
    return f"{layout.SUBSET_SHARDS}/{subset}/{number:0{layout.SUBSET_SHARD_DIGITS}d}.tar"


@layout.artifact(layout.SUBSET_SHARDS)
def subset_tar_stats(subset: str, number: int) -> str:
    """Samples of a tar and what it was made from; written last, so a shard counts as done by it."""
    return f"{layout.SUBSET_SHARDS}/{subset}/{number:0{layout.SUBSET_SHARD_DIGITS}d}_stats.json"


@dataclass(frozen=True, slots=True)
class KeptShards:
    """The shards of a subset as an output.

    Args:
        run: of the subset.
        made_from: for each shard, a digest of everything that it is made from.
    """

    run: StageRun
    made_from: Sequence[str]

    @property
    def is_read_again(self) -> bool:
        """For its digest."""
        return True

    def remove_others(self) -> None:
        """Remove shards behind the last one, of an earlier run or of one that was killed."""
        if self.run.to_mend:
            return
        for path in self.run.store.list(layout.subset_shard_folder(self.run.key)):
            number = re.match("[0-9]+", Path(path).name)
            if number and int(number[0]) >= len(self.made_from):
                self.run.store.delete(path)

    def whole(self) -> set[int]:
        """Shards that are made from the same already; they are outputs of this run then."""
        numbers = range(len(self.made_from))
        if self.run.to_mend:
            return {n for n in numbers if not {*self._paths(n)} & self.run.to_mend}
        there = {*self.run.store.list(layout.subset_shard_folder(self.run.key))}
        wanted = [n for n in numbers if there.issuperset(self._paths(n))]
        told = self.run.store.read_many([self._paths(n)[1] for n in wanted])
        return {n for n in wanted if self._is_kept(n, told.get(self._paths(n)[1], b""))}

    @contextmanager
    def publish_tar(self, number: int) -> Generator[Path]:
        """A tar of the subset."""
        tar, stats = self._paths(number)
        with self.run.publish(tar) as part:
            yield part
            if not self.run.to_mend:
                self.run.store.delete(stats)

    def publish_stats(self, number: int, samples: int) -> None:
        """Its stats, with what it was made from."""
        tar, stats = self._paths(number)
        told = {
            "successes": samples,
            "made_from": self.made_from[number],
            "tar": asdict(self.run.output(tar)),
        }
        with self.run.publish(stats) as part:
            part.write_text(json.dumps(told))

    def _is_kept(self, number: int, stats: bytes) -> bool:
        """Whether a shard is what it has to be, by its stats; then it is an output of the run."""
        tar, path = self._paths(number)
        try:
            told: dict[str, Any] = json.loads(stats)
            output = Output(**told["tar"])
            is_same = told["made_from"] == self.made_from[number] and output.path == tar
        except (ValueError, TypeError, KeyError):
            return False
        if not is_same or self.run.store.size(tar) != output.size_bytes:
            return False
        self.run.keep(output)
        self.run.keep(Output(path, len(stats), hashlib.sha256(stats).hexdigest()))
        return True

    def _paths(self, number: int) -> tuple[str, str]:
        key = self.run.key
        return subset_tar(key, number), subset_tar_stats(key, number)
