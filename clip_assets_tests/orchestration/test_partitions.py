"""The ledger and the settings are the truth; Dagster follows them."""

import dagster as dg

from clip_assets.orchestration import partitions
from clip_assets.orchestration.resources import PoolResource
from clip_assets_tests.pools import KEYS


def test_partitions_planned_before_a_kill_are_registered_by_the_next_look(
    resource: PoolResource, instance: dg.DagsterInstance
) -> None:
    # The fixture has planned; the process that planned never came to registering.
    instance.add_dynamic_partitions("pool_partition", KEYS[:1])
    assert partitions.sync(instance, resource.open()) == KEYS[1:]
    assert partitions.registered(instance) == KEYS
    assert partitions.sync(instance, resource.open()) == []


def test_lost_instance_gets_every_key_again(resource: PoolResource) -> None:
    with dg.instance_for_test() as new:
        assert partitions.sync(new, resource.open()) == KEYS
        assert partitions.registered(new, "subset") == ["no_filter", "basic_filter"]
