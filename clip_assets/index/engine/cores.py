"""How many cores faiss computes with.

Searching itself is in ``engine.ann``.
"""


def use(count: int) -> None:
    """Let what the calling thread asks for be computed with so many cores.

    Where several threads search, each has its own: one.
    """
    import faiss

    faiss.omp_set_num_threads(count)
