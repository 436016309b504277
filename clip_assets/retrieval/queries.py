"""What can be searched by, and the vector that it means.

Finding neighbours of the vector is ``retrieval.search``.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.encoders.encoder import Encoder
from clip_assets.errors import ConfigurationError, ImageError
from clip_assets.files.faults import refuse_special

Vector = npt.NDArray[np.float32]
"""(dim,) float32, of length 1."""

Ids = npt.NDArray[np.int64]

_LONGEST_BYTES = 2**20
# Of a file with one vector: more numbers than any model's vectors have.


@dataclass(frozen=True, slots=True)
class Uid:
    """A pair of the pool, searched by its image."""

    value: str


Query = str | Path | bytes | npt.NDArray[np.floating] | Uid
"""A text, an image file, its content, an embedding (dim,) of any length, or a pair."""


def check_asked(k: int, side: str) -> None:
    """Whether so many results of a side can be asked for.

    Raises:
        ConfigurationError: they cannot.
    """
    if k < 1:
        raise ConfigurationError("k", str(k), "1 or more", "Ask for at least one result.")
    if side not in layout.SIDES:
        raise ConfigurationError("side", repr(side), "image or text", "Choose one.")


def check_vectors(vectors: npt.NDArray[np.floating], dim: int) -> None:
    """Whether an index can be asked for vectors.

    Raises:
        ConfigurationError: they are no rows, of another width, or not finite.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise ConfigurationError(
            "vectors",
            f"shape {vectors.shape}",
            f"(queries, {dim}), as the index",
            "Embed the queries with the model of the index.",
        )
    if not np.isfinite(vectors).all():  # nothing is near, so everything would be looked at
        raise ConfigurationError(
            "vectors", "numbers that are not finite", "finite ones", "Leave these queries out."
        )


def checked_ids(allowed: Ids, total: int) -> Ids:
    """Ids that may be found, of a version that has so many.

    Raises:
        ConfigurationError: it has not all of them, or they are in no order.
    """
    ids = np.asarray(allowed, np.int64)
    is_wrong = ids.ndim != 1 or (np.diff(ids) <= 0).any()
    if is_wrong or (len(ids) and not 0 <= ids[0] <= ids[-1] < total):
        raise ConfigurationError(
            "allowed",
            f"{ids.size:,} ids in no order, twice or outside the version",
            f"ids of 0 to {total - 1:,}, ascending, each once",
            "Take them from this version, and numpy.unique of them.",
        )
    return ids


def kind(query: str | Path | bytes | Uid) -> str:
    """Whether a query is a text or an image, in the words of ``layout.SIDES``."""
    return "text" if isinstance(query, str) else "image"


def unit(embedding: npt.NDArray[np.floating], dim: int) -> Vector:
    """An embedding scaled to length 1.

    Args:
        embedding: (dim,) or (1, dim).
        dim: of the index.

    Raises:
        ConfigurationError: it has another shape, is zero, not finite, or of no real numbers.
    """
    if embedding.dtype.kind not in "fiub":
        raise _wrong(f"numbers of type {embedding.dtype}", "real ones")
    if embedding.shape not in ((dim,), (1, dim)):
        raise _wrong(f"shape {embedding.shape}", f"({dim},), as the index")
    vector = embedding.reshape(dim).astype(np.float64)
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length):
        raise _wrong("numbers that are not finite", "finite ones")
    if length == 0:
        raise _wrong("only zeros", "a direction")
    return (vector / length).astype(np.float32)


def encode(query: str | Path | bytes, encoder: Callable[[], Encoder]) -> npt.NDArray[np.float16]:
    """The embedding of a text or an image.

    Args:
        query: the text, or the image.
        encoder: loads the model, when the query is one that it could embed.

    Returns:
        (1, dim) float16.

    Raises:
        ConfigurationError: the text is empty, or there is no such file.
        ImageError: it is no image.
    """
    if isinstance(query, str):
        return encode_many([query], encoder)
    content = _content(query)
    model = encoder()
    try:
        pixels = model.preprocess(content)
    except ImageError as error:
        where = str(query) if isinstance(query, Path) else error.where
        raise ImageError(where, error.found, error.expected, error.advice, error.detail) from error
    return model.encode_images([pixels])


def encode_many(texts: Sequence[str], encoder: Callable[[], Encoder]) -> npt.NDArray[np.float16]:
    """The embeddings of texts, (n, dim) float16; raises as ``encode`` does."""
    if not all(text.strip() for text in texts):
        raise _wrong("an empty text", "some words")
    model = encoder()
    batches = (texts[n : n + model.batch_size] for n in range(0, len(texts), model.batch_size))
    return np.concatenate([model.encode_text(batch) for batch in batches])


def vector_in(file: str) -> npt.NDArray[np.floating]:
    """The embedding that a .npy file holds, of shape (dim,) or (1, dim).

    Raises:
        ConfigurationError: it holds no vector of numbers.
    """
    expected, advice = "a .npy file of one vector of numbers", "Write it with numpy.save."
    refuse_special(file)
    try:
        with Path(file).open("rb") as content:
            _check_size(content)
            array = np.lib.format.read_array(content, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise ConfigurationError(file, str(error), expected, advice) from error
    if not np.issubdtype(array.dtype, np.floating):
        raise ConfigurationError(file, f"numbers of type {array.dtype}", expected, advice)
    return array.squeeze()


def _check_size(file: IO[bytes]) -> None:
    """Refuse a file that cannot be one vector before it is read: a sparse one is of any size."""
    size = os.fstat(file.fileno()).st_size
    if size > _LONGEST_BYTES:
        raise ValueError(f"a file of {size:,} bytes")


def _content(image: Path | bytes) -> bytes:
    if isinstance(image, bytes):
        return image
    refuse_special(str(image))
    try:
        return image.read_bytes()
    except OSError as error:
        raise _wrong(f"{image}: {error.strerror}", "a readable image file") from error


def _wrong(found: str, expected: str) -> ConfigurationError:
    return ConfigurationError("query", found, expected, "Correct the query.")
