"""Scores that follow from vectors: how a pair stands out, how near an image is to others.

Formulas are of the papers that named them; ``methods.by_vectors`` takes them to subsets.
"""

import numpy as np
import numpy.typing as npt

from clip_assets.subsets.draws import mixed

Rows32 = npt.NDArray[np.float32]
"""(n, dim)."""

STRIPE_ROWS = 1024
"""Rows of a batch whose similarities are in memory at once."""

LEAST_SUM = 1e-28
"""Of a caption's shares, below which a float's range may have cut some off: it is summed alone."""


def unit(vectors: npt.NDArray[np.floating]) -> Rows32:
    """(n, dim) float32 rows of length 1; nan where a row has no direction."""
    rows = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return rows / lengths


def batches(keys: npt.NDArray[np.uint64], size: int, number: int) -> list[npt.NDArray[np.int64]]:
    """Rows in batches of nearly the same size, drawn by their keys.

    Args:
        keys: (n,) one for each row, from its uid.
        size: at most, of one batch.
        number: of the round; each draws anew.
    """
    with np.errstate(over="ignore"):
        drawn = mixed(keys ^ mixed(np.full(1, number, np.uint64)))
    order = np.argsort(drawn, kind="stable")
    return np.array_split(order, max(1, -(-len(keys) // size)))


def neg_clip_loss(
    images: npt.NDArray[np.floating],
    texts: npt.NDArray[np.floating],
    keys: npt.NDArray[np.uint64],
    *,
    batch: int,
    rounds: int,
    temperature: float,
) -> Rows32:
    """NegCLIPLoss of pairs: their similarity, less how well they go with others of a batch.

    ``v.l - mean over rounds of t/2 (log sum_j exp(v.l_j / t) + log sum_j exp(v_j.l / t))``, where
    j are the pairs of the batch that the round draws for it. Cost: 2 x rounds x batch x dim
    multiplications for each pair. Memory: one batch's vectors, and ``STRIPE_ROWS`` x batch floats.

    Args:
        images: (n, dim); may be mapped from a file.
        texts: (n, dim), of the same pairs.
        keys: (n,) from their uids, by which batches are drawn.
        batch: pairs of a batch.
        rounds: how often batches are drawn.
        temperature: t.

    Returns:
        (n,) float32.
    """
    scores = np.zeros(len(keys), np.float32)
    for number in range(rounds):
        for rows in batches(keys, batch, number):
            places = np.sort(rows)
            image, text = unit(images[places]), unit(texts[places])
            scores[places] += np.einsum("nd,nd->n", image, text) - _expected(
                image, text, temperature
            )
    return scores / np.float32(rounds)


def _expected(images: Rows32, texts: Rows32, temperature: float) -> Rows32:
    """How well each pair of a batch goes with all of it."""
    count = len(images)
    across, down = np.empty(count, np.float32), np.zeros(count, np.float32)
    greatest = np.float32(-np.inf)
    scaled, ones = images * np.float32(1 / temperature), np.ones(count, np.float32)
    for start in range(0, count, STRIPE_ROWS):
        # One exponential of each similarity serves both sums: beside its row's greatest, and as
        # much again beside the greatest of all.
        shares = scaled[start : start + STRIPE_ROWS] @ texts.T
        most = shares.max(axis=1)
        shares -= most[:, None]
        np.exp(shares, out=shares)
        across[start : start + STRIPE_ROWS] = most + np.log(shares @ ones)
        above = max(greatest, most.max())
        down = down * np.exp(greatest - above) + np.exp(most - above) @ shares
        greatest = above
    far = np.flatnonzero(down < LEAST_SUM)
    with np.errstate(divide="ignore"):
        beside = greatest + np.log(down)
    for start in range(0, len(far), STRIPE_ROWS):
        some = far[start : start + STRIPE_ROWS]
        logits = texts[some] @ scaled.T
        most = logits.max(axis=1, keepdims=True)
        beside[some] = most[:, 0] + np.log(np.exp(logits - most).sum(axis=1))
    return np.float32(temperature / 2) * (across + beside)


def second_moment(targets: npt.NDArray[np.floating]) -> Rows32:
    """(dim, dim) sum of the outer products of unit rows: all that NormSim-2 asks of targets."""
    rows = unit(targets)
    return rows.T @ rows


def norm_sim(images: npt.NDArray[np.floating], moment: Rows32) -> Rows32:
    """NormSim-2 of images: the root of the sum of their squared similarities to the targets.

    Args:
        images: (n, dim).
        moment: of the targets, see ``second_moment``.

    Returns:
        (n,) float32.
    """
    rows = unit(images)
    return np.sqrt(np.maximum(np.einsum("nd,nd->n", rows @ moment, rows), 0))


def nearest_target(images: npt.NDArray[np.floating], targets: Rows32) -> Rows32:
    """NormSim-inf of images: the similarity to the nearest target.

    Args:
        images: (n, dim).
        targets: (t, dim) of length 1; similarities of ``STRIPE_ROWS`` images to all are in memory.

    Returns:
        (n,) float32.
    """
    rows = unit(images)
    stripes = range(0, len(rows), STRIPE_ROWS)
    parts = [(rows[start : start + STRIPE_ROWS] @ targets.T).max(axis=1) for start in stripes]
    return np.concatenate([np.empty(0, np.float32), *parts])
