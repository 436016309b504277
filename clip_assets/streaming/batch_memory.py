"""Memory for the pixels of batches, used again when nobody holds a batch any more.

Fresh memory costs the kernel a tenth of the time that decoding takes. What is put there is said by
``decoded``.
"""

import weakref
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 4
"""Pieces of memory that wait to be used again: batches that are ahead, and one in use."""


class BatchMemory:
    """Memory for batches of squares.

    Args:
        side: of a square, in pixels.
        pin: whether an accelerator is to fetch it by itself; torch keeps such memory itself.
    """

    def __init__(self, side: int, *, pin: bool = False) -> None:
        self._side, self._pin = side, pin
        self._free: list[npt.NDArray[np.uint8]] = []

    def take(self, samples: int) -> "Tensor":
        """Memory for a batch, (samples, side, side, 3) uint8, with anything in it.

        In a worker process of torch's it is shared with the process that the batch goes to.
        """
        import torch
        from torch.utils.data import get_worker_info

        shape = samples, self._side, self._side, 3
        if get_worker_info() is not None:
            size = prod(shape)
            shared = torch.UntypedStorage._new_shared(size)  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
            return torch.empty(0, dtype=torch.uint8).set_(shared).view(shape)
        if self._pin:
            return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        whole = self._whole(samples)
        # All tensors of the memory hold this one array; it ends with the last of them.
        held = whole[:samples]
        weakref.finalize(held, self._give_back, whole).atexit = False
        return torch.from_numpy(held)

    def _whole(self, samples: int) -> npt.NDArray[np.uint8]:
        while self._free:
            whole = self._free.pop()
            if len(whole) >= samples:
                return whole
        return np.empty((samples, self._side, self._side, 3), np.uint8)

    def _give_back(self, whole: npt.NDArray[np.uint8]) -> None:
        if len(self._free) < KEPT:
            self._free.append(whole)
