"""float16 is read as numpy reads it."""

import numpy as np

from clip_assets.index.engine.halves import whole

EVERY = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(256, 256)


def test_every_number_is_the_same() -> None:
    assert np.array_equal(whole(EVERY), EVERY.astype(np.float32), equal_nan=True)
    finite = np.where(np.isfinite(EVERY), EVERY, np.float16(0))
    bits = whole(finite).view(np.uint32)
    assert np.array_equal(bits, finite.astype(np.float32).view(np.uint32))
