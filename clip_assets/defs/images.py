"""Assets of images: pairs to image shards."""

from collections.abc import Iterator
from functools import partial

import dagster as dg
from pydantic import Field

from clip_assets.download.image_shards import IMAGE_SHARDS
from clip_assets.download.retry import retry_failed
from clip_assets.orchestration.bodies import Event, Make, made
from clip_assets.orchestration.checks import images_check
from clip_assets.orchestration.declare import declared
from clip_assets.orchestration.executors import needs
from clip_assets.orchestration.resources import PoolResource


class Fetching(dg.Config):
    """How one run treats what earlier ones fetched."""

    retry_failed: bool = Field(
        default=False,
        description="In finished partitions, fetch again what failed for a reason that may have "
        "passed, such as a timeout",
    )
    retry_classes: list[str] = Field(
        default=[],
        description="With retry_failed: only these error classes, such as dns; none: all that may "
        "have passed",
    )

    @property
    def make(self) -> Make:
        """What makes a partition's shards so."""
        if self.retry_failed:
            return partial(retry_failed, classes=self.retry_classes)
        return IMAGE_SHARDS.make


@declared(
    IMAGE_SHARDS,
    group="images",
    kinds={"webdataset", "http"},
    needs=needs(cpus=2, memory_gib=4),
    checks=[images_check(IMAGE_SHARDS)],
)
def image_shards(
    context: dg.AssetExecutionContext, config: Fetching, pool: PoolResource
) -> Iterator[Event]:
    """Downloaded, resized images with captions, as webdataset tars; every failure is a row."""
    yield from made(context, pool.open(), IMAGE_SHARDS, config.make)
