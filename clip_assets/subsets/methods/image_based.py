"""DataComp's ``image_based``: images in the clusters of images that are wanted, with a caption.

An image is in the cluster whose centroid has the greatest inner product with its vector.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets.errors import SourceFormatError
from clip_assets.settings.baselines import ImageBased
from clip_assets.subsets.clusters import clustered, nearest
from clip_assets.subsets.judgement import Judgement, Mask, both, passing
from clip_assets.subsets.languages import detector, spoken
from clip_assets.subsets.methods.by_vectors import CHUNK_ROWS, read_targets
from clip_assets.subsets.selection import Account, Decide, Judge, Method, Selection
from clip_assets.subsets.vector_scores import Rows32

_SPACE, _WORD = r"[ \n\r\t\x0b\x0c\x00]", r"[^ \n\r\t\x0b\x0c\x00]"

TWO_WORDS = rf"(?s){_WORD}{_SPACE}+{_WORD}|{_WORD}.*\n|\n.*(?:{_WORD}|\n)"
"""Of fastText's tokens, by which DataComp counts words here: a newline is one too."""

MORE_CHARACTERS_THAN = 5


def judge(selection: Selection, settings: ImageBased, candidates: Judge) -> Judge:
    """Each image by its cluster; only those with a fitting caption are compared.

    Cost: clusters x dim multiplications for each image.

    Raises:
        ConfigurationError: the rows have no vectors of this model.
        SourceError: a file is not there, or is not what it should be.
    """
    captions = _captions(selection, settings, candidates)
    columns = candidates.columns | selection.rows.vector_columns | {"text"}
    targets = np.asarray(read_targets(settings.targets), np.float32)
    centroids = _centroids(selection, settings, Judge(columns, captions))
    if centroids.shape[1] != targets.shape[1]:
        raise _other_length(settings.targets, targets, centroids)
    wanted = np.unique(nearest(targets, centroids)[0])
    figures = {"clusters": len(centroids), "wanted": len(wanted)}
    selection.told.append(lambda: Account({"image_based": figures}))

    def decide(piece: str, table: pa.Table) -> Judgement:
        fitting = captions(piece, table)
        rows = np.flatnonzero(fitting.kept)
        has_vector, is_near = np.zeros((2, len(table)), dtype=bool)
        with selection.rows.vectors(piece, table, settings.arch) as of_piece:
            rows = rows[of_piece.places[rows] >= 0]
            has_vector[rows] = True
            for start in range(0, len(rows), CHUNK_ROWS):
                some = rows[start : start + CHUNK_ROWS]
                images = np.asarray(of_piece.images[of_piece.places[some]], np.float32)
                if images.shape[1] != centroids.shape[1]:
                    raise _other_length(settings.targets, targets, images)
                is_near[some] = np.isin(nearest(images, centroids)[0], wanted)
        near = passing(len(table), {"no_vector": has_vector, "other_cluster": is_near})
        return both(fitting, near)

    return Judge(columns, decide)


def _captions(selection: Selection, settings: ImageBased, candidates: Judge) -> Decide:
    """What is said of candidates by their captions."""
    detect = detector(settings)

    def decide(piece: str, table: pa.Table) -> Judgement:
        rules = _lengths(selection, table)
        if detect is not None:
            asked = passing(len(table), rules).kept & candidates.decide(piece, table).kept
            rules["other_language"] = spoken(detect, settings.language, table["text"], asked)
        return both(candidates.decide(piece, table), passing(len(table), rules))

    return decide


def _lengths(selection: Selection, table: pa.Table) -> dict[str, Mask]:
    rules = {
        "few_words": f"coalesce(regexp_matches(text, '{TWO_WORDS}'), false)",
        "few_characters": f"coalesce(length(text) > {MORE_CHARACTERS_THAN}, false)",
    }
    rows = selection.database().from_arrow(table.select(["text"]))
    asked = ", ".join(f"{rule} AS {reason}" for reason, rule in rules.items())
    judged = rows.project(asked).to_arrow_table()
    return {reason: np.asarray(judged[reason], dtype=bool) for reason in rules}


def _centroids(selection: Selection, settings: ImageBased, candidates: Judge) -> Rows32:
    if settings.centroids is not None:
        return np.asarray(read_targets(settings.centroids), np.float32)
    return clustered(selection, candidates, settings.arch, settings.clusters).centroids


def _other_length(
    targets: str, found: npt.NDArray[np.floating], others: npt.NDArray[np.floating]
) -> SourceFormatError:
    return SourceFormatError(
        targets,
        f"vectors of {found.shape[1]}",
        f"of {others.shape[1]}, as the others are",
        "Embed targets, centroids and images by the same model.",
    )


METHOD = Method(ImageBased, judge)
