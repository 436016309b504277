"""Materialise the pool in this process through Dagster, for the command line.

One process, so that imports and the model are paid for once; Dagster's runs, so that events,
lineage and checks are those of the UI. A failed partition never holds back the others.
"""

import itertools
import logging
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import dagster as dg

from clip_assets import planning
from clip_assets.download import retry
from clip_assets.download.image_shards import IMAGE_SHARDS
from clip_assets.errors import ConfigurationError, NotReadyError
from clip_assets.layout import PartitionKey
from clip_assets.orchestration import orphans
from clip_assets.orchestration.partitions import sync
from clip_assets.orchestration.requests import asset_key, range_tags
from clip_assets.orchestration.resources import Pool
from clip_assets.planning import Node
from clip_assets.storage.manifests import Catalog

logger = logging.getLogger(__name__)

NO_CONFIG: Mapping[str, Any] = MappingProxyType({})

_NOT_READY = f"{NotReadyError.__module__}.{NotReadyError.__qualname__}: "


@dataclass(slots=True)
class Summary:
    """What a run of the pool did.

    Args:
        runs: ids of the Dagster runs.
        partitions: partitions worked on.
        retried: by partition, urls that were fetched again (``retried``) and the images that
            this gave (``recovered``).
        failures: message by ``asset`` or ``asset partition``.
    """

    runs: list[str] = field(default_factory=list[str])
    partitions: list[PartitionKey] = field(default_factory=list[PartitionKey])
    retried: dict[PartitionKey, dict[str, int]] = field(
        default_factory=dict[PartitionKey, dict[str, int]]
    )
    failures: dict[str, str] = field(default_factory=dict[str, str])


