"""What samples are called: img2dataset's keys, made unique over the pool."""

import math

from clip_assets import layout
from clip_assets.layout import PartitionKey


def sample_key(partition: PartitionKey, number: int, position: int, samples_per_shard: int) -> str:
    """Key of a sample: the partition, then img2dataset's ``compute_key`` for one of its shards.

    No other sample of the pool has it, and keys sort as the pool is ordered.

    Args:
        partition: where the sample is.
        number: of the shard in its partition.
        position: of the sample in its shard.
        samples_per_shard: decides how many digits a position has.
    """
    digits = math.ceil(math.log10(samples_per_shard))
    return f"{partition}{10**digits * number + position:0{digits + layout.SHARD_DIGITS}d}"
