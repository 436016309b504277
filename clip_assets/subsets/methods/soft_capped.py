"""Soft cap sampling: rows drawn by their score, again and again, each time a little less likely.

The rule is that of M-FLYT's authors (FLYT, arXiv 2503.08805): batches are drawn without
replacement by softmax of the scores; alpha is taken off what was drawn.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets.errors import ConfigurationError
from clip_assets.settings.curation import SoftCapped
from clip_assets.storage import uids
from clip_assets.subsets.draws import mixed
from clip_assets.subsets.judgement import Judgement
from clip_assets.subsets.numbered import Numbered
from clip_assets.subsets.selection import UID, Account, Judge, Method, Selection

BATCHES = 100
"""That the default makes of the whole."""

SHOWN = 10
"""Numbers of draws that are told; more are told together."""


def judge(selection: Selection, settings: SoftCapped, candidates: Judge) -> Judge:
    """Each row as often as it is drawn. Memory: some 40 bytes for each candidate with a score.

    Raises:
        ConfigurationError: no candidate has a score.
    """
    score = selection.score(settings.score, candidates)
    columns = candidates.columns | score.columns | {UID}
    rows, logits, keys = Numbered(), [np.empty(0)], [np.empty(0, np.uint64)]
    for piece, table in selection.tables(columns):
        scores = score.of(piece, table).astype(np.float64)
        own = np.flatnonzero(candidates.decide(piece, table).kept & np.isfinite(scores))
        rows.add(piece, own)
        logits.append(scores[own] / settings.temperature)
        numbers = uids.pairs(table[UID])[own]
        keys.append(np.asarray(numbers["f0"] ^ numbers["f1"], np.uint64))
    if not rows.count:
        raise ConfigurationError(
            "soft_cap", "no candidate with a score", "some", "See how the score is made."
        )
    times = drawn(
        np.concatenate(logits),
        np.concatenate(keys),
        total=settings.soft_cap,
        batch=settings.batch or max(1, settings.soft_cap // BATCHES),
        alpha=settings.alpha,
        seed=settings.seed,
    )

    def decide(piece: str, table: pa.Table) -> Judgement:
        of_rows = np.zeros(len(table), np.int64)
        of_rows[rows.pieces[piece][1]] = times[rows.numbers(piece)]
        has_score = np.zeros(len(table), np.bool_)
        has_score[rows.pieces[piece][1]] = True
        dropped = {"no_score": ~has_score, "not_drawn": has_score & (of_rows == 0)}
        return Judgement(of_rows, dropped)

    counts = np.bincount(np.minimum(times, SHOWN))
    figures = {
        f"{count} or more" if count == SHOWN else str(count): int(pairs)
        for count, pairs in enumerate(counts)
        if pairs
    }
    told = Account({"pairs by number of draws": figures, "most draws": int(times.max())})
    selection.told.append(lambda: told)
    return Judge(columns, decide)


def drawn(
    logits: npt.NDArray[np.float64],
    keys: npt.NDArray[np.uint64],
    *,
    total: int,
    batch: int,
    alpha: float,
    seed: int,
) -> npt.NDArray[np.int64]:
    """How often each row is drawn, (n,); together ``total`` times.

    Args:
        logits: (n,) finite.
        keys: (n,) of rows, from which draws follow.
        total: draws.
        batch: of them at once, each row at most once.
        alpha: taken off the logit of a drawn row.
        seed: of the draws.
    """
    left, times = logits.copy(), np.zeros(len(logits), np.int64)
    done, number = 0, 0
    begun = mixed(np.full(1, seed, np.uint64))
    while done < total:
        size = min(batch, total - done, len(logits))
        with np.errstate(over="ignore"):
            bits = mixed(keys ^ mixed(begun + np.uint64(number)))
        # The greatest of logits with Gumbel noise are a draw by softmax without replacement.
        even = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        noisy = left - np.log(-np.log(even))
        rows = np.argpartition(-noisy, size - 1)[:size]
        times[rows] += 1
        left[rows] -= alpha
        done, number = done + size, number + 1
    return times


METHOD = Method(SoftCapped, judge)