class PoolRun:
    """One ``clip-assets run``.

    Args:
        definitions: the code location.
        pool: the pool.
        instance: where events go.
    """

    def __init__(
        self, definitions: dg.Definitions, pool: Pool, instance: dg.DagsterInstance
    ) -> None:
        self._definitions = definitions
        self._pool = pool
        self._instance = instance
        self._summary = Summary()
        self._failed: set[str] = set()

    def run(
        self, select: str = "*", partitions: str = "missing", *, retry_failed: bool = False
    ) -> Summary:
        """Materialise what is chosen and not done.

        Args:
            select: an asset selection in Dagster's syntax.
            partitions: see ``planning.chosen``.
            retry_failed: before, fetch again what failed for a reason that may have passed.

        Raises:
            ConfigurationError: the selection or the partitions name nothing.
        """
        sync(self._instance, self._pool.store())
        orphans.bury(self._instance)
        if retry_failed:
            self._retry(partitions)
        catalog, nodes = self._now(self._selected(select))
        chosen = planning.chosen(partitions, catalog, nodes)
        for partitioned, group in itertools.groupby(nodes, lambda node: node.inputs is not None):
            assets = {node.asset for node in group}
            if partitioned:
                # What earlier groups made is new to later ones, so "missing" is asked again.
                self._run_partitions(assets, None if partitions == "missing" else chosen)
            else:
                self._run_pool(assets)
        return self._summary

    def _now(self, assets: Container[str]) -> tuple[Catalog, list[Node]]:
        """The store as it is at this moment, and what these assets would be made from."""
        catalog = Catalog(self._pool.store())
        nodes = planning.graph(catalog, self._pool.settings())
        return catalog, [node for node in nodes if node.asset in assets]

    def _retry(self, partitions: str) -> None:
        """Fetch again in every chosen partition that is downloaded."""
        catalog, nodes = self._now({IMAGE_SHARDS.asset})
        # A partition that has failed urls is done all the same, so "missing" would leave it out.
        spec = "all" if partitions == "missing" else partitions
        settings = self._pool.settings().download
        chosen = planning.chosen(spec, catalog, nodes)
        due = [key for key in chosen if retry.is_due(catalog, key, settings)]
        config = {"ops": {IMAGE_SHARDS.asset: {"config": {"retry_failed": True}}}}
        for first, last in planning.ranges(due, planning.partitions_of(catalog)):
            self._execute(nodes, range_tags(first, last), config)
        after = self._pool.catalog()
        for key in due:
            if key not in self._failed:
                figures = after.require(IMAGE_SHARDS.asset, key).report.figures
                counts = {name: figures[name] for name in ("retried", "recovered")}
                logger.info("%s: %s urls fetched again, %s images gained", key, *counts.values())
                self._summary.retried[key] = counts

    def _selected(self, select: str) -> set[str]:
        graph = self._definitions.resolve_asset_graph()
        try:
            keys = dg.AssetSelection.from_coercible(select.split(",")).resolve(graph)
        except Exception as error:  # Dagster's parser raises several kinds
            raise ConfigurationError(
                "--select", repr(select), "assets of the graph", str(error)
            ) from error
        return {key.to_user_string() for key in keys}

    def _run_partitions(self, assets: set[str], chosen: Sequence[PartitionKey] | None) -> None:
        """Run again without the failed partitions until nothing is left that can be done."""
        before: list[PartitionKey] = []
        while True:
            catalog, nodes = self._now(assets)
            every = planning.partitions_of(catalog)
            wanted = every if chosen is None else chosen
            todo = self._outdated(catalog, nodes, [k for k in wanted if k not in self._failed])
            if not todo or todo == before:
                return
            before = todo
            self._summary.partitions += [k for k in todo if k not in self._summary.partitions]
            for first, last in planning.ranges(todo, every):
                self._execute(nodes, range_tags(first, last))

    def _outdated(
        self, catalog: Catalog, nodes: Sequence[Node], keys: Sequence[PartitionKey]
    ) -> list[PartitionKey]:
        """Partitions of which the store or Dagster lacks an asset."""
        outdated: set[PartitionKey] = set()
        for node in nodes:
            recorded = self._instance.get_materialized_partitions(asset_key(node.asset))
            states = node.states(catalog, keys)
            outdated |= {key for key in keys if states[key] != "done" or key not in recorded}
        return [key for key in keys if key in outdated]

    def _run_pool(self, assets: set[str]) -> None:
        """Run what is behind, and then what is behind because of that."""
        tried: set[str] = set()
        while True:
            catalog, nodes = self._now(assets - tried)
            behind = [node for node in nodes if self._is_behind(catalog, node)]
            if not behind or not planning.partitions_of(catalog):
                return
            tried |= {node.asset for node in behind}
            self._execute(behind, {})

    def _is_behind(self, catalog: Catalog, node: Node) -> bool:
        recorded = self._instance.get_latest_materialization_event(asset_key(node.asset))
        return recorded is None or node.states(catalog, [])[None] != "done"

    def _execute(
        self, nodes: Sequence[Node], tags: dict[str, str], config: Mapping[str, Any] = NO_CONFIG
    ) -> None:
        """One Dagster run.

        Raises:
            KeyboardInterrupt: the process was asked to stop, which Dagster takes for a failure.
        """
        where = "..".join(dict.fromkeys(tags.values())) or "pool"
        logger.info("materializing %s of %s", ", ".join(node.asset for node in nodes), where)
        job = self._definitions.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            instance=self._instance,
            asset_selection=[asset_key(node.asset) for node in nodes],
            tags=tags | orphans.process_tag(),
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}, **config},
        )
        self._summary.runs.append(result.run_id)
        if _was_interrupted(result):
            raise KeyboardInterrupt
        # What lacks its input because that failed is no failure of its own.
        causes = bool(self._summary.failures)
        for asset, partition, message in _failures(result):
            if not (causes and message.startswith(_NOT_READY)):
                self._summary.failures[f"{asset} {partition}".strip()] = message
            self._failed.add(partition)


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    errors = (
        event.step_failure_data.error
        for event in result.filter_events(lambda event: event.is_step_failure)
    )
    name = dg.DagsterExecutionInterruptedError.__name__
    return any(error is not None and error.cls_name == name for error in errors)


def _failures(result: dg.ExecuteInProcessResult) -> Iterator[tuple[str, str, str]]:
    """Asset, partition and message of everything that failed; partition "" for all of a step."""
    for event in result.filter_events(lambda event: event.is_step_failure):
        data = event.step_failure_data
        asset = str(event.step_key).replace("__", "/")
        partitions = data.user_failure_data.metadata if data.user_failure_data else {}
        for key, message in partitions.items():
            yield asset, key, str(message.value)
        if not partitions and data.error:
            yield asset, "", (data.error.cause or data.error).message.strip()
