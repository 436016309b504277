"""What commands search: a pool, or a published data set."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clip_assets.retrieval.search import Searcher


def searcher_of(root: str | None, settings_file: str | None) -> "Searcher":
    """The served index version of a pool, or the index of a published data set, opened.

    Args:
        root: as commands take it, or ``hf://datasets/ORGANISATION/NAME``.
        settings_file: of the pool; of a published data set it names the model.

    Raises:
        ClipAssetsError: there is none, or it cannot be opened.
    """
    from clip_assets import graph
    from clip_assets.retrieval.published_search import PublishedSearcher, is_published
    from clip_assets.retrieval.search import Searcher

    if root and is_published(root):
        return PublishedSearcher.at(root, settings_file)
    return Searcher.open(graph.open_pool(root, settings_file))
