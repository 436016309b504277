"""Figures and a picture of a partition's embeddings, and the checks that they must pass.

Sees one chunk after the other; keeps sums, counts and ``DISTINCT`` inputs of each side.
"""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clip_assets.encoders.encoder import Vectors
from clip_assets.errors import UnsoundVectorsError
from clip_assets.inference.chunks import Chunk
from clip_assets.storage.pictures import histogram

NORM_TOLERANCE = 5e-3
"""A unit row rounded to float16 is off by 5e-4 at most; what is further off was never unit."""

COLLAPSED = 0.9999
"""Mean cosine between different images (or captions) from which a model tells nothing apart;
an untrained ViT-B-32 has 0.93 between images of noise."""

COLLAPSED_ROWS = 16
"""Fewer different images or captions say nothing about a collapse."""

DISTINCT = 100_000
"""Images and captions that are remembered to be counted once; others that follow are not
compared."""

BINS = np.linspace(-1, 1, 201)


def cosines(image: Vectors, text: Vectors) -> npt.NDArray[np.float32]:
    """Cosine of each image with its caption, (n,) float32, of the rows as they are stored."""
    return np.einsum("nd,nd->n", image.astype(np.float32), text.astype(np.float32))


class EmbeddingSummary:
    """What is known of a partition's vectors after all its chunks were seen."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.rows = 0
        self.dropped: Counter[str] = Counter()
        self._captions_cut = 0
        self._captions_not_asked = 0
        self._similarity = 0.0
        self._histogram = np.zeros(len(BINS) - 1, np.int64)
        self._spreads = {"image": _Spread(), "text": _Spread()}
        self._seen: dict[str, set[str]] = {"image": set(), "text": set()}

    def add(self, chunk: Chunk) -> None:
        """Count a chunk.

        Raises:
            UnsoundVectorsError: a vector is NaN or no unit vector.
        """
        check_unit_rows(chunk.image, f"{self._where}: image embeddings")
        check_unit_rows(chunk.text, f"{self._where}: text embeddings")
        similarity = chunk.rows["similarity"].to_numpy()
        self.dropped.update(chunk.dropped)
        self.rows += len(similarity)
        cut = chunk.inputs["is_caption_cut"]
        self._captions_cut += pc.sum(cut).as_py() or 0
        self._captions_not_asked += cut.null_count
        self._similarity += float(similarity.sum(dtype=np.float64))
        self._histogram += np.histogram(similarity, BINS)[0]
        self._spreads["image"].add(chunk.image[self._unseen("image", _images(chunk.rows))])
        captions = [caption or "" for caption in chunk.rows["caption"].to_pylist()]
        self._spreads["text"].add(chunk.text[self._unseen("text", captions)])

    def check(self) -> None:
        """Refuse a partition in which different inputs have the same vector.

        One picture behind many urls, a product's or a host's placeholder, is data: a model is
        at fault only if files with different hashes, or different captions, are all alike.

        Raises:
            UnsoundVectorsError: they are, on either side.
        """
        for side, spread in self._spreads.items():
            if spread.rows >= COLLAPSED_ROWS and spread.mean_cosine > COLLAPSED:
                raise UnsoundVectorsError(
                    f"{self._where}: {side} embeddings",
                    f"a mean cosine of {spread.mean_cosine:.6f} between {spread.rows:,} different "
                    f"{'images' if side == 'image' else 'captions'}",
                    f"at most {COLLAPSED}",
                    "The model tells nothing apart; check its weights and inference.precision.",
                )

    def figures(self) -> dict[str, float | None]:
        """For people: means of the similarity and between different inputs, which are counted.

        ``captions_cut`` counts captions that are longer than the text tower reads; of those in
        ``captions_not_asked`` that is not known.
        """
        return {
            "captions_cut": self._captions_cut,
            "captions_not_asked": self._captions_not_asked,
            "mean_similarity": round(self._similarity / self.rows, 6) if self.rows else None,
            "mean_cosine_between_images": round(self._spreads["image"].mean_cosine, 6),
            "mean_cosine_between_captions": round(self._spreads["text"].mean_cosine, 6),
            "different_images": self._spreads["image"].rows,
            "different_captions": self._spreads["text"].rows,
        }

    def picture(self) -> bytes:
        """Histogram of the similarities as png."""
        used = np.flatnonzero(self._histogram)
        shown = slice(max(used[0] - 2, 0), used[-1] + 3) if len(used) else slice(None)
        bins = zip(BINS[:-1][shown], self._histogram[shown], strict=True)
        counts = {f"{low:.2f}": int(count) for low, count in bins}
        return histogram(f"cosine of image and caption, {self._where}", counts, "pairs")

    def _unseen(self, side: str, inputs: list[str]) -> list[int]:
        """Rows whose inputs are new: equal ones have equal vectors, which prove nothing."""
        seen = self._seen[side]
        rows: list[int] = []
        for row, value in enumerate(inputs):
            if len(seen) == DISTINCT:
                break
            if value not in seen:
                seen.add(value)
                rows.append(row)
        return rows


def _images(rows: pa.Table) -> list[str]:
    """What tells the images of a chunk apart: the files' hashes, else their places."""
    places = rows["image_path"].to_pylist()
    hashes = rows["sha256"].to_pylist()
    return [str(sha256 or place) for sha256, place in zip(hashes, places, strict=True)]


class _Spread:
    """Mean cosine between unit rows: the squared length of their mean."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum: npt.NDArray[np.float64] | None = None

    def add(self, vectors: Vectors) -> None:
        total = vectors.sum(axis=0, dtype=np.float64)
        self._sum = total if self._sum is None else self._sum + total
        self.rows += len(vectors)

    @property
    def mean_cosine(self) -> float:
        if self._sum is None or self.rows < 2:
            return 0.0
        # Without each row's cosine with itself.
        return float((self._sum @ self._sum - self.rows) / (self.rows * (self.rows - 1)))


def check_unit_rows(vectors: Vectors, where: str) -> None:
    """Refuse rows that are no unit vectors.

    Raises:
        UnsoundVectorsError: a row is NaN, infinite, zero or otherwise not of length 1.
    """
    lengths = np.linalg.norm(vectors.astype(np.float32), axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < NORM_TOLERANCE))
    if len(wrong):
        raise UnsoundVectorsError(
            where,
            f"{len(wrong):,} of {len(vectors):,} rows of another length, first row {wrong[0]} "
            f"of {lengths[wrong[0]]}",
            "rows of length 1",
            "The model's weights or its precision are at fault; try inference.precision fp32.",
        )
