"""How often each client may ask: a bucket that fills with time, for each.

Behind a proxy a client is who the proxy says it is, see docs/service.md.
"""

import math
import time
from collections import OrderedDict

BURST_S = 5
"""A client that was quiet may ask as often at once as in so many seconds."""

KNOWN = 10_000
"""Clients that are remembered; of those beyond it the longest quiet one is forgotten."""


class Rates:
    """Buckets of requests by client.

    Args:
        per_second: that each fills with; 0: there is no bound.
    """

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._most = max(1.0, per_second * BURST_S)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str) -> int:
        """Take one request from a client's bucket.

        Returns:
            Seconds after which there is one again; 0 if one was taken.
        """
        if not self._per_second:
            return 0
        now_s = time.monotonic()
        held, since_s = self._buckets.pop(client, (self._most, now_s))
        held = min(self._most, held + (now_s - since_s) * self._per_second)
        wait_s = 0 if held >= 1 else math.ceil((1 - held) / self._per_second)
        self._buckets[client] = (held if wait_s else held - 1), now_s
        if len(self._buckets) > KNOWN:
            self._buckets.popitem(last=False)
        return wait_s
