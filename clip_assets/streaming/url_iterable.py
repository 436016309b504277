"""Downloaded batches as torch's iterable data set; a module of its own, as it imports torch."""

from collections.abc import Iterator

from torch.utils.data import IterableDataset, get_worker_info  # noqa: TID253 (its base)

from clip_assets.streaming.decoded import TrainingBatch
from clip_assets.streaming.url_streaming import UrlStreamingDataset


class UrlIterable(IterableDataset[TrainingBatch]):
    """Whole batches: for ``DataLoader(..., batch_size=None)``, with any number of workers.

    Args:
        dataset: what is iterated; in worker processes its state is theirs.
    """

    def __init__(self, dataset: UrlStreamingDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        """Batches to the end of the epoch."""
        return len(self._dataset)

    def __iter__(self) -> Iterator[TrainingBatch]:
        """This worker's batches, every n-th of the rank's."""
        told = get_worker_info()
        return self._dataset.turns(told.id, told.num_workers) if told else iter(self._dataset)
