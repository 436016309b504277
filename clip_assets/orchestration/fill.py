"""What ``dagster asset materialize`` means without a partition, and with a range of them.

Dagster refuses to materialize a partitioned asset without a partition. The useful meaning is
"everything that is missing or stale", so in such a process the assets are declared without
partitions and record each key that they make. A range it takes only for assets whose backfills
are single runs, so in such a process they are declared so. Nothing else looks at the command line.
"""

import os
import sys

VARIABLE = "CLIP_ASSETS_FILL"


def fills_missing() -> bool:
    """Whether this process was started by ``dagster asset materialize`` without a partition.

    The variable tells step processes, whose own command line is another one.
    """
    if _is_materialize() and not _has("--partition"):
        os.environ[VARIABLE] = "missing"
    return os.environ.get(VARIABLE) == "missing"


def takes_a_range() -> bool:
    """Whether this process was started by ``dagster asset materialize --partition-range``."""
    return _is_materialize() and _has("--partition-range")


def _is_materialize() -> bool:
    return sys.argv[1:3] == ["asset", "materialize"]


def _has(option: str) -> bool:
    return any(argument.startswith(option) for argument in sys.argv)
