"""When a host may be asked next, where its robots.txt asks for time between two requests."""

import time

HOSTS_KEPT = 1000
"""Above so many hosts those whose time is over are forgotten."""


class Distances:
    """Keeps requests to one host apart."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    def claim(self, host: str, delay_s: float) -> float:
        """Claim the next request to a host.

        Args:
            host: which one.
            delay_s: what shall lie between this request and the one after it.

        Returns:
            Seconds until the host may be asked; 0: it may be now, and whoever claims next waits.
        """
        now = time.monotonic()
        wait_s = self._next.get(host, now) - now
        if wait_s > 0:
            return wait_s
        if len(self._next) >= HOSTS_KEPT:
            self._next = {name: at for name, at in self._next.items() if at > now}
        self._next[host] = now + delay_s
        return 0.0
