"""A stream as the training data of open_clip's own trainer, the package open_clip_train.

Its function for one epoch takes ``{"train": TrainingData(...)}``. Nothing of it is imported here.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from clip_assets.streaming.loader import Loader

if TYPE_CHECKING:
    from torch import Tensor

    from clip_assets.streaming.url_streaming import UrlStreamingDataset

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of each colour from 0 to 1, as OpenAI's and most of open_clip's models expect them."""


class TrainingData:
    """What the trainer calls data info: a loader of images and texts, and which epoch it is.

    Args:
        loader: of uint8 images; with ``drop_last``, as its trainer counts whole batches. Or what
            is downloaded while it trains.
        tokenize: captions to what the model reads, (n, context length).
        mean: that the model expects of each colour, see its ``preprocess_cfg``.
        deviation: likewise.
    """

    def __init__(
        self,
        loader: "Loader | UrlStreamingDataset",
        tokenize: "Callable[[list[str]], Tensor]",
        mean: Sequence[float] = MEAN,
        deviation: Sequence[float] = DEVIATION,
    ) -> None:
        self._loader = loader
        self.dataloader = PairLoader(loader, tokenize, mean, deviation)

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch; a state that was loaded stays if it is within it."""
        self._loader.start_epoch(epoch)
        self.dataloader.count()


class PairLoader:
    """Normalised images and tokens of every batch.

    Args:
        loader: see ``TrainingData``.
        tokenize: likewise.
        mean: likewise.
        deviation: likewise.

    Attributes:
        num_batches: from where the training was when the epoch began to its end.
        num_samples: likewise, of all ranks.
    """

    def __init__(
        self,
        loader: "Loader | UrlStreamingDataset",
        tokenize: "Callable[[list[str]], Tensor]",
        mean: Sequence[float],
        deviation: Sequence[float],
    ) -> None:
        self._loader, self._tokenize = loader, tokenize
        self._mean, self._deviation = mean, deviation
        self.count()

    def count(self) -> None:
        """Say what there is from here to the end of the epoch."""
        self.num_batches = len(self._loader)
        self.num_samples = self.num_batches * self._loader.batch_size

    def __iter__(self) -> "Iterator[tuple[Tensor, Tensor]]":
        """Images, (n, 3, side, side) float32, and tokens of each batch."""
        import torch

        mean, deviation = (
            torch.tensor(values).view(1, 3, 1, 1) for values in (self._mean, self._deviation)
        )
        for batch in self._loader:
            yield (batch.images / 255 - mean) / deviation, self._tokenize(batch.captions)
