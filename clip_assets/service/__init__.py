"""Pools for people and programs over HTTP: search, rows, pictures, subsets and embeddings.

Searching itself is ``retrieval``. Here are its hosting (``hosted``), what requests and answers look
like (``wire``), the endpoints, and what keeps strangers from taking the machine (``guard``).
"""
