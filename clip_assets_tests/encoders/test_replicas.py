"""One partition over several devices: the same bytes, in the same order."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from clip_assets import layout
from clip_assets.encoders.encoder import Encoder, Vectors
from clip_assets.encoders.openclip.loading import load_encoder
from clip_assets.encoders.replicas import Replicas
from clip_assets.inference.embeddings import embeddings
from clip_assets.layout import PartitionKey
from clip_assets.settings import Inference
from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store

P = PartitionKey("00000")


def test_two_devices_write_the_bytes_of_one(
    tmp_path: Any, inference: Inference, write_shards: Callable[..., None], pair: Any
) -> None:
    written = []
    for devices in (["cpu"], ["cpu", "cpu"]):
        store = Store.open(str(tmp_path / str(len(devices))))
        write_shards(store, P, [[pair(n) for n in range(30)], [pair(n) for n in range(30, 77)]])
        embeddings(Catalog(store), P, inference, load_encoder(inference, *devices))
        outputs = layout.img_emb(P), layout.text_emb(P), layout.embedding_rows(P)
        written.append([store.read_bytes(path) for path in outputs])
    assert written[0] == written[1]


def test_batches_are_dealt_to_every_device(
    inference: Inference, encoder: Encoder, images: Callable[..., bytes]
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
