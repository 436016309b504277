"""How many cores faiss computes with, for those who search from several threads.

Searching itself is in ``engine.ann``.
"""


def take_one() -> None:
    """Let the calling thread search with one core: where several search, each has its own."""
    import faiss

    faiss.omp_set_num_threads(1)
