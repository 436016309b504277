"""Pools for people and programs over HTTP: search, rows, pictures, subsets and embeddings.

Searching itself is ``retrieval``. Here is its service, in packages of which each imports none but
those before it, and neither of the last two the other::

    measures          what requests took: log, metrics, steps
    limits            what may be asked, by whom and how often, and how the rest is refused
    hosting           the served versions of pools and index folders, which change under queries
    search            texts, images and vectors to what is found for them
    v1                the endpoints of our own API
    clip_retrieval    those of clip-retrieval's back

``app`` is the application of them all; ``serving`` runs it in a process, ``workers`` in several.
"""
