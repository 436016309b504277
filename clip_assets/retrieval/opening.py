"""Search as the command line and the demo do it: a pool, a query, an encoder when one is needed.

The search itself is in ``retrieval``; this module only brings the pieces together.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from clip_assets.errors import ConfigurationError
from clip_assets.retrieval.queries import Query, Uid
from clip_assets.retrieval.search import Searcher
from clip_assets.settings import Settings
from clip_assets.storage.store import Store


def query(
    *,
    text: str | None = None,
    image: str | None = None,
    embedding: str | None = None,
    uid: str | None = None,
) -> Query:
    """The one query that is given.

    Args:
        text: words.
        image: an image file.
        embedding: a .npy file of one vector, (dim,) or (1, dim).
        uid: of a pair whose image is the query.

    Raises:
        ConfigurationError: the text is empty, or the embedding file holds no vector.
    """
    if text is not None:
        if not text.strip():
            raise ConfigurationError("query", "an empty text", "some words", "Type some.")
        return text
    if image is not None:
        return Path(image)
    if uid is not None:
        return Uid(uid)
    assert embedding is not None
    return _vector(embedding)


def searcher(store: Store, settings: Settings, *, needs_model: bool = True) -> Searcher:
    """The served index of a pool.

    Args:
        store: the pool.
        settings: which model embeds queries.
        needs_model: False for embeddings and uids, which need none.

    Raises:
        MissingArtifactError: no index is served yet.
        ModelError: the model cannot be loaded, or is not that of the index.
    """
    without_model = Searcher.open(store)
    if not needs_model:
        return without_model
    # There is an index, so loading the model, which takes seconds, is worth it.
    without_model.close()
    from clip_assets.encoders.openclip import loading

    devices = ("cpu",) if settings.devices == "none" else ()
    return Searcher.open(store, loading.load_encoder(settings.inference, *devices))


def _vector(file: str) -> npt.NDArray[np.floating]:
    expected, advice = "a .npy file of one vector of numbers", "Write it with numpy.save."
    try:
        with Path(file).open("rb") as content:
            found = np.lib.format.read_array(content, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigurationError(file, str(error), expected, advice) from error
    if not np.issubdtype(found.dtype, np.floating):
        raise ConfigurationError(file, f"numbers of type {found.dtype}", expected, advice)
    return found.squeeze()
