"""What the orchestration costs: seconds beside the stages' own, for each partition and asset.

Runs the pairs stages and the empty remainder of the graph over many tiny partitions in one
process, then the same command again with nothing to do, and measures the CPU time that loading
the code location takes. Peers have no orchestrator; the figures stand for themselves.

Usage: python benchmarks/orchestration.py [--partitions 50] [--rounds 3]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clip_assets import layout
from clip_assets.storage.catalog import Catalog
from clip_assets.storage.store import Store

BIN = Path(sys.executable).parent
ASSETS = [layout.RAW_PAIRS, layout.UNIQUE_PAIRS]
LOAD = """
import resource
import clip_assets.definitions
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime)
"""


def cli(environment: dict[str, str], *arguments: str) -> float:
    """Wall seconds of one command."""
    start = time.monotonic()
    command = [BIN / "clip-assets", "-q", *arguments]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def measure(partitions: int) -> dict[str, float]:
    """One round over a new pool."""
    with tempfile.TemporaryDirectory() as folder:
        root, home, sources = (Path(folder, name) for name in ("pool", "home", "sources"))
        for made in (root, home, sources):
            made.mkdir()
        (root / layout.SETTINGS_FILE).write_text("sources: {rows_per_partition: 10}\n")
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        for number in range(partitions):
            rows = "".join(f"http://h/{number}-{row}.jpg,caption {row}\n" for row in range(10))
            (sources / f"{number:05d}.csv").write_text(f"url,caption\n{rows}")
        environment = os.environ | {"CLIP_ASSETS_ROOT": str(root), "DAGSTER_HOME": str(home)}
        cli(environment, "add", str(sources))
        select = ("--select", ",".join(ASSETS))
        run_s = cli(environment, "run", *select)
        idle_s = cli(environment, "run", *select)
        catalog = Catalog(Store.open(str(root)))
        keys = [layout.partition_key(number) for number in range(partitions)]
        stage_s = sum(catalog.require(asset, key).seconds for asset in ASSETS for key in keys)
    count = partitions * len(ASSETS)
    return {
        "run_s": run_s,
        "stages_s": stage_s,
        "no_op_run_s": idle_s,
        "overhead_ms_per_partition_and_asset": 1000 * (run_s - idle_s - stage_s) / count,
    }


def load_cpu_s() -> float:
    """CPU seconds to import the definitions in a new process."""
    command = [sys.executable, "-c", LOAD]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure and print medians as json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rounds = [measure(arguments.partitions) for _ in range(arguments.rounds)]
    result = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
    result["load_code_location_cpu_s"] = min(load_cpu_s() for _ in range(arguments.rounds))
    print(json.dumps({name: round(value, 3) for name, value in result.items()}, indent=1))


if __name__ == "__main__":
    main()
