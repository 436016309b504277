"""From a finished pool, or any folder of tars, to a training loop.

Which sample comes when is a function of seed and position, and each is read by its byte range; see
docs/streaming.md. Nothing is imported before it is asked for, torch only when a batch is made.
"""

from typing import TYPE_CHECKING

from clip_assets.surface import surface

if TYPE_CHECKING:
    from clip_assets.streaming.asked import of_queries
    from clip_assets.streaming.cropping import CenterCrop
    from clip_assets.streaming.dealing import Batches
    from clip_assets.streaming.decoded import Decoded, TrainingBatch
    from clip_assets.streaming.even_batches import Balance, distribution
    from clip_assets.streaming.listed_urls import UrlList, url_lists
    from clip_assets.streaming.loader import Loader
    from clip_assets.streaming.pool_samples import PoolSamples
    from clip_assets.streaming.stream import Stream
    from clip_assets.streaming.tar_samples import TarSamples
    from clip_assets.streaming.trainer import TrainingData
    from clip_assets.streaming.url_cache import UrlCache
    from clip_assets.streaming.url_stream import Lanes, UrlStream
    from clip_assets.streaming.url_streaming import UrlStreamingDataset

__all__ = [
    "Balance",
    "Batches",
    "CenterCrop",
    "Decoded",
    "Lanes",
    "Loader",
    "PoolSamples",
    "Stream",
    "TarSamples",
    "TrainingBatch",
    "TrainingData",
    "UrlCache",
    "UrlList",
    "UrlStream",
    "UrlStreamingDataset",
    "distribution",
    "of_queries",
    "url_lists",
]

__getattr__ = surface(
    __name__,
    {
        "of_queries": "asked",
        "Balance": "even_batches",
        "distribution": "even_batches",
        "TrainingBatch": "decoded",
        "Batches": "dealing",
        "CenterCrop": "cropping",
        "Decoded": "decoded",
        "Loader": "loader",
        "PoolSamples": "pool_samples",
        "Stream": "stream",
        "TarSamples": "tar_samples",
        "TrainingData": "trainer",
        "UrlCache": "url_cache",
        "UrlList": "listed_urls",
        "url_lists": "listed_urls",
        "Lanes": "url_stream",
        "UrlStream": "url_stream",
        "UrlStreamingDataset": "url_streaming",
    },
)
