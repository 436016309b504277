"""A service that is asked for a long time while the served version changes, and what that costs.

Texts and embeddings are asked at a low rate; each minute (``--every``) the other one of two
versions of the pool's index is named to be served, as `clip-assets index use` does. Told are
answers by status, versions that were seen, and the memory of all processes over time. The exit
status is 1 if a query failed.

    python benchmarks/soak.py --minutes 60
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from benchmarks import served_pool, servers
from clip_assets.index import versions
from clip_assets.storage.store import Store

PROBE = json.dumps({"terms": [{"text": "a red circle"}], "k": 1}).encode()


def main() -> None:
    """Serve, ask, change, tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=60, help="seconds between two changes")
    parser.add_argument("--rate", type=float, default=5, help="queries a second")
    parser.add_argument("--pool", type=Path, help="one with two versions; none: made")
    parser.add_argument("options", nargs="*", help="of clip-assets serve, after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clip-assets-soak-") as folder:
        if options.pool is None:
            options.pool = Path(folder) / "pool"
            served_pool.pool(options.pool, 20_000, 1_000)
        port = servers.free_port()
        program = Path(sys.executable).parent / "clip-assets"
        command = [program, "serve", options.pool, "--port", port, *options.options]
        log = Path(folder) / "log"
        with servers.running(command, port, PROBE, "/v1/search", log) as server:
            told = soak(server, options)
    print(json.dumps(told))
    sys.exit(bool(told["failed"]))


def soak(server: servers.Server, options: argparse.Namespace) -> dict[str, Any]:
    """Ask for some minutes; each minute's memory is printed."""
    store = Store.open(str(options.pool))
    names = [name for name in versions.merged(store) if name]
    ends_s = time.monotonic() + 60 * options.minutes
    asking = _Asking(server.url, options.rate, ends_s)
    asking.start()
    memory: list[float] = []
    changes = 0
    while asking.is_alive():
        versions.use(store, names[changes % len(names)])
        changes += 1
        asking.join(min(options.every, max(0.1, ends_s - time.monotonic())))
        memory.append(round(server.memory_mib, 1))
        print(json.dumps({"memory_mib": memory[-1], "answers": asking.statuses}), flush=True)
    return {
        "minutes": options.minutes,
        "changes": changes,
        "answers": asking.statuses.total(),
        "failed": asking.statuses.total() - asking.statuses[200],
        "faults": asking.faults[:5],
        "versions_seen": dict(asking.versions),
        "memory_mib_first_fifth": memory[: max(1, len(memory) // 5)],
        "memory_mib_last_fifth": memory[-max(1, len(memory) // 5) :],
        "slowest_ms": round(1000 * asking.slowest_s),
    }


class _Asking(threading.Thread):
    """One client that asks at a rate, whatever the answers are."""

    def __init__(self, url: str, rate: float, ends_s: float) -> None:
        super().__init__(daemon=True)
        self._url, self._rate, self._ends_s = url, rate, ends_s
        self.statuses: Counter[Any] = Counter()
        self.versions: Counter[str] = Counter()
        self.faults: list[str] = []
        self.slowest_s = 0.0

    def run(self) -> None:
        """Ask until the end."""
        number = 0
        with httpx.Client(base_url=self._url, timeout=60) as http:
            while time.monotonic() < self._ends_s:
                began_s = time.monotonic()
                # Each text is another one, so that the model is asked, too.
                term = {"text": f"a red circle, number {number}"}
                try:
                    answer = http.post("/v1/search", json={"terms": [term], "k": 20})
                    self.statuses[answer.status_code] += 1
                    if answer.status_code == 200:
                        self.versions[answer.json()["version"]] += 1
                    else:
                        self.faults.append(answer.text[:300])
                except httpx.HTTPError as error:
                    self.statuses[type(error).__name__] += 1
                    self.faults.append(repr(error))
                spent_s = time.monotonic() - began_s
                self.slowest_s = max(self.slowest_s, spent_s)
                number += 1
                time.sleep(max(0.0, 1 / self._rate - spent_s))


if __name__ == "__main__":
    main()
