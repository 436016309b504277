"""Whole-file publishing, tables, vectors, manifests and locks over one store."""
