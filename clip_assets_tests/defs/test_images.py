"""What the asset of image shards tells Dagster."""

import logging

import dagster as dg
import pytest

from clip_assets.defs.images import image_shards
from clip_assets.orchestration import partitions
from clip_assets.orchestration.checks import COUNTS, IMAGES
from clip_assets.orchestration.requests import range_tags
from clip_assets.orchestration.resources import PoolResource
from clip_assets_tests.download.pairs import unique_pairs
from clip_assets_tests.pools import KEYS
from clip_assets_tests.upstream import MadeUp


def test_a_partition_without_any_image_fails_a_check_and_holds_nothing_up(
    resource: PoolResource, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    partitions.sync(instance, resource.open())
    made = MadeUp(resource.open().store)
    for key, urls in zip(KEYS, (["http://10.0.0.1/a", "http://10.0.0.1/b"], [], []), strict=True):
        unique_pairs(made, urls, key)
    with caplog.at_level(logging.WARNING):
        result = dg.materialize(
            [image_shards],
            instance=instance,
            resources={"pool": resource},
            tags=range_tags(KEYS[0], KEYS[-1]),
        )

    verdicts = {
        (check.check_name, check.partition): (check.passed, check.description or "")
        for check in result.get_asset_check_evaluations()
    }
    wrong = verdicts.pop((IMAGES, KEYS[0]))
    assert verdicts.pop((COUNTS, KEYS[0])) == (True, "")
    assert {*verdicts.values()} == {(False, "There were no rows to look at.")}
    assert not wrong[0]
    assert "0 of 2 urls gave an image ({'private_address': 2})" in wrong[1]
    assert "--retry-failed" in wrong[1]
    assert "0 of 2 urls gave an image" in caplog.text
    assert instance.get_materialized_partitions(image_shards.key) == set(KEYS)
