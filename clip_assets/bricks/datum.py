"""What goes from brick to brick: a pair with all that is known of it so far.

Nothing here knows how it came to be known.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from clip_assets.inference.samples import Sample


@dataclass(frozen=True, slots=True)
class Datum:
    """A pair on its way.

    Args:
        key: what it is called in a tar.
        caption: None where there is none.
        fields: what else is known: ``uid``, ``url``, sizes, scores and whatever a source says.
        image: an image file.
        pixels: (height, width, 3) uint8 RGB, or what a ``Decode`` makes.
        vectors: (dim,) float16 of length 1, by side, ``image`` and ``text``.
        fault: why it cannot go on, in few words; empty when it can. Bricks pass such data on as
            they are, so that the last writer has a row of each.
    """

    key: str
    caption: str | None = None
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    image: bytes | None = None
    pixels: npt.NDArray[Any] | None = None
    vectors: dict[str, npt.NDArray[np.float16]] = field(default_factory=dict[str, Any])
    fault: str = ""

    @classmethod
    def of(cls, sample: Sample) -> Self:
        """A sample of a tar."""
        return cls(sample.key, sample.caption, sample.fields, sample.image, fault=sample.fault)

    @property
    def uid(self) -> str | None:
        """The pair's, None if it is not known."""
        uid = self.fields.get("uid")
        return uid if isinstance(uid, str) else None

    def told(self, **fields: Any) -> Self:
        """With more fields."""
        return replace(self, fields=self.fields | fields)

    def failed(self, fault: str) -> Self:
        """Without image, pixels and vectors, for a reason."""
        return replace(self, image=None, pixels=None, vectors={}, fault=fault)
