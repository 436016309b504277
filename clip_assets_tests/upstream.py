"""A pool some of whose assets are made up, so that the stage after them is tested alone.

Plans, settings, manifests and everything downstream of what is made up are real.
"""

import copy
import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from clip_assets import graph, layout
from clip_assets.encoders.encoder import Encoder
from clip_assets.layout import WHOLE, Key
from clip_assets.partitions.ledger import PartitionPlan, SourceRange
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.settings import Settings
from clip_assets.storage.manifests import Report
from clip_assets.storage.store import Store
from clip_assets_tests.websites import Site

Write = Callable[[Path], object]


class MadeUp:
    """A pool to make things up in.

    Args:
        store: where.
        encoder: instead of the model that the settings name.
        settings: sections of the pool's settings, as ``pool.yaml`` has them.
    """

    def __init__(
        self, store: Store, *, encoder: Callable[[], Encoder] | None = None, **settings: Any
    ) -> None:
        self.store = store
        self.settings = Settings(**settings)
        self._encoder = encoder
        self._inputs: dict[tuple[str, Key], Inputs] = {}

    def copied(self, folder: Path) -> Self:
        """The same in a folder of its own, for who will change it."""
        made = copy.copy(self)
        made.store = Store(str(shutil.copytree(self.store.base, folder)))
        made._inputs = dict(self._inputs)
        return made

    def behind(self, site: Site) -> Pool:
        """The same as files of a server whose answers take 50 ms."""
        root = Path(self.store.base)
        files = [path for path in root.rglob("*") if path.is_file()]
        site.files = {f"/pool/{path.relative_to(root)}": path.read_bytes() for path in files}
        site.answers_slowly = True
        return Pool(Store.open(f"{site.url}/pool", create=False), self.settings, graph.ASSETS)

    def set(self, **settings: Any) -> None:
        """Other settings from now on: sections of them, as ``pool.yaml`` has them."""
        named = self.settings.model_dump(exclude={"root"})
        for section, changes in settings.items():
            named[section] = named[section] | changes if isinstance(changes, dict) else changes
        self.settings = Settings(**named)

    def plan(self, *numbers: int) -> list[Key]:
        """Plan partitions of one source file each, which is not there."""
        keys = [layout.partition_key(number) for number in numbers]
        for key in keys:
            source = SourceRange(f"/{key}.csv", 1, "etag")
            self.store.write_bytes(layout.plan(key), PartitionPlan(key, (source,)).content())
        return keys

    @property
    def pool(self) -> Pool:
        """The pool as a command that starts now sees it."""
        return Pool(self.store, self.settings, self._assets, self._encoder)

    def make(
        self,
        asset: str,
        key: Key,
        rows: int,
        files: Mapping[str, Write],
        *,
        rows_in: int | None = None,
        inputs: Inputs | None = None,
    ) -> Outcome:
        """Make up one key of an asset: from now on it is done and current.

        Args:
            asset: its name.
            key: a partition's, which is planned if it is not yet, or ``WHOLE``.
            rows: that it passes on.
            files: by path, what writes each.
            rows_in: rows that it got, by default those that it passes on.
            inputs: what it claims to be made from.
        """
        if key != WHOLE and graph.ASSETS[asset].axis == "partition":
            self.plan(int(key))
        self._inputs[asset, key] = inputs or {}
        dropped = {} if rows_in is None else {"made up": rows_in - rows}

        def work(run: StageRun) -> Report:
            for path, write in files.items():
                with run.publish(path) as part:
                    write(part)
            return Report(rows if rows_in is None else rows_in, rows, dropped)

        return materialize(self.pool, self._assets[asset], key, work, again=True)

    def outdate(self, asset: str, key: Key) -> None:
        """From now on what was made up of one key is stale: it would be made otherwise today."""
        self._inputs[asset, key] = {"outdated": "since"}

    def record_files(self, asset: str, key: Key) -> None:
        """Let a manifest have the sizes and digests of the files that are there."""
        manifest = self.pool.catalog.require(asset, key)
        contents = [self.store.fs.cat_file(f"{self.store.base}/{o.path}") for o in manifest.outputs]
        outputs = [
            replace(o, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            for o, content in zip(manifest.outputs, contents, strict=True)
        ]
        self.pool.catalog.put(replace(manifest, outputs=outputs))

    @property
    def _assets(self) -> dict[str, Asset]:
        made_up = {name for name, _ in self._inputs}
        return {
            name: self._made_up(asset) if name in made_up else asset
            for name, asset in graph.ASSETS.items()
        }

    def _made_up(self, asset: Asset) -> Asset:
        def inputs(_: Pool, key: Key) -> Inputs:
            return self._inputs.get((asset.name, key), {})

        named = {name for made in self._inputs.values() for name in made}
        return replace(asset, inputs=inputs, settings=tuple(named), rows_from="")
