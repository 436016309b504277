"""faiss behind plain functions, and what it lacks: vectors, lists and codes, and no pool."""
