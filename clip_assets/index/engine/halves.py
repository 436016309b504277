"""float16 as float32, many numbers at a time. Used by ``index.exact``.

numpy converts number by number, which took longer than all else of a second look.
"""

import numpy as np
import numpy.typing as npt

_EXPONENT = np.uint16(0x7C00)
_SHIFT = 13
# float32's mantissa is that much longer.
_KEPT = np.int32(-0x70000001)
# All bits but the three of float32's exponent that the sign was copied into.
_REBASED = np.float32(2.0**112)
# Exponents begin at 127 instead of 15.


def whole(halves: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """The same numbers as float32.

    Args:
        halves: (n, dim), C-contiguous.
    """
    if ((halves.view(np.uint16) & _EXPONENT) == _EXPONENT).any():  # infinities, NaN
        return halves.astype(np.float32)
    bits = halves.view(np.int16).astype(np.int32)
    bits <<= _SHIFT
    bits &= _KEPT
    numbers = bits.view(np.float32)
    numbers *= _REBASED
    return numbers
