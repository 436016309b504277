"""A machine that runs out of memory: smaller batches, the same vectors, and a clear end."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_assets.encoders.encoder import Encoder
from clip_assets.errors import DeviceLostError
from clip_assets.settings import InferenceSettings

SMALL_MACHINE = """
import resource, sys
from pathlib import Path
import numpy as np
from clip_assets.errors import ModelError
from clip_assets.encoders.openclip.loading import load_encoder
from clip_assets.settings import InferenceSettings

encoder = load_encoder(InferenceSettings.model_validate_json(sys.argv[1]), "cpu")
encoder.begin_work()
pixels = np.load(sys.argv[2])
encoder.encode_images(pixels[:2])
mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = mapped + int(sys.argv[3]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    np.save(sys.argv[4], encoder.encode_images(pixels))
except ModelError as error:
    print(error)
else:
    print(encoder.batch_size)
"""


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4096, 32, 32, 3), dtype=np.uint8)


def on_a_small_machine(
    settings: InferenceSettings, pixels: np.ndarray, folder: Path, spare_mib: int
) -> str:
    np.save(folder / "pixels.npy", pixels)
    arguments = settings.model_dump_json(), folder / "pixels.npy", spare_mib, folder / "out.npy"
    done = subprocess.run(
        [sys.executable, "-c", SMALL_MACHINE, *map(str, arguments)],
        # What is freed goes back at once, so that nothing is left to take it from.
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_batch_that_does_not_fit_is_halved(
    inference: InferenceSettings, encoder: Encoder, pixels: np.ndarray, tmp_path: Path
) -> None:
    greedy = inference.model_copy(update={"batch_size": len(pixels)})
    batch_size = int(on_a_small_machine(greedy, pixels, tmp_path, spare_mib=100))
    assert 1 <= batch_size < len(pixels)
    ours = np.load(tmp_path / "out.npy")
    np.testing.assert_allclose(ours[:64], encoder.encode_images(list(pixels[:64])), atol=1e-3)
    assert len(ours) == len(pixels)


def test_an_image_that_does_not_fit_alone_is_an_error(
    make_model: Callable[..., Path], pixels: np.ndarray, tmp_path: Path
) -> None:
    large = {"image_size": 256, "layers": 2, "width": 64, "patch_size": 8}
    folder = make_model(model_cfg={"vision_cfg": large})
    settings = InferenceSettings(model=f"local-dir:{folder}", precision="fp32")
    images = pixels[:128].reshape(2, 256, 256, 3)
    said = on_a_small_machine(settings, images, tmp_path, spare_mib=0)
    assert "no memory for a batch of one sample" in said


def test_only_errors_of_memory_count_as_such() -> None:
    import torch

    from clip_assets.encoders.openclip.device_faults import is_exhausted

    assert is_exhausted(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_exhausted(MemoryError())
    assert not is_exhausted(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_exhausted(ValueError("out of memory"))


def test_a_lost_accelerator_is_named(inference: InferenceSettings) -> None:
    import torch

    from clip_assets.encoders.openclip.loading import load_encoder

    encoder: Any = load_encoder(inference, "cpu")

    def fail(_: object) -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA_LAUNCH...")

    # What no machine does when it is asked to.
    encoder._model.visual.forward = fail
    with pytest.raises(DeviceLostError, match=r"device cpu.*unspecified launch failure, expected"):
        encoder.encode_images(np.zeros((2, 32, 32, 3), np.uint8))
