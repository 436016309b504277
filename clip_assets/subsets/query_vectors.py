"""The vectors that the queries of a subset mean.

What is near to them is chosen by ``methods.queried``.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from clip_assets.errors import ConfigurationError, ImageError, SourceFormatError
from clip_assets.files import opening
from clip_assets.settings.wishes import QuerySettings, TermSettings
from clip_assets.storage import uids
from clip_assets.subsets.selection import UID, Selection

Rows32 = npt.NDArray[np.float32]

LEAST_LENGTH = 1e-3
"""Of a sum of terms that still has a direction."""


def vectors_of(selection: Selection, queries: Sequence[QuerySettings], arch: str) -> Rows32:
    """The vector of each query, of length 1: that of its term, or the weighted sum of its terms.

    Texts and images are embedded by the model of the candidates; for pairs, uids are looked
    through until all are found.

    Returns:
        (queries, dim) float32.

    Raises:
        ConfigurationError: there is no such model or pair, or terms cancel each other out.
        SourceFormatError: a file holds no vector.
        SourceError: a file cannot be read.
        ImageError: an image cannot be decoded.
    """
    terms = [term for query in queries for term in query.every_term]
    known = _pairs(selection, [term.uid for term in terms if term.uid], arch)
    units = [_unit(_vector(selection, term, known, arch), name_of(term)) for term in terms]
    lengths = {len(unit) for unit in units}
    if len(lengths) > 1:
        raise _wrong("queries", f"vectors of {' and '.join(map(str, sorted(lengths)))} numbers")
    mixes: list[Rows32] = []
    for query in queries:
        count = len(query.every_term)
        own, units = units[:count], units[count:]
        weights = np.array([term.weight for term in query.every_term], np.float32)
        total = weights @ np.stack(own)
        if np.linalg.norm(total) < LEAST_LENGTH * np.abs(weights).max():
            raise _wrong(name_of(query), "terms that cancel each other out")
        mixes.append(_unit(total, name_of(query)))
    return np.stack(mixes)


def name_of(query: TermSettings) -> str:
    """A query for people."""
    if isinstance(query, QuerySettings) and query.terms:
        return " ".join(f"{term.weight:+g} {name_of(term)}" for term in query.terms)
    [(kind, value)] = query.given.items()
    return value if kind == "text" else f"{kind} {value}"


def _vector(
    selection: Selection, term: TermSettings, known: dict[str, Rows32], arch: str
) -> npt.NDArray[np.floating]:
    if term.text is not None:
        return selection.rows.encoder(arch).encode_text([term.text])[0]
    if term.uid is not None:
        return known[term.uid]
    if term.embedding is not None:
        return _stored(term.embedding)
    assert term.image is not None
    encoder = selection.rows.encoder(arch)
    try:
        pixels = encoder.preprocess(opening.content(term.image))
    except ImageError as error:
        raise ImageError(term.image, error.found, error.expected, error.advice) from error
    return encoder.encode_images([pixels])[0]


def _stored(uri: str) -> npt.NDArray[np.floating]:
    expected, advice = "a .npy of one vector, (dim,) floats", "Write it with numpy.save."
    with opening.opened(uri) as file:
        try:
            array = np.load(file, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise SourceFormatError(uri, str(error), expected, advice) from error
    if not np.issubdtype(array.dtype, np.floating) or array.size != array.shape[-1:][0]:
        raise SourceFormatError(uri, f"{array.dtype} of shape {array.shape}", expected, advice)
    return cast("npt.NDArray[np.floating]", array.reshape(-1))


def _pairs(selection: Selection, wanted: Sequence[str], arch: str) -> dict[str, Rows32]:
    """The image's vector of each pair."""
    known: dict[str, Rows32] = {}
    missing = dict.fromkeys(wanted)
    if not missing:
        return known
    for piece, table in selection.tables({UID} | selection.rows.vector_columns):
        names = uids.texts(uids.pairs(table[UID]))
        places = {name: place for place, name in enumerate(names) if name in missing}
        if places:
            with selection.rows.vectors(piece, table, arch) as of_piece:
                for name, place in places.items():
                    if of_piece.places[place] >= 0:
                        known[name] = np.asarray(
                            of_piece.images[of_piece.places[place]], np.float32
                        )
        if len(known) == len(missing):
            return known
    absent = next(name for name in missing if name not in known)
    raise ConfigurationError(
        f"uid {absent}", "no pair with an image", "a pair that has vectors", "Name another pair."
    )


def _unit(vector: npt.NDArray[np.floating], name: str) -> Rows32:
    wide = np.asarray(vector, np.float64)
    length = float(np.linalg.norm(wide))
    if not np.isfinite(length) or not length:
        raise _wrong(name, "a vector without direction")
    return (wide / length).astype(np.float32)


def _wrong(where: str, found: str) -> ConfigurationError:
    return ConfigurationError(
        where, found, "queries that each have a direction", "Change the definition."
    )
