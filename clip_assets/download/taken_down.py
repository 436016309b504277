"""Pairs that were taken down before they were fetched: they fail without a request.

The table of what was taken down is ``pool.takedowns``.
"""

import numpy as np
import pyarrow as pa

from clip_assets.download.fetch.faults import FetchError
from clip_assets.download.fetch.jobs import Fetched, Job
from clip_assets.download.shard import Shard
from clip_assets.pool import takedowns
from clip_assets.pool.takedowns import TakenDown


def left_out(shard: Shard, gone: TakenDown) -> Shard:
    """The shard with a result for each open pair that was taken down.

    What an earlier run published and a retry keeps stays.
    """
    places = shard.open_positions if len(gone) else []
    if not places:
        return shard
    uids, urls = (
        pa.chunked_array([[shard.pairs[place][name] for place in places]], pa.string())
        for name in ("uid", "url")
    )
    for number in np.flatnonzero(gone.mask(uids, urls)).tolist():
        shard.put(places[number], _fetched(), None)
    return shard


def _fetched() -> Fetched:
    fault = FetchError(takedowns.REASON, "taken down before it was fetched")
    return Job(None, was_silent=False, fault=fault).result()
