"""Materialise the pool in this process through Dagster, for the command line.

One process, so that imports and the model are paid for once; Dagster's runs, so that events,
lineage and checks are those of the UI. A failed partition never holds back the others.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import dagster as dg

from clip_assets import graph, layout, processes, states
from clip_assets.download.retry import due_urls
from clip_assets.errors import ConfigurationError, NotReadyError
from clip_assets.layout import WHOLE, Key
from clip_assets.orchestration import orphans
from clip_assets.orchestration.bodies import ERRORS
from clip_assets.orchestration.partitions import AXES, registered, sync
from clip_assets.orchestration.requests import range_tags
from clip_assets.orchestration.resources import PoolResource
from clip_assets.pool.asset import Asset
from clip_assets.pool.pool import Axis, Pool

logger = logging.getLogger(__name__)

NO_CONFIG: Mapping[str, Any] = MappingProxyType({})


@dataclass(slots=True)
class RunSummary:
    """What a run of the pool did.

    Args:
        runs: ids of the Dagster runs.
        partitions: partitions worked on.
        subsets: likewise.
        whole: assets of the whole pool that were worked on.
        retried: by partition, urls that were fetched again (``retried``) and the images that
            this gave (``recovered``).
        failures: class and message by ``asset`` or ``asset key``.
    """

    runs: list[str] = field(default_factory=list[str])
    partitions: list[Key] = field(default_factory=list[Key])
    subsets: list[Key] = field(default_factory=list[Key])
    whole: list[str] = field(default_factory=list[str])
    retried: dict[Key, dict[str, int]] = field(default_factory=dict[Key, dict[str, int]])
    failures: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def downloaded(self) -> list[Key]:
        """Partitions whose downloads may have changed."""
        return list(dict.fromkeys([*self.partitions, *self.retried]))

    def as_text(self) -> str:
        """What was worked on, in one line."""
        counts = [
            f"{len(names)} {what}"
            for names, what in (
                (self.downloaded, "partitions"),
                (self.subsets, layout.SUBSETS),
                (self.whole, "assets of the whole pool"),
            )
            if names
        ]
        return f"{', '.join(counts)} worked on in {len(self.runs)} runs"


class PoolRun:
    """One ``clip-assets run``.

    Args:
        definitions: the code location.
        resource: the pool.
        instance: where events go.
    """

    def __init__(
        self, definitions: dg.Definitions, resource: PoolResource, instance: dg.DagsterInstance
    ) -> None:
        self._definitions = definitions
        self._pool = resource.open()
        self._instance = instance
        self._summary = RunSummary()
        self._failed: set[tuple[Axis, Key]] = set()

    def run(
        self, select: str = "*", partitions: str = "missing", retry: Sequence[str] | None = None
    ) -> RunSummary:
        """Materialise what is chosen and not done.

        Args:
            select: an asset selection in Dagster's syntax.
            partitions: see ``states.chosen``.
            retry: before, fetch again what failed for these reasons; none of them: for any that may
                have passed.

        Raises:
            ConfigurationError: the selection or the partitions name nothing.
        """
        sync(self._instance, self._pool)
        orphans.bury(self._instance)
        if retry is not None:
            self._retry(partitions, retry)
        assets = self._selected(select)
        pool = self._look()
        chosen = {axis: states.chosen(partitions, pool, assets, axis) for axis in AXES}
        # What earlier batches made is new to later ones, so what is missing is asked again; and a
        # subset is made from all partitions, whichever of them are named.
        is_open = {
            "partition": partitions == "missing",
            "subset": not states.names_subsets(partitions, pool),
        }
        for axis, batch in batches(assets):
            if axis in AXES:
                self._run_keys(axis, batch, None if is_open[axis] else chosen[axis])
            else:
                self._run_whole(batch)
        return self._summary

    def _look(self) -> Pool:
        """The pool as it is at this moment."""
        self._pool = self._pool.renewed()
        return self._pool

    def _retry(self, partitions: str, classes: Sequence[str]) -> None:
        """Fetch again in every chosen partition that is downloaded."""
        shards, pool = graph.ASSETS[layout.IMAGE_SHARDS], self._look()
        # A partition that has failed urls is done all the same, so "missing" would leave it out.
        chosen = states.chosen("all" if partitions == "missing" else partitions, pool, [shards])
        due = {key: urls for key in chosen if (urls := due_urls(pool, key, classes))}
        before = {key: pool.catalog.require(shards.name, key).report.rows_out for key in due}
        told = {"retry_failed": True, "retry_classes": list(classes)}
        config = {"ops": {shards.name: {"config": told}}}
        for first, last in states.ranges(due, pool.partitions):
            self._execute([shards], range_tags(first, last), config)
        after = self._look().catalog
        for key, urls in due.items():
            if ("partition", key) not in self._failed:
                gained = after.require(shards.name, key).report.rows_out - before[key]
                logger.info("%s: %s urls fetched again, %s images gained", key, urls, gained)
                self._summary.retried[key] = {"retried": urls, "recovered": gained}

    def _selected(self, select: str) -> list[Asset]:
        whole = self._definitions.resolve_asset_graph()
        try:
            keys = dg.AssetSelection.from_coercible(select.split(",")).resolve(whole)
        except Exception as error:  # Dagster's parser raises several kinds
            raise ConfigurationError(
                "--select", repr(select), "assets of the graph", str(error)
            ) from error
        names = {key.to_user_string() for key in keys}
        return [asset for name, asset in graph.ASSETS.items() if name in names]

    def _run_keys(self, axis: Axis, assets: Sequence[Asset], chosen: Sequence[Key] | None) -> None:
        """Run again without the failed keys until nothing is left that can be done."""
        before: list[Key] = []
        while True:
            pool = self._look()
            wanted = pool.keys(axis) if chosen is None else chosen
            left = [key for key in wanted if (axis, key) not in self._failed]
            todo = self._outdated(pool, assets, left)
            if not pool.partitions or not todo or todo == before:
                return
            before = todo
            of_axis = self._summary.partitions if axis == "partition" else self._summary.subsets
            of_axis += [key for key in todo if key not in of_axis]
            for first, last in states.ranges(todo, registered(self._instance, axis)):
                self._execute(assets, range_tags(first, last))

    def _outdated(self, pool: Pool, assets: Iterable[Asset], keys: Sequence[Key]) -> list[Key]:
        """Keys of which the store or Dagster lacks an asset."""
        outdated: set[Key] = set()
        for asset in assets:
            recorded = self._instance.get_materialized_partitions(dg.AssetKey(asset.name))
            of_asset = asset.states(pool, keys)
            outdated |= {key for key in keys if of_asset[key] != "done" or key not in recorded}
        return [key for key in keys if key in outdated]

    def _run_whole(self, assets: Sequence[Asset]) -> None:
        """Run what is behind, and then what is behind because of that."""
        tried: set[str] = set()
        while True:
            pool = self._look()
            behind = [a for a in assets if a.name not in tried and self._is_behind(pool, a)]
            if not behind or not pool.partitions:
                return
            tried |= {asset.name for asset in behind}
            self._summary.whole += [asset.name for asset in behind]
            self._execute(behind, {})

    def _is_behind(self, pool: Pool, asset: Asset) -> bool:
        recorded = self._instance.get_latest_materialization_event(dg.AssetKey(asset.name))
        return recorded is None or asset.state(pool, WHOLE) != "done"

    def _execute(
        self, assets: Sequence[Asset], tags: dict[str, str], config: Mapping[str, Any] = NO_CONFIG
    ) -> None:
        """One Dagster run.

        Raises:
            KeyboardInterrupt: the process was asked to stop, which Dagster takes for a failure.
        """
        where = "..".join(dict.fromkeys(tags.values())) or "pool"
        logger.info("materializing %s of %s", ", ".join(asset.name for asset in assets), where)
        job = self._definitions.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            instance=self._instance,
            asset_selection=[dg.AssetKey(asset.name) for asset in assets],
            tags=tags | orphans.process_tag(),
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}, **config},
        )
        self._summary.runs.append(result.run_id)
        if processes.asked_to_end() or _was_interrupted(result):
            raise KeyboardInterrupt
        # What lacks its input because that failed is no failure of its own.
        causes = bool(self._summary.failures)
        for failure in _failures(result):
            if not (causes and failure.error == NotReadyError.__name__):
                name = f"{failure.asset} {failure.key}".strip()
                self._summary.failures[name] = f"{failure.error}: {failure.message}"
            self._failed.add((graph.ASSETS[failure.asset].axis, failure.key))


def batches(assets: Sequence[Asset]) -> list[tuple[Axis, list[Asset]]]:
    """Assets grouped into the fewest runs, each over the keys of one axis, upstream first.

    Every order of the axes is tried, the shortest first; there are few of both.
    """
    tried: list[tuple[list[Asset], list[tuple[Axis, list[Asset]]]]] = [(list(assets), [])]
    for left, made in tried:
        if not left:
            return made
        for axis in (*AXES, "pool"):
            batch = _ready(left, axis)
            if batch:
                rest = [asset for asset in left if asset not in batch]
                tried.append((rest, [*made, (axis, batch)]))
    raise AssertionError("the table of assets has a circle")


def _ready(left: Sequence[Asset], axis: Axis) -> list[Asset]:
    """Assets of an axis that wait for none but each other."""
    waiting = {asset.name: asset for asset in left}
    batch: list[Asset] = []
    while True:
        more = [
            asset
            for asset in waiting.values()
            if asset.axis == axis and not waiting.keys() & {*asset.deps}
        ]
        if not more:
            return batch
        batch += more
        for asset in more:
            del waiting[asset.name]


@dataclass(frozen=True, slots=True)
class Failed:
    """One key that failed, ``WHOLE`` for all of a step."""

    asset: str
    key: Key
    error: str
    message: str


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    errors = (
        event.step_failure_data.error
        for event in result.filter_events(lambda event: event.is_step_failure)
    )
    name = dg.DagsterExecutionInterruptedError.__name__
    return any(error is not None and error.cls_name == name for error in errors)


def _failures(result: dg.ExecuteInProcessResult) -> Iterator[Failed]:
    """Everything that failed in a run, key by key where the step says so."""
    for event in result.filter_events(lambda event: event.is_step_failure):
        data = event.step_failure_data
        told = data.user_failure_data.metadata.get(ERRORS) if data.user_failure_data else None
        if isinstance(told, dg.JsonMetadataValue) and isinstance(told.data, dict):
            for asset, by_key in told.data.items():
                for key, (error, message) in by_key.items():
                    yield Failed(asset, Key(key), error, message)
        elif data.error:
            cause = data.error.cause or data.error
            yield Failed(str(event.step_key), WHOLE, str(cause.cls_name), cause.message.strip())
