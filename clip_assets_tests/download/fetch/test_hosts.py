"""Hosts take turns, each within its limit and at its pace."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from clip_assets.download.fetch.hosts import HostQueue

Item = tuple[str, int]


def drain(
    items: Sequence[str], rotation: int, per_host: int, workers: int
) -> tuple[list[Item], Counter[str]]:
    """Serve every item with a number of workers; returns the order and the most at once."""
    active, most = Counter[str](), Counter[str]()
    order: list[Item] = []

    async def work(queue: HostQueue[Item]) -> None:
        while True:
            host, item = await queue.get()
            active[host] += 1
            most[host] = max(most[host], active[host])
            order.append(item)
            await asyncio.sleep(0)
            active[host] -= 1
            queue.done(host)

    async def run() -> None:
        queue = HostQueue[Item](rotation, per_host)
        for number, host in enumerate(items):
            queue.put(host, (host, number))
        tasks = [asyncio.ensure_future(work(queue)) for _ in range(workers)]
        while len(order) < len(items):
            assert any(not task.done() for task in tasks)
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    asyncio.run(run())
    return order, most


@given(
    st.lists(st.sampled_from("abcdefgh"), max_size=60),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 9),
)
def test_every_item_comes_once_in_its_hosts_order_within_the_limit(
    items: list[str], rotation: int, per_host: int, workers: int
) -> None:
    order, most = drain(items, rotation, per_host, workers)

    assert sorted(order, key=lambda item: item[1]) == [
        (host, number) for number, host in enumerate(items)
    ]
    for host in set(items):
        numbers = [number for name, number in order if name == host]
        assert numbers == sorted(numbers)
    assert max(most.values(), default=0) <= per_host


def test_hosts_take_turns() -> None:
    order, _ = drain("aaaabbbbcccc", rotation=3, per_host=4, workers=1)

    assert "".join(host for host, _ in order) == "abcabcabcabc"


def test_a_host_is_served_to_its_end_before_one_on_the_bench() -> None:
    order, _ = drain("aaabbbccc", rotation=2, per_host=4, workers=1)

    assert "".join(host for host, _ in order) == "abababccc"


def test_a_paused_host_waits_while_others_go_on() -> None:
    async def run() -> list[str]:
        queue = HostQueue[str](4, 4)
        for host in "aabb":
            queue.put(host, host)
        order: list[str] = []
        for number in range(4):
            host, item = await queue.get()
            order.append(item)
            if number == 0:
                queue.pause(host, 0.05)
            queue.done(host)
        return order

    assert asyncio.run(run()) == ["a", "b", "b", "a"]


def test_an_item_put_later_comes_later() -> None:
    async def run() -> list[str]:
        queue = HostQueue[str](1, 1)
        queue.put_later("a", "late", 0.02)
        queue.put("a", "early")
        order: list[str] = []
        for _ in range(2):
            host, item = await queue.get()
            order.append(item)
            queue.done(host)
        return order

    assert asyncio.run(run()) == ["early", "late"]


def test_an_item_that_comes_while_its_host_is_at_the_limit_waits() -> None:
    async def run() -> tuple[str, str]:
        queue = HostQueue[str](4, 2)
        for item in "xy":
            queue.put("a", item)
            await queue.get()
        queue.put("a", "late")
        queue.put("b", "other")
        assert await queue.get() == ("b", "other")
        waiting = asyncio.ensure_future(queue.get())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        queue.done("a")
        return await waiting

    assert asyncio.run(run()) == ("a", "late")
