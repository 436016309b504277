"""One model on several devices: every device has batches, in the same order."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from clip_assets.encoders.encoder import Encoder, Vectors
from clip_assets.encoders.replicas import Replicas
from clip_assets.settings import InferenceSettings


def test_batches_are_dealt_to_every_device(
    inference: InferenceSettings, encoder: Encoder, images: Callable[..., bytes]
) -> None:
    from clip_assets.inference.threads import mapped

    class Counted:
        """A device of its own, which says how many batches it had."""

        def __init__(self) -> None:
            self.batches = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(encoder, name)

        def encode_images(self, batch: Sequence[Any]) -> Vectors:
            self.batches += 1
            return encoder.encode_images(batch)

    devices: Any = [Counted(), Counted()]
    both = Replicas(devices)
    assert both.workers == 2 * encoder.workers
    pixels = [encoder.preprocess(images(number)) for number in range(24)]
    dealt = mapped(both.encode_images, [[one] for one in pixels], 4, 8, both.begin_work)
    together = np.concatenate(list(dealt))
    np.testing.assert_allclose(together, encoder.encode_images(pixels), atol=1e-3)
    assert all(device.batches for device in devices)
