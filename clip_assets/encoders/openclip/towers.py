"""The two towers of an open_clip model, computing batch by batch on one device.

How a model is loaded: see ``loading``; how its transformers compute: see ``lean``. Here are bytes,
batches, lengths and memory: images stay bytes until they are on the device, captions are sorted
by length, and a batch that does not fit is halved.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import numpy as np
import torch
from open_clip.transform import PreprocessCfg
from torch import Tensor, nn
from torch.nn import functional

from clip_assets.encoders.encoder import Mask, ModelIdentity, Pixels, Vectors
from clip_assets.encoders.openclip import device_faults
from clip_assets.encoders.openclip.lean import LeanText, rebuild_image_tower
from clip_assets.encoders.openclip.preprocessing import Preprocessing
from clip_assets.encoders.openclip.tokens import Tokens

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

BATCH_SIZES = {"cpu": 32, "cuda": 1024}
"""Samples of one step, where nothing else is said. On a CPU a ViT-B-32 is fastest with as many as
leave its activations in the last cache (20 images/s and core with 32, 17 with 256)."""


class OpenClipEncoder:
    """An ``Encoder`` over an open_clip model.

    Args:
        model: in fp32; it is moved and rebuilt in place.
        tokenizer: the model's own.
        identity: says the precision to compute in.
        device: where to compute.
        batch_size: samples of one step at most, 0 for that of the device; halved for good when
            memory runs out.
        decodes: whether the device decodes JPEGs and resizes them, too.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        identity: ModelIdentity,
        device: torch.device,
        batch_size: int,
        *,
        decodes: bool = False,
    ) -> None:
        self._dtype = DTYPES[identity.precision]
        config = PreprocessCfg(**model.visual.preprocess_cfg)
        self._model = model.to(device)
        self._is_lean_image = rebuild_image_tower(model, config, self._dtype)
        self._lean_text = LeanText.of(model, self._dtype)
        self._tokens = Tokens(tokenizer)
        self._identity = identity
        self._device = device
        self._batch_size = batch_size or BATCH_SIZES[device.type]
        self._cores = torch.get_num_threads()
        self._thread = threading.local()
        self._preprocessing = Preprocessing(config, device if decodes else None)
        mean = torch.tensor(config.mean, device=device).view(1, -1, 1, 1)
        std = torch.tensor(config.std, device=device).view(1, -1, 1, 1)
        self._scale, self._shift = 1 / (255 * std), mean / std

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._identity.dim

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return self._identity

    @property
    def batch_size(self) -> int:
        """Samples that one call should have."""
        return self._batch_size

    @property
    def workers(self) -> int:
        """Calls that should run at once: one for every core, or two that take turns on a GPU."""
        return self._cores if self._device.type == "cpu" else 2

    def begin_work(self) -> None:
        """Make the calling thread one of several: on a CPU it computes with one core.

        With a batch on each core, and not one batch on all of them, nobody waits at the end of
        every matrix for a core that was decoding an image.
        """
        self._thread.is_worker = True
        if self._device.type == "cpu":
            torch.set_num_threads(1)
        elif self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            self._thread.stream = torch.cuda.Stream(self._device)

    def preprocess(self, content: bytes) -> Pixels:
        """Decode an image file and bring it to the model's size, by the model's own steps."""
        with torch.inference_mode(), self._stream():
            pixels = self._preprocessing(content)
            if isinstance(pixels, Tensor) and self._device.type == "cuda":
                # Another thread's stream reads them next.
                torch.cuda.current_stream(self._device).synchronize()
        return cast("Pixels", pixels)

    def encode_images(self, images: Sequence[Pixels]) -> Vectors:
        """Embed preprocessed images: (len(images), dim) float16, unit rows."""
        return self._in_steps(list(images), self._images)

    def encode_text(self, captions: Sequence[str]) -> Vectors:
        """Embed captions: (len(captions), dim) float16, unit rows; any length, any characters."""
        return self._texts(self._tokens.of(captions))

    def encode_captions(self, captions: Sequence[str]) -> tuple[Vectors, Mask]:
        """``encode_text``, and of which captions the tower reads the beginning alone, (n,) bool."""
        tokens = self._tokens.of(captions)
        return self._texts(tokens), self._tokens.cut(captions, tokens)

    def _texts(self, tokens: Tensor) -> Vectors:
        """Vectors of (n, context) tokens."""
        if self._lean_text is None:
            return self._in_steps(list(tokens), self._whole_text)
        lengths = (self._lean_text.positions(tokens) + 1).numpy()
        order = np.argsort(lengths, kind="stable")
        vectors = self._in_steps([tokens[row, : lengths[row]] for row in order], self._cut_text)
        back = np.empty_like(vectors)
        back[order] = vectors
        return back

    def _in_steps(self, items: list[Any], encode: Callable[[list[Any]], Tensor]) -> Vectors:
        """Encode in batches, smaller ones when memory runs out."""
        if not getattr(self._thread, "is_worker", False):
            # Workers of this process may have left one core as the default.
            torch.set_num_threads(self._cores)
        done = [np.empty((0, self.dim), np.float16)]
        start = 0
        while start < len(items):
            step = self._batch_size
            try:
                with torch.inference_mode(), self._stream():
                    features = encode(items[start : start + step])
                    unit = functional.normalize(features.float(), dim=-1)
                    done.append(unit.to(torch.float16).cpu().numpy())
            except torch.AcceleratorError as error:
                raise device_faults.lost(error, self._device) from error
            except (MemoryError, RuntimeError) as error:
                if not device_faults.is_exhausted(error):
                    raise
                tried = min(step, len(items) - start)
                if tried == 1:
                    raise device_faults.too_small(
                        self._identity.describe(), self._device
                    ) from error
                self._batch_size = min(self._batch_size, tried // 2)
            else:
                start += step
        return np.concatenate(done)

    def _images(self, batch: list[Pixels]) -> Tensor:
        pixels = self._stacked(batch)
        if self._is_lean_image:
            return self._model.encode_image(pixels)
        # With the channels last, the layout that convolutions like best.
        numbers = pixels.permute(0, 3, 1, 2).float().mul_(self._scale).sub_(self._shift)
        with self._autocast():
            return self._model.encode_image(numbers)

    def _stacked(self, batch: list[Pixels]) -> Tensor:
        """(n, height, width, 3) uint8 on the device, from where each image is."""
        if not any(isinstance(pixels, Tensor) for pixels in batch):
            return self._sent(torch.from_numpy(np.stack(batch)))
        tensors = [
            pixels if isinstance(pixels, Tensor) else torch.from_numpy(np.array(pixels))
            for pixels in batch
        ]
        return torch.stack([self._sent(pixels) for pixels in tensors])

    def _cut_text(self, rows: list[Tensor]) -> Tensor:
        assert self._lean_text is not None
        return self._lean_text(self._sent(nn.utils.rnn.pad_sequence(rows, batch_first=True)))

    def _whole_text(self, rows: list[Tensor]) -> Tensor:
        with self._autocast():
            return self._model.encode_text(self._sent(torch.stack(rows)))

    def _sent(self, batch: Tensor) -> Tensor:
        """The batch on the device; from pinned memory, so that the copy runs beside the model."""
        if self._device.type != "cuda" or batch.is_cuda:
            return batch.to(self._device)
        return batch.pin_memory().to(self._device, non_blocking=True)

    def _stream(self) -> AbstractContextManager[object]:
        """The worker's own queue of the GPU: one copies and waits while another computes."""
        stream = getattr(self._thread, "stream", None)
        return nullcontext() if stream is None else torch.cuda.stream(stream)

    def _autocast(self) -> AbstractContextManager[object]:
        if self._dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self._device.type, self._dtype)
