"""Whether what is tested ended its threads, whatever else runs in the process."""

import threading
from collections.abc import Collection


def left_over(before: Collection[threading.Thread]) -> list[str]:
    """Names of our threads that began since and do not end, though they have time to.

    Args:
        before: the threads of then, ``threading.enumerate()``.
    """
    begun = [one for one in threading.enumerate() if one not in before]
    ours = [one for one in begun if one.name.startswith("clip-assets")]
    for one in ours:
        one.join(30)
    return [one.name for one in ours if one.is_alive()]
