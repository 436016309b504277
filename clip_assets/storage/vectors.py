"""Embedding files: plain npy, (n, dim) float16, written and read by rows.

The header is written when the number of rows is known, so a file of any size needs the
memory of one chunk.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clip_assets import layout, schemas
from clip_assets.errors import AlignmentError, SchemaError
from clip_assets.storage.store import Store

Vectors = npt.NDArray[np.float16]


def write(part: Path, chunks: Iterable[Vectors], rows: int, dim: int) -> None:
    """Write chunks of (m, dim) float16 one after the other as one npy file.

    Raises:
        AlignmentError: the chunks do not add up to ``rows`` or have another width.
    """
    written = 0
    with part.open("wb") as file:
        header = {"descr": schemas.EMBEDDING.str, "fortran_order": False, "shape": (rows, dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            if chunk.shape[1:] != (dim,):
                raise _unaligned(part.name, f"rows of shape {chunk.shape[1:]}", f"({dim},)")
            file.write(np.ascontiguousarray(chunk, dtype=schemas.EMBEDDING).tobytes())
            written += len(chunk)
    if written != rows:
        raise _unaligned(part.name, f"{written} rows", f"{rows} rows")


@contextmanager
def opened(store: Store, path: str) -> Generator[Vectors]:
    """A published embedding file, memory-mapped, for the time of the block.

    Raises:
        MissingArtifactError: no stage has written it.
        SchemaError: it is no two-dimensional float16 array.
    """
    with store.local(path) as file:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        if array.ndim != 2 or array.dtype != schemas.EMBEDDING:
            raise SchemaError(
                store.uri(path),
                f"{array.dtype} of shape {array.shape}",
                "float16 of shape (n, dim)",
                f"Materialize {layout.made_by(path)} again.",
            )
        yield array


def _unaligned(where: str, found: str, expected: str) -> AlignmentError:
    return AlignmentError(where, found, expected, "This is a defect of the stage that wrote it.")
