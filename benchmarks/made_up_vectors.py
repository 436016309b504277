"""Vectors made up as a CLIP model's are: clustered images, and captions that lie beside them.

What is imitated, and how:

* Content lies in clusters of very different sizes, and some directions of it vary more than
  others: the k-th with a standard deviation of k^-0.4.
* Images share a direction, captions share another one, and half of a vector's square length is
  that direction: so all images are alike to 0.5, and captions lie off them (the modality gap).
* Half of the rest of a caption is its image's content, the other half its own.

So a caption is about 0.35 similar to its image and 0.1 to another one. The numbers are chosen,
not those of any model; run as a script, this tells what came out of them:

    python benchmarks/made_up_vectors.py [--vectors 20000] [--dim 512]
"""

import argparse

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

VECTORS_PER_CLUSTER = 200
SPREAD = 0.7
"""Of vectors in a cluster, where that of the clusters' centres is 1."""
DECAY = 0.4
SHARED = 0.5
"""Of a vector's square length: what all of its side have."""
BETWEEN_SIDES = 0.2
"""Cosine of what images share and what captions share."""
OF_THE_IMAGE = 0.5
"""Of a caption's own content."""


class Source:
    """Draws pairs of one made-up model: the same for the same seeds.

    Args:
        dim: of the vectors.
        clusters: of content.
        seed: of the model.
        topics: other clusters of content for each number; the model stays the same.
    """

    def __init__(self, dim: int, clusters: int, seed: int = 0, topics: int = 0) -> None:
        random = np.random.default_rng(seed)
        self._scale = np.arange(1, dim + 1, dtype=np.float32) ** -DECAY
        first, second = np.linalg.qr(random.normal(size=(dim, 2)))[0].T.astype(np.float32)
        across = (1 - BETWEEN_SIDES**2) ** 0.5
        self._shared = {"image": first, "text": BETWEEN_SIDES * first + across * second}
        if topics:
            random = np.random.default_rng((seed, topics))
        self._centres = self._content(random, clusters)
        weights = random.pareto(1.5, clusters) + 0.1
        self._weights = weights / weights.sum()

    def pairs(self, rows: int, seed: int) -> tuple[Floats, Floats]:
        """(rows, dim) vectors of images and of their captions, each of length 1."""
        random = np.random.default_rng((seed, 1))
        centres = self._centres[random.choice(len(self._centres), rows, p=self._weights)]
        images = _unit(centres + SPREAD * self._content(random, rows))
        other = _unit(self._content(random, rows))
        texts = _unit(OF_THE_IMAGE * images + (1 - OF_THE_IMAGE**2) ** 0.5 * other)
        return self._placed(images, "image"), self._placed(texts, "text")

    def _content(self, random: np.random.Generator, rows: int) -> Floats:
        dim = len(self._scale)
        return random.standard_normal((rows, dim), dtype=np.float32) * self._scale

    def _placed(self, content: Floats, side: str) -> Floats:
        return _unit(SHARED**0.5 * self._shared[side] + (1 - SHARED) ** 0.5 * content)


def _unit(rows: Floats) -> Floats:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def main() -> None:
    """Tell how alike the vectors are."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vectors", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=512)
    options = parser.parse_args()
    source = Source(options.dim, max(1, options.vectors // VECTORS_PER_CLUSTER))
    images, texts = source.pairs(options.vectors, seed=1)
    some = slice(0, 500)
    print(f"caption and its image  {np.einsum('nd,nd->n', images, texts).mean():.3f}")
    print(f"caption and any image  {(texts[some] @ images.T).mean():.3f}")
    print(f"image and any image    {(images[some] @ images.T).mean():.3f}")
    for name, queries in (("caption", texts), ("image", images)):
        best = np.sort(queries[some] @ images.T, axis=1)[:, -11:]
        print(f"{name}'s tenth nearest  {best[:, 1].mean():.3f}")


if __name__ == "__main__":
    main()
