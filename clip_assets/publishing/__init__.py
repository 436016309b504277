"""A pool as others get it: the published layout of its rows, vectors and index, and its card."""
